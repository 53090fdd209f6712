"""Parses server-sent events, in linear time and with bounded memory.

Replaces the readers of mcp 2.3 and httpx2 2.16, with which one event over the limit ends the stream, and so every call
that uses it.
"""

import codecs
from collections.abc import Callable
from dataclasses import dataclass

from bridge.jsonrpc.lines import KEPT_BYTES, LineSplitter, Overlong


@dataclass(slots=True)
class Event:
    """A server-sent event. `data` over the limit is an `Overlong`; `retry` is in milliseconds."""

    name: str = "message"
    data: bytes | Overlong = b""
    id: bytes | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """Encode the event as bytes of a stream. Fields that are not set are left out."""
        assert isinstance(self.data, bytes)
        lines = [] if self.name == "message" else [b"event: " + self.name.encode()]
        lines += [] if self.id is None else [b"id: " + self.id]
        lines += [] if self.retry is None else [b"retry: %d" % self.retry]
        data = self.data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")  # each would end a line of the stream
        lines += [b"data: " + line for line in data.split(b"\n")] if data else []
        return b"\n".join(lines) + b"\n\n" if lines else b""


class EventReader:
    """A parser that turns chunks into events, by the rules of HTML's "event stream interpretation".

    Of an event of more than `limit` bytes, only the beginning and the end are kept. `on_stray` gets each line that is
    neither a known field nor a comment.
    """

    def __init__(self, limit: int, on_stray: Callable[[bytes], None] = lambda _: None) -> None:
        self._on_stray = on_stray
        self._blocks = LineSplitter(limit, b"\n\n")
        self._is_first = True
        self._after_cr = False
        self._held = b""

    @property
    def is_over(self) -> bool:
        """True if the incomplete event is already over the limit."""
        return self._blocks.is_over

    def feed(self, chunk: bytes) -> list[Event]:
        """Return the events that `chunk` completes, in order. Events without data, id and `retry` are left out."""
        events = list[Event]()
        for block in self._blocks.feed(self._unify(chunk)):
            event = self._read(block)
            if event.data or event.id is not None or event.retry is not None:
                events.append(event)
        return events

    def _unify(self, chunk: bytes) -> bytes:
        """Convert the line ends of `chunk` (CR LF, LF or CR) to LF, also where it ends between CR and LF.

        A final LF is held back until the next chunk: it may be the first half of a blank line.
        """
        if not chunk:
            return chunk
        if b"\r" in chunk or self._after_cr:
            lines = chunk.removeprefix(b"\n") if self._after_cr else chunk
            self._after_cr = chunk.endswith(b"\r")
            chunk = lines.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        chunk = self._held + chunk
        self._held = b"\n" if chunk.endswith(b"\n") and not chunk.endswith(b"\n\n") else b""
        return chunk.removesuffix(self._held)

    def _read(self, block: bytes | Overlong) -> Event:
        if isinstance(block, Overlong):
            ends = block.head + block.tail  # joined without a line end, so that no data is mistaken for a field
            event = self._read(ends)
            assert isinstance(event.data, bytes)
            size = block.size - len(ends) + len(event.data)
            event.data = Overlong(event.data[:KEPT_BYTES], event.data[-KEPT_BYTES:], size, block.limit)
            return event
        if self._is_first:
            self._is_first = False
            block = block.removeprefix(codecs.BOM_UTF8)
        event, data = Event(), list[bytes]()
        for line in block.split(b"\n"):
            name, _, value = line.partition(b":")
            value = value.removeprefix(b" ")
            match name:
                case b"data":
                    data.append(value)
                case b"event":
                    event.name = value.decode("utf-8", "replace") or "message"
                case b"id" if b"\0" not in value:
                    event.id = value
                case b"retry" if value.isdigit():
                    event.retry = int(value[:9])
                case b"" | b"id" | b"retry":  # a comment, or a value that is to be ignored
                    pass
                case _:
                    self._on_stray(line)
        event.data = b"\n".join(data)
        return event
