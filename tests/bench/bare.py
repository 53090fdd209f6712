"""What any bridge must hold in memory: an mcp server over stdio with a client of another one, `bare.py SCRIPT...`."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from mcp import Client, StdioServerParameters
from mcp.server import MCPServer
from mcp.server.mcpserver import Context


@asynccontextmanager
async def connect(_server: MCPServer[Client]) -> AsyncIterator[Client]:
    """The client, for as long as the server runs."""
    async with Client(StdioServerParameters(command=sys.executable, args=sys.argv[1:])) as client:
        await client.list_tools()
        yield client


server = MCPServer("bare", lifespan=connect, log_level="WARNING")


@server.tool()
async def respond(model: str, input: str, ctx: Context[Client]) -> str:
    """Pass on one call."""
    return str(await ctx.request_context.lifespan_context.call_tool("echo", {"text": model + input}))


server.run("stdio")
