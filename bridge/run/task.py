"""A run that goes on in this process: its context, the callers that wait for it, and its end."""

import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TypeVar

import anyio

from bridge.clock import Clock
from bridge.events import CutOff, Event, Notified, QuestionAsked, RunEnded
from bridge.items import ErrorInfo
from bridge.questions import Answer, Question, is_yes, leave_unasked
from bridge.run.asking import Audience, Questions
from bridge.run.engine import Caller, Execute, Intend, Listener, Message, Say, Settle, Show, Stop
from bridge.run.heirs import Heir
from bridge.run.limits import CANCELLED, Ending
from bridge.run.observers import Observer
from bridge.run.run import Interjection, Run
from bridge.run.stopwatch import Stopwatch
from bridge.run.transcript import Transcript
from bridge.visible import show_name

logger = logging.getLogger(__name__)

T = TypeVar("T")

PROGRAM = "mcp-responses-bridge"
NOT_KEPT = "limits.approval_s is only for runs that are kept in a file: see runs.store"

UNHEARD = Notified(
    code="unheard",
    message="A message came too late for a turn of this run and is not part of it. If its own call did not go on with "
    "it, call respond with the run_id of this run and say it again.",
)
INTERNAL_ERROR: ErrorInfo = {
    "code": "internal_error",
    "message": "The bridge itself failed; its log has the cause.",
    "who": "operator",
    "status": None,
    "request_id": None,
}


