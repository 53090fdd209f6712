"""The bytes of a server-sent event stream as events, in linear time and bounded.

Covers what the SDK's own readers leave open (mcp 2.3, httpx2 2.16): an event over the limit ends the stream for
everybody. That limit can be set for Streamable HTTP; for the SSE transport see `detour.py`.
"""

import codecs
from collections.abc import Iterator
from dataclasses import dataclass, field

from bridge.jsonrpc.lines import LineSplitter, Overlong


@dataclass
class Event:
    """One event. `data` over the limit is `Overlong`; `retry` is in milliseconds."""

    name: str = "message"
    data: bytes | Overlong = b""
    id: bytes | None = None
    retry: int | None = None

    def encode(self) -> bytes:
        """The event as bytes of a stream, with what it says and nothing else."""
        assert isinstance(self.data, bytes)
        lines = [] if self.name == "message" else [b"event: " + self.name.encode()]
        lines += [] if self.id is None else [b"id: " + self.id]
        lines += [] if self.retry is None else [b"retry: %d" % self.retry]
        lines += [b"data: " + line for line in self.data.split(b"\n")] if self.data else []
        return b"\n".join(lines) + b"\n\n" if lines else b""


@dataclass
class EventReader:
    """Makes events of chunks, by the rules of HTML's "event stream interpretation"."""

    limit: int
    """Bytes of data of one event."""
    _event: Event = field(default_factory=Event)
    _data: list[bytes] = field(default_factory=list[bytes])
    _size: int = 0
    _overlong: Overlong | None = None
    _is_first: bool = True
    _ends_in_cr: bool = False

    def __post_init__(self) -> None:
        self._lines = LineSplitter(self.limit + len("data: "))

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """The events that `chunk` completes, in order."""
        for line in self._lines.feed(self._unify(chunk)):
            if self._is_first and isinstance(line, bytes):
                line = line.removeprefix(codecs.BOM_UTF8)
            self._is_first = False
            if line:
                self._read(line)
            elif event := self._take():
                yield event

    def _unify(self, chunk: bytes) -> bytes:
        """Lines may end in CR LF, LF or CR: all as LF, also where a chunk ends between the two."""
        if self._ends_in_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
            self._ends_in_cr = False
        if chunk:
            self._ends_in_cr = chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _read(self, line: bytes | Overlong) -> None:
        if isinstance(line, Overlong):
            if line.head.startswith(b"data:"):
                self._overlong = Overlong(line.head[5:], line.tail, line.size - 6, self.limit)
            return
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        match name:
            case b"data":
                self._add(value)
            case b"event":
                self._event.name = value.decode("utf-8", "replace") or "message"
            case b"id" if b"\0" not in value:
                self._event.id = value
            case b"retry" if value.isdigit():
                self._event.retry = int(value[:9])
            case _:  # a comment, or a field that means nothing
                pass

    def _add(self, value: bytes) -> None:
        self._size += len(value) + 1
        if self._size > self.limit + 1:
            self._overlong = Overlong(self._data[0] if self._data else value, value, self._size, self.limit)
        else:
            self._data.append(value)

    def _take(self) -> Event | None:
        event, data, overlong = self._event, b"\n".join(self._data), self._overlong
        self._event, self._data, self._size, self._overlong = Event(), list[bytes](), 0, None
        event.data = overlong or data
        return event if event.data or event.id is not None or event.retry is not None else None
