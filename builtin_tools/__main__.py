"""`python -m builtin_tools`: the built-in tools as a stdio server, for hosts that want them without the bridge."""

from contextlib import suppress

import anyio
from mcp.server.stdio import stdio_server

from builtin_tools.server import build_server


async def serve() -> None:
    """Serve one host until it closes stdin."""
    server = build_server()
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        anyio.run(serve)
