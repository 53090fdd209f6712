"""Two file descriptors as the stream pair the MCP SDK reads and writes: the transport of both stdio ends.

Not the SDK's own (mcp 2.3), which one invalid UTF-8 byte ends, which never answers a line that is no message, and whose
reading thread keeps a process with an open stdin from ending.
"""

import logging
import os
import re
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
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

from bridge.lines import KEPT_BYTES, LineSplitter, Overlong
from bridge.messages import BadMessage, read_message, write_message

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 18

Streams: TypeAlias = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]


@asynccontextmanager
async def open_pipes(
    name: str, source: int, sink: int, *, limit: int, on_end: Callable[[], None], answer_bad: bool
) -> AsyncIterator[Streams]:
    """The stream pair over two descriptors, which stay the caller's to close; `name` is the other side's in the log.

    `on_end` is called when `source` ends or `sink` breaks. A line that is no message, or one over `limit` bytes, is
    answered on `sink` with a JSON-RPC error when `answer_bad` (our own face), else handed to the session as the error
    reply of the call that waits for it (a connected server).
    """
    to_session, from_wire = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_wire, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    wire = _Wire(name, source, sink, limit=limit, on_end=on_end, answer_bad=answer_bad)
    with to_session, from_wire, to_wire, from_session:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wire.receive, to_session)
            tasks.start_soon(wire.send, from_session)
            try:
                yield from_wire, to_wire
            finally:
                tasks.cancel_scope.cancel()


class _Wire:
    """The two directions of one stream pair."""

    def __init__(
        self, name: str, source: int, sink: int, *, limit: int, on_end: Callable[[], None], answer_bad: bool
    ) -> None:
        self._name = name
        self._source = source
        self._sink = _Sink(sink)
        self._limit = limit
        self._on_end = on_end
        self._answer_bad = answer_bad
        self._reading = anyio.CancelScope()
        self._asked: set[RequestId] = set()
        self._unanswered: set[RequestId] = set()
        self._answered = anyio.Event()

    async def receive(self, to_session: MemoryObjectSendStream[SessionMessage | Exception]) -> None:
        """Hand on what arrives, until the end of the source or of the session."""
        async with to_session:
            with self._reading, suppress(OSError):
                try:
                    async for line in read_lines(self._source, self._limit):
                        await self._pass_on(line, to_session)
                    await self._finish_file()
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    return  # the session has ended, not the wire
            self._on_end()

    async def send(self, from_session: MemoryObjectReceiveStream[SessionMessage]) -> None:
        """Write what the session sends, until one of the two is gone."""
        try:
            async with from_session:
                async for message in from_session:
                    self._note_asked(message.message)
                    await self._sink.write(write_message(message.message))
                    if isinstance(message.message, JSONRPCResponse | JSONRPCError):
                        self._settle(message.message.id)
        except OSError:
            self._reading.cancel()  # nobody hears an answer any more

    async def _pass_on(
        self, line: bytes | Overlong, to_session: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        if not isinstance(line, Overlong) and len(line) > CHUNK_BYTES:
            await anyio.lowlevel.checkpoint()  # joining it took its time, reading it will: others may go in between
        try:
            message = read_message(line)
        except BadMessage as bad:
            logger.warning("%s: skipped a line that is no message: %s", self._name, bad)
            if bad.id is None and len(self._asked) == 1 and looks_like_reply(line):
                [bad.id] = self._asked  # there is no other that it could belong to
            if self._answer_bad:
                await self._sink.write(write_message(bad.to_error()))
            elif bad.id is not None:
                bad.code = PARSE_ERROR  # of the reply; it is no answer of the server's
                await to_session.send(SessionMessage(bad.to_error()))
            return
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._asked.discard(message.id)  # type: ignore[arg-type]
        elif isinstance(message, JSONRPCRequest):
            self._unanswered.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._settle((message.params or {}).get("requestId"))
        await to_session.send(SessionMessage(message))

    def _note_asked(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCRequest):
            self._asked.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._asked.discard((message.params or {}).get("requestId"))

    def _settle(self, request: object) -> None:
        """A request has been answered, or never will be."""
        if isinstance(request, str | int):
            self._unanswered.discard(request)
        if not self._unanswered:
            self._answered.set()

    async def _finish_file(self) -> None:
        """A pipe's end means that its writer has gone; a file's only that everything has been asked."""
        while self._unanswered and stat.S_ISREG(os.fstat(self._source).st_mode):
            self._answered = anyio.Event()
            await self._answered.wait()


def looks_like_reply(line: bytes | Overlong) -> bool:
    """Whether a line that cannot be read was meant as the reply to a request, and not as a line of a log."""
    start = (line.head if isinstance(line, Overlong) else line)[:KEPT_BYTES].lstrip()
    is_object = re.match(rb'\{\s*"(?:jsonrpc|result|error|id)"', start)
    return bool(is_object) and b'"method"' not in start


async def read_lines(fd: int, limit: int) -> AsyncIterator[bytes | Overlong]:
    """The lines of `fd` until its end; blank ones are skipped."""
    lines = LineSplitter(limit)
    async for chunk in read_chunks(fd):
        for line in lines.feed(chunk):
            if isinstance(line, Overlong) or line.strip():
                yield line
    for line in lines.flush():
        yield line


async def read_chunks(fd: int) -> AsyncIterator[bytes]:
    """What arrives on `fd`, as it arrives, until its end or until the other side is gone."""
    while True:
        try:
            await _wait_readable(fd)
            chunk = await _read(fd)
        except BlockingIOError:
            continue
        except OSError:
            return
        if not chunk:
            return
        yield chunk


async def _wait_readable(fd: int) -> None:
    if sys.platform != "win32":
        with suppress(PermissionError):  # a file or /dev/null: the selector refuses it, and reading never blocks
            await anyio.wait_readable(fd)


async def _read(fd: int) -> bytes:
    if sys.platform == "win32":  # a pipe cannot join the event loop there
        return await anyio.to_thread.run_sync(os.read, fd, CHUNK_BYTES, abandon_on_cancel=True)
    return os.read(fd, CHUNK_BYTES)


class _Sink:
    """Writes whole messages to a descriptor, one after the other, without blocking the event loop."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._lock = anyio.Lock()
        if sys.platform != "win32" and not stat.S_ISREG(os.fstat(fd).st_mode) and not os.isatty(fd):
            os.set_blocking(fd, False)

    async def write(self, data: bytes) -> None:
        """Write all of `data`; OSError when the other side is gone."""
        async with self._lock:
            rest = memoryview(data)
            while rest:
                rest = rest[await self._write_some(rest) :]

    async def _write_some(self, data: memoryview) -> int:
        if sys.platform == "win32":
            return await anyio.to_thread.run_sync(os.write, self._fd, data)
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            await anyio.wait_writable(self._fd)
            return 0
