"""A run as a person at a terminal sees it: a line per turn and call, the answer as it comes, and approval questions."""

import os
import shutil
import sys
import threading
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, TextIO

import anyio
import anyio.to_thread

from bridge.cli.screen.views import choose_view
from bridge.events import CallEnded, CallStarted, Event, TurnStarted
from bridge.questions import DONE, IN_ADVANCE, Answer, Question, approve, leave_unasked
from bridge.run.progress import describe_event
from bridge.visible import quote_name, show_exactly, show_line, show_prose

if TYPE_CHECKING:
    from bridge.cli.screen.log_lines import Failures

RELAY_S = 1.0
"""How long to wait for the last lines of a process that has ended; one of its own may hold its log open."""
CHOICES = "[y/N/a] "
OPENED = "Open it in a browser if you trust it. Are you done there?"
ALWAYS_OFFERED = "a: always for this tool in this run"


class Terminal:
    """Lines on stderr; on a terminal, what goes on below them. With `is_streaming` the answer comes on stdout as it is
    made, where both are one terminal that can show that."""

    def __init__(self, redact: Callable[[str], str] = str, *, is_streaming: bool = False) -> None:
        self._redact = redact
        self._view = choose_view(redact, is_streaming=is_streaming)
        self._stderr = sys.stderr
        self._asking = anyio.Lock()
        self._held: list[str] | None = None
        """Lines that wait for the answer to a question."""
        self._always = set[tuple[str, ...]]()
        """What needs no question any more in this run."""
        self._calls = _Calls()
        self._failures: Failures | None = None
        self._log = ExitStack()

    def __enter__(self) -> "Terminal":
        if self._view.is_terminal:
            from bridge.cli.screen.log_lines import Failures, showing_log

            self._failures = Failures()
            self._log.enter_context(showing_log(self._print, self._failures))
        self._view.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._release()
        self._log.close()
        self._view.stop()

    @property
    def is_seen(self) -> bool:
        """Whether stderr is a terminal."""
        return self._view.is_terminal

    @property
    def columns(self) -> int:
        """How wide that is."""
        return shutil.get_terminal_size().columns

    @contextmanager
    def reading_log(self) -> Generator[TextIO]:
        """Yield a file for what another process logs: at a terminal its lines pass through here."""
        if not self.is_seen:
            yield self._stderr
            return
        reader, writer = os.pipe()
        relay = threading.Thread(target=self._relay, args=(reader,), daemon=True)
        relay.start()
        with open(writer, "w", encoding="utf-8") as log:  # noqa: PTH123 - it is a descriptor
            yield log
        relay.join(RELAY_S)

    def _relay(self, reader: int) -> None:
        with open(reader, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                self.say(line.rstrip("\n"))

    def say(self, text: str) -> None:
        """Print a text of any number of lines."""
        self._print(show_prose(text))

    def show(self, event: Event) -> None:
        """Show an event, if it is worth that."""
        if self._failures:
            self._failures.hear(event)
        self._calls.hear(event)
        if not self._view.hear(event) and (line := describe_event(event, self._redact)):
            self.show_line(line)

    def show_line(self, line: str) -> None:
        """Print one progress line."""
        line = show_line(line)
        self._print(line)
        self._view.follow(line)

    def _print(self, text: str) -> None:
        if self._held is None:
            self._view.print(text)
        else:
            self._held.append(text)

    def _release(self) -> None:
        held, self._held = self._held or [], None
        for text in held:
            self._view.print(text)

    def set_status(self, status: str) -> None:
        """Show what is going on."""
        self._view.set_status(status)

    def wait_for(self, list_servers: Callable[[], Sequence[str]]) -> None:
        """Show the servers that a run waits for at its beginning."""
        self._view.wait_for(list_servers)

    def finish(self, answer: str) -> bool:
        """Tell whether the whole answer stands on the screen already."""
        return self._view.finish(answer)

    async def ask(self, question: Question) -> Answer:
        """Ask for an approval, or to open a page, one question at a time; return "unasked" without a terminal."""
        if not (question.is_approval or question.address):
            return leave_unasked("a terminal has no form to fill in")
        if not (sys.stdin and sys.stdin.isatty() and self._view.is_terminal):
            return leave_unasked("there is no terminal to ask on")
        if question.address:
            async with self._asking:
                return await self._ask_to_open(question)
        self._calls.asked += 1
        async with self._asking:
            subject = question.identify()
            if subject in self._always and question.on_yes is None:  # with that, it shows what nobody has read yet
                self._calls.asked -= 1
                return approve(IN_ADVANCE)
            choice = await self._ask(question, can_last=bool(subject))
            if choice == "a":
                self._always.add(subject)
        return approve() if choice in ("y", "a") else {"action": "decline", "content": {}, "reason": ""}

    async def _ask_to_open(self, question: Question) -> Answer:
        """Show an address, and ask whether the person is done there. Nothing opens it but they."""
        self._view.stop()
        try:
            self.say(self._redact(f"{question.message}\n  {show_exactly(question.address)}\n{OPENED}"))
            self._held = []
            forget_typed()
            choice = await self._read_choice(can_last=False)
        finally:
            self._release()
            self._view.start()
        return approve(DONE) if choice == "y" else {"action": "decline", "content": {}, "reason": ""}

    async def _ask(self, question: Question, *, can_last: bool) -> str:
        """Ask for one of the letters y, n and a. Every line that comes meanwhile waits for the answer."""
        self._view.stop()
        try:
            self.say(self._redact(question.message))
            self._held = []
            forget_typed()
            choice = await self._read_choice(can_last=can_last)
            self._calls.asked -= 1
            if choice == "a":
                self._view.print(show_line(self._redact(f"  In this run it is not asked again. {question.remedy}")))
        except BaseException:
            self._calls.note_interruption(question)
            self._write("\n")  # the cursor stands behind our prompt
            raise
        finally:
            self._release()
            self._view.start()
        return choice

    async def _read_choice(self, *, can_last: bool) -> str:
        letters = {"y": "y", "yes": "y", "": "n", "n": "n", "no": "n"}
        letters |= {"a": "a", "always": "a"} if can_last else {}
        if can_last:
            self._write(f"{ALWAYS_OFFERED}\n")
        while True:
            self._write(CHOICES if can_last else "[y/N] ")
            answer = (await read_line()).strip().lower()
            if answer in letters:
                return letters[answer]
            self._write(f"Please answer y or n{' or a' if can_last else ''}.\n")

    def _write(self, text: str) -> None:
        with suppress(OSError, ValueError):
            self._stderr.write(text)
            self._stderr.flush()

    def describe_interruption(self) -> str | None:
        """Say what was executed, of a run that was interrupted at a question; None for any other."""
        return self._calls.interruption


class _Calls:
    """What has become of the calls of a run."""

    def __init__(self) -> None:
        self._started = self._ended = 0
        self.asked = 0
        """How many wait for an answer."""
        self.interruption: str | None = None

    def hear(self, event: Event) -> None:
        """Count; a turn that begins shows that a question was given up for another reason."""
        if isinstance(event, TurnStarted):
            self.interruption = None
        self._started += isinstance(event, CallStarted)
        self._ended += isinstance(event, CallEnded)

    def note_interruption(self, question: Question) -> None:
        """Note that a question was given up, and what that means if the run ends with it."""
        running = max(0, self._started - self._ended - self.asked)
        if not (running or self._ended):
            self.interruption = "Interrupted: nothing was executed."
            return
        before = [f"{self._ended:,} before it had ended"] if self._ended else []
        before += [f"{running:,} beside it may have been executed"] if running else []
        what = f"{quote_name(question.tool)} of {quote_name(question.server)}"
        self.interruption = f"Interrupted: {what} was not executed; of the other calls, {' and '.join(before)}."


def forget_typed() -> None:
    """Forget what was typed before the question could be read: it is no answer to it."""
    if sys.platform == "win32":
        return
    import termios

    with suppress(OSError, termios.error):
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


async def read_line() -> str:
    """Read a line from the terminal; Ctrl-C can interrupt it."""
    if sys.platform == "win32":
        return await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    await anyio.wait_readable(sys.stdin)
    return sys.stdin.readline()
