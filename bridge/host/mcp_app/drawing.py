"""Drawing of a run in the chat: its spans and their axis, with texts that are safe to look at."""

from dataclasses import replace

from bridge.host.page.words import Words
from bridge.json_text import Json, JsonObject
from bridge.run.run import Run
from bridge.run.timeline import Span, lay_axis, list_spans
from bridge.telemetry import Redactor
from bridge.visible import MAX_NAME_CHARS

MOST_SPANS = 300
"""Most spans that are drawn; of a longer run the number of the others is told."""


def describe_drawing(run: Run, now: float, redact: Redactor) -> JsonObject:
    """Describe the run as far as it has come by `now`."""
    words, spans = Words(redact), list_spans(run.events)
    axis = lay_axis(run.events, until=run.events[-1].at if run.ending and run.events else now)
    return {
        "timeline": list[Json](_describe_span(span, words) for span in spans[:MOST_SPANS]),
        "left_out": max(0, len(spans) - MOST_SPANS),
        "axis": {"began": axis.began, "ended": axis.ended, "pauses": [list(pause) for pause in axis.pauses]},
        "ended": axis.ended if run.ending else None,
    }


def _describe_span(span: Span, words: Words) -> JsonObject:
    server = _cut(words.line(span.server)) if span.server else None
    return replace(span, name=_cut(words.line(span.name)), server=server).to_json()


def _cut(name: str) -> str:
    return name if len(name) <= MAX_NAME_CHARS else f"{name[: MAX_NAME_CHARS - 1]}…"
