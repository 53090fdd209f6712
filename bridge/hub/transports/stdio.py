"""A connected server as a child process: its pipes as a transport, its stderr as log lines under its key."""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread

from bridge.config.settings import ServerConfig
from bridge.jsonrpc.descriptors import read_lines
from bridge.jsonrpc.lines import Overlong
from bridge.jsonrpc.pipes import Streams, open_pipes
from bridge.processes.children import Child, end_children, start_child

logger = logging.getLogger(__name__)

STDERR_LINE_BYTES = 16_384
STDERR_TAIL_LINES = 20
DRAIN_S = 0.2
"""How long to wait for the end of stderr after the end of stdout: a grandchild may hold it open."""


class Process:
    """One start of a server's command. `tail` holds the last lines of its stderr, to explain a failure."""

    def __init__(self, server: ServerConfig, environ: Mapping[str, str], child: Child | None = None) -> None:
        self._server = server
        self._environ = environ
        self._child = child
        self.tail: deque[str] = deque(maxlen=STDERR_TAIL_LINES)
        self.has_ended = False
        """True if the child closed the connection."""
        self._stderr_ended = anyio.Event()

    @asynccontextmanager
    async def connect(
        self, *, limit: int, on_end: Callable[[], None], on_flood: Callable[[str], None]
    ) -> AsyncIterator[Streams]:
        """Start the child, unless it was started before the event loop, and open its pipes; it is ended on exit.

        Raises OSError if the command cannot be started.
        """
        assert self._server.command

        def note_end() -> None:
            self.has_ended = True
            on_end()

        child = self._child or start_child(
            self._server.command, self._server.args, self._server.env, self._server.cwd, self._environ
        )
        self._child = child
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._log_stderr, child.stderr)
                try:
                    async with open_pipes(
                        self._server.key,
                        child.stdout,
                        child.stdin,
                        limit=limit,
                        on_end=note_end,
                        answer_bad=False,
                        on_flood=on_flood,
                    ) as streams:
                        yield streams
                finally:
                    await self._drain_stderr()
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                limiter = anyio.CapacityLimiter(1)  # not the default one, where the 41st child would wait
                await anyio.to_thread.run_sync(end_children, [child], limiter=limiter)

    async def _log_stderr(self, fd: int) -> None:
        async for line in read_lines(fd, STDERR_LINE_BYTES):
            raw = line.head if isinstance(line, Overlong) else line
            text = raw.decode("utf-8", "replace").rstrip()
            if not text.isprintable():
                text = "".join(c if c.isprintable() else "�" for c in text)
            self.tail.append(text)
            logger.info("%s: %s", self._server.key, text)
        self._stderr_ended.set()

    async def _drain_stderr(self) -> None:
        """Wait for the end of stderr: the end of stdout may be seen before the last lines of stderr are read."""
        if self.has_ended:
            with anyio.move_on_after(DRAIN_S, shield=True):
                await self._stderr_ended.wait()

    def explain_end(self) -> str:
        """Explain to people how the child ended: its exit status and the last line of its stderr."""
        status = self._child.process.poll() if self._child else None
        said = f"; its last line on stderr: {self.tail[-1]}" if self.tail else ""
        return f"the process exited with status {status}{said}" if status is not None else f"connection closed{said}"
