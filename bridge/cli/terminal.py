"""What a person at a terminal sees of a run, on stderr: a line per turn and call, and a question where one is due."""

import sys
from contextlib import suppress

import anyio
import anyio.to_thread
from rich.console import Console
from rich.text import Text

from bridge.json_text import JsonObject
from bridge.questions import Answer, Question, leave_unasked, say_yes
from bridge.run.progress import describe_event

STYLES = {"✓": "green", "✗": "red", "!": "yellow", "turn": "bold"}
"""By the first word of a line of progress."""


class Terminal:
    """Lines on stderr; on a terminal with a spinner under them, and beside it what is being waited for."""

    def __init__(self) -> None:
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
        """Plain text, as it is."""
        self._print(Text(text))

    def show(self, event: JsonObject) -> None:
        """What an event of a run says, if anything."""
        if line := describe_event(event):
            self.show_line(line)

    def show_line(self, line: str) -> None:
        """One line of progress."""
        first = line.split(maxsplit=1)[:1]
        self._print(Text(line, style=STYLES.get(first[0], "") if first else ""))
        self.wait_for(line.strip().lstrip("→✓✗!· "))

    def _print(self, text: Text) -> None:
        with suppress(OSError, ValueError):  # nobody reads stderr: no reason to lose the answer
            self._console.print(text)

    def wait_for(self, what: str) -> None:
        """Name what takes its time."""
        self._status.update(Text(what[: self._console.width - 4], style="dim"))

    async def ask(self, question: Question) -> Answer:
        """Ask y/n, one question at a time, where there is a terminal to ask on."""
        if not question.is_approval:
            return leave_unasked("a terminal has no form to fill in")
        if not (sys.stdin and sys.stdin.isatty() and self._console.is_terminal):
            return leave_unasked("there is no terminal to ask on")
        async with self._asking:
            self._status.stop()
            try:
                self.say(question.message)
                is_yes = await self._read_choice()
            finally:
                self._status.start()
        return await say_yes(question) if is_yes else {"action": "decline", "content": {}, "reason": ""}

    async def _read_choice(self) -> bool:
        while True:
            sys.stderr.write("[y/N] ")
            sys.stderr.flush()
            answer = (await _read_line()).strip().lower()
            if answer in ("y", "yes", "", "n", "no"):
                return answer in ("y", "yes")
            self.say("Please answer y or n.")


async def _read_line() -> str:
    """A line from the terminal, in a way that Ctrl-C can end."""
    if sys.platform == "win32":
        return await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    await anyio.wait_readable(sys.stdin)
    return sys.stdin.readline()
