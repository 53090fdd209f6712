"""Two file descriptors as the stream pair the MCP SDK reads and writes: the transport of both stdio ends.

Not the SDK's own (mcp 2.3), which one invalid UTF-8 byte ends, which never answers a line that is no message, and whose
reading thread keeps a process with an open stdin from ending.
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
from bridge.jsonrpc.messages import BadMessage, read_message, write_message

logger = logging.getLogger(__name__)

Streams: TypeAlias = tuple[ObjectReceiveStream[SessionMessage | Exception], ObjectSendStream[SessionMessage]]


@asynccontextmanager
async def open_pipes(
    name: str, source: int, sink: int, *, limit: int, on_end: Callable[[], None], answer_bad: bool
) -> AsyncIterator[Streams]:
    """The stream pair over two descriptors, which stay the caller's to close; `name` is the other side's in the log.

    `on_end` is called when `source` ends or `sink` breaks. A line that is no message, or one over `limit` bytes, is
    answered on `sink` with a JSON-RPC error when `answer_bad` (our own face), else handed to the session as the error
    reply of the call that waits for it (a connected server).
    """
    requests = _Requests()
    writer = Sink(sink, lambda: incoming.stop())  # nobody hears an answer any more
    answer = writer.write if answer_bad else None
    incoming = _Incoming(name, source, requests, limit=limit, on_end=on_end, answer=answer)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(writer.finish)
        try:
            yield incoming, _Outgoing(writer, requests)
        finally:
            tasks.cancel_scope.cancel()


class _Incoming(ObjectReceiveStream[SessionMessage | Exception]):
    """The messages that arrive. They are read when the session asks for one, in its own task: one in between would
    cost each call a detour."""

    def __init__(
        self,
        name: str,
        source: int,
        requests: "_Requests",
        *,
        limit: int,
        on_end: Callable[[], None],
        answer: Callable[[bytes], Awaitable[None]] | None,
    ) -> None:
        self._name = name
        self._source = source
        self._requests = requests
        self._on_end = on_end
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
        """What has come is not wanted; the wire goes on."""
        self._lines.clear()

    def stop(self) -> None:
        """Read no more."""
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
        """A pipe's end means that its writer has gone; a file's only that everything has been asked."""
        with anyio.CancelScope() as self._reading:
            if not self._is_stopped and stat.S_ISREG(os.fstat(self._source).st_mode):
                await self._requests.wait_answered()
        self.stop()
        raise anyio.EndOfStream

    async def _read(self, line: bytes | Overlong) -> JSONRPCMessage | None:
        """The message in a line, or what the session gets in its place."""
        if self._lines or (not isinstance(line, Overlong) and len(line) > CHUNK_BYTES):
            await anyio.lowlevel.checkpoint()  # a long one takes its time, and many do: others may go between
        if isinstance(line, bytes) and not line.strip():
            return None
        try:
            message = read_message(line)
        except BadMessage as bad:
            return await self._take_bad(bad, line)
        self._requests.note_received(message)
        return message

    async def _take_bad(self, bad: BadMessage, line: bytes | Overlong) -> JSONRPCError | None:
        logger.warning("%s: skipped a line that is no message: %s", self._name, bad)
        if bad.id is None and looks_like_reply(line):
            bad.id = self._requests.find_only_one()
        if self._answer:
            await self._answer(write_message(bad.to_error()))
            return None
        bad.code = PARSE_ERROR  # of the reply; it is no answer of the server's
        return bad.to_error() if bad.id is not None else None


class _Outgoing(ObjectSendStream[SessionMessage]):
    """The messages that the session sends, written in the task that sends them."""

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
    """Those that wait for an answer: the session's, and the other side's."""

    _asked: set[RequestId] = field(default_factory=set[RequestId])
    _unanswered: set[RequestId] = field(default_factory=set[RequestId])
    _all_answered: anyio.Event = field(default_factory=anyio.Event)

    def note_sent(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest):
            self._asked.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._asked.discard((message.params or {}).get("requestId"))

    def note_received(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._asked.discard(message.id)  # type: ignore[arg-type]
        elif isinstance(message, JSONRPCRequest):
            self._unanswered.add(message.id)
        elif message.method == "notifications/cancelled":
            self.settle((message.params or {}).get("requestId"))

    def find_only_one(self) -> RequestId | None:
        """What the session has asked, where there is nothing else that a reply could belong to."""
        return next(iter(self._asked)) if len(self._asked) == 1 else None

    def settle(self, request: object) -> None:
        """A request of the other side has been answered, or never will be."""
        if isinstance(request, str | int):
            self._unanswered.discard(request)
        if not self._unanswered:
            self._all_answered.set()

    async def wait_answered(self) -> None:
        while self._unanswered:
            self._all_answered = anyio.Event()
            await self._all_answered.wait()


def looks_like_reply(line: bytes | Overlong) -> bool:
    """Whether a line that cannot be read was meant as the reply to a request, and not as a line of a log."""
    start = (line.head if isinstance(line, Overlong) else line)[:KEPT_BYTES].lstrip()
    is_object = re.match(rb'\{\s*"(?:jsonrpc|result|error|id)"', start)
    return bool(is_object) and b'"method"' not in start
