"""The stdio transport, for connected servers and for our own host: two file descriptors as the SDK's stream pair.

Not the SDK's own transport (mcp 2.3): one invalid UTF-8 byte ends it, it never answers a line that is not a message,
and its reading thread keeps a process with an open stdin from exiting.
"""

import os
import stat
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NoReturn, TypeAlias

import anyio
import anyio.lowlevel
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    PARSE_ERROR,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCResponse,
)
from typing_extensions import override

from bridge.jsonrpc.backlog import Backlog, Flooded
from bridge.jsonrpc.descriptors import CHUNK_BYTES, Sink, read_chunk
from bridge.jsonrpc.lines import LineSplitter, Overlong
from bridge.jsonrpc.messages import BadMessage, read_message, split_messages, write_message
from bridge.jsonrpc.noise import Noise

Streams: TypeAlias = tuple[ObjectReceiveStream[SessionMessage | Exception], ObjectSendStream[SessionMessage]]


AT_ONCE_BYTES, LINE_BYTES = 1 << 16, 1 << 10
"""How much is read before other tasks may run; each line counts as so many bytes more."""


@asynccontextmanager
async def open_pipes(
    name: str,
    source: int,
    sink: int,
    *,
    limit: int,
    on_end: Callable[[], None],
    answer_bad: bool,
    on_flood: Callable[[str], None] | None = None,
    on_bad: Callable[[bytes], None] = lambda _: None,
    on_fault: Callable[[OSError], None] = lambda _: None,
) -> AsyncIterator[Streams]:
    """Open the stream pair over two descriptors, which the caller closes; `name` is the other side's in the log.

    `on_end` is called when `source` ends or `sink` breaks; `on_fault` before it, if `sink` breaks though its reader has
    not gone. A line that is not a message, or is over `limit` bytes, is answered on `sink` with a JSON-RPC error if
    `answer_bad` (for our host, whose lines are bounded in values and levels too); else the session gets an error in
    its place if it was a reply (for a connected server). `on_bad` is given the line, or its head. With `on_flood`, the
    other side's open requests are bounded: over the bound it is called with the reason, and the stream ends.
    """
    requests = Backlog(is_bounded=on_flood is not None)
    writer = Sink(sink, lambda: incoming.stop(), on_fault)  # nobody reads our replies any more
    answer = writer.write if answer_bad else None

    def give_up(reason: str) -> None:
        assert on_flood
        on_flood(reason)
        writer.abandon()

    incoming = _Incoming(
        name, source, requests, limit=limit, on_end=on_end, on_bad=on_bad, answer=answer, on_flood=give_up
    )
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.finish)
        try:
            yield incoming, _Outgoing(writer, requests)
        finally:
            incoming.noise.tell()
            tasks.cancel_scope.cancel()


class _Incoming(ObjectReceiveStream[SessionMessage | Exception]):
    """The incoming messages. They are read when the session asks for one, in its own task: another task in between
    would delay each call."""

    def __init__(
        self,
        name: str,
        source: int,
        requests: Backlog,
        *,
        limit: int,
        on_end: Callable[[], None],
        on_bad: Callable[[bytes], None],
        answer: Callable[[bytes], Awaitable[None]] | None,
        on_flood: Callable[[str], None],
    ) -> None:
        self.noise = Noise(name)
        self._on_flood = on_flood
        self._source = source
        self._requests = requests
        self._on_end = on_end
        self._on_bad = on_bad
        self._answer = answer
        self._splitter = LineSplitter(limit)
        self._lines: deque[bytes | Overlong] = deque()
        self._reading = anyio.CancelScope()
        self._is_stopped = self._is_read = False
        self._read_since = 0

    @override
    async def receive(self) -> SessionMessage | Exception:
        while True:
            while self._lines:
                if message := await self._read(self._lines.popleft()):
                    return SessionMessage(message)
            if self._is_read:
                await self._end()
            await self._read_more()

    @override
    async def aclose(self) -> None:
        """Discard the messages that have arrived; the descriptor stays open."""
        self._lines.clear()

    def stop(self) -> None:
        """Stop reading."""
        self._is_stopped = True
        self._reading.cancel()
        self._on_end()

    async def _read_more(self) -> None:
        chunk = b""
        with anyio.CancelScope() as self._reading:
            chunk = b"" if self._is_stopped else await read_chunk(self._source)
        self._is_read = not chunk
        self._lines += self._splitter.feed(chunk) if chunk else self._splitter.flush()

    async def _end(self) -> NoReturn:
        """End the stream: for a pipe at once, since its writer has gone; for a file after all requests are answered."""
        with anyio.CancelScope() as self._reading:
            if not self._is_stopped and stat.S_ISREG(os.fstat(self._source).st_mode):
                await self._requests.wait_answered()
        self.stop()
        raise anyio.EndOfStream

    async def _read(self, line: bytes | Overlong) -> JSONRPCMessage | None:
        """Read the message in a line; return what the session gets for it, if anything."""
        self._read_since += LINE_BYTES + (0 if isinstance(line, Overlong) else len(line))
        if self._read_since > AT_ONCE_BYTES and (self._lines or self._read_since > CHUNK_BYTES):
            self._read_since = 0
            await anyio.lowlevel.checkpoint()  # a long line, or many of them, would keep other tasks waiting
        if isinstance(line, bytes) and not line.strip():
            return None
        try:
            message = read_message(line, is_bounded=self._answer is not None)
            assert isinstance(line, bytes)
            self._requests.note(message, line.__len__)
        except BadMessage as bad:
            if not self._answer and isinstance(line, bytes) and (parts := split_messages(line)):
                self._lines.extendleft(reversed(parts))
                return None
            return await self._take_bad(bad, line)
        except Flooded as flood:
            self._lines.clear()
            self._on_flood(str(flood))
            return None
        return message

    async def _take_bad(self, bad: BadMessage, line: bytes | Overlong) -> JSONRPCError | None:
        self.noise.note(bad)
        self._on_bad(line.head if isinstance(line, Overlong) else line)
        if self._answer:
            await self._answer(write_message(bad.to_error()))
            return None
        bad.code = PARSE_ERROR  # the reply is unreadable; it is not an error that the server sent
        return bad.to_error() if bad.id is not None or bad.is_reply else None


class _Outgoing(ObjectSendStream[SessionMessage]):
    """The outgoing messages, written in the task that sends them."""

    def __init__(self, sink: Sink, requests: Backlog) -> None:
        self._sink = sink
        self._requests = requests
        self._is_closed = False

    @override
    async def send(self, item: SessionMessage) -> None:
        if self._is_closed:
            raise anyio.ClosedResourceError
        if self._sink.is_broken:
            raise anyio.BrokenResourceError
        data = write_message(item.message)
        try:
            if not (_is_cancellation(item.message) and self._sink.write_behind(data)):
                await self._sink.write(data)
        finally:
            if isinstance(item.message, JSONRPCResponse | JSONRPCError):
                self._requests.settle(item.message.id)

    @override
    async def aclose(self) -> None:
        self._is_closed = True


def _is_cancellation(message: JSONRPCMessage) -> bool:
    """Tell whether nobody should wait for the message: mcp 2.3 holds an ended call back for 5 s until it is written."""
    return isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled"
