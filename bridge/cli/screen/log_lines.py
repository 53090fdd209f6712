"""The log of a command at a terminal: its lines pass through what is shown there, and repeat nothing of it."""

import io
import logging
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager

from typing_extensions import override

from bridge.events import Event, Notified, RunEnded, TurnStarted
from bridge.hub.catalogue import MISSING
from bridge.visible import quote_name, show_prose

_MEMBERS = "bridge.hub.member"


class LogLines(io.TextIOBase):
    """A stream that gives whole lines to `say`."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._rest = ""

    @override
    def write(self, text: str, /) -> int:
        *lines, self._rest = (self._rest + text).split("\n")
        for line in lines:
            self._say(show_prose(line))
        return len(text)

    def end(self) -> None:
        """Give the last line, if nobody has ended it."""
        if self._rest:
            self.write("\n")


class Failures(logging.Filter):
    """Leaves out of the log what a run's notices tell of servers that failed: till its first turn that is not known."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[logging.LogRecord] = []
        self._told: list[str] = []
        self._is_over = False

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.name != _MEMBERS or record.levelno < logging.WARNING:
            return True
        if self._is_over:
            return not self._is_told(record)
        self._held.append(record)
        return False

    def _is_told(self, record: logging.LogRecord) -> bool:
        words = [*map(str, record.args)] if isinstance(record.args, tuple) else []
        key, reason = (words[0], words[-1]) if words else ("", "")
        begin = f"server {quote_name(key)} "
        reasons = [told.partition(": ")[2].removesuffix(MISSING) for told in self._told if told.startswith(begin)]
        return any(told in reason for told in reasons)

    def hear(self, event: Event) -> None:
        """Note what a run tells; at its first turn, or its end, no more is held back."""
        match event:
            case Notified(code="server_unavailable"):
                self._told.append(event.message)
            case TurnStarted() | RunEnded():
                self.release()
            case _:
                pass

    def release(self) -> None:
        """Log what was held back and nobody has told."""
        held, self._is_over = self._held, True
        self._held = []
        for record in held:
            logging.getLogger(record.name).handle(record)


@contextmanager
def showing_log(say: Callable[[str], None], failures: Failures) -> Generator[None]:
    """Give what is logged to stderr, or warned of there, to `say` while entered."""
    stderr, lines = sys.stderr, LogLines(say)
    handlers = [each for each in logging.getLogger().handlers if isinstance(each, logging.StreamHandler)]
    ours = [handler for handler in handlers if handler.stream is stderr]
    for handler in ours:
        handler.setStream(lines)
        handler.addFilter(failures)
    sys.stderr = lines
    try:
        yield
    finally:
        failures.release()
        lines.end()
        sys.stderr = stderr
        for handler in ours:
            handler.removeFilter(failures)
            handler.setStream(stderr)
