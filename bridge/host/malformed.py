"""What the SDK's Streamable HTTP transport says of a body that is no message, without what that tells of its inside."""

from mcp_types import INVALID_REQUEST
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

MALFORMED = b'"message":"Validation error: '
"""What follows in mcp 2.3 is the validator's report, with the names of its classes and what they were given."""
REFUSAL = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {"code": INVALID_REQUEST, "message": "JSON, but not a JSON-RPC 2.0 message"},
}


class MalformedFilter:
    """ASGI middleware that passes on everything but that report."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: Message | None = None

        async def send_reworded(message: Message) -> None:
            nonlocal held
            if message["type"] == "http.response.start" and message["status"] == 400:
                held = message  # until it is known what is said; it is said in one piece
                return
            head, held = held, None
            if head and MALFORMED in message.get("body", b""):
                await JSONResponse(REFUSAL, 400)(scope, receive, send)
                return
            if head:
                await send(head)
            await send(message)

        await self._app(scope, receive, send_reworded)
