"""Bytes from a stream as lines: in linear time, bounded, and never stuck on one that is too long.

Covers what the SDK's own reader leaves open (mcp 2.3, mcp/client/stdio.py): it re-splits its whole buffer for every
chunk, which is quadratic (a 32 MB line took 11 s), and it has no bound.
"""

from dataclasses import dataclass

KEPT_BYTES = 4096
"""How much of each end of an over-long line is kept: enough to find the id of the message in one of them."""


@dataclass(frozen=True)
class Overlong:
    """A line longer than `limit`: its first and last bytes, and how many there were."""

    head: bytes
    tail: bytes
    size: int
    limit: int


class LineSplitter:
    """Splits chunks into lines. A line over `limit` bytes is dropped as it arrives and reported as `Overlong`.

    An `end` of more than one byte is seen only where it stands within one chunk.
    """

    def __init__(self, limit: int, end: bytes = b"\n") -> None:
        self._limit = limit
        self._end = end
        self._waiting = bytearray()
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes | Overlong]:
        """The lines that `chunk` completes, without their end, in order."""
        *lines, rest = chunk.split(self._end)
        found = [self._take(line) for line in lines]
        self._add(rest)
        return found

    def flush(self) -> list[bytes | Overlong]:
        """The last line of a stream that ended without a newline, if there is one."""
        return [self._take(b"")] if self._size else []

    @property
    def is_over(self) -> bool:
        """Whether the line that waits for its end is over the limit."""
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
