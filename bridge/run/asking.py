"""The questions of one run: each waits until a host has shown it, and then a limited time for its answer."""

from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from bridge.clock import Clock
from bridge.questions import MOOT, UNANSWERED, Answer, Question, is_yes, leave_unasked
from bridge.run.stopwatch import Stopwatch

SILENT_S = 600.0
"""How long a host that left a question unanswered is not asked another of its kind, unless somebody answers there."""
NOBODY = "nobody can be asked here"
SILENCE = (
    f"{UNANSWERED}; this host is not asked again for ten minutes, unless somebody answers another question there, "
    "because some hosts never show one"
)
ELSEWHERE: Answer = {"action": "elsewhere", "content": {}, "reason": ""}
MAX_QUESTIONS = 50
"""For one run: a server can ask as often as it likes, a person will not answer as often."""


class Audience(Protocol):
    """A host, as somebody who shows questions to a person."""

    def find_obstacle(self, question: Question) -> str | None:
        """Say why the person cannot be asked this, as the end of a sentence; None where they can."""
        ...

    def note_silence(self, question: Question) -> bool:
        """Note that this host was given the question, and nobody answered; return whether it is held against it."""
        ...


@dataclass(eq=False)
class _Pending:
    """A question that waits for its answer."""

    question: Question
    is_patient: bool
    """True if it may also be answered where no host shows it."""
    deadline: float = 0.0
    answer: Answer | None = None
    sender: str = ""
    """Who gave the answer."""
    failure: Answer | None = None
    """Why the host that was to show it could not."""
    shown_by: Audience | None = None
    """The host that showed it last: nobody else is blamed if it stays unanswered."""
    shown: anyio.Event = field(default_factory=anyio.Event)
    settled: anyio.Event = field(default_factory=anyio.Event)

    def hide(self) -> None:
        """Wait for another host to show it, or for an answer from elsewhere."""
        self.shown, self.settled = anyio.Event(), anyio.Event()
        self.shown_by = self.failure = None


@dataclass(eq=False)
class _Shared:
    """A question that is being asked, for whoever waits for it too."""

    answer: Answer | None = None
    settled: anyio.Event = field(default_factory=anyio.Event)


class SharedQuestions:
    """Questions that do for several calls of a run: the first asks, and those that come meanwhile wait for its answer.

    A no is one to all of them; after a yes each looks again whether it still needs one.
    """

    def __init__(self) -> None:
        self._open: dict[str, _Shared] = {}

    async def ask(self, about: str, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask, or wait for the call that does."""
        if shared := self._open.get(about):
            await shared.settled.wait()
            return ELSEWHERE if shared.answer is None or is_yes(shared.answer) else shared.answer
        shared = self._open[about] = _Shared()
        try:
            shared.answer = await ask()
            return shared.answer
        finally:
            del self._open[about]
            shared.settled.set()


class Questions:
    """The questions that a run has for the person."""

    def __init__(
        self,
        clock: Clock,
        stopwatch: Stopwatch,
        *,
        on_ask: Callable[[str, Question], None],
        on_left: Callable[[str, Question, str, float], None],
        on_settled: Callable[[str, Answer | None, str], None],
        asked: int = 0,
    ) -> None:
        """`on_left`: called for an approval that no host can get, with the reason, and the seconds for which it is
        waited for all the same. `on_settled`: called with the answer, and who gave it; None where nobody did.
        `asked`: so many questions were asked before; no later one has the id of one of them."""
        self._attending: list[Audience] = []
        """The hosts whose calls wait for the run."""
        self._last: Audience | None = None
        """The host that came last: it is asked while nobody waits."""
        self._clock = clock
        self._stopwatch = stopwatch
        self._on_ask = on_ask
        self._on_left = on_left
        self._on_settled = on_settled
        self._pending: dict[str, _Pending] = {}
        self._count = asked

    @contextmanager
    def attend(self, audience: Audience) -> Generator[None]:
        """Ask this host, too, while entered. Settle the open questions that nobody here can ask with the reason."""
        self._last = audience
        self._attending.append(audience)
        for key, pending in list(self._pending.items()):
            if not pending.is_patient and (why_not := self._find_obstacle(pending.question, pending.shown_by)):
                self.settle(key, leave_unasked(why_not))
        try:
            yield
        finally:
            self._attending.remove(audience)

    def _find_obstacle(self, question: Question, shown_by: Audience | None = None) -> str | None:
        """Say why none of the hosts can ask this, in the words of the latest; None where one can, or shows it."""
        if self._last is None:
            return NOBODY
        hosts = [shown_by, *(self._attending or [self._last])]
        obstacles = [host.find_obstacle(question) for host in hosts if host]
        return None if None in obstacles else obstacles[-1]

    async def ask(self, question: Question, approval_s: float | None = None) -> Answer:
        """Ask, and wait for the answer: first until a host shows the question, then for the time that `show` sets. An
        approval is waited for from anywhere for `approval_s` seconds, whatever the hosts do."""
        wait_s = approval_s if question.is_approval else None
        why_not = self._find_obstacle(question)
        if why_not and wait_s is None:
            return leave_unasked(why_not)
        if question.is_moot():
            return MOOT
        if self._count == MAX_QUESTIONS:
            return leave_unasked(f"{MAX_QUESTIONS} questions in one run are enough")
        self._count += 1
        key, pending = f"question-{self._count}", _Pending(question, is_patient=wait_s is not None)
        self._pending[key] = pending
        self._on_ask(key, question)
        try:
            if wait_s is None:
                return await self._wait(pending)
            if why_not:
                self._on_left(key, question, why_not, wait_s)
            return await self._wait_patiently(key, pending, wait_s)
        finally:
            del self._pending[key]
            self._on_settled(key, pending.answer, pending.sender)

    def show(self, key: str, seconds: float, audience: Audience) -> None:
        """Note that this host shows the question, and give the person at least this many seconds from now to answer."""
        if pending := self._pending.get(key):
            pending.deadline = max(pending.deadline, self._clock.now() + seconds)
            pending.shown_by = audience
            pending.shown.set()

    def settle(self, key: str, answer: Answer, sender: str = "") -> None:
        """Take the answer; only the first one counts. That a host could not ask is none, where others may answer."""
        pending = self._pending.get(key)
        if pending is None or pending.answer is not None:
            return
        if pending.is_patient and answer["action"] == "unasked":
            pending.failure = answer
        else:
            pending.answer, pending.sender = answer, sender
            self._on_settled(key, answer, sender)
        pending.shown.set()
        pending.settled.set()

    async def _wait_patiently(self, key: str, pending: _Pending, seconds: float) -> Answer:
        with self._stopwatch.stopped(), self._clock.scope(self._clock.now() + seconds):
            while pending.answer is None:
                answer = await self._wait(pending)
                if pending.answer is None:
                    pending.hide()
                    self._on_left(key, pending.question, answer["reason"], seconds)
        return pending.answer or leave_unasked(f"nobody gave it in {seconds:g} s (limits.approval_s)")

    async def _wait(self, pending: _Pending) -> Answer:
        """Wait until it is shown, and then until it is answered or cannot be."""
        await pending.shown.wait()
        while pending.answer is None:
            deadline = pending.deadline
            with self._clock.scope(deadline):
                await pending.settled.wait()
            if pending.answer is None and pending.failure:
                return pending.failure
            if pending.answer is None and pending.deadline == deadline:  # it was not shown again meanwhile
                is_held = pending.shown_by is not None and pending.shown_by.note_silence(pending.question)
                return leave_unasked(SILENCE if is_held else UNANSWERED)
        return pending.answer
