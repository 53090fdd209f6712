"""`python -m tests.engines.notary FILE`: a server whose tools leave a line in a file, so that every execution counts.

`note(text)` says nothing of itself; `look(text)` declares itself read-only.
"""

import os
import sys

from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("notary", log_level="ERROR")


def put_down(line: str) -> None:
    file = os.open(sys.argv[1], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, f"{line}\n".encode())
    os.close(file)


@server.tool()
async def note(text: str) -> str:
    put_down(f"note {text}")
    return f"noted {text}"


@server.tool(annotations=ToolAnnotations(read_only_hint=True))
async def look(text: str) -> str:
    put_down(f"look {text}")
    return f"saw {text}"


if __name__ == "__main__":
    server.run("stdio")
