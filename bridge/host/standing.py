"""Standing streams: those that a client keeps open for news, for as long as it likes. Where descriptors are few, many
of them would leave none for calls."""

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

SHARE = 3
"""One in so many connections of clients may be such a stream."""
RETRY_AFTER_S = "10"
NEWS_PATH = "/page/news"


class Standing:
    """ASGI middleware that lets only so many of them be open at once."""

    def __init__(self, app: ASGIApp, most: int) -> None:
        self._app = app
        self._most = most
        self._open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not _stands(scope):
            await self._app(scope, receive, send)
        elif self._open >= self._most:
            await _refuse(scope)(scope, receive, send)
        else:
            self._open += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self._open -= 1


def _stands(scope: Scope) -> bool:
    if scope["path"] in ("/mcp", "/sse", NEWS_PATH):
        return scope["method"] == "GET" or Headers(scope=scope).get("mcp-method") == "subscriptions/listen"
    return False


def _refuse(scope: Scope) -> Response:
    """Say so in a way that a client can live with: without a stream of its own on `/mcp` it only hears of no change."""
    if scope["path"] == "/mcp" and scope["method"] == "GET":
        return PlainTextResponse("No more streams now", 405, {"Allow": "POST, DELETE"})
    return PlainTextResponse("Too many streams are open; try again later", 503, {"Retry-After": RETRY_AFTER_S})
