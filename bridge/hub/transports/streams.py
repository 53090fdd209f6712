"""The event streams of one HTTP server, rewritten for the SDK, with a pause before one is opened again.

In mcp 2.3 an over-large event ends the whole stream, a stream that ends leaves its call without a reply, and streams
are opened as fast as the server ends them (python-sdk#3257).
"""

import logging
import math
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing

import anyio
import httpx2
from mcp_types import INVALID_REQUEST, RequestId
from typing_extensions import override

from bridge.clock import Clock
from bridge.hub.transports.bodies import Revise, mend_messages, write_error
from bridge.hub.transports.openings import BareReader, begins_as_json, is_whole, looks_like_message
from bridge.hub.transports.replies import OLDER_TRANSPORT, UNREACHABLE, read_headers
from bridge.network import explain_network
from bridge.sse import Event, EventReader
from bridge.telemetry import Redactor

logger = logging.getLogger(__name__)

FIRST_RETRY_MS, LAST_RETRY_MS = 100, 30_000
"""Bounds of `retry`, the pause before the SDK requests the rest of a stream; the first is also the default."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 5.0
"""Bounds of the pause before another stream is opened by GET, if the one before brought no message."""


class ServerStreams:
    """The streams of one client, the call that each belongs to, and the pause before another is opened."""

    def __init__(self, limit: int, clock: Clock, redact: Redactor) -> None:
        self._limit = limit
        self._redact = redact
        self._backoff = Backoff(clock)
        self._replies: dict[RequestId, EventBody] = {}
        self._rests: dict[str, RequestId] = {}

    def follow(
        self,
        request: httpx2.Request,
        call: RequestId | None,
        response: httpx2.Response,
        revise: Revise | None = None,
    ) -> httpx2.Response:
        """Rewrite a reply that is a stream so that the SDK can read it. `call`: the call that it answers, if any.

        `revise` may replace an error that answers it.
        """

        def note_rest(last_event: bytes) -> None:
            if call is not None:
                self._rests[last_event.decode("utf-8", "replace")] = call

        def forget() -> None:
            if call is not None:
                self._replies.pop(call, None)

        body = EventBody(
            response,
            self._limit,
            self._redact,
            request=call,
            on_rest=note_rest,
            on_message=self._backoff.reset,
            on_close=forget,
            revise=revise,
        )
        if call is not None:
            self._replies[call] = body
        headers = read_headers(response, "text/event-stream")
        # of another status that means success, as 202, the SDK reads no body
        return httpx2.Response(200, stream=body, headers=headers, request=request)

    def abandon(self, call: RequestId) -> None:
        """Stop reading the reply to `call`."""
        if body := self._replies.get(call):
            body.abandon()

    def take_call(self, request: httpx2.Request) -> RequestId | None:
        """Forget and return the call to whose reply `request` asks for the rest; None for any other request."""
        return self._rests.pop(request.headers.get("last-event-id", ""), None)

    async def wait(self) -> None:
        """Wait until another stream may be opened."""
        await self._backoff.wait()


class EventBody(httpx2.AsyncByteStream):
    """A server-sent event stream, rewritten: the SDK can read every message, and no event is over the limit.

    With a `request`, the stream answers that call. If it ends without an answer, an error becomes the answer; but if
    the rest can be requested, `on_rest` gets the id of the last event instead.
    """

    def __init__(
        self,
        response: httpx2.Response,
        limit: int,
        redact: Redactor,
        *,
        request: RequestId | None = None,
        on_rest: Callable[[bytes], None] = lambda _: None,
        on_message: Callable[[], None] = lambda: None,
        on_close: Callable[[], None] = lambda: None,
        revise: Revise | None = None,
    ) -> None:
        self._response = response
        self._limit = limit
        self._redact = redact
        self._events: EventReader | BareReader = EventReader(limit)
        self._has_begun = False
        self._request = request
        self._on_rest = on_rest
        self._on_message = on_message
        self._on_close = on_close
        self._revise = revise
        self._reading = anyio.CancelScope()
        self._is_abandoned = False
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
                    for event in self._find_rest():
                        yield self._mend(event)
                    break
                for event in self._feed(chunk):
                    yield self._mend(event)
        if self._request is None or self._is_answered:
            return
        if self._last_id and not self._is_abandoned:
            self._on_rest(self._last_id)
        else:
            yield Event(data=write_error(self._request, UNREACHABLE, f"the reply {reason}")).encode()

    async def _read_next(self, chunks: AsyncIterator[bytes]) -> bytes | None:
        if self._is_abandoned:
            return None
        with anyio.CancelScope() as self._reading:
            return await anext(chunks, None)
        return None

    def abandon(self) -> None:
        """Stop reading. In the handshake era the SDK goes on reading the reply to a call that it has cancelled."""
        self._is_abandoned = True
        self._reading.cancel()

    def _feed(self, chunk: bytes) -> list[Event]:
        if not self._has_begun and chunk.strip():
            self._has_begun = True
            if begins_as_json(chunk):
                self._events = BareReader(self._limit)
        return self._events.feed(chunk)

    def _find_rest(self) -> list[Event]:
        """Return the last event of a stream that ended without the blank line behind it, if it is a whole message."""
        if isinstance(self._events, BareReader):
            return self._events.flush()
        rest = self._events.feed(b"\n\n") if self._request is not None and not self._is_answered else []
        return [event for event in rest if isinstance(event.data, bytes) and is_whole(event.data)]

    def _mend(self, event: Event) -> bytes:
        retry = event.retry if event.retry is None else min(max(event.retry, FIRST_RETRY_MS), LAST_RETRY_MS)
        self._last_id = event.id or self._last_id
        if event.name.strip() == "endpoint" and self._request is not None:
            self._is_answered = True
            return Event(data=write_error(self._request, INVALID_REQUEST, OLDER_TRANSPORT)).encode()
        messages = list[bytes]()
        if looks_like_message(event.data):
            self._on_message()
            messages, is_reply = mend_messages(event.data, self._request, self._redact, self._revise)
            self._is_answered |= is_reply
        elif event.data:
            logger.debug("an event is no message: %s", event.name)
        *others, last = messages or [b""]
        framed = [Event(data=other).encode() for other in others]
        return b"".join([*framed, Event(data=last, id=event.id, retry=retry).encode()])

    @override
    async def aclose(self) -> None:
        self._on_close()
        await self._response.aclose()


class Backoff:
    """The pause before another stream may be opened; it doubles until `reset`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = -math.inf
        self.reset()

    async def wait(self) -> None:
        """Wait until the next stream may be opened."""
        now = self._clock.now()
        start = max(now, self._next)
        self._next = start + self._pause_s
        self._pause_s = min(self._pause_s * 2, LAST_PAUSE_S)
        if start > now:
            await self._clock.sleep(start - now)

    def reset(self) -> None:
        """Return to the shortest pause: a stream has brought a message."""
        self._pause_s = FIRST_PAUSE_S
