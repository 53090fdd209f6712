"""Where the progress of a run is shown: as lines alone, above a spinner, or around the answer as it comes."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Protocol

from typing_extensions import override

from bridge.cli.screen.columns import MIN_COLUMNS, MIN_LINES
from bridge.events import Event


class View(Protocol):
    """Somewhere to show lines."""

    is_terminal: bool
    """Whether a person sees it, and can be asked."""

    def start(self) -> None:
        """Begin to show what goes on, also again after a stop."""
        ...

    def stop(self) -> None:
        """Leave the lines alone on the screen."""
        ...

    def print(self, line: str) -> None:
        """Show a line, or a text of many."""
        ...

    def set_status(self, status: str) -> None:
        """Show what is going on."""
        ...

    def follow(self, line: str) -> None:
        """Take a progress line for what is going on."""
        ...

    def hear(self, event: Event) -> bool:
        """Take an event; tell whether it needs no line any more."""
        ...

    def wait_for(self, list_servers: Callable[[], Sequence[str]]) -> None:
        """Show the servers that a run waits for at its beginning."""
        ...

    def finish(self, answer: str) -> bool:
        """Tell whether the whole answer stands on the screen already."""
        ...


class _Plain:
    """What all views have in common that show each event as its line, and the answer at the end."""

    def hear(self, event: Event) -> bool:  # noqa: ARG002
        """Leave every event to its line."""
        return False

    def wait_for(self, list_servers: Callable[[], Sequence[str]]) -> None:  # noqa: ARG002
        """Name none of them."""
        self.set_status("waiting for the servers")

    def set_status(self, status: str) -> None:
        """Say nothing: it would be a line of its own."""

    def follow(self, line: str) -> None:
        """Say nothing."""

    def finish(self, answer: str) -> bool:  # noqa: ARG002
        """Leave the answer to whoever prints it."""
        return False


class Lines(_Plain):
    """Lines on stderr, which is no terminal; it needs no library for that."""

    is_terminal = False

    def start(self) -> None:
        """Begin nothing."""

    def stop(self) -> None:
        """Leave nothing behind."""

    def print(self, line: str) -> None:
        """Write the line."""
        with suppress(OSError, ValueError):  # nobody reads stderr, which is no reason to lose the answer
            sys.stderr.write(line.expandtabs() + "\n")
            sys.stderr.flush()


class Spinner(_Plain):
    """Lines on stderr and, on a terminal that can move its cursor, a spinner below them with the status."""

    def __init__(self) -> None:
        from rich.console import Console

        self.console = Console(file=sys.stderr, highlight=False, soft_wrap=True)
        self._status = self.console.status("")
        self.is_terminal = self.console.is_terminal

    def start(self) -> None:
        """Show the spinner."""
        if self.is_terminal:
            self._status.start()

    def stop(self) -> None:
        """Take the spinner away."""
        self._status.stop()

    def print(self, line: str) -> None:
        """Print the line above the spinner."""
        from bridge.cli.screen.styles import print_styled

        with suppress(OSError, ValueError):
            print_styled(self.console, line)

    @override
    def set_status(self, status: str) -> None:
        from rich.text import Text

        self._status.update(Text(status[: self.console.width - 4], style="dim"))

    @override
    def follow(self, line: str) -> None:
        self.set_status(line.strip().lstrip("→✓✗!· "))


def choose_view(redact: Callable[[str], str], *, is_streaming: bool) -> View:
    """Choose how to show a run on this stderr. The answer streams on a terminal alone, and where `is_streaming` and
    nothing in the environment asks for plain output."""
    if not (sys.stderr and sys.stderr.isatty()) and not _is_told_to_be_a_terminal():
        return Lines()
    spinner = Spinner()
    console = spinner.console
    can_move = console.is_terminal and console.is_interactive and not console.legacy_windows
    if not (is_streaming and can_move and _can_stream()):
        return spinner
    from bridge.cli.screen.live import Live

    return Live(console, redact)


def _is_told_to_be_a_terminal() -> bool:
    return any(os.environ.get(name) for name in ("FORCE_COLOR", "TTY_COMPATIBLE"))


def _can_stream() -> bool:
    """Tell whether stdout and stderr are one terminal of a known size whose cursor can be moved."""
    plain = ("dumb", "unknown") if sys.platform == "win32" else ("dumb", "unknown", "")
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "").lower() in plain:
        return False
    with suppress(OSError, ValueError):
        size = os.get_terminal_size(1)
        is_one = sys.stdout.isatty() and sys.stderr.isatty() and os.path.sameopenfile(1, 2)
        return is_one and size.columns >= MIN_COLUMNS and size.lines >= MIN_LINES
    return False
