"""A connected server as a child process: its pipes as a transport, its stderr as log lines with its name."""

import logging
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager

import anyio
import anyio.to_thread

from bridge.children import Child, end_children, start_child
from bridge.config import ServerConfig
from bridge.lines import Overlong
from bridge.pipes import Streams, open_pipes, read_lines

logger = logging.getLogger(__name__)

STDERR_LINE_BYTES = 16_384
STDERR_TAIL_LINES = 20


class Process:
    """One start of a server's command. `tail` holds the last lines of its stderr, for whoever explains a failure."""

    def __init__(self, server: ServerConfig, environ: Mapping[str, str], child: Child | None = None) -> None:
        self._server = server
        self._environ = environ
        self._child = child
        self.tail: deque[str] = deque(maxlen=STDERR_TAIL_LINES)

    @asynccontextmanager
    async def connect(self, *, limit: int, on_end: Callable[[], None]) -> AsyncIterator[Streams]:
        """Start the child, unless it was started before the event loop, and talk to it; it is ended with the scope.

        Raises OSError when the command cannot be started.
        """
        assert self._server.command
        child = self._child or start_child(
            self._server.command, self._server.args, self._server.env, self._server.cwd, self._environ
        )
        self._child = child
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._log_stderr, child.stderr)
                async with open_pipes(
                    child.stdout, child.stdin, limit=limit, on_end=on_end, answer_bad=False
                ) as streams:
                    yield streams
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(end_children, [child])

    async def _log_stderr(self, fd: int) -> None:
        async for line in read_lines(fd, STDERR_LINE_BYTES):
            raw = line.head if isinstance(line, Overlong) else line
            text = "".join(c if c.isprintable() else "�" for c in raw.decode("utf-8", "replace").rstrip())
            self.tail.append(text)
            logger.info("%s: %s", self._server.key, text)

    @property
    def has_ended(self) -> bool:
        """Whether the child has exited."""
        return self._child is not None and self._child.process.poll() is not None

    def explain_end(self) -> str:
        """How the child ended, for people: its exit status and the last thing it said."""
        status = self._child.process.poll() if self._child else None
        said = f"; its last words: {self.tail[-1]}" if self.tail else ""
        return f"the process exited with status {status}{said}" if status is not None else f"connection closed{said}"
