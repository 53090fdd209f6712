"""One HTTP/1.1 connection on asyncio, for one request at a time; its replies are parsed by llhttp (httptools)."""

import asyncio
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import TypeAlias, cast

import httpx2
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from typing_extensions import override

from bridge.network import explain_network

IDLE_S = 60.0
"""Seconds that an idle connection is kept for the next request."""
MAX_HEAD_BYTES = 262_144
MAX_WAITING_BYTES = 1 << 20
"""Bytes of a reply that may be buffered before reading from the network is paused."""

Origin: TypeAlias = tuple[str, str, int]
"""Scheme, host and port."""


@dataclass
class Reply:
    """The part of one reply that has arrived."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    chunks: list[bytes] = field(default_factory=list[bytes])
    head_bytes: int = 0
    waiting_bytes: int = 0
    has_head: bool = False
    is_complete: bool = False

    @property
    def ends_itself(self) -> bool:
        """Tell whether the reply declares its end; otherwise it ends with the connection."""
        return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)


class Connection(asyncio.Protocol):
    """A connection to one origin, for one request at a time."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.reply: Reply | None = None
        """The reply to the current request."""
        self._loop = asyncio.get_running_loop()
        self._parser = HttpResponseParser(self)
        self._timeout_s = math.inf
        self._changed = asyncio.Event()
        self._error: httpx2.TransportError | None = None
        self._can_be_kept = True
        self._idle_since = 0.0

    def is_usable(self) -> bool:
        """Tell whether another request can be sent on it."""
        idle_s = self._loop.time() - self._idle_since
        return self._can_be_kept and not self._transport.is_closing() and (not self._idle_since or idle_s < IDLE_S)

    @property
    def has_answered(self) -> bool:
        """Tell whether any byte of the reply has arrived."""
        return self.reply is not None and self.reply.head_bytes > 0

    async def send(self, message: bytes, timeout_s: float | None) -> Reply:
        """Send a request and wait for the head of its reply.

        `timeout_s` bounds the time between any two bytes of the reply, here and in `read`.
        """
        self.reply = reply = Reply()
        self._timeout_s = math.inf if timeout_s is None else timeout_s
        self._transport.write(message)
        try:
            while not reply.has_head:
                await self._wait(reply)
        except BaseException:
            self.close()
            raise
        return reply

    async def read(self, reply: Reply) -> AsyncIterator[bytes]:
        """Yield the body as it arrives."""
        while reply.chunks or not reply.is_complete:
            if not reply.chunks:
                await self._wait(reply)
            elif chunk := b"".join(reply.chunks):
                reply.chunks.clear()
                reply.waiting_bytes = 0
                self._transport.resume_reading()
                yield chunk

    def release(self) -> bool:
        """Give up the reply; return True if the connection can be used again, else close it."""
        is_read = self.reply is not None and self.reply.is_complete and not self.reply.chunks
        self.reply = None
        self._idle_since = self._loop.time()
        if is_read and self.is_usable():
            return True
        self.close()
        return False

    def close(self) -> None:
        """Close the connection at once, even with a request in flight."""
        self._can_be_kept = False
        self._transport.abort()

    async def _wait(self, reply: Reply) -> None:
        """Wait until more has arrived. Raises the connection's error once everything that arrived before it is read."""
        if self._error is None:
            self._changed.clear()
            timer = self._loop.call_later(self._timeout_s, self._time_out)
            try:
                await self._changed.wait()
            finally:
                timer.cancel()
        if self._error and not reply.chunks and not reply.is_complete:
            raise self._error

    def _time_out(self) -> None:
        self._fail(httpx2.ReadTimeout(f"nothing came for {self._timeout_s} s"))
        self._changed.set()

    def _fail(self, error: httpx2.TransportError) -> None:
        self._error = self._error or error
        self.close()

    # called by asyncio

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self.reply is None:  # no request is in flight
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(httpx2.RemoteProtocolError(f"it does not speak HTTP/1.1: {error}"))
        self._count_bytes(self.reply, len(data))
        self._changed.set()

    def _count_bytes(self, reply: Reply, size: int) -> None:
        if reply.has_head:
            reply.waiting_bytes += size
            if reply.waiting_bytes > MAX_WAITING_BYTES and reply.chunks:
                self._transport.pause_reading()
            elif reply.waiting_bytes > MAX_WAITING_BYTES:  # pausing here would wait forever for a body
                self._fail(httpx2.RemoteProtocolError(f"over {MAX_WAITING_BYTES:,} bytes of its reply are not a body"))
        else:
            reply.head_bytes += size
            if reply.head_bytes > MAX_HEAD_BYTES:
                self._fail(httpx2.RemoteProtocolError(f"the head of its reply is over {MAX_HEAD_BYTES:,} bytes"))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self.reply and self.reply.has_head and not self.reply.ends_itself:
            self.reply.is_complete = True
        self._fail(
            httpx2.ReadError(explain_network(exc)) if exc else httpx2.RemoteProtocolError("it closed the connection")
        )
        self._changed.set()

    # called by the parser

    def on_message_begin(self) -> None:
        if self.reply and self.reply.is_complete:  # a second reply to one request
            self._can_be_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reply and not self.reply.has_head:
            self.reply.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.reply and not self.reply.has_head:
            self.reply.status = self._parser.get_status_code()
            self.reply.has_head = self.reply.status >= 200  # below 200 it is an interim reply: another follows

    def on_body(self, data: bytes) -> None:
        if self.reply and not self.reply.is_complete:
            self.reply.chunks.append(data)

    def on_message_complete(self) -> None:
        if self.reply and self.reply.has_head:
            self.reply.is_complete = True
            self._can_be_kept &= self._parser.should_keep_alive()
        elif self.reply:
            self.reply.headers.clear()
