"""A run's turns and calls as bars in time, for a terminal of any width and without colour."""

import math
from collections.abc import Callable, Iterator, Sequence

from bridge.cli.screen.columns import count_columns, crop, wrap
from bridge.run.timeline import Axis, Span
from bridge.visible import show_name

TURN, CALL, FAILED, CUT = "#", "=", "x", "?"
LEGEND = f"{TURN} turn, {CALL} call, {FAILED} failed, > goes on, {CUT} cut off"
MIN_BAR = 12
"""Columns of the narrowest bars."""
_GAP = "  "
_TIME = 8
_UNITS = ((3600.0, "h"), (60.0, "min"), (1.0, "s"))


def draw_bars(
    spans: Sequence[Span], axis: Axis, columns: int, redact: Callable[[str], str], *, goes_on: bool
) -> Iterator[str]:
    """Draw a line for each span: what it is, how long it took, and when; above them, how long all took.

    `goes_on`: what has not ended goes on; else it was cut off.
    """
    labels = [_name(span, redact) for span in spans]
    most = max(MIN_BAR, columns - 2 * len(_GAP) - _TIME - MIN_BAR)
    width = min(max(map(count_columns, labels), default=0), most, max(MIN_BAR, columns * 2 // 5))
    room = max(MIN_BAR, columns - width - _TIME - 2 * len(_GAP))
    total = show_seconds(axis.length_s)
    yield f"{' ' * (width + _TIME + 2 * len(_GAP))}0{total:>{room - 1}}"
    for span, label in zip(spans, labels, strict=True):
        took = axis.place(axis.ended if span.ended is None else span.ended) - axis.place(span.began)
        name = crop(label, width)
        shown = f"{name}{' ' * (width - count_columns(name))}{_GAP}{show_seconds(took):>{_TIME}}{_GAP}"
        yield f"{shown}{_draw(span, axis, room, goes_on=goes_on)}".rstrip()


def list_remarks(remarks: Sequence[tuple[float, str]], axis: Axis, columns: int) -> Iterator[str]:
    """List what was told beside, each with when that was."""
    for at, text in remarks:
        yield from wrap(text.strip(), columns, indent=_GAP * 2, first=f"at {show_seconds(axis.place(at))}: ")


def show_seconds(seconds: float) -> str:
    """Show how long something took, in the unit that fits."""
    for size, unit in _UNITS:
        if seconds >= size * (1 if unit == "s" else 2):
            return f"{seconds / size:,.1f} {unit}"
    return f"{seconds * 1000:.0f} ms"


def _name(span: Span, redact: Callable[[str], str]) -> str:
    name = show_name(redact(span.name))
    return f"turn {span.turn} {name}" if span.kind == "turn" else f"{_GAP}{name}"


def _draw(span: Span, axis: Axis, room: int, *, goes_on: bool) -> str:
    length = axis.length_s or 1.0
    first = min(room - 1, math.floor(axis.place(span.began) / length * room))
    last = room if span.ended is None else math.ceil(axis.place(span.ended) / length * room)
    sign = FAILED if span.is_error else TURN if span.kind == "turn" else CALL
    bar = sign * max(1, min(room, last) - first)
    if span.ended is None:
        bar = bar[:-1] + (">" if goes_on else CUT)
    return " " * first + bar
