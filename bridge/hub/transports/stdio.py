"""A connected server as a child process: its pipes as a transport, its stderr as log lines with its name."""

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
LAST_WORDS_S = 0.2
"""How long the end of stderr is waited for after the end of stdout: a grandchild may hold it open."""


class Process:
    """One start of a server's command. `tail` holds the last lines of its stderr, for whoever explains a failure."""

    def __init__(self, server: ServerConfig, environ: Mapping[str, str], child: Child | None = None) -> None:
        self._server = server
        self._environ = environ
        self._child = child
        self.tail: deque[str] = deque(maxlen=STDERR_TAIL_LINES)
        self.has_ended = False
        """Whether it closed the connection by itself."""
        self._fell_silent = anyio.Event()

    @asynccontextmanager
    async def connect(self, *, limit: int, on_end: Callable[[], None]) -> AsyncIterator[Streams]:
        """Start the child, unless it was started before the event loop, and talk to it; it is ended with the scope.

        Raises OSError when the command cannot be started.
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
                        self._server.key, child.stdout, child.stdin, limit=limit, on_end=note_end, answer_bad=False
                    ) as streams:
                        yield streams
                finally:
                    await self._hear_last_words()
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                limiter = anyio.CapacityLimiter(1)  # of its own: in the pool of all, the 41st would wait
                await anyio.to_thread.run_sync(end_children, [child], limiter=limiter)

    async def _log_stderr(self, fd: int) -> None:
        async for line in read_lines(fd, STDERR_LINE_BYTES):
            raw = line.head if isinstance(line, Overlong) else line
            text = raw.decode("utf-8", "replace").rstrip()
            if not text.isprintable():
                text = "".join(c if c.isprintable() else "�" for c in text)
            self.tail.append(text)
            logger.info("%s: %s", self._server.key, text)
        self._fell_silent.set()

    async def _hear_last_words(self) -> None:
        """The end of stdout can be seen before what was said on stderr is read."""
        if self.has_ended:
            with anyio.move_on_after(LAST_WORDS_S, shield=True):
                await self._fell_silent.wait()

    def explain_end(self) -> str:
        """How the child ended, for people: its exit status and the last thing it said."""
        status = self._child.process.poll() if self._child else None
        said = f"; its last words: {self.tail[-1]}" if self.tail else ""
        return f"the process exited with status {status}{said}" if status is not None else f"connection closed{said}"
