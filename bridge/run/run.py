"""One run: everything it has told, who waits for it, and how it ended; also its Context."""

import logging
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import anyio

from bridge.clock import Clock
from bridge.items import ErrorInfo
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question
from bridge.run.asking import Questions
from bridge.run.limits import Ending

logger = logging.getLogger(__name__)

T = TypeVar("T")
Listener: TypeAlias = Callable[[JsonObject], None]

PASSING = ("text", "call.progress")
"""Events of the moment: told to those who listen, and kept for nobody."""


@dataclass(eq=False)
class Run:
    """One run, from its start until it is forgotten."""

    run_id: str
    owner: str | None
    """The principal it belongs to; nobody else gets to see it."""
    arguments: JsonObject
    """Those of `respond`, checked."""
    clock: Clock = field(default_factory=Clock)
    on_parted: Callable[["Run"], None] = lambda _: None
    """Called when the last one who waited for it has gone and it still runs."""
    events: list[JsonObject] = field(default_factory=list)
    """Numbered by `seq`, without those of the moment."""
    ending: Ending | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)
    waiters: list[Callable[[], bool]] = field(default_factory=list)
    """Of each call that waits for it now, whether its host has given it up: it may not have heard of that yet."""
    joined: anyio.Event = field(default_factory=anyio.Event)
    """Set when somebody waits again, or nobody has to: it has ended."""
    news: anyio.Event = field(default_factory=anyio.Event)
    """Set when there is a question, or the run has ended."""
    is_delivered: bool = False
    """Whether a caller was given its result."""
    is_stopped: bool = False
    """Whether somebody has ended it."""
    _saying: list[str] = field(default_factory=list)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _listeners: list[Listener] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.questions = Questions(self.clock, self._note_question)

    @property
    def response_id(self) -> str | None:
        """The id of its last response."""
        ids = (event["response_id"] for event in reversed(self.events) if event["type"] == "turn.ended")
        found = next(ids, None)
        return found if isinstance(found, str) else None

    async def step(self, key: str, fn: Callable[[], Awaitable[T]], *, once: bool = False) -> T:  # noqa: ARG002
        """Nothing is remembered here: the process that would resume is the one that has ended."""
        return await fn()

    async def ask(self, question: Question) -> Answer:
        """Ask the person at the host; the run waits for the answer, a call that waits for the run need not."""
        return await self.questions.ask(question)

    @property
    def told(self) -> list[JsonObject]:
        """All that is known of it: its events, and what the model is saying in a turn that has not ended."""
        said = "".join(self._saying)
        return [*self.events, {"type": "cut_off", "text": said}] if said else self.events

    def emit(self, event: JsonObject) -> None:
        """Record an event and tell the listeners."""
        if event["type"] not in PASSING:
            self.events.append({"seq": len(self.events)} | event)
        if event["type"] == "text":
            self._saying.append(str(event["delta"]))
        elif event["type"] in ("turn.started", "retry", "turn.ended", "cut_off"):
            self._saying.clear()
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                logger.exception("run %s: a listener broke and hears no more", self.run_id)
                self._listeners.remove(listener)

    def listen(self, listener: Listener) -> None:
        """Call `listener` for every event from now on; it must not block."""
        self._listeners.append(listener)

    @property
    def is_awaited(self) -> bool:
        """Whether somebody waits for it who has not been given up."""
        return any(not is_gone() for is_gone in self.waiters)

    @contextmanager
    def attend(self, listener: Listener, is_gone: Callable[[], bool]) -> Generator[None]:
        """Somebody waits for the run, and hears its events meanwhile."""
        self._listeners.append(listener)
        self.waiters.append(is_gone)
        self.joined.set()
        try:
            yield
        finally:
            self.waiters.remove(is_gone)
            if listener in self._listeners:
                self._listeners.remove(listener)
            if self.ending is None and not self.waiters:
                self.joined = anyio.Event()
                self.on_parted(self)

    def cancel(self) -> None:
        """Stop the run: its upstream request and its running calls end with it."""
        self.is_stopped = True
        self._scope.cancel()

    async def execute(self, body: Callable[[], Awaitable[Ending]]) -> None:
        """Run `body` to the run's ending, once; never raises but for the cancellation of the task."""
        ending: Ending = {"status": "cancelled", "reason": None, "error": None}
        try:
            with self._scope:
                ending = await body()
        except Exception:
            logger.exception("run %s broke", self.run_id)
            ending = {"status": "failed", "reason": None, "error": INTERNAL_ERROR}
        finally:
            self.ending = ending
            if self._saying:
                self.emit({"type": "cut_off", "text": "".join(self._saying)})
            self.emit({"type": "run.ended", "status": ending["status"]})
            self.ended.set()
            self.joined.set()
            self._wake()

    def _note_question(self, question: Question) -> None:
        self.emit({"type": "question", "server": question.server, "message": question.message})
        self._wake()

    def _wake(self) -> None:
        self.news.set()
        self.news = anyio.Event()


INTERNAL_ERROR: ErrorInfo = {
    "code": "internal_error",
    "message": "The bridge itself failed; its log has the cause.",
    "who": "operator",
    "status": None,
    "request_id": None,
}
