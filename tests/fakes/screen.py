"""A person at a terminal: what is seen there after all that moved the cursor or erased, and what is answered."""

import os
import pty
import re

COLUMNS = 80
_TOKEN = re.compile(r"\x1b\[([?\d;]*)([A-Za-z])|([\r\n\b])|([^\x00-\x1f\x7f-\x9f])|(.)", re.DOTALL)


def render(written: str, columns: int = COLUMNS) -> list[str]:
    """The rows of a terminal that has any number of them. ValueError for what does more than move, erase or colour."""
    screen = _Screen(columns)
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
    def __init__(self, columns: int) -> None:
        self.rows: list[list[str]] = [[]]
        self._columns = columns
        self._row = self._column = 0

    def put(self, sign: str) -> None:
        if self._column == self._columns:
            self._go(self._row + 1, 0)
        row = self.rows[self._row]
        row += " " * (self._column + 1 - len(row))
        row[self._column] = sign
        self._column += 1

    def move(self, sign: str) -> None:
        match sign:
            case "\r":
                self._column = 0
            case "\n":
                self._go(self._row + 1, self._column)
            case _:
                self._column = max(0, self._column - 1)

    def obey(self, told: str, letter: str) -> None:
        count = int(told) if told.isdecimal() else 0
        match letter:
            case "m" | "h" | "l":
                pass
            case "A":
                self._go(max(0, self._row - (count or 1)), self._column)
            case "B":
                self._go(self._row + (count or 1), self._column)
            case "K":
                keep = 0 if count == 2 else self._column
                del self.rows[self._row][keep:]
            case "J":
                del self.rows[0 if count in (2, 3) else self._row + 1 :]
                self._go(self._row, self._column)
            case "H":
                self._go(0, 0)
            case _:
                raise ValueError(f"CSI {told}{letter} is not known")

    def _go(self, row: int, column: int) -> None:
        self.rows += [[] for _ in range(row + 1 - len(self.rows))]
        self._row, self._column = row, column


def answer_on_terminal(command: list[str], answers: dict[str, str]) -> tuple[str, int]:
    """What the terminal showed, with the answer entered that belongs to words of the question, and the exit code."""
    child, main_end = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    seen, asked = "", 0
    while True:
        try:
            chunk = os.read(main_end, 65536)
        except OSError:  # the last process at the other end has gone
            break
        seen += chunk.decode("utf-8", "replace")
        if seen.count("[y/N]") > asked:
            asked += 1
            answer = next(answers[words] for words in answers if words in seen.split("[y/N]")[asked - 1])
            os.write(main_end, f"{answer}\n".encode())
    os.close(main_end)
    return seen, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
