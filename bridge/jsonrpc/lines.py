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
    """Splits chunks into lines. A line over `limit` bytes is dropped as it arrives and reported as `Overlong`."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._size = 0

    def feed(self, chunk: bytes) -> list[bytes | Overlong]:
        """The lines that `chunk` completes, without their newline, in order."""
        *ends, rest = chunk.split(b"\n")
        lines: list[bytes | Overlong] = []
        for end in ends:
            self._add(end)
            lines.append(self._take())
        self._add(rest)
        return lines

    def flush(self) -> list[bytes | Overlong]:
        """The last line of a stream that ended without a newline, if there is one."""
        return [self._take()] if self._size else []

    def _add(self, part: bytes) -> None:
        before, self._size = self._size, self._size + len(part)
        if self._size <= self._limit:
            self._parts.append(part)
        elif before <= self._limit:
            line = b"".join([*self._parts, part])
            self._parts = [line[:KEPT_BYTES], line[-KEPT_BYTES:]]
        else:
            self._parts[1] = (self._parts[1] + part)[-KEPT_BYTES:]

    def _take(self) -> bytes | Overlong:
        parts, size = self._parts, self._size
        self._parts, self._size = list[bytes](), 0
        return b"".join(parts) if size <= self._limit else Overlong(parts[0], parts[1], size, self._limit)
