"""The bodies of HTTP replies, read in bounds and handed on as messages that the SDK's transports can bear.

With mcp 2.3 a reply with half an emoji, too much depth or a foreign id leaves its call without an answer or without a
reason, a small compressed body fills the memory, and an over-large event ends the whole stream. Here such a message is
read all the same where it can be; otherwise an error takes its place, for its own call and at once.
"""

import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import replace

import anyio
import httpx2
from mcp_types import (
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCResponse,
    RequestId,
    jsonrpc_message_adapter,
)
from typing_extensions import override

from bridge.hub.transports.large_messages import Detour
from bridge.jsonrpc.lines import Overlong
from bridge.jsonrpc.messages import BadMessage, read_message, write_message
from bridge.network import explain_network
from bridge.sse import Event, EventReader

logger = logging.getLogger(__name__)

UNREACHABLE = -32010
"""JSON-RPC error code of ours: no reply came, or not all of it."""
FIRST_RETRY_MS, LAST_RETRY_MS = 100, 30_000
"""Bounds of what a server may say about when to ask for the rest of a stream; the first also where it says nothing."""


async def read_body(response: httpx2.Response, limit: int) -> bytes | Overlong:
    """The decoded body, of which no more than `limit` bytes are held. Raises httpx2.TransportError where it is cut."""
    parts, size = list[bytes](), 0
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            parts.append(chunk)
            if size > limit:
                return Overlong(b"".join(parts)[:limit], b"", size, limit)
    return b"".join(parts)


def mend_message(data: bytes | Overlong, request: RequestId | None) -> tuple[bytes, bool]:
    """`data` as one message that the SDK can read, and whether it is a reply. `request`: the call it belongs to.

    As it is where that will do; scrubbed, or with the id of its call; or an error in its place. Empty for what is no
    message and that nobody can be told of.
    """
    try:
        message, is_plain = _read(data)
    except BadMessage as bad:
        logger.warning("a reply that is no message: %s", bad)
        bad.id, bad.code = bad.id if request is None else request, PARSE_ERROR
        return (write_message(bad.to_error()).rstrip(), True) if bad.id is not None else (b"", False)
    is_reply = isinstance(message, JSONRPCResponse | JSONRPCError)
    if is_reply and request is not None and message.id != request:
        message, is_plain = message.model_copy(update={"id": request}), False
    return data if is_plain and isinstance(data, bytes) else write_message(message).rstrip(), is_reply


def _read(data: bytes | Overlong) -> tuple[JSONRPCMessage, bool]:
    """The message, and whether the SDK can read it from these very bytes. Raises BadMessage."""
    if isinstance(data, bytes):
        with suppress(ValueError):
            return jsonrpc_message_adapter.validate_json(data, by_name=False), True
    message = read_message(data)
    try:
        jsonrpc_message_adapter.validate_json(write_message(message), by_name=False)
    except ValueError:
        assert isinstance(data, bytes)
        raise BadMessage("nested too deep", data) from None
    return message, False


def write_error(request: RequestId | None, code: int, message: str, data: object = None) -> bytes:
    """A JSON-RPC error as JSON."""
    error = ErrorData(code=code, message=message, data=data)
    return write_message(JSONRPCError(jsonrpc="2.0", id=request, error=error)).rstrip()


class EventBody(httpx2.AsyncByteStream):
    """A server-sent event stream written again: every message can be read by the SDK, no event is over the limit.

    With a `request` it is the reply to that call, which gets an answer however the stream ends: unless it can be asked
    for the rest of it, and then `on_rest` is told the last event's id. Large messages take the `detour`, if there is
    one.
    """

    def __init__(
        self,
        response: httpx2.Response,
        limit: int,
        *,
        request: RequestId | None = None,
        on_rest: Callable[[bytes], None] = lambda _: None,
        on_message: Callable[[], None] = lambda: None,
        on_close: Callable[[], None] = lambda: None,
        detour: Detour | None = None,
    ) -> None:
        self._response = response
        self._events = EventReader(limit)
        self._request = request
        self._on_rest = on_rest
        self._on_message = on_message
        self._on_close = on_close
        self._detour = detour
        self._reading = anyio.CancelScope()
        self._is_given_up = False
        self._is_answered = False
        self._last_id: bytes | None = None

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._request is not None:
            yield Event(retry=FIRST_RETRY_MS).encode()
        reason = "ended without a reply"
        async with aclosing(self._response.aiter_bytes()) as chunks:
            while True:
                try:
                    chunk = await self._read_next(chunks)
                except (httpx2.TransportError, httpx2.DecodingError) as error:
                    reason = f"was cut: {explain_network(error)}"
                    break
                if not chunk:
                    break
                for event in self._events.feed(chunk):
                    yield self._mend(event)
        if self._request is None or self._is_answered:
            return
        if self._last_id and not self._is_given_up:
            self._on_rest(self._last_id)
        else:
            yield Event(data=write_error(self._request, UNREACHABLE, f"the reply {reason}")).encode()

    async def _read_next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        if self._is_given_up:
            return None
        with anyio.CancelScope() as self._reading:
            return await anext(chunks, None)
        return None

    def give_up(self) -> None:
        """Read no more. In the handshake era the SDK goes on reading for a call that it has cancelled."""
        self._is_given_up = True
        self._reading.cancel()

    def _mend(self, event: Event) -> bytes:
        retry = event.retry if event.retry is None else min(max(event.retry, FIRST_RETRY_MS), LAST_RETRY_MS)
        self._last_id = event.id or self._last_id
        if event.name != "message" or not event.data:
            return replace(event, retry=retry, data=event.data if isinstance(event.data, bytes) else b"").encode()
        self._on_message()
        data, is_reply = mend_message(event.data, self._request)
        self._is_answered |= is_reply
        return replace(event, retry=retry, data=self._detour.enter(data) if self._detour else data).encode()

    @override
    async def aclose(self) -> None:
        self._on_close()
        await self._response.aclose()
