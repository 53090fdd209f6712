"""One run as plain data: what it was asked, everything it has told, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.events import CutOff, Event, Kept, Retrying, TextArrived, TurnEnded, TurnStarted, stamp
from bridge.json_text import JsonObject
from bridge.questions import Question
from bridge.run.limits import Ending
from bridge.run.transcript import Transcript


@dataclass(eq=False)
class Run:
    """What is stored of a run. The task that drives it is a `RunTask`."""

    run_id: str
    principal: str | None
    """Who it belongs to; nobody else gets to see it. None for the person at this terminal."""
    arguments: JsonObject
    """Those of `respond`, checked."""
    events: list[Kept] = field(default_factory=list)
    """Everything it has told, numbered by `seq`."""
    transcript: Transcript | None = None
    """Its conversation, from the moment on that its first item is known."""
    ending: Ending | None = None
    """None while it goes on."""
    questions: dict[str, Question] = field(default_factory=dict)
    """Those that wait for an answer, by their ids."""
    news: int = 0
    """Grows with every question, with every answer to one, and with the end."""
    is_delivered: bool = False
    """True once a caller was given its result."""
    is_stopped: bool = False
    """True once somebody has ended it."""
    saying: list[str] = field(default_factory=list)
    """The text of the turn that goes on, in the pieces that it came in."""

    @property
    def response_id(self) -> str | None:
        """The id of its last response."""
        ended = (event for event in reversed(self.events) if isinstance(event, TurnEnded))
        last = next(ended, None)
        return last.response_id if last else None

    @property
    def told(self) -> Sequence[Kept]:
        """Its events, and what the model is saying in a turn that has not ended."""
        return [*self.events, CutOff(text="".join(self.saying))] if self.saying else self.events

    def add(self, event: Event, at: float) -> Event:
        """Take in an event that happened at this wall-clock time; returns it as it is kept."""
        match event:
            case TextArrived():
                self.saying.append(event.delta)
            case TurnStarted() | Retrying() | TurnEnded() | CutOff():
                self.saying.clear()
            case _:
                pass
        if not isinstance(event, Kept):
            return event
        kept = stamp(event, seq=len(self.events), at=at)
        self.events.append(kept)
        if self.transcript:
            self.transcript.add(kept)
        return kept
