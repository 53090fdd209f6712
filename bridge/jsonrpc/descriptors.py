"""Reading and writing file descriptors without blocking the event loop."""

import os
import stat
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import anyio
import anyio.to_thread

from bridge.jsonrpc.lines import LineSplitter, Overlong

CHUNK_BYTES = 1 << 18


async def read_lines(fd: int, limit: int) -> AsyncIterator[bytes | Overlong]:
    """Yield the lines of `fd` until its end; blank ones are skipped."""
    lines = LineSplitter(limit)
    while chunk := await read_chunk(fd):
        for line in lines.feed(chunk):
            if isinstance(line, Overlong) or line.strip():
                yield line
    for line in lines.flush():
        yield line


async def read_chunk(fd: int) -> bytes:
    """Wait for data on `fd` and return it; return no bytes at its end, or when the other side is gone."""
    while True:
        try:
            await _wait_readable(fd)
            return await _read(fd)
        except BlockingIOError:
            continue
        except OSError:
            return b""


async def _wait_readable(fd: int) -> None:
    if sys.platform != "win32":
        with suppress(PermissionError):  # a file or /dev/null: the selector refuses it, and reading never blocks
            await anyio.wait_readable(fd)


async def _read(fd: int) -> bytes:
    if sys.platform == "win32":  # a pipe cannot join the event loop there
        return await anyio.to_thread.run_sync(os.read, fd, CHUNK_BYTES, abandon_on_cancel=True)
    return os.read(fd, CHUNK_BYTES)


class Sink:
    """Writes whole messages to a descriptor, one after the other; calls `on_break` when the other side is gone.

    Where it is something else that forbids to write, `on_fault` is called first.
    """

    def __init__(
        self, fd: int, on_break: Callable[[], None], on_fault: Callable[[OSError], None] = lambda _: None
    ) -> None:
        self._fd = fd
        self._on_break = on_break
        self._on_fault = on_fault
        self.is_broken = False
        self._rest = memoryview(b"")
        """The unwritten rest of the current message."""
        self._stuck = anyio.Event()
        self._drained = anyio.Event()
        if sys.platform != "win32" and not stat.S_ISREG(os.fstat(fd).st_mode) and not os.isatty(fd):
            os.set_blocking(fd, False)

    async def write(self, data: bytes) -> None:
        """Write all of `data`. If it is cancelled meanwhile, `finish` writes the rest."""
        while self._rest:
            await self._drained.wait()
        if self.is_broken:
            return
        self._rest = memoryview(data)
        if sys.platform != "win32":  # on Windows a write may block
            self._write_now()
        if self._rest:
            self._drained = drained = anyio.Event()
            self._stuck.set()
            await drained.wait()

    def write_behind(self, data: bytes) -> bool:
        """Have `data` written behind a message that is stuck, without a wait; False where none is."""
        if not self._rest:
            return False
        self._rest = memoryview(b"".join((self._rest, data)))
        return True

    async def finish(self) -> None:
        """Write, until cancelled, what the descriptor did not take at once."""
        while True:
            await self._stuck.wait()
            self._stuck = anyio.Event()
            while self._rest:
                await self._write_on()
            self._drained.set()

    async def _write_on(self) -> None:
        try:
            if sys.platform == "win32":
                written = await anyio.to_thread.run_sync(os.write, self._fd, self._rest)
                self._rest = self._rest[written:]
            else:
                await anyio.wait_writable(self._fd)
                self._write_now()
        except OSError as error:
            self._fail(error)

    def _write_now(self) -> None:
        try:
            self._rest = self._rest[os.write(self._fd, self._rest) :]
        except BlockingIOError:
            pass
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        if not isinstance(error, ConnectionError):  # BrokenPipeError is one
            self._on_fault(error)
        self._break()

    def abandon(self) -> None:
        """Write nothing more, and let everybody go on who waits for that; tell that the other side is gone."""
        self._break()
        self._drained.set()

    def _break(self) -> None:
        self._rest, self.is_broken = memoryview(b""), True
        self._on_break()
