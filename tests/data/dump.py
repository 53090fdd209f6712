"""A published server's tools as the files in `published` have them, on stdout.

python -m tests.data.dump "PyPI mcp-server-fetch" 2026.10.24 .peers/bin/mcp-server-fetch
"""

import sys
from typing import Any

import anyio
from mcp import Client, StdioServerParameters

from bridge.json_text import encode

KEPT = ("name", "title", "description", "inputSchema", "annotations")


async def list_tools(command: str, arguments: list[str]) -> list[dict[str, Any]]:
    """What the server lists on all its pages: what a model and its search see of them."""
    async with Client(StdioServerParameters(command=command, args=arguments)) as client:
        page = await client.list_tools()
        tools = list(page.tools)
        while page.next_cursor:
            page = await client.list_tools(cursor=page.next_cursor)
            tools += page.tools
    listed = [tool.model_dump(by_alias=True, exclude_none=True) for tool in tools]
    return [{key: tool[key] for key in KEPT if key in tool} for tool in listed]


def write(origin: str, version: str, tools: list[dict[str, Any]]) -> str:
    """One tool a line, so that a newer version can be compared."""
    lines = ",\n".join(map(encode, tools))
    return f'{{"origin":{encode(origin)},"version":{encode(version)},"tools":[\n{lines}\n]}}\n'


if __name__ == "__main__":
    origin, version, command, *arguments = sys.argv[1:]
    sys.stdout.write(write(origin, version, anyio.run(list_tools, command, arguments)))
