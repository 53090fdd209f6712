"""Two file descriptors as the stream pair the MCP SDK reads and writes: the transport of both stdio ends.

Below the SDK's own reader and writer because of what those do with other people's bytes (mcp 2.3): one invalid UTF-8
byte kills the connection, a lone surrogate or a too deep or too large reply leaves its call waiting for ever, and a
lone surrogate on the way out ends the process. Here such a message is read all the same where it can be, and
otherwise costs its own call alone: the id is recovered from the raw line.
"""

import json
import logging
import os
import re
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TypeAlias

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
    jsonrpc_message_adapter,
)

from bridge.items import encode
from bridge.lines import KEPT_BYTES, LineSplitter, Overlong

logger = logging.getLogger(__name__)

CHUNK_BYTES = 1 << 18

Streams: TypeAlias = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], MemoryObjectSendStream[SessionMessage]
]
_ID = rb'"id"\s*:\s*(-?\d{1,18}|"(?:[^"\\]|\\.){0,256}")'
_FIRST_ID = re.compile(rb"\s*\{[^{}\[\]]*?" + _ID)
_LAST_ID = re.compile(_ID + rb"[^{}\[\]]*\}\s*\Z")
"""The id of a message stands outside of all its other objects: before them, or behind them as TypeScript's SDK does."""


class BadMessage(ValueError):
    """A line that is no JSON-RPC message; `id` is the one found at an end of it, if any."""

    def __init__(self, reason: str, head: bytes, tail: bytes | None = None, *, code: int = PARSE_ERROR) -> None:
        super().__init__(reason)
        self.code = code
        found = _FIRST_ID.match(head[:KEPT_BYTES]) or _LAST_ID.search((tail or head)[-KEPT_BYTES:])
        self.id: RequestId | None = None
        with suppress(ValueError):
            self.id = json.loads(found[1].decode(errors="replace"), strict=False) if found else None

    def to_error(self) -> JSONRPCError:
        """The JSON-RPC error for this line."""
        return JSONRPCError(jsonrpc="2.0", id=self.id, error=ErrorData(code=self.code, message=str(self)))


def read_message(line: bytes | Overlong) -> JSONRPCMessage:
    """The message in `line`; invalid UTF-8 and lone surrogates become U+FFFD. Raises BadMessage."""
    if isinstance(line, Overlong):
        raise BadMessage(f"a message of {line.size:,} bytes is over the limit", line.head, line.tail)
    with suppress(ValueError):
        return jsonrpc_message_adapter.validate_json(line, by_name=False)
    # The fast reader refuses surrogates, depth and long integers that the patient one can read.
    try:
        value = json.loads(encode(json.loads(line.decode("utf-8", "replace"))))
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not readable as JSON: {error}", line) from None
    try:
        return jsonrpc_message_adapter.validate_python(value, by_name=False)
    except (ValueError, RecursionError):
        raise BadMessage("JSON, but not a JSON-RPC 2.0 message", line, code=INVALID_REQUEST) from None


def write_message(message: JSONRPCMessage) -> bytes:
    """`message` as one line of UTF-8, its lone surrogates replaced. A reply that JSON cannot hold becomes an error."""
    with suppress(ValueError):
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    try:
        text = encode(message.model_dump(by_alias=True, exclude_unset=True))
    except (TypeError, ValueError, RecursionError) as error:
        failure = ErrorData(code=INTERNAL_ERROR, message=f"the message cannot be written as JSON: {error}")
        return write_message(JSONRPCError(jsonrpc="2.0", id=getattr(message, "id", None), error=failure))
    return text.encode() + b"\n"


@asynccontextmanager
async def open_pipes(
    source: int, sink: int, *, limit: int, on_end: Callable[[], None], answer_bad: bool
) -> AsyncIterator[Streams]:
    """The stream pair over two descriptors, which stay the caller's to close.

    `on_end` is called when `source` ends or `sink` breaks. A line that is no message, or one over `limit` bytes, is
    answered on `sink` with a JSON-RPC error when `answer_bad` (our own face), else handed to the session as the error
    reply of the call that waits for it (a connected server).
    """
    to_session, from_wire = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    to_wire, from_session = anyio.create_memory_object_stream[SessionMessage](0)
    wire = _Wire(source, sink, limit=limit, on_end=on_end, answer_bad=answer_bad)
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

    def __init__(self, source: int, sink: int, *, limit: int, on_end: Callable[[], None], answer_bad: bool) -> None:
        self._source = source
        self._sink = _Sink(sink)
        self._limit = limit
        self._on_end = on_end
        self._answer_bad = answer_bad
        self._reading = anyio.CancelScope()
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
                    await self._sink.write(write_message(message.message))
                    if isinstance(message.message, JSONRPCResponse | JSONRPCError):
                        self._settle(message.message.id)
        except OSError:
            self._reading.cancel()  # nobody hears an answer any more

    async def _pass_on(
        self, line: bytes | Overlong, to_session: MemoryObjectSendStream[SessionMessage | Exception]
    ) -> None:
        try:
            message = read_message(line)
        except BadMessage as bad:
            logger.warning("skipped a line: %s", bad)
            if self._answer_bad:
                await self._sink.write(write_message(bad.to_error()))
            elif bad.id is not None:
                await to_session.send(SessionMessage(bad.to_error()))
            return
        if isinstance(message, JSONRPCRequest):
            self._unanswered.add(message.id)
        elif isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._settle((message.params or {}).get("requestId"))
        await to_session.send(SessionMessage(message))

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
        self._waits = sys.platform != "win32" and not stat.S_ISREG(os.fstat(fd).st_mode) and not os.isatty(fd)
        if self._waits:
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
