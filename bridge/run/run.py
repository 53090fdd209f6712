"""One run as plain data: its arguments, everything it has told, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypedDict

from bridge.events import CutOff, Event, Kept, Retrying, Said, TextArrived, TurnEnded, TurnStarted, stamp
from bridge.json_text import JsonObject
from bridge.questions import Question
from bridge.run.limits import Ending
from bridge.run.transcript import Transcript

MAX_PIECES = 4096
"""Pieces of streamed text: so many are joined, as each takes fifty bytes beside its characters."""


class Interjection(TypedDict):
    """What somebody says to a run that goes on."""

    message_id: str
    items: list[JsonObject]


@dataclass(eq=False)
class Run:
    """The stored state of a run. The task that drives it is a `RunTask`."""

    run_id: str
    principal: str | None
    """The principal it belongs to; nobody else can see it. None for the person at this terminal."""
    arguments: JsonObject
    """The checked arguments of `respond`."""
    events: list[Kept] = field(default_factory=list)
    """Every event that is kept, numbered by `seq`."""
    transcript: Transcript | None = None
    """Its conversation; None until the first item is known."""
    ending: Ending | None = None
    """None while it goes on."""
    questions: dict[str, Question] = field(default_factory=dict)
    """The questions that wait for an answer, by id."""
    news: int = 0
    """Counts the questions, the answers to them, and the end: it has grown when a caller that waits must look again."""
    is_stopped: bool = False
    """True once somebody has stopped it."""
    saying: list[str] = field(default_factory=list)
    """The text of the current turn so far, in the pieces that arrived."""
    created: float = 0.0
    """When it was begun, by the wall clock."""
    inbox: list[Interjection] = field(default_factory=list)
    """What was said to it and is not before a turn yet."""
    answered: set[str] = field(default_factory=set)
    """Ids of the interjections whose calls were answered, be it with `in_progress`, and not given up since."""

    @property
    def response_id(self) -> str | None:
        """The id of its last response; None before the first, or where the upstream gave none."""
        ended = (event for event in reversed(self.events) if isinstance(event, TurnEnded))
        last = next(ended, None)
        return last.response_id if last else None

    def knows(self, message_id: str) -> bool:
        """Tell whether this was said to it."""
        return self.has_heard(message_id) or any(one["message_id"] == message_id for one in self.inbox)

    def has_heard(self, message_id: str) -> bool:
        """Tell whether this was said to it, and put before a turn."""
        return any(isinstance(event, Said) and event.message_id == message_id for event in self.events)

    @property
    def told(self) -> Sequence[Kept]:
        """Its events, then the text so far of a turn that has not ended."""
        return [*self.events, CutOff(text="".join(self.saying))] if self.saying else self.events

    def add(self, event: Event, at: float) -> Event:
        """Add an event that happened at this wall-clock time.

        Returns it with its time and, where it is kept, its number.
        """
        match event:
            case TextArrived():
                self.saying.append(event.delta)
                if len(self.saying) > MAX_PIECES:
                    self.saying[:] = ["".join(self.saying)]
            case TurnStarted() | Retrying() | TurnEnded() | CutOff():
                self.saying.clear()
            case _:
                pass
        if not isinstance(event, Kept):
            return replace(event, at=at)
        kept = stamp(event, seq=len(self.events), at=at)
        self.events.append(kept)
        if self.transcript:
            self.transcript.add(kept)
        return kept
