"""Protocols: the engine that keeps runs, and the context that a run works in.

An engine need not remember anything but steps. That is enough for another process to resume a run.
"""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

from bridge.events import Event
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question
from bridge.run.asking import Audience
from bridge.run.limits import Ending
from bridge.run.run import Interjection, Run
from bridge.run.stopwatch import Stopwatch
from bridge.run.transcript import Transcript

if TYPE_CHECKING:
    from bridge.run.observers import Observer
    from bridge.run.summary import Place, Summary

T = TypeVar("T")
Intend: TypeAlias = Callable[[], Awaitable[None]]
"""Notes that a request is about to be sent: from then on it may have been executed."""
Listener: TypeAlias = Callable[[Event], None]

UNPROVEN = "somebody "
"""How a principal begins that others might pass for. It finds a run only by the id that we gave it, which nobody can
guess; ids of responses are the upstream's, and some relays count."""

NAMED = "principal "
"""How a principal begins that has a name in the config; the name follows."""


def is_unproven(principal: str | None) -> bool:
    """Tell whether others might pass for this principal."""
    return principal is not None and principal.startswith(UNPROVEN)


class OutcomeUnknown(Exception):
    """Raised for a step that must not be repeated, was begun by another process, and has no outcome."""


class ForeignResponse(Exception):
    """Raised for a response that only runs of other principals ended with, and for all where who asks is unproven."""


class Context(Protocol):
    """One run, as seen by the code that drives it.

    To resume a run, an engine runs that code again from the beginning and returns the recorded outcome of every step
    that was done. So everything that does not follow from the arguments, the config and earlier outcomes is a step.
    """

    @property
    def principal(self) -> str | None:
        """Principal that the run belongs to; None for the person at this terminal."""
        ...

    @property
    def run(self) -> Run:
        """Plain data of the run, with its events so far."""
        ...

    @property
    def used_s(self) -> float:
        """Seconds for which other processes have driven the run. Time in between does not count."""
        ...

    @property
    def stopwatch(self) -> Stopwatch:
        """The time that this process has driven the run, without that for which it waits for a person."""
        ...

    @property
    def is_taken_over(self) -> bool:
        """True where another process has driven the run before."""
        ...

    @property
    def is_left(self) -> bool:
        """True once this process ends, and another one is to go on with the run."""
        ...

    async def step(self, key: str, fn: Callable[[], Awaitable[T]]) -> T:
        """Do `fn` under a key that is unique in the run, and return its outcome, which is JSON. Errors are outcomes,
        too. A step that was not finished is done again."""
        ...

    async def step_once(self, key: str, fn: Callable[[Intend], Awaitable[T]], *, is_harmless: bool = False) -> T:
        """Do `fn` as a step that is not done again once it has noted its intent. Raises OutcomeUnknown where an intent
        was noted before, and there is no outcome. Where it is harmless to do it twice, the note is not waited for."""
        ...

    def begin(self, transcript: Transcript) -> None:
        """Begin the conversation: events are added to it from now on."""
        ...

    def emit(self, event: Event) -> None:
        """Tell what happened. Everything shown of a run is made from its events."""
        ...

    async def ask(self, question: Question, *, approval_s: float | None = None) -> Answer:
        """Ask the person at the host, and wait for the answer. An approval that cannot be had there is waited for from
        elsewhere, for `approval_s` seconds."""
        ...

    async def hear(self, turn: int) -> list[Interjection]:
        """Take what was said to the run and comes before this turn: the outcome of the step `said:TURN`, which is
        there only where something was said. A turn that was asked for without it stays without it."""
        ...


Execute: TypeAlias = Callable[[Context, JsonObject], Awaitable[Ending]]
"""Drives one run from checked arguments to its ending."""


@dataclass(frozen=True)
class Stop:
    """End the run."""


@dataclass(frozen=True)
class Show:
    """A question is being shown to the person."""

    question: str
    seconds: float
    """How long they have to answer. Another host that shows the question may extend it."""
    audience: Audience
    """The host that shows it."""


@dataclass(frozen=True)
class Settle:
    """A question is answered. The first answer counts."""

    question: str
    answer: Answer
    sender: str = ""
    """Tells the answer of one sender from those of others; empty for a host's."""


@dataclass(frozen=True)
class Say:
    """Something is said to the run, to be put before its next turn. Said again, it is the same."""

    interjection: Interjection


Message: TypeAlias = Stop | Show | Settle | Say
"""Messages to a run that goes on."""


