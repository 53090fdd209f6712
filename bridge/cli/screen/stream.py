"""An answer as it comes, with a few rows below it that say what goes on.

Only these rows are ever drawn again, and each is shorter than a narrow terminal is wide. What stands above them is
written once, as a pipe would get it: the terminal wraps it, keeps it in its history, and copies it as it was. So there
is nothing that a redraw could repeat or lose, and no cursor to show again when the program is killed.
"""

import os
from collections.abc import Callable, Sequence
from typing import TextIO

from bridge.cli.screen.columns import MIN_COLUMNS, MIN_LINES, Place, crop

ROW_COLUMNS = 39
"""The most columns of a row: it stays one when the terminal is made narrower, down to 40 columns. Most terminals wrap
again what they show then, and none says so."""
UP, ERASE_BELOW, ERASE_REST = "\x1b[{}A", "\x1b[J", "\x1b[K"
TO_COLUMN = "\x1b[{}G"


class Stream:
    """Text on `out` and rows on `err`, which are the same terminal."""

    def __init__(
        self, out: TextIO, err: TextIO, measure: Callable[[], os.terminal_size], count_typed: Callable[[], int] = int
    ) -> None:
        """`count_typed` counts the bytes of lines that were typed and not read: the terminal has shown these, too."""
        self._out = out
        self._err = err
        self._measure = measure
        self._size = measure()
        self._count_typed = count_typed
        self._typed = count_typed()
        self._place = Place(self._size.columns)
        self._drawn = 0
        self._deepest = 0
        """How many rows the text and what was below it have ever taken: more than there are have left the screen."""
        self._held = ""
        """The character that fills a row: behind it a terminal is between two rows, and nothing can come back there."""

    @property
    def is_within_line(self) -> bool:
        """Whether the text has begun a line, and not ended it."""
        return self._place.column != 0 or bool(self._held)

    def draw(self, rows: Sequence[str]) -> None:
        """Show these rows below the text, in place of those before. None are shown in a line whose end is unsure."""
        self._meet_new_size()
        lines, columns = self._size.lines, self._size.columns
        fitting = rows[: max(0, lines - 2)] if columns >= MIN_COLUMNS and lines >= MIN_LINES else []
        if not fitting or self._place.column is None:
            self.clear()
            return
        shown = [crop(row, min(ROW_COLUMNS, columns - 1)) for row in fitting]
        self._tell(self._find_first_row() + "\r\n".join(row + ERASE_REST for row in shown) + ERASE_BELOW)
        self._drawn = len(shown)
        self._deepest = max(self._deepest, self._place.rows + self._drawn)

    def _find_first_row(self) -> str:
        """Go to the first of the rows, or to where it is to be: on the line below a text that has begun one."""
        if self._drawn:
            above = self._drawn - 1 + self._count_new_lines()
            return "\r" + (UP.format(above) if above else "")
        return "\r\n" if self._place.column else ""

    def _count_new_lines(self) -> int:
        """Count the rows that the Enter key has gone down: one at most, as nobody types faster than we draw."""
        before, self._typed = self._typed, self._count_typed()
        return int(self._typed > before)

    def add(self, text: str) -> None:
        """Write text where it ended."""
        text = self._held + text
        self._held = ""
        if not text:
            return
        self.clear()
        before = self._place.rows, self._place.column
        self._place.add(text)
        if self._place.column == self._place.width:
            self._held, text = text[-1], text[:-1]
            self._place.rows, self._place.column = before
            self._place.add(text)
        self._deepest = max(self._deepest, self._place.rows)
        self._out.write(text)
        self._out.flush()

    def print(self, line: str) -> None:
        """Write a line above the rows; the text has to be at the beginning of one."""
        self.clear()
        self._tell(line)

    def end_text(self) -> None:
        """End the text, so that what comes next begins a line, and a further text is another one."""
        if self.is_within_line:
            self.add("\n")
        self._begin()

    def _begin(self) -> None:
        self._place, self._deepest, self._held = Place(self._size.columns), 0, ""

    def retract(self) -> bool:
        """Take back the text since the last end; False where that cannot be done, as it has left the screen."""
        self.clear()
        rows = self._place.rows
        if not self._place.is_known or self._deepest >= self._size.lines:
            return False
        self._tell("\r" + (UP.format(rows) if rows else "") + ERASE_BELOW)
        self._begin()
        return True

    def clear(self) -> None:
        """Take the rows away, and go back to the end of the text."""
        self._meet_new_size()
        if not self._drawn:
            return
        back = self._find_first_row() + ERASE_BELOW
        if column := self._place.column:
            back += UP.format(1) + TO_COLUMN.format(column + 1)
        self._tell(back)
        self._drawn = 0

    def _meet_new_size(self) -> None:
        """Begin a line where the width has changed in the middle of one: where that ends now, only the terminal
        knows."""
        size = self._measure()
        if not size.columns:  # nobody knows it any more
            return
        self._place.is_known = self._place.is_known and size == self._size
        if size.columns != self._size.columns:
            if self._drawn and self._place.column:
                self._place.column = 0
                self._place.rows += 1
            elif self._place.column:
                self._place.column = None
            self._place.width = size.columns
        self._size = size

    def _tell(self, text: str) -> None:
        self._err.write(text)
        self._err.flush()
