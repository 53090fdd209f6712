"""What the page draws of a run: its spans and their axis, with texts that are safe to look at."""

from collections.abc import Iterator
from itertools import count

from bridge.events import TurnEnded
from bridge.json_text import Json, JsonObject
from bridge.run.run import Run
from bridge.run.timeline import Span, lay_axis, list_spans
from bridge.telemetry import Redactor
from bridge.visible import MAX_NAME_CHARS, show_line

KEY = "mcp-responses-bridge/timeline"
"""Where it stands in the `_meta` of a result."""
MOST_SPANS = 300
"""The rest of a longer run is told of as a number."""


def describe_drawing(run: Run, now: float, redact: Redactor) -> JsonObject:
    """Describe the run as far as it has come by `now`."""
    spans = list_spans(run.events)
    axis = lay_axis(run.events, until=run.events[-1].at if run.ending and run.events else now)
    return {
        "timeline": list[Json](_describe_spans(run, spans[:MOST_SPANS], redact)),
        "left_out": max(0, len(spans) - MOST_SPANS),
        "axis": {"began": axis.began, "ended": axis.ended, "pauses": [list(pause) for pause in axis.pauses]},
        "ended": axis.ended if run.ending else None,
    }


def _describe_spans(run: Run, spans: list[Span], redact: Redactor) -> Iterator[JsonObject]:
    turns = {event.turn: event for event in run.events if isinstance(event, TurnEnded)}
    numbers = {span.turn: count() for span in spans}
    for span in spans:
        used = turns.get(span.turn) if span.kind == "turn" else None
        yield {
            **span.to_json(),
            "index": next(numbers[span.turn]) if span.kind == "call" else None,
            "name": _show(span.name, redact),
            "server": _show(span.server, redact) if span.server else None,
            "tokens": used.tokens if used else None,
            "cost": used.cost if used else None,
        }


def _show(name: str, redact: Redactor) -> str:
    shown = show_line(redact(name))
    return shown if len(shown) <= MAX_NAME_CHARS else f"{shown[: MAX_NAME_CHARS - 1]}…"
