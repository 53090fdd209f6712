"""A server in this very process: whatever its code raises costs the call that it was raised in."""

from typing import Any, TypeAlias

import anyio
from mcp import MCPError
from mcp.server import MCPServer, Server
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types import INTERNAL_ERROR

InProcess: TypeAlias = Server[dict[str, object]] | MCPServer
"""A server that is reached without a process or a network."""


def contain(server: InProcess) -> InProcess:
    """`server`, with nothing but errors let out of its handlers. Done twice, it is done once.

    `sys.exit()` in a handler would end the event loop (the SDK, mcp 2.3, takes an Exception for an answer, and asyncio
    takes SystemExit out of every task), and any other BaseException the task group around all servers.
    """
    if _contain not in server.middleware:
        server.middleware.append(_contain)
    return server


async def _contain(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    try:
        return await call_next(ctx)
    except (Exception, anyio.get_cancelled_exc_class()):
        raise
    except BaseException as error:
        raise MCPError(INTERNAL_ERROR, f"its code ended with {type(error).__name__}: {error}") from error
