"""What is written of a run, and read again: JSON texts that hold no secret."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from bridge.events import CallEnded, CallStarted, Event, Kept, Notified, TurnEnded, TurnStarted, read_event, write_event
from bridge.json_text import Json, JsonObject
from bridge.run.run import Run
from bridge.run.transcript import read_transcript

CLAIM = ":claim"
"""Ends the name of the step that notes an intent."""
INPUT = "input"
"""The step whose outcome is what the conversation begins with."""


def keep(text: str) -> str:
    """Leave a text as it is."""
    return text


@dataclass(frozen=True)
class Paper:
    """How everything is written and read: as JSON, with a marker in place of each secret."""

    seal: Callable[[str], str] = keep
    unseal: Callable[[str], str] = keep

    def write(self, value: Any) -> str:
        """Write a value, in ASCII: PostgreSQL takes no half of an emoji."""
        return self.seal(json.dumps(value))

    def read(self, text: str) -> Any:
        """Read what `write` has written."""
        return json.loads(self.unseal(text))


def digest(value: Json) -> str:
    """Return what equal values share, and nobody can read them from."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


@dataclass
class Past:
    """What other processes have done of a run."""

    outcomes: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of each finished step, by its key."""
    errors: dict[str, Exception] = field(default_factory=dict[str, Exception])
    claims: set[str] = field(default_factory=set[str])
    """Keys of the calls that were about to be sent."""
    last: int = 0
    """The highest number that DBOS has given a step."""
    told: list[Kept] = field(default_factory=list[Kept])
    """The events that are told again on the way to where the run was cut off."""
    used_s: float = 0.0

    def recognise(self, event: Event) -> Kept | None:
        """Return the event that was told before in place of this one, once; None for what is new."""
        told = next((old for old in self.told if _is_same(old, event)), None)
        if told:
            self.told.remove(told)
        return told


def _is_same(old: Kept, new: Event) -> bool:
    return type(old) is type(new) and _identify(old) == _identify(new)


def _identify(event: Event) -> Any:
    """Return what an event and its repeat have in common: all but when it was, and how long it took."""
    match event:
        case TurnStarted() | TurnEnded():
            return event.turn, getattr(event, "response_id", "")
        case CallStarted() | CallEnded():
            return event.turn, event.index
        case Notified():
            return event.code, event.message
        case _:
            return {name: value for name, value in vars(event).items() if name not in ("at", "seq")}


def write_batch(events: Iterable[Kept], used_s: float) -> JsonObject:
    """Write events that are told together, and for how long the run was driven by then."""
    return {"events": [write_event(event) for event in events], "used_s": used_s}


def read_batch(batch: JsonObject) -> list[Kept]:
    """Read the events of a batch."""
    return [cast("Kept", read_event(event)) for event in cast("list[JsonObject]", batch["events"])]


def rebuild_transcript(run: Run, outcomes: dict[str, Any]) -> None:
    """Give a run that has ended its conversation back: what it began with, and what it told."""
    begun = outcomes.get(INPUT)
    if isinstance(begun, dict) and "transcript" in begun:
        transcript = read_transcript(begun["transcript"])
        for event in run.events:
            transcript.add(event)
        run.transcript = transcript


def read_past(steps: Sequence[Any], paper: Paper) -> Past:
    """Read the steps that DBOS has recorded of a run; those of its own have names of their own."""
    past = Past(last=max((step["function_id"] for step in steps), default=0))
    for step in steps:
        name, output, error = step["function_name"], step["output"], step["error"]
        if name.startswith("DBOS."):
            continue
        if error is not None:
            past.errors[name] = error
        elif name.endswith(CLAIM):
            past.claims.add(name.removesuffix(CLAIM))
        else:
            past.outcomes[name] = paper.read(output)
    return past
