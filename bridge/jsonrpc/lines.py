"""Splitting a stream of bytes into lines, in linear time and bounded memory; a line that is too long is skipped.

The SDK's own reader (mcp 2.3, mcp/client/stdio.py) splits its whole buffer again for every chunk, which is quadratic (a
32 MB line took 11 s), and has no bound.
"""

from dataclasses import dataclass

KEPT_BYTES = 4096
"""How much of the start and of the end of an over-long line is kept, to find the id of the message in one of them."""


@dataclass(frozen=True)
class Overlong:
    """A line longer than `limit` bytes: its first and last bytes, and its size."""

    head: bytes
    tail: bytes
    size: int
    limit: int


class LineSplitter:
    """Splits chunks into lines. A line over `limit` bytes is dropped as it arrives and reported as `Overlong`.

    An `end` of more than one byte is recognised only within one chunk.
    """

    def __init__(self, limit: int, end: bytes = b"\n") -> None:
        self._limit = limit
        self._end = end
        self._waiting = bytearray()
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes | Overlong]:
        """Return the lines that `chunk` completes, in order and without their end."""
        *lines, rest = chunk.split(self._end)
        found = [self._take(line) for line in lines]
        self._add(rest)
        return found

    def flush(self) -> list[bytes | Overlong]:
        """Return the last line of a stream that ended without a newline, if there is one."""
        return [self._take(b"")] if self._size else []

    @property
    def is_over(self) -> bool:
        """True if the line that is not complete yet is over the limit."""
        return self._size > self._limit

    def _add(self, part: bytes) -> None:
        self._waiting += part
        self._size += len(part)
        if self._size > self._limit:
            del self._waiting[KEPT_BYTES:-KEPT_BYTES]

    def _take(self, rest: bytes) -> bytes | Overlong:
        if not self._size and len(rest) <= self._limit:
            return rest
        self._add(rest)
        line, size = bytes(self._waiting), self._size
        self._waiting, self._size = bytearray(), 0
        return line if size <= self._limit else Overlong(line[:KEPT_BYTES], line[-KEPT_BYTES:], size, self._limit)
