"""The far end: an mcp server over stdio. `server.py COUNT [JOURNAL]` lists COUNT tools and notes every call in JOURNAL.

A script of its own, since a bridge's children get no PYTHONPATH.
"""

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import anyio
from mcp.server import MCPServer
from mcp.types import ToolAnnotations
from pydantic import Field

count, journal = int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None


def note(name: str, **arguments: Any) -> None:
    if journal:
        with journal.open("a", encoding="utf-8") as file:
            file.write(json.dumps([name, arguments]) + "\n")


async def echo(text: Annotated[str, Field(description="What to say again.")]) -> str:
    """Say the same again."""
    note("echo", text=text)
    return text


async def nap(seconds: Annotated[float, Field(description="For how long.")]) -> str:
    """Do nothing for a while."""
    note("nap", seconds=seconds)
    await anyio.sleep(seconds)
    return "rested"


async def big(megabytes: Annotated[int, Field(description="How much of it.")]) -> str:
    """Give a long text."""
    note("big", megabytes=megabytes)
    return "x" * (megabytes << 20)


async def look_up(
    title: Annotated[str, Field(description="The title of the record, or the beginning of it.")],
    since: Annotated[str, Field(description="The first day to look at, as YYYY-MM-DD.")] = "2020-01-01",
    limit: Annotated[int, Field(description="How many records there may be at most.")] = 10,
) -> str:
    """Look up the records of an archive that match a title, the newest of them first, with day and author."""
    return f"{limit} of {title} since {since}"


server = MCPServer("bench", log_level="WARNING")
for tool in (echo, nap, big):
    server.add_tool(tool, annotations=ToolAnnotations(read_only_hint=True))
for number in range(count - 3):
    server.add_tool(look_up, name=f"archive_{number:04}")
server.run("stdio")
