"""A person at a terminal: what is seen there after all that moved the cursor or erased, and what is typed."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time
import unicodedata
from collections.abc import Callable, Mapping
from typing import Self

from tests.fakes.clock import PATIENCE_S

COLUMNS, LINES = 80, 24
_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n\b\t])|([^\x00-\x1f\x7f-\x9f])|(.)", re.DOTALL)
_ASKED = re.compile(r"\[y/N(?:/a)?\]")


def render(written: str, columns: int = COLUMNS, lines: int | None = None) -> list[str]:
    """The rows of a terminal, with those that have left its `lines`. ValueError for what does more than move, erase or
    colour."""
    screen = _Screen(columns, lines)
    for told, letter, moved, shown, other in _TOKEN.findall(written):
        if letter:
            screen.obey(told, letter)
        elif moved:
            screen.move(moved)
        elif shown:
            screen.put(shown)
        else:
            raise ValueError(f"{other!r} acts on a terminal")
    return ["".join(row).rstrip() for row in screen.rows]


class _Screen:
    def __init__(self, columns: int, lines: int | None) -> None:
        self.rows: list[list[str]] = [[]]
        self._columns = columns
        self._lines = lines
        self._row = self._column = 0

    def put(self, sign: str) -> None:
        if self._column and (unicodedata.combining(sign) or sign == "\ufe0f"):
            row = self.rows[self._row]
            row += " " * (self._column - len(row))
            row[self._column - 1] += sign
            return
        width = 2 if unicodedata.east_asian_width(sign) in "WF" else 1
        if self._column + width > self._columns:
            self._go(self._row + 1, 0)
        row = self.rows[self._row]
        row += " " * (self._column + width - len(row))
        row[self._column : self._column + width] = [sign, *[""] * (width - 1)]
        self._column += width

    def move(self, sign: str) -> None:
        match sign:
            case "\r":
                self._column = 0
            case "\n":
                self._go(self._row + 1, self._column)
            case "\t":
                self._column = min(self._columns - 1, (self._column // 8 + 1) * 8)
            case _:
                self._column = max(0, self._column - 1)

    def obey(self, told: str, letter: str) -> None:
        count = int(told) if told.isdecimal() else 0
        top = max(0, len(self.rows) - self._lines) if self._lines else 0
        match letter:
            case "m" | "h" | "l":
                pass
            case "A":
                self._go(max(top, self._row - (count or 1)), min(self._column, self._columns - 1))
            case "B":
                self._go(self._row + (count or 1), self._column)
            case "G":
                self._column = max(1, count) - 1
            case "K":
                keep = 0 if count == 2 else self._column
                del self.rows[self._row][keep:]
            case "J":
                del self.rows[top if count in (2, 3) else self._row + 1 :]
                if count == 0:
                    del self.rows[self._row][self._column :]
                self._go(self._row, self._column)
            case "H":
                self._go(top, 0)
            case _:
                raise ValueError(f"CSI {told}{letter} is not known")

    def _go(self, row: int, column: int) -> None:
        self.rows += [[] for _ in range(row + 1 - len(self.rows))]
        self._row, self._column = row, column


class AtTerminal:
    """A command that runs at a terminal of its own, and a person who looks and types. Its methods wait, so an upstream
    of the same test is served by another thread."""

    def __init__(
        self, command: list[str], environ: Mapping[str, str] | None = None, size: tuple[int, int] = (COLUMNS, LINES)
    ) -> None:
        self.seen = ""
        self._columns, self._lines = columns, lines = size
        self._child, self._end = pty.fork()
        if self._child == 0:
            _set_size(0, columns, lines)
            os.execve(
                command[0],
                command,
                {**os.environ, "TERM": "xterm-256color", "COLUMNS": "", "LINES": "", **(environ or {})},
            )
        self.code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.code is None:
            os.kill(self._child, signal.SIGKILL)
            os.waitpid(self._child, 0)
        os.close(self._end)

    @property
    def rows(self) -> list[str]:
        """What is seen now."""
        return render(self.seen, self._columns, self._lines)

    def wait_for(self, words: str, count: int = 1) -> None:
        """Look until these words have been written, so often."""
        deadline = time.monotonic() + PATIENCE_S
        while self.seen.count(words) < count:
            if time.monotonic() > deadline or not self._look():
                raise AssertionError(f"{words!r} was not seen in {self.seen!r}")

    def wait_until(self, holds: Callable[[list[str]], object]) -> None:
        """Look until this holds of what is seen."""
        deadline = time.monotonic() + PATIENCE_S
        while not holds(self.rows):
            if time.monotonic() > deadline or not self._look():
                raise AssertionError(repr(self.seen))

    def type(self, text: str) -> None:
        """Type, without waiting."""
        os.write(self._end, text.encode())

    def resize(self, columns: int) -> None:
        """Make the window wider or narrower; what is on it stays as it is."""
        self._columns = columns
        _set_size(self._end, columns, self._lines)

    def wait(self) -> int:
        """Look until the command has ended, and return its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._look():
            assert time.monotonic() < deadline, self.seen
        self.code = os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])
        return self.code

    def _look(self) -> bool:
        """Take what has been written; False when nobody is left to write."""
        if not select.select([self._end], [], [], 0.1)[0]:
            return True
        try:
            chunk = os.read(self._end, 65536)
        except OSError:  # the last process at the other end has gone
            return False
        self.seen += chunk.decode("utf-8", "replace")
        return bool(chunk)


def _set_size(descriptor: int, columns: int, lines: int) -> None:
    fcntl.ioctl(descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))


def answer_on_terminal(command: list[str], answers: dict[str, str]) -> tuple[str, int]:
    """What the terminal showed, with the answer entered that belongs to words of the question, and the exit code."""
    child, main_end = pty.fork()
    if child == 0:
        _set_size(0, COLUMNS, LINES)
        os.execv(command[0], command)
    seen, asked = "", 0
    while True:
        try:
            chunk = os.read(main_end, 65536)
        except OSError:  # the last process at the other end has gone
            break
        seen += chunk.decode("utf-8", "replace")
        if len(_ASKED.findall(seen)) > asked:
            asked += 1
            answer = next(answers[words] for words in answers if words in _ASKED.split(seen)[asked - 1])
            os.write(main_end, f"{answer}\n".encode())
    os.close(main_end)
    return seen, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
