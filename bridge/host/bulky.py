"""Refuses requests that would be too much as objects, before anybody reads them."""

from collections import deque

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.jsonrpc.bulk import Bulk, TooMuch
from bridge.jsonrpc.lines import KEPT_BYTES
from bridge.jsonrpc.messages import refuse_bulk, write_message


class BulkLimit:
    """ASGI middleware that counts the JSON of a body as it arrives. What is too much is read to its end and answered,
    but not kept; bodies over `max_bytes` are left to `app`, which refuses them."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "POST" or _read_length(scope) > self._max_bytes:
            await self._app(scope, receive, send)
            return
        body = _Body(receive)
        try:
            await body.read_ahead(self._max_bytes)
        except TooMuch as much:
            head, tail = await body.drain()
            refusal = write_message(refuse_bulk(much, head, tail).to_error())
            await Response(refusal, 400, media_type="application/json")(scope, receive, send)
        else:
            await self._app(scope, body.receive, send)


def _read_length(scope: Scope) -> int:
    """Read how many bytes the body is said to have; 0 where that is not said. (h11 has refused what is no number.)"""
    return int(Headers(scope=scope).get("content-length", "0"))


class _Body:
    """A body that was looked at before its reader gets it."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._messages = deque[Message]()
        self._is_open = True

    async def read_ahead(self, max_bytes: int) -> None:
        """Read the body as far as its reader would take it. Raises TooMuch."""
        bulk, size = Bulk(), 0
        while self._is_open and size <= max_bytes:
            data = await self._read()
            size += len(data)
            bulk.feed(data)

    async def drain(self) -> tuple[bytes, bytes]:
        """Read the rest, and return the beginning and the end of the whole."""
        read = b"".join(message.get("body", b"") for message in self._messages)
        head, tail = read[:KEPT_BYTES], read[-KEPT_BYTES:]
        del read
        self._messages.clear()
        while self._is_open:
            tail = (tail + await self._read())[-KEPT_BYTES:]
            self._messages.clear()
        return head, tail

    async def receive(self) -> Message:
        """Pass on what was read, and then what comes."""
        return self._messages.popleft() if self._messages else await self._receive()

    async def _read(self) -> bytes:
        message = await self._receive()
        self._messages.append(message)
        self._is_open = message["type"] == "http.request" and message.get("more_body", False)
        return bytes(message.get("body", b""))
