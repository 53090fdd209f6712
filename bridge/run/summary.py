"""A run in one line: what a list of runs shows of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from bridge.events import CallEnded, Event, Status, TurnEnded
from bridge.json_text import Json, JsonObject
from bridge.run.run import Run
from bridge.run.transcript import read_input

PROMPT_CHARS = 200
"""How much of a prompt is shown."""


class Place(NamedTuple):
    """A run's place in a list that has the newest first: it is less than those of newer ones."""

    created: float
    run_id: str


@dataclass(frozen=True)
class Summary:
    """One run among others."""

    run_id: str
    principal: str | None
    created: float
    """Wall-clock time, in seconds since 1970."""
    ended: float | None
    """Wall-clock time; None while it goes on."""
    status: Status
    reason: str | None
    """Why it is incomplete or needs input; else None."""
    is_driven: bool
    """False for a run that has not ended, and that no process drives."""
    prompt: str
    """The first words of its input."""
    model: str | None
    turns: int
    calls: int
    tokens: int
    cost: float | None
    """In the unit of the config's `prices`; None without a price."""

    @property
    def place(self) -> Place:
        """Its place among others."""
        return Place(self.created, self.run_id)

    def to_json(self) -> JsonObject:
        """Return it for programs, times in seconds since 1970."""
        return {name: value for name, value in vars(self).items() if name != "principal"}


@dataclass
class Totals:
    """The sums that a summary shows, event by event."""

    turns: int = 0
    calls: int = 0
    tokens: int = 0
    cost: float | None = None

    def count(self, event: Event) -> None:
        """Count what an event tells."""
        match event:
            case TurnEnded():
                self.turns = max(self.turns, event.turn)
                self.tokens += event.tokens
                if event.cost is not None:
                    self.cost = (self.cost or 0.0) + event.cost
            case CallEnded():
                self.calls += 1
            case _:
                pass


def add_up(events: Sequence[Event]) -> Totals:
    """Count what all these events tell."""
    totals = Totals()
    for event in events:
        totals.count(event)
    return totals


class Outline:
    """The summary of a run that goes on here, kept up to date at the cost of what is new."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._first = summarise(run, is_driven=True)
        self._totals, self._count = add_up(run.events), len(run.events)

    def draw(self) -> Summary:
        """Draw it as it is now."""
        run = self._run
        if len(run.events) < self._count:  # it is read anew from its beginning
            self._totals, self._count = Totals(), 0
        for event in run.events[self._count :]:
            self._totals.count(event)
        self._count = len(run.events)
        return replace(
            self._first,
            ended=run.events[-1].at if run.ending and run.events else None,
            status=run.ending["status"] if run.ending else "in_progress",
            reason=run.ending["reason"] if run.ending else None,
            is_driven=run.ending is None,
            **vars(self._totals),
        )


def place(run: Run) -> Place:
    """Return the place of a run in a list."""
    return Place(run.created, run.run_id)


def summarise(run: Run, *, is_driven: bool) -> Summary:
    """Summarise a run whose events are at hand."""
    events, ending = run.events, run.ending
    last = events[-1].at if events else run.created
    return Summary(
        run.run_id,
        run.principal,
        created=run.created,
        ended=last if ending else None,
        status=ending["status"] if ending else "in_progress",
        reason=ending["reason"] if ending else None,
        is_driven=is_driven,
        prompt=read_prompt(run.arguments),
        model=str(run.arguments["model"]) if "model" in run.arguments else None,
        **vars(add_up(events)),
    )


def read_prompt(arguments: JsonObject) -> str:
    """Read the first words of what a run was asked: the text of the last message."""
    texts = [text for item in read_input(arguments.get("input")) for text in _find_texts(item)]
    return " ".join((texts[-1] if texts else "").split())[:PROMPT_CHARS]


def _find_texts(item: Json) -> list[str]:
    if not isinstance(item, dict):
        return []
    content = item.get("content")
    parts = content if isinstance(content, list) else [{"text": content}]
    return [part["text"] for part in parts if isinstance(part, dict) and isinstance(part.get("text"), str)]  # type: ignore[misc]
