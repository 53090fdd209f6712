"""What any MCP service must cost: a low-level mcp server with one tool that answers at once, `bare_server stdio|http`.

Over Streamable HTTP it prints its port.
"""

import socket
import sys
from typing import Any

import anyio
import uvicorn
from mcp import types
from mcp.server import Server, ServerRequestContext
from mcp.server.stdio import stdio_server

TOOL = types.Tool(name="respond", input_schema={"type": "object", "properties": {"input": {"type": "string"}}})


async def list_tools(
    _ctx: ServerRequestContext[dict[str, Any]], _params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    """The one tool."""
    return types.ListToolsResult(tools=[TOOL])


async def call_tool(
    _ctx: ServerRequestContext[dict[str, Any]], params: types.CallToolRequestParams
) -> types.CallToolResult:
    """Give the input back."""
    text = str((params.arguments or {}).get("input"))
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)])


async def serve_stdio() -> None:
    """Serve until the end of stdin."""
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def serve_http() -> None:
    """Serve until the process is ended."""
    listening = socket.create_server(("127.0.0.1", 0))
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as ours, or each of its replies waits 40 ms
    sys.stdout.write(f"{listening.getsockname()[1]}\n")
    sys.stdout.flush()
    uvicorn.Server(uvicorn.Config(server.streamable_http_app(), http="h11", log_level="critical")).run([listening])


server: Server[dict[str, Any]] = Server("bare", on_list_tools=list_tools, on_call_tool=call_tool)
if __name__ == "__main__":
    anyio.run(serve_stdio) if sys.argv[1] == "stdio" else serve_http()
