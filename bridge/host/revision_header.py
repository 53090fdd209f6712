"""The handshake of hosts whose headers name a revision that has none.

The SDK (mcp 2.3) tells the eras apart by the header MCP-Protocol-Version alone. A host that sends the newest revision
it knows with every request would be refused when it shakes hands, and in the session after that.
"""

from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.json_text import Json, decode

MAX_HANDSHAKE_BYTES = 1 << 16
"""The most of a body that is read to see whether it is a handshake."""
_HEADER = b"mcp-protocol-version"


class RevisionHeader:
    """ASGI middleware that drops the header where a request belongs to a handshake all the same: where it is one, or
    belongs to the session that one began. Every request of the modern era names its method in a header, and passes."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        named = headers.get("mcp-protocol-version")
        if named and named not in HANDSHAKE_PROTOCOL_VERSIONS and headers.get("mcp-method") in (None, "initialize"):
            ahead = _Ahead(receive)
            if "mcp-session-id" in headers or await ahead.is_handshake():
                scope = {**scope, "headers": [each for each in scope["headers"] if each[0] != _HEADER]}
            receive = ahead.receive
        await self._app(scope, receive, send)


class _Ahead:
    """A body that was looked at before its reader gets it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages: list[Message] = []

    async def is_handshake(self) -> bool:
        body = b""
        while len(body) < MAX_HANDSHAKE_BYTES:
            message = await self._receive()
            self._messages.append(message)
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        return _is_handshake(body)

    async def receive(self) -> Message:
        return self._messages.pop(0) if self._messages else await self._receive()


def _is_handshake(body: bytes) -> bool:
    """Tell whether a body opens a handshake; one that asks for no revision there is a request of the modern era."""
    try:
        message: Json = decode(body)
    except (ValueError, RecursionError):
        return False
    params = message.get("params") if isinstance(message, dict) and message.get("method") == "initialize" else None
    return isinstance(params, dict) and "protocolVersion" in params