class RunTask:
    """One run that goes on, and its `Context`. It records no steps: a run that is kept in memory cannot be resumed."""

    is_taken_over = False
    observers: Sequence[Observer] = ()
    """Hear of this run beside its callers."""
    has_page = False
    """True where approvals can be given on a page of this process."""

    @property
    def used_s(self) -> float:
        """No other process has driven it."""
        return 0.0

    def __init__(self, run: Run, clock: Clock, *, on_parted: Callable[["RunTask"], None]) -> None:
        """`on_parted` is called when the last waiting caller has gone and the run goes on."""
        self.run = run
        self.joined = anyio.Event()
        """Set when a caller waits again, and when the run has ended."""
        self.has_place = False
        """True while it is one of the runs that may go on, and does not wait for that."""
        self._clock = clock
        self._on_parted = on_parted
        self.stopwatch = Stopwatch(clock)
        """Stands still while the run waits for an approval from elsewhere."""
        self._questions = Questions(
            clock,
            self.stopwatch,
            on_ask=self._note_question,
            on_left=self._note_left,
            on_settled=self._note_settled,
            asked=sum(isinstance(event, QuestionAsked) for event in run.events),
        )
        self._news = anyio.Event()
        self._scope = anyio.CancelScope()
        self._listeners: list[Listener] = []
        self._waiters: list[Caller] = []
        self._heirs: list[Heir] = []
        self._is_left_to_heirs = False
        """True once the run was to be stopped, had not somebody waited to take it over, who may yet go without it."""

    @property
    def principal(self) -> str | None:
        return self.run.principal

    @property
    def is_awaited(self) -> bool:
        """True while a caller waits whose host has not given it up, which the caller may notice later."""
        return any(not caller.is_gone() for caller in self._waiters)

    @property
    def is_wanted(self) -> bool:
        """True while it is awaited, or somebody waits to take it over, who was not given up."""
        return self.is_awaited or any(not heir.caller.is_gone() for heir in self._heirs)

    @property
    def is_left(self) -> bool:
        """No other process can go on with it."""
        return False

    async def step(self, key: str, fn: Callable[[], Awaitable[T]]) -> T:  # noqa: ARG002
        """Call `fn` and record nothing."""
        return await fn()

    async def step_once(self, key: str, fn: Callable[[Intend], Awaitable[T]], *, is_harmless: bool = False) -> T:  # noqa: ARG002
        """Call `fn` as any other step; the intent that it notes is not kept."""
        return await self.step(key, partial(fn, _intend))

    def begin(self, transcript: Transcript) -> None:
        """Begin the conversation."""
        self.run.transcript = transcript

    def emit(self, event: Event) -> None:
        """Keep an event, and pass it to the listeners."""
        kept = self.run.add(event, self._clock.time())
        for listener in list(self._listeners):
            if not tell(self.run, listener, [kept]):
                self._listeners.remove(listener)
        for observer in self.observers:
            guard(self.run, partial(observer.hear, self.run, kept))

    @property
    def is_reachable(self) -> bool:
        """Tell whether other processes can answer a question of the run."""
        return False

    def _say_where(self, key: str) -> str:
        """Say where an approval can be given that no host can get."""
        terminal = f"at a terminal: {PROGRAM} runs approve {self.run.run_id} {key} (or: runs deny)"
        if self.has_page:
            return "on the page of this service" + (f", or {terminal}" if self.is_reachable else "")
        return terminal

    async def ask(self, question: Question, *, approval_s: float | None = None) -> Answer:
        """Ask the person at the host. The run waits for the answer; a caller that waits for the run need not."""
        if approval_s is None or self.is_reachable or self.has_page:
            return await self._questions.ask(question, approval_s)
        answer = await self._questions.ask(question)
        is_left = question.is_approval and answer["action"] == "unasked"
        return leave_unasked(f"{answer['reason']} ({NOT_KEPT})") if is_left else answer

    def has_outcome(self, key: str) -> bool:  # noqa: ARG002
        """Tell whether the outcome of a step is recorded: none is here."""
        return False

    async def hear(self, turn: int) -> list[Interjection]:
        """Take what was said before a turn; where that was nothing, there is no step."""
        key = f"said:{turn}"
        is_new = bool(self.run.inbox) and not self.has_outcome(f"turn:{turn}")
        if not (is_new or self.has_outcome(key)):
            return []
        heard = await self.step(key, self._list_said)
        ids = {one["message_id"] for one in heard}
        self.run.inbox = [one for one in self.run.inbox if one["message_id"] not in ids]
        return heard

    async def _list_said(self) -> list[Interjection]:
        return list(self.run.inbox)

    def receive(self, message: Message) -> None:
        """Handle a message to the run."""
        match message:
            case Stop():
                self.run.is_stopped = True
                self._scope.cancel()
            case Show(key, seconds, audience):
                self._questions.show(key, seconds, audience)
            case Settle(key, answer, sender):
                self._questions.settle(key, answer, sender)
            case Say(interjection) if not self.run.knows(interjection["message_id"]):
                self.run.inbox.append(interjection)
            case Say():
                pass

    async def wait(self, news: int, until: float) -> None:
        """Wait until there is more news than `news`, or until the instant `until` of the clock."""
        while self.run.news <= news and self.run.ending is None and self._clock.now() < until:
            with self._clock.scope(until):
                await self._news.wait()

    @contextmanager
    def attend(
        self, listener: Listener | None, after: int, audience: Audience | None, caller: Caller
    ) -> Generator[None]:
        """Count `caller` as waiting while entered, and pass events to `listener`."""
        asking = self._questions.attend(audience) if audience else nullcontext()
        if listener and tell(self.run, listener, self.run.events[after + 1 :]):
            self._listeners.append(listener)
        self._waiters.append(caller)
        self._is_left_to_heirs = False
        self.joined.set()
        try:
            with asking:
                yield
        finally:
            self._waiters.remove(caller)
            self.note_departure()
            if listener in self._listeners:
                self._listeners.remove(listener)
            if self.run.ending is None and not self._waiters:
                self.joined = anyio.Event()
                self._on_parted(self)

    def is_awaited_from(self, origin: str) -> bool:
        """Tell whether a caller of this origin waits who was not given up."""
        return any(caller.origin == origin and not caller.is_gone() for caller in self._waiters)

    def is_awaited_for(self, message_id: str, origin: str | None = None) -> bool:
        """Tell whether a caller that has brought this interjection waits, of this origin or any, and was not given
        up."""
        return any(
            caller.message_id == message_id and origin in (None, caller.origin) and not caller.is_gone()
            for caller in self._waiters
        )

    def note_departure(self) -> None:
        """Note that a caller has gone, or was given up: whoever waits to take the run over looks again."""
        for heir in self._heirs:
            heir.wake()

    def give_up(self) -> None:
        """Stop, unless somebody waits; who only waits to take the run over has to do that."""
        if self.is_wanted:
            self._is_left_to_heirs = not self.is_awaited
            self.note_departure()
        else:
            self.receive(Stop())

    def yield_place(self, message: str) -> None:
        """Stop for the sake of others. An equal call gets what there is by then: nothing is done twice for that."""
        self.emit(Notified(code="yielded", message=message))
        self._scope.cancel()

    def admit(self, heir: Heir) -> None:
        """Count the heir as waiting to take the run over."""
        self._heirs.append(heir)

    def dismiss(self, heir: Heir) -> None:
        """Count the heir no more. Stop if the run was left to it, and it goes without."""
        self._heirs.remove(heir)
        if heir.taken is self.run:
            self._is_left_to_heirs = False
        elif self._is_left_to_heirs and self.run.ending is None and not self.is_wanted:
            self.receive(Stop())

    async def execute(self, body: Execute) -> None:
        """Drive the run to its ending by `body`. Raises nothing but the cancellation of the task."""
        ending = CANCELLED
        try:
            with self._scope:
                ending = await body(self, self.run.arguments)
        except Exception:
            logger.exception("run %s broke", self.run.run_id)
            ending = Ending(status="failed", reason=None, error=INTERNAL_ERROR)
        finally:
            self._end(ending)

    def _end(self, ending: Ending) -> None:
        self.run.ending = ending
        if self.run.saying:
            self.emit(CutOff(text="".join(self.run.saying)))
        if self.run.inbox:
            self.emit(UNHEARD)
        self.emit(RunEnded(status=ending["status"], reason=ending["reason"], error=ending["error"]))
        self.joined.set()
        self.note_departure()
        self._wake()

    def _note_question(self, key: str, question: Question) -> None:
        self.run.questions[key] = question
        self.emit(QuestionAsked(question=key, server=question.server, message=question.message))
        self._wake()

    def _note_left(self, key: str, question: Question, why: str, seconds: float) -> None:
        message = (
            f"{show_name(question.tool)} of {show_name(question.server)} needs the user's approval, and {why}. Within "
            f"{seconds:g} s (limits.approval_s) they can give it {self._say_where(key)}"
        )
        self.emit(Notified(code="waits_for_approval", message=message))

    def _note_settled(self, key: str, answer: Answer | None, sender: str) -> None:
        if answer:
            self.run.decisions[key] = is_yes(answer)
        if self.run.questions.pop(key, None):
            for observer in self.observers:
                guard(self.run, partial(observer.settle, self.run, key, answer, sender))
            self._wake()

    def _wake(self) -> None:
        self.run.news += 1
        self._news.set()
        self._news = anyio.Event()


def tell(run: Run, listener: Listener, events: Iterable[Event]) -> bool:
    """Pass events of a run to a listener. Returns False if it broke: it must not be called again."""
    try:
        for event in events:
            listener(event)
    except Exception:
        logger.exception("run %s: a listener broke and hears no more", run.run_id)
        return False
    return True


def guard(run: Run, do: Callable[[], None]) -> None:
    """Let an observer hear of a run. What breaks it is logged, and it hears the next all the same."""
    try:
        do()
    except Exception:
        logger.exception("run %s: an observer broke", run.run_id)


async def _intend() -> None:
    """Note nothing: nobody would look for the intent."""
