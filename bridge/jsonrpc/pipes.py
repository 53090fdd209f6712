"""The stdio transport, for connected servers and for our own host: two file descriptors as the SDK's stream pair.

Not the SDK's own transport (mcp 2.3): one invalid UTF-8 byte ends it, it never answers a line that is not a message,
and its reading thread keeps a process with an open stdin from exiting.
"""

import logging
import os
import re
import stat
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
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
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)
from typing_extensions import override

from bridge.jsonrpc.descriptors import CHUNK_BYTES, Sink, read_chunk
from bridge.jsonrpc.lines import KEPT_BYTES, LineSplitter, Overlong
from bridge.jsonrpc.messages import BadMessage, read_message, split_messages, write_message

logger = logging.getLogger(__name__)

Streams: TypeAlias = tuple[ObjectReceiveStream[SessionMessage | Exception], ObjectSendStream[SessionMessage]]


@asynccontextmanager
async def open_pipes(
    name: str,
    source: int,
    sink: int,
    *,
    limit: int,
    on_end: Callable[[], None],
    answer_bad: bool,
    on_bad: Callable[[bytes], None] = lambda _: None,
) -> AsyncIterator[Streams]:
    """Open the stream pair over two descriptors, which the caller closes; `name` is the other side's in the log.

    `on_end` is called when `source` ends or `sink` breaks. A line that is not a message, or is over `limit` bytes, is
    answered on `sink` with a JSON-RPC error if `answer_bad` (for our host); else the session gets an error as the reply
    to the call that waits for it (for a connected server). `on_bad` is given the line, or its head.
    """
    requests = _Requests()
    writer = Sink(sink, lambda: incoming.stop())  # nobody reads our replies any more
    answer = writer.write if answer_bad else None
    incoming = _Incoming(name, source, requests, limit=limit, on_end=on_end, on_bad=on_bad, answer=answer)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.finish)
        try:
            yield incoming, _Outgoing(writer, requests)
        finally:
            tasks.cancel_scope.cancel()


class _Incoming(ObjectReceiveStream[SessionMessage | Exception]):
    """The incoming messages. They are read when the session asks for one, in its own task: another task in between
    would delay each call."""

    def __init__(
        self,
        name: str,
        source: int,
        requests: "_Requests",
        *,
        limit: int,
        on_end: Callable[[], None],
        on_bad: Callable[[bytes], None],
        answer: Callable[[bytes], Awaitable[None]] | None,
    ) -> None:
        self._name = name
        self._source = source
        self._requests = requests
        self._on_end = on_end
        self._on_bad = on_bad
        self._answer = answer
        self._splitter = LineSplitter(limit)
        self._lines: deque[bytes | Overlong] = deque()
        self._reading = anyio.CancelScope()
        self._is_stopped = self._is_read = False

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
        if self._lines or (not isinstance(line, Overlong) and len(line) > CHUNK_BYTES):
            await anyio.lowlevel.checkpoint()  # a long line, or many of them, would keep other tasks waiting
        if isinstance(line, bytes) and not line.strip():
            return None
        try:
            message = read_message(line)
        except BadMessage as bad:
            if not self._answer and isinstance(line, bytes) and (parts := split_messages(line)):
                self._lines.extendleft(reversed(parts))
                return None
            return await self._take_bad(bad, line)
        self._requests.note_received(message)
        return message

    async def _take_bad(self, bad: BadMessage, line: bytes | Overlong) -> JSONRPCError | None:
        logger.warning("%s: skipped a line that is not a message: %s", self._name, bad)
        self._on_bad(line.head if isinstance(line, Overlong) else line)
        if bad.id is None and looks_like_reply(line):
            bad.id = self._requests.find_only_one()
        if self._answer:
            await self._answer(write_message(bad.to_error()))
            return None
        bad.code = PARSE_ERROR  # the reply is unreadable; it is not an error that the server sent
        return bad.to_error() if bad.id is not None else None


class _Outgoing(ObjectSendStream[SessionMessage]):
    """The outgoing messages, written in the task that sends them."""

    def __init__(self, sink: Sink, requests: "_Requests") -> None:
        self._sink = sink
        self._requests = requests
        self._is_closed = False

    @override
    async def send(self, item: SessionMessage) -> None:
        if self._is_closed:
            raise anyio.ClosedResourceError
        if self._sink.is_broken:
            raise anyio.BrokenResourceError
        self._requests.note_sent(item.message)
        try:
            await self._sink.write(write_message(item.message))
        finally:
            if isinstance(item.message, JSONRPCResponse | JSONRPCError):
                self._requests.settle(item.message.id)

    @override
    async def aclose(self) -> None:
        self._is_closed = True


@dataclass
class _Requests:
    """The requests that wait for a reply: the session's and the other side's."""

    _sent: set[RequestId] = field(default_factory=set[RequestId])
    _received: set[RequestId] = field(default_factory=set[RequestId])
    _all_answered: anyio.Event = field(default_factory=anyio.Event)

    def note_sent(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest):
            self._sent.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._sent.discard((message.params or {}).get("requestId"))

    def note_received(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._sent.discard(message.id)  # type: ignore[arg-type]
        elif isinstance(message, JSONRPCRequest):
            self._received.add(message.id)
        elif message.method == "notifications/cancelled":
            self.settle((message.params or {}).get("requestId"))

    def find_only_one(self) -> RequestId | None:
        """Return the session's only open request, to which any reply must belong; None if there is not exactly one."""
        return next(iter(self._sent)) if len(self._sent) == 1 else None

    def settle(self, request: object) -> None:
        """Note that a request of the other side has been answered, or never will be."""
        if isinstance(request, str | int):
            self._received.discard(request)
        if not self._received:
            self._all_answered.set()

    async def wait_answered(self) -> None:
        while self._received:
            self._all_answered = anyio.Event()
            await self._all_answered.wait()


def looks_like_reply(line: bytes | Overlong) -> bool:
    """Tell whether an unreadable line was meant as a reply and not as a log line."""
    start = (line.head if isinstance(line, Overlong) else line)[:KEPT_BYTES].lstrip()
    is_object = re.match(rb'\{\s*"(?:jsonrpc|result|error|id)"', start)
    return bool(is_object) and b'"method"' not in start
