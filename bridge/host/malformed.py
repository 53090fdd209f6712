"""Refusals over Streamable HTTP and SSE, in the protocol's words.

To a malformed message, the SDK's transports (mcp 2.3) would reveal their internals, or say no more than a few words in
plain text.
"""

from mcp_types import INVALID_REQUEST
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.json_text import Json, JsonObject
from bridge.jsonrpc.messages import NO_BATCHES, NOT_A_MESSAGE

MALFORMED = (b'"message":"Validation error: ', b"Could not parse message")
"""Words in the bodies of these replies, over Streamable HTTP and SSE. After the first, the validator's report follows,
with class names and the values they were given."""
REFUSAL: JsonObject = {
    "jsonrpc": "2.0",
    "id": None,
    "error": {"code": INVALID_REQUEST, "message": f"{NOT_A_MESSAGE}; {NO_BATCHES}"},
}


class MalformedFilter:
    """ASGI middleware that says refusals with the status 400 in better words."""

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
            if head and (refusal := _reword(message.get("body", b""))):
                await JSONResponse(refusal, 400)(scope, receive, send)
                return
            if head:
                await send(head)
            await send(message)

        await self._app(scope, receive, send_reworded)


def _reword(body: bytes) -> Json:
    """Return what to say in place of `body`; None where nothing is better."""
    return REFUSAL if any(words in body for words in MALFORMED) else None