def _never() -> bool:
    return False


@dataclass(frozen=True, eq=False)
class Caller:
    """One call that waits for a run, or is about to."""

    origin: str | None = None
    """Where the call comes from, if its repeat may come before it is known that it was given up. A call and its repeat
    have the same origin."""
    is_gone: Callable[[], bool] = _never
    """Tells whether the call was given up meanwhile."""
    message_id: str | None = None
    """The interjection that it has brought."""


SOMEBODY = Caller()
"""A caller who waits to the end."""


class Engine(Protocol):
    """Keeps runs, apart from the calls that began them, and for a while after their end."""

    @property
    def outlives(self) -> bool:
        """True where runs go on in another process after the end of this one."""
        ...

    @property
    def unreadable(self) -> str | None:
        """Why runs that are kept cannot be found any more; None while they can."""
        ...

    async def start(self, run_id: str, arguments: JsonObject, *, principal: str | None) -> Run:
        """Start a run of checked arguments. Returns the existing run if the id is taken."""
        ...

    async def find(self, run_id: str, *, principal: str | None) -> Run | None:
        """Find a run of this principal; None for one that is unknown, expired or somebody else's."""
        ...

    async def find_lost(self, arguments: JsonObject, *, principal: str | None, caller: Caller = SOMEBODY) -> Run | None:
        """Find the run of an earlier, equal call of this principal that was given up and got no result. One of the same
        origin that seems to wait may have been given up a moment ago: wait that moment for it to go. Raises GivenUp
        where `caller` goes meanwhile, and there is no such run."""
        ...

    async def find_response(self, response_id: str, *, principal: str | None) -> Run | None:
        """Find the newest run of this principal that ended with this response. Raises ForeignResponse where only
        somebody else has one, or anybody and the principal is unproven."""
        ...

    async def list(self, *, principal: str | None) -> list[Run]:
        """List the runs of this principal that are in memory, the newest first."""
        ...

    async def list_recent(self, *, principal: str | None, limit: int) -> "Sequence[Summary]":
        """Summarise the newest runs of this principal."""
        ...

    async def list_page(self, *, whose: str | None, before: "Place | None", limit: int) -> "Sequence[Summary]":
        """Summarise the newest runs behind that place, of this principal or, where it is None, of everybody."""
        ...

    async def look_up(self, run_id: str) -> "tuple[Run, Summary] | None":
        """Look a run up, whoever's it is, for somebody who decides who may see it; nothing is taken up for that."""
        ...

    def note_page(self) -> None:
        """Note that approvals can be given on a page of this process: runs that begin from now on wait for them."""
        ...

    def observe(self, observer: "Observer") -> None:
        """Let one more observer hear of every run that this process drives, also of those that go on."""
        ...

    def ignore(self, observer: "Observer") -> None:
        """Let an observer that was added hear no more."""
        ...

    async def resume(self, run: Run) -> Run:
        """Take the run up if it has not ended and nobody drives it; else return it as it is."""
        ...

    async def wait(self, run: Run, *, news: int, until: float) -> Run:
        """Wait until the run has more news than that, or until an instant of the clock; returns what is known then."""
        ...

    async def send(self, run: Run, message: Message) -> None:
        """Say something to a run; one that has ended does not hear it."""
        ...

    async def find_said(self, run: Run, name: str, *, caller: Caller = SOMEBODY) -> str | None:
        """Find the id of an interjection of this name whose call was given up and got no result, as `find_lost` finds
        a run. What was never put before a turn is not found once the run has ended."""
        ...

    async def note_answer(self, run: Run, message_id: str, *, is_answered: bool) -> None:
        """Note that a call that brought an interjection was answered, be it with `in_progress`, or was given up."""
        ...

    async def note_delivery(self, run: Run, *, is_delivered: bool) -> None:
        """Note that a caller was given the result of a run, or was given up before it got it."""
        ...

    async def give_up(self, run: Run) -> None:
        """Stop the run, unless somebody waits for it who was not given up, or waits to take it over. Who goes without
        having taken it over leaves it stopped."""
        ...

    def attend(
        self,
        run: Run,
        listener: Listener | None = None,
        *,
        after: int = -1,
        audience: Audience | None = None,
        caller: Caller = SOMEBODY,
    ) -> AbstractContextManager[None]:
        """Wait for the run while entered, as `caller`. `listener` hears its events behind number `after` (-1 for all),
        and those of the moment; `audience` is asked the run's questions, as are others who wait."""
        ...
