"""A run as bars in time: its turns, and the calls of each, beside one another."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Literal

from bridge.events import CallEnded, CallStarted, Kept, Notified, RunEnded, TurnEnded, TurnStarted
from bridge.json_text import JsonObject

RESUMED = "resumed"
"""The code of the notice that a run was taken up."""


@dataclass(frozen=True)
class Span:
    """One turn, or one call of it. Times are wall-clock seconds since 1970."""

    kind: Literal["turn", "call"]
    turn: int
    name: str
    """The model that is asked, or the model name of the tool."""
    began: float
    ended: float | None = None
    """None while it goes on, and where it was cut off."""
    is_error: bool = False
    server: str | None = None
    index: int | None = None
    """Number of the call in its turn, from 0 on; None for a turn."""
    tokens: int | None = None
    """Input and output tokens of a turn that has ended."""
    cost: float | None = None
    """Its money, in the unit of the config's `prices`; None without a price."""

    def to_json(self) -> JsonObject:
        """Return it for programs."""
        return {**vars(self)}


def list_spans(events: Iterable[Kept]) -> list[Span]:
    """List what took time in a run, in the order in which it began."""
    spans: dict[tuple[int, int | None], Span] = {}
    for event in events:
        match event:
            case TurnStarted():
                spans.setdefault((event.turn, None), Span("turn", event.turn, event.model, event.at))
            case TurnEnded():
                span = Span("turn", event.turn, event.model or "", event.at)
                _end(spans, (event.turn, None), span, event.at)
                key = event.turn, None
                spans[key] = replace(spans[key], tokens=event.tokens, cost=event.cost)
            case CallStarted() | CallEnded():
                span = Span("call", event.turn, event.name, event.at, server=event.server, index=event.index)
                spans.setdefault((event.turn, event.index), span)
                if isinstance(event, CallEnded):
                    _end(spans, (event.turn, event.index), span, event.at, is_error=event.is_error)
            case RunEnded():
                for key, span in spans.items():
                    if span.ended is None:
                        _end(spans, key, span, event.at, is_error=True)
            case _:
                pass
    return list(spans.values())


def _end(
    spans: dict[tuple[int, int | None], Span],
    key: tuple[int, int | None],
    otherwise: Span,
    at: float,
    *,
    is_error: bool = False,
) -> None:
    spans[key] = replace(spans.get(key, otherwise), ended=at, is_error=is_error)


@dataclass(frozen=True)
class Axis:
    """The time in which a run was driven: where nobody did, it stands still."""

    began: float
    ended: float
    pauses: Sequence[tuple[float, float]] = field(default_factory=tuple)
    """From when to when nobody drove it."""

    @property
    def length_s(self) -> float:
        return self.place(self.ended)

    def place(self, at: float) -> float:
        """Return for how many seconds the run had been driven by then."""
        rested = sum(max(0.0, min(at, until) - since) for since, until in self.pauses)
        return max(0.0, at - self.began - rested)


def lay_axis(events: Sequence[Kept], *, until: float) -> Axis:
    """Lay the axis of a run that has these events, and that was driven until then."""
    pauses = [(before.at, event.at) for before, event in pairwise(events) if _tells_resumed(event)]
    return Axis(events[0].at if events else until, until, pauses)


def _tells_resumed(event: Kept) -> bool:
    return isinstance(event, Notified) and event.code == RESUMED
