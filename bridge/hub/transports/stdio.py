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
KEPT_LINES = 40
"""How much is kept of what a process said last: a traceback, with the error at either end of it."""
SHOWN_LINES = 20
DRAIN_S = 0.2
"""How long to read on after the end of a connection: a grandchild may hold the pipes open."""


class NotStarted(OSError):
    """A command could not be started; the text, for people, says why and what would be right."""


class Process:
    """One start of a server's command, and the last lines that it wrote, to explain a failure."""

    def __init__(self, server: ServerConfig, environ: Mapping[str, str], child: Child | None = None) -> None:
        self._server = server
        self._environ = environ
        self._child = child
        self._stderr: deque[str] = deque(maxlen=KEPT_LINES)
        self._stdout: deque[str] = deque(maxlen=KEPT_LINES)
        """Lines that were no messages."""
        self.has_ended = False
        """True if the child closed the connection."""
        self._stderr_ended = anyio.Event()

    @asynccontextmanager
    async def connect(
        self, *, limit: int, on_end: Callable[[], None], on_flood: Callable[[str], None]
    ) -> AsyncIterator[Streams]:
        """Start the child, unless it was started before the event loop, and open its pipes; it is ended on exit.

        Raises NotStarted if the command cannot be started.
        """

        def note_end() -> None:
            self.has_ended = True
            on_end()

        self._child = child = self._child or self._start()
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
                        on_bad=self._note_noise,
                    ) as streams:
                        yield streams
                finally:
                    await self._drain(child)
                    tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                limiter = anyio.CapacityLimiter(1)  # not the default one, where the 41st child would wait
                await anyio.to_thread.run_sync(end_children, [child], limiter=limiter)

    def _start(self) -> Child:
        server = self._server
        assert server.command
        try:
            return start_child(server.command, server.args, server.env, server.cwd, self._environ)
        except OSError as error:
            from bridge.hub.transports.commands import explain_unstartable

            raise NotStarted(explain_unstartable(server, self._environ, error)) from error

    async def _log_stderr(self, fd: int) -> None:
        async for line in read_lines(fd, STDERR_LINE_BYTES):
            text = f"{_read_text(line.head)}…" if isinstance(line, Overlong) else _read_text(line)
            self._stderr.append(text)
            logger.info("%s: %s", self._server.key, text)
        self._stderr_ended.set()

    def _note_noise(self, line: bytes) -> None:
        is_long = len(line) > STDERR_LINE_BYTES
        self._stdout.append(_read_text(line[:STDERR_LINE_BYTES]) + "…" * is_long)

    async def _drain(self, child: Child) -> None:
        """Read the last words: one pipe may be seen to have ended before those in the others are read."""
        if self.has_ended:
            with anyio.move_on_after(DRAIN_S, shield=True):
                await self._read_noise(child.stdout)
                await self._stderr_ended.wait()

    async def _read_noise(self, fd: int) -> None:
        count = 0
        async for line in read_lines(fd, STDERR_LINE_BYTES):
            if isinstance(line, bytes) and b'"jsonrpc"' not in line:
                self._note_noise(line)
            count += 1
            if count > KEPT_LINES:  # it floods, and what it writes is no last word
                return

    @property
    def has_started(self) -> bool:
        """True if the command could be started."""
        return self._child is not None

    @property
    def tail(self) -> list[str]:
        """The last lines of its stderr, or else those of its stdout that were no messages."""
        return list(self._stderr or self._stdout)[-SHOWN_LINES:]

    def quote_noise(self, redact: Callable[[str], str]) -> str:
        """Return what it last wrote to stdout that was no message, on one line."""
        from bridge.hub.transports.last_words import choose_words

        return choose_words(self._stdout, redact)

    def quote(self, redact: Callable[[str], str]) -> str:
        """Return what it said last, on one line."""
        if not (self._stderr or self._stdout):
            return ""
        from bridge.hub.transports.last_words import choose_words

        return choose_words(self._stderr, redact) or choose_words(self._stdout, redact)

    def explain_end(self, redact: Callable[[str], str], *, was_ready: bool) -> str:
        """Explain to people how the process ended, with what it said last."""
        from bridge.hub.transports.exits import Ending, explain_ending

        status = self._child.process.poll() if self._child and not self._child.was_stopped else None
        ending = Ending(status, self._stderr, self._stdout, was_ready=was_ready)
        return explain_ending(self._server, self._environ, ending, redact)


def _read_text(line: bytes) -> str:
    """Read a line as text that cannot write to a terminal."""
    text = line.decode("utf-8", "replace").rstrip()
    if text.isprintable():
        return text
    from bridge.hub.transports.last_words import strip_control

    return "".join(c if c.isprintable() else "�" for c in strip_control(text).expandtabs(4))
