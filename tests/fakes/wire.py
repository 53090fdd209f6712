"""HTTP/1.1 as bytes, and the steps by which a reply is played on a connection."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import anyio

from tests.fakes.events import Event
from tests.fakes.items import Json, new_id

HEAD = "HTTP/1.1"
"""As `after` of `cut`, `hang` or `gated`: all the headers and nothing of the body."""

_BLANK_LINES = (b"\n\n", b"\r\n\r\n")


@dataclass(frozen=True)
class Request:
    """One request as it arrived; header names are lower-case."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Json:
        """The body, parsed; `{}` where there is none."""
        return json.loads(self.body or b"{}")


@dataclass(frozen=True)
class Send:
    """Put these bytes on the wire."""

    data: bytes


@dataclass(frozen=True)
class Wait:
    """Wait for the gate, or until the client goes away."""

    gate: anyio.Event


@dataclass(frozen=True)
class Hang:
    """Wait until the client goes away."""


@dataclass(frozen=True)
class Close:
    """End the connection: politely (FIN), or with a reset (RST)."""

    reset: bool = False


Step = Send | Wait | Hang | Close


@dataclass(frozen=True)
class Reply:
    """What happens on the wire in answer to a request."""

    steps: Callable[[Request], Sequence[Step]]


def http(status: int, body: bytes, headers: Mapping[str, str]) -> bytes:
    """A whole answer with its length."""
    return _head(status, {"content-type": "application/json", "content-length": str(len(body)), **headers}) + body


def sse(events: Sequence[Event], headers: Mapping[str, str], *, crlf: bool = False) -> bytes:
    """A whole event stream, one HTTP chunk per event."""
    framing = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked"}
    frames = (_frame(event, crlf=crlf) for event in events)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(frame), frame) for frame in frames)
    return _head(200, framing | dict(headers)) + chunks + b"0\r\n\r\n"


def encode(value: Json) -> bytes:
    """JSON as the API writes it: UTF-8, nothing escaped that need not be."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "backslashreplace")  # half an emoji as its escape


def pieces(data: bytes, size: int | None) -> list[Step]:
    """The bytes in pieces of this size, or whole."""
    width = size or max(len(data), 1)
    return [Send(data[start : start + width]) for start in range(0, len(data), width)]


def divide(steps: Sequence[Step], after: int | str) -> tuple[list[Step], list[Step]]:
    """The steps up to a place, and those behind it.

    The place is a number of bytes; or a text, and then it is the end of the block (the headers, or one event of a
    stream) in which that text first appears.
    """
    wire = b"".join(step.data for step in steps if isinstance(step, Send))
    left = after if isinstance(after, int) else _end_of_block(wire, after.encode())
    before: list[Step] = []
    behind: list[Step] = []
    for step in steps:
        data = step.data if isinstance(step, Send) else b""
        if data:
            before += pieces(data[:left], None)
            behind += pieces(data[left:], None)
            left = max(left - len(data), 0)
        else:
            (before if left else behind).append(step)
    return before, behind


def _end_of_block(wire: bytes, text: bytes) -> int:
    found = wire.index(text)
    ends: Iterator[int] = (wire.find(blank, found) + len(blank) for blank in _BLANK_LINES if blank in wire[found:])
    return min(ends, default=len(wire))


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    known = status in HTTPStatus.__members__.values()
    phrase = HTTPStatus(status).phrase if known else "Unassigned"  # relays send 524 and 529
    lines = [f"HTTP/1.1 {status} {phrase}", f"x-request-id: {new_id('req')}"]
    return "\r\n".join([*lines, *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode()


def _frame(event: Event, *, crlf: bool) -> bytes:
    if isinstance(event, str):
        return event.encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    frame = name.encode() + b"data: " + encode(event) + b"\n\n"
    return frame.replace(b"\n", b"\r\n") if crlf else frame
