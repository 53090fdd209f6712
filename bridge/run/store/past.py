"""What is written of a run: all that another process needs to take it up."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.events import (
    AnswerParsed,
    CallEnded,
    CallStarted,
    Event,
    Kept,
    Notified,
    Retrying,
    Said,
    TurnEnded,
    TurnStarted,
)
from bridge.json_text import Json


@dataclass
class Past:
    """What the processes before this one have done of a run."""

    outcomes: dict[str, Json] = field(default_factory=dict[str, Json])
    """Outcome of each finished step, by its key."""
    intents: set[str] = field(default_factory=set[str])
    """Keys of the steps that were about to be sent, and may have been."""
    used_s: float = 0.0
    """Seconds for which they have driven it."""
    told: "Told" = field(default_factory=lambda: Told(()))


class Told:
    """The events that were told before. Who takes a run up tells them again on its way to where it was cut off."""

    def __init__(self, events: Iterable[Kept]) -> None:
        self._events: dict[tuple[object, ...], list[Kept]] = {}
        for event in events:
            if key := _identify(event):
                self._events.setdefault(key, []).append(event)

    def recognise(self, event: Event) -> Kept | None:
        """Return the event that was told before in place of this one, once; None for what is new."""
        key = _identify(event)
        known = self._events.get(key) if key else None
        return known.pop(0) if known else None


def _identify(event: Event) -> tuple[object, ...] | None:
    """Return what an event and its repeat have in common; None where a repeat is an event of its own."""
    match event:
        case TurnStarted():
            return event.type, event.turn
        case TurnEnded():
            return event.type, event.turn, event.response_id
        case CallStarted() | CallEnded():
            return event.type, event.turn, event.index
        case Said():
            return event.type, event.message_id
        case Notified():
            return event.type, event.code, event.message
        case Retrying():
            return event.type, event.reason, event.pause_s
        case AnswerParsed():
            return (event.type,)
        case _:
            return None
