"""Counts of what was refused: requests by their HTTP status, and calls of `respond` that no run came of."""

from typing import Any

from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override

from bridge.signals.counts import Counts
from bridge.signals.names import OTHER, REFUSALS

STATUSES = (400, 401, 403, 404, 405, 406, 408, 413, 415, 421, 429, 503)
"""Statuses that are told apart."""
CODES = frozenset({"busy", "day_budget", "given_up", "invalid_argument", "no_upstream", "not_resumable"})
"""Codes of calls that no run came of."""


class RefusalCount:
    """ASGI middleware, outside of everything, that counts answers which refuse."""

    def __init__(self, app: ASGIApp, counts: Counts) -> None:
        self._app = app
        self._counts = counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def watch(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= 400:
                status = message["status"]
                self._counts.add(REFUSALS, 1, f"http {status}" if status in STATUSES else OTHER)
            await send(message)

        await self._app(scope, receive, watch)


class _CallCount(ServerMiddleware[Any]):
    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    @override
    async def __call__(self, ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        result = await call_next(ctx)
        if ctx.method == "tools/call" and isinstance(result, dict) and (code := _find_code(result)):
            self._counts.add(REFUSALS, 1, code if code in CODES else OTHER)
        return result


def _find_code(result: dict[str, Any]) -> str | None:
    """Find the code of a receipt that is of no run."""
    receipt = result.get("structuredContent")
    if not isinstance(receipt, dict) or receipt.get("run_id", "") is not None:
        return None
    error = receipt.get("error")
    return str(error.get("code")) if isinstance(error, dict) else None


def build_watch(counts: Counts) -> ServerMiddleware[Any]:
    """Build what counts the calls of hosts that are refused."""
    return _CallCount(counts)
