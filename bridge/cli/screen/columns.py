"""How many columns of a terminal a text takes, as far as all terminals agree on that."""

import unicodedata
from collections.abc import Iterator
from functools import cache

MIN_COLUMNS, MIN_LINES = 20, 4
"""The smallest window in which an answer is shown as it comes."""
MARK = "…"
_UNSURE = ("Mn", "Mc", "Me", "Cf", "Cc", "Cn", "Co", "Cs")
"""Categories of characters that join others, act, or are newer than some terminals."""


@cache
def measure(sign: str) -> int | None:
    """Return the columns of a character; None where terminals differ, or where it may join the one before it."""
    code = ord(sign)
    if 0x20 <= code < 0x7F:
        return 1
    is_joining = 0x1100 <= code <= 0x11FF or 0x1F1E6 <= code <= 0x1F1FF or 0x1F3FB <= code <= 0x1F3FF
    if is_joining or unicodedata.category(sign) in _UNSURE or unicodedata.bidirectional(sign) in ("R", "AL"):
        return None
    return 2 if unicodedata.east_asian_width(sign) in "WF" else 1


def count_columns(text: str) -> int:
    """Count the columns of one line; what terminals differ on counts as one."""
    return len(text) if text.isascii() else sum(measure(sign) or 1 for sign in text)


def crop(line: str, columns: int) -> str:
    """Shorten a line to so many columns, with a mark where something is left out."""
    if count_columns(line) <= columns:
        return line
    kept, room = "", columns - 1
    for sign in line:
        room -= measure(sign) or 1
        if room < 0:
            break
        kept += sign
    return kept.rstrip() + MARK if columns > 0 else ""


def wrap(text: str, columns: int, *, indent: str = "", first: str | None = None) -> Iterator[str]:
    """Break a line between words, with `indent` before each part, or `first` before the first. A longer word stays
    whole: the terminal breaks it, and copies it as it is."""
    line, room = indent if first is None else first, columns
    is_empty = True
    for word in text.split(" "):
        needed = count_columns(line) + count_columns(word) + (not is_empty)
        if not is_empty and needed > room:
            yield line
            line, is_empty = indent, True
        line += word if is_empty else f" {word}"
        is_empty = False
    yield line


class Place:
    """Where a text ends that a terminal of this width has wrapped, counted from where it began."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.rows = 0
        self.column: int | None = 0
        """None from a character on whose width is not known, to the end of its line."""
        self.is_known = True
        """Whether `rows` is; it is not any more once a line had such a character."""

    def add(self, text: str) -> None:
        """Go on behind this text."""
        first, *others = text.split("\n")
        self._add_line(first)
        for line in others:
            self.rows += 1
            self.column = 0
            self._add_line(line)

    def _add_line(self, line: str) -> None:
        if self.column is None:
            return
        if line.isascii() and line.isprintable():
            self.rows, self.column = self._wrap(self.column + len(line))
            return
        for sign in line:
            columns = self._find_stop() if sign == "\t" else measure(sign)
            if columns is None:
                self.column, self.is_known = None, False
                return
            if self.column + columns > self.width:
                self.rows += 1
                self.column = 0
            self.column += columns

    def _wrap(self, total: int) -> tuple[int, int]:
        if total <= self.width:
            return self.rows, total
        full = (total - 1) // self.width
        return self.rows + full, total - full * self.width

    def _find_stop(self) -> int:
        """Find how far a tab goes: to the next stop, but not beyond the last column."""
        column = self.column or 0
        return max(0, min(self.width - 1, (column // 8 + 1) * 8) - column)
