"""A run around its answer, which is shown as it comes: lines above it, and below it what goes on."""

import os
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from rich.console import Console

from bridge.cli.screen.activity import Activity
from bridge.cli.screen.stream import Stream
from bridge.cli.screen.styles import print_styled
from bridge.events import CallProgressed, Event, Retrying, RunEnded, TextArrived, TurnEnded, TurnStarted
from bridge.visible import ProseStream, show_prose

TICK_S = 0.1
REPLACED = "  ! the text above was given up; the answer is below"


class Live:
    """The answer on stdout as it comes; lines above it and rows below it on stderr, which is the same terminal."""

    is_terminal = True

    def __init__(self, console: Console, redact: Callable[[str], str]) -> None:
        self._console = console
        self._stream = Stream(sys.stdout, sys.stderr, lambda: os.get_terminal_size(1), count_typed)
        self.activity = Activity(redact)
        self._lock = threading.RLock()
        """The clock ticks, and the log writes, in other threads."""
        self._ended = threading.Event()
        self._ticking: threading.Thread | None = None
        self._prose = ProseStream()
        self._pending = ""
        """Text that the next tick shows."""
        self._waiting: list[str] = []
        """Lines that came within the text, which stays whole: they are printed below it."""
        self._said = self._last = ""
        """The text of the turn so far, and that of the last turn that had one, as they are shown."""
        self._is_broken = self._is_kept = False

    def start(self) -> None:
        """Show the rows, and let them tell the time."""
        self._is_kept = keep_output(is_kept=True)
        self._ended = threading.Event()
        self._ticking = threading.Thread(target=self._tick, args=(self._ended,), daemon=True)
        self._ticking.start()

    def stop(self) -> None:
        """Take the rows away, and leave all text and lines on the screen."""
        if self._ticking is None:
            return
        self._ended.set()
        self._ticking.join()
        self._ticking = None
        with self._lock, suppress(OSError, ValueError):
            self._end_text()
            self._stream.clear()
        if self._is_kept:
            keep_output(is_kept=False)

    def _tick(self, ended: threading.Event) -> None:
        while not ended.wait(TICK_S):
            with self._lock, suppress(OSError, ValueError):
                if not ended.is_set():
                    self._show_pending()
                    self._stream.draw(self.activity.render())

    def print(self, line: str) -> None:
        """Print the line above the rows; below the text, while that comes."""
        with self._lock:
            if self._prose_is_open:
                self._waiting.append(line)
            else:
                self._print(line)

    @property
    def _prose_is_open(self) -> bool:
        return bool(self._said or self._pending)

    def _print(self, line: str) -> None:
        with self._console.capture() as styled:
            print_styled(self._console, line)
        with suppress(OSError, ValueError):
            self._stream.print(styled.get())

    def set_status(self, status: str) -> None:
        """Show it in the first row."""
        with self._lock:
            self.activity.set_status(status)

    def hear(self, event: Event) -> bool:
        """Show text and the progress of calls where they belong."""
        with self._lock:
            self.activity.hear(event)
            match event:
                case TextArrived():
                    self._pending += self._prose.add(event.delta)
                    return True
                case CallProgressed():
                    return True
                case TurnStarted() | Retrying():
                    self._drop_text()
                case TurnEnded() | RunEnded():
                    self._end_text()
                case _:
                    pass
            return False

    def _show_pending(self) -> None:
        text, self._pending = self._pending, ""
        self._said += text
        if not self._is_broken:
            try:
                self._stream.add(text)
            except (OSError, ValueError):
                self._is_broken = True

    def _end_text(self) -> None:
        """Show the rest of a turn's text, and what has waited for its end."""
        self._pending += self._prose.end()
        self._show_pending()
        if self._said:
            self._stream.end_text()
            self._last, self._said = self._said, ""
        self._print_waiting()

    def _drop_text(self) -> None:
        """Take back the text of a turn that is asked for again: the answer is to be seen once."""
        self._prose = ProseStream()
        self._pending = ""
        if self._said and not self._stream.retract():
            self._stream.end_text()
            self._print(REPLACED)
        self._said = ""
        self._print_waiting()

    def _print_waiting(self) -> None:
        waiting, self._waiting = self._waiting, list[str]()
        for line in waiting:
            self._print(line)

    def follow(self, line: str) -> None:
        """Leave it: the rows say more."""

    def wait_for(self, list_servers: Callable[[], Sequence[str]]) -> None:
        """Give each of the servers a row."""
        with self._lock:
            self.activity.set_status("waiting for the servers")
            self.activity.list_servers = list_servers

    def finish(self, answer: str) -> bool:
        """Tell whether the answer stands on the screen; where something else does in its place, that is said."""
        with self._lock, suppress(OSError, ValueError):
            self._end_text()
            if self._is_broken or not answer or not self._last:
                return False
            if self._last.rstrip("\n") == show_prose(answer).rstrip("\n"):
                return True
            self._print(REPLACED)
        return False


def count_typed() -> int:
    """Count the bytes of lines that were typed and that nobody has read."""
    if sys.platform == "win32":
        return 0
    import fcntl
    import struct
    import termios

    with suppress(OSError, ValueError, AttributeError):
        return struct.unpack("i", fcntl.ioctl(sys.stdin.fileno(), termios.FIONREAD, bytes(4)))[0]
    return 0


def keep_output(*, is_kept: bool) -> bool:
    """Let Ctrl-C throw away what the terminal has not shown yet, or not: what is then erased has to stand there.
    Return whether that was changed."""
    if sys.platform == "win32":
        return False
    import termios

    with suppress(OSError, ValueError, termios.error):
        modes = termios.tcgetattr(1)
        wanted = modes[3] | termios.NOFLSH if is_kept else modes[3] & ~termios.NOFLSH
        is_ours = os.tcgetpgrp(1) == os.getpgrp()  # in the background, a change would stop us
        if is_ours and modes[3] != wanted:
            modes[3] = wanted
            termios.tcsetattr(1, termios.TCSANOW, modes)
            return True
    return False
