"""Replies to malformed messages over Streamable HTTP, without the SDK internals that its transport would reveal."""

from mcp_types import INVALID_REQUEST
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MALFORMED = b'"message":"Validation error: '
"""After this, mcp 2.3 appends the validator's report, with class names and the values they were given."""
REFUSAL = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {"code": INVALID_REQUEST, "message": "JSON, but not a JSON-RPC 2.0 message"},
}


class MalformedFilter:
    """ASGI middleware that replaces a reply with that report by `REFUSAL`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: Message | None = None

        async def send_reworded(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and message["status"] == 400:
                held = message  # until its body is here, which the SDK sends in one piece
                return
            head, held = held, None
            if head and MALFORMED in message.get("body", b""):
                await JSONResponse(REFUSAL, 400)(scope, receive, send)
                return
            if head:
                await send(head)
            await send(message)

        await self._app(scope, receive, send_reworded)
