"""Servers in this process: an error in their code fails only the call that it was raised in."""

from typing import Any, TypeAlias

import anyio
from mcp import MCPError
from mcp.server import MCPServer, Server
from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
from mcp_types import INTERNAL_ERROR

InProcess: TypeAlias = Server[dict[str, object]] | MCPServer
"""A server that is called without a child process or a network."""


def contain(server: InProcess) -> InProcess:
    """Add middleware to `server`, unless it has it, that turns a BaseException in a handler into an error result.

    The SDK (mcp 2.3) catches only Exception. `sys.exit()` in a handler would end the event loop, since asyncio lets
    SystemExit out of every task, and any other BaseException would end the task group around all servers.
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
