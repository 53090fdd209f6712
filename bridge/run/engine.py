"""Who keeps runs, and what a run may do to the world, as Protocols.

An engine may remember steps and nothing else: so a run can be taken up again by another process.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol, TypeAlias, TypeVar

from bridge.events import Event
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question
from bridge.run.asking import Audience
from bridge.run.limits import Ending
from bridge.run.run import Run
from bridge.run.transcript import Transcript

T = TypeVar("T")
Intend: TypeAlias = Callable[[], Awaitable[None]]
"""Called when a request is about to be sent: from then on it may have been executed."""
Listener: TypeAlias = Callable[[Event], None]


class OutcomeUnknown(Exception):
    """Raised for a step that may be done once only, was about to be done by another process, and has no outcome."""


class ForeignResponse(Exception):
    """Raised for a response of a run that belongs to somebody else."""


class Context(Protocol):
    """One run as its own code sees it.

    The code is run again from its beginning when the run is taken up, and gets the outcomes of steps that are done.
    So everything that cannot be made again from the arguments, the config and those outcomes is a step.
    """

    @property
    def principal(self) -> str | None:
        """Who the run belongs to; None for the person at this terminal."""
        ...

    @property
    def run(self) -> Run:
        """What it has told so far."""
        ...

    @property
    def used_s(self) -> float:
        """Seconds that other processes have driven the run before. Time in which nobody did does not count."""
        ...

    async def step(self, key: str, fn: Callable[[], Awaitable[T]]) -> T:
        """Do `fn` under a key that is unique in the run, and return its outcome, which is JSON. What is an error is
        an outcome too. A step that was not finished is done again."""
        ...

    async def step_once(self, key: str, fn: Callable[[Intend], Awaitable[T]]) -> T:
        """Do `fn` as a step that is not done again once it has called what it is given; `fn` may have steps of its
        own. Raises OutcomeUnknown where that was called before, and there is no outcome."""
        ...

    def begin(self, transcript: Transcript) -> None:
        """Begin the conversation: every event from now on is added to it."""
        ...

    def emit(self, event: Event) -> None:
        """Tell what happened. Everything that is shown of a run is made from its events."""
        ...

    async def ask(self, question: Question) -> Answer:
        """Ask the person at the host; it takes as long as it takes."""
        ...


Execute: TypeAlias = Callable[[Context, JsonObject], Awaitable[Ending]]
"""Drives one run from checked arguments to its ending."""


@dataclass(frozen=True)
class Stop:
    """End the run."""


@dataclass(frozen=True)
class Show:
    """A question is before the person."""

    question: str
    seconds: float
    """How long they have to answer; another that is shown it may give more."""


@dataclass(frozen=True)
class Settle:
    """A question has its answer; the first one counts."""

    question: str
    answer: Answer


Message: TypeAlias = Stop | Show | Settle
"""What can be said to a run that goes on."""


def never() -> bool:
    """Of somebody who waits to the end."""
    return False


class Engine(Protocol):
    """Where runs live: apart from the calls that began them, and for a while after their end."""

    async def start(self, run_id: str, arguments: JsonObject, *, principal: str | None) -> Run:
        """Start a run of checked arguments; one that has this id already is returned as it is."""
        ...

    async def find(self, run_id: str, *, principal: str | None) -> Run | None:
        """Find a run of this principal; None for one that is unknown, expired or somebody else's."""
        ...

    async def find_lost(self, arguments: JsonObject, *, principal: str | None) -> Run | None:
        """Find the run of an earlier, equal call of this principal that was given up and got no result."""
        ...

    async def find_response(self, response_id: str, *, principal: str | None) -> Run | None:
        """Find the newest run of this principal that ended with this response. Raises ForeignResponse where only
        somebody else has one."""
        ...

    async def list(self, *, principal: str | None) -> list[Run]:
        """List the runs of this principal, the newest first."""
        ...

    async def wait(self, run: Run, *, news: int, until: float) -> Run:
        """Wait until the run has more news than that, or until an instant of the clock; returns what is known then."""
        ...

    async def send(self, run: Run, message: Message) -> None:
        """Say something to a run; one that has ended does not hear it."""
        ...

    async def note_delivery(self, run: Run, *, is_delivered: bool) -> None:
        """Note that a caller was given the result of a run, or was given up before it got it."""
        ...

    def attend(
        self,
        run: Run,
        listener: Listener | None = None,
        *,
        after: int = -1,
        audience: Audience | None = None,
        is_gone: Callable[[], bool] = never,
    ) -> AbstractContextManager[None]:
        """Wait for the run while entered. `listener` hears its events behind number `after` (-1 for all), and those
        of the moment; `audience` is asked the run's questions from now on; `is_gone` tells whether the one who waits
        was given up meanwhile."""
        ...

    def is_awaited(self, run: Run) -> bool:
        """Tell whether somebody waits for the run who was not given up."""
        ...
