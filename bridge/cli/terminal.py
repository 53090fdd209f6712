"""A run as a person at a terminal sees it, on stderr: a line per turn and call, and approval questions."""

import sys
from collections.abc import Callable
from contextlib import suppress

import anyio
import anyio.to_thread
from rich.console import Console
from rich.text import Text

from bridge.events import Event
from bridge.questions import Answer, Question, approve, leave_unasked
from bridge.run.progress import describe_event
from bridge.visible import show_line, show_prose

STYLES = {"✓": "green", "✗": "red", "!": "yellow", "turn": "bold"}
"""Styles of progress lines, by their first word."""


class Terminal:
    """Lines on stderr; on a terminal, a spinner below them with the current status."""

    def __init__(self, redact: Callable[[str], str] = str) -> None:
        self._redact = redact
        self._console = Console(stderr=True, highlight=False, soft_wrap=True)
        self._status = self._console.status("")
        self._asking = anyio.Lock()

    def __enter__(self) -> "Terminal":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def say(self, text: str) -> None:
        """Print a text of any number of lines."""
        self._print(Text(show_prose(text)))

    def show(self, event: Event) -> None:
        """Print the progress line of an event, if it has one."""
        if line := describe_event(event, self._redact):
            self.show_line(line)

    def show_line(self, line: str) -> None:
        """Print one progress line."""
        line = show_line(line)
        first = line.split(maxsplit=1)[:1]
        self._print(Text(line, style=STYLES.get(first[0], "") if first else ""))
        self.set_status(line.strip().lstrip("→✓✗!· "))

    def _print(self, text: Text) -> None:
        with suppress(OSError, ValueError):  # nobody reads stderr, which is no reason to lose the answer
            self._console.print(text)

    def set_status(self, status: str) -> None:
        """Show beside the spinner what is going on."""
        self._status.update(Text(status[: self._console.width - 4], style="dim"))

    async def ask(self, question: Question) -> Answer:
        """Ask for an approval with y or n, one question at a time; return "unasked" without a terminal."""
        if not question.is_approval:
            return leave_unasked("a terminal has no form to fill in")
        if not (sys.stdin and sys.stdin.isatty() and self._console.is_terminal):
            return leave_unasked("there is no terminal to ask on")
        async with self._asking:
            self._status.stop()
            try:
                self.say(self._redact(question.message))
                is_yes = await self._read_choice()
            finally:
                self._status.start()
        return approve() if is_yes else {"action": "decline", "content": {}, "reason": ""}

    async def _read_choice(self) -> bool:
        while True:
            sys.stderr.write("[y/N] ")
            sys.stderr.flush()
            answer = (await read_line()).strip().lower()
            if answer in ("y", "yes", "", "n", "no"):
                return answer in ("y", "yes")
            self.say("Please answer y or n.")


async def read_line() -> str:
    """Read a line from the terminal; Ctrl-C can interrupt it."""
    if sys.platform == "win32":
        return await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    await anyio.wait_readable(sys.stdin)
    return sys.stdin.readline()
