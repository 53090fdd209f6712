"""The questions of one run: each waits until a host has shown it, and then a limited time for its answer."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from bridge.clock import Clock
from bridge.questions import Answer, Question, leave_unasked

SILENT_S = 600.0
"""How long a host that left a question unanswered is not asked another of its kind, unless somebody answers there."""
UNANSWERED = "the question was not answered in time"
SILENCE = (
    f"{UNANSWERED}; this host is not asked again for ten minutes, unless somebody answers another question there, "
    "because some hosts never show one"
)
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
    deadline: float = 0.0
    answer: Answer | None = None
    shown_by: Audience | None = None
    """The host that showed it last: nobody else is blamed if it stays unanswered."""
    shown: anyio.Event = field(default_factory=anyio.Event)
    settled: anyio.Event = field(default_factory=anyio.Event)


class Questions:
    """The questions that a run has for the person."""

    def __init__(
        self,
        clock: Clock,
        *,
        on_ask: Callable[[str, Question], None],
        on_settled: Callable[[str], None],
    ) -> None:
        self.audience: Audience | None = None
        """The host that is asked: the one whose call waits for the run, or the last one that waited."""
        self._clock = clock
        self._on_ask = on_ask
        self._on_settled = on_settled
        self._pending: dict[str, _Pending] = {}
        self._count = 0

    def attend(self, audience: Audience) -> None:
        """Ask this host from now on, and settle the open questions that it cannot ask with the reason."""
        self.audience = audience
        for key, pending in list(self._pending.items()):
            if why_not := audience.find_obstacle(pending.question):
                self.settle(key, leave_unasked(why_not))

    async def ask(self, question: Question) -> Answer:
        """Ask, and wait for the answer: first until a host shows the question, then for the time that `show` sets."""
        if self.audience is None:
            return leave_unasked("nobody can be asked here")
        if why_not := self.audience.find_obstacle(question):
            return leave_unasked(why_not)
        if self._count == MAX_QUESTIONS:
            return leave_unasked(f"{MAX_QUESTIONS} questions in one run are enough")
        self._count += 1
        key, pending = f"question-{self._count}", _Pending(question)
        self._pending[key] = pending
        self._on_ask(key, question)
        try:
            return await self._wait(pending)
        finally:
            del self._pending[key]
            self._on_settled(key)

    def show(self, key: str, seconds: float) -> None:
        """Note that a host shows the question, and give the person at least this many seconds from now to answer."""
        if pending := self._pending.get(key):
            pending.deadline = max(pending.deadline, self._clock.now() + seconds)
            pending.shown_by = self.audience
            pending.shown.set()

    def settle(self, key: str, answer: Answer) -> None:
        """Take the answer; only the first one counts."""
        if (pending := self._pending.get(key)) and pending.answer is None:
            pending.answer = answer
            self._on_settled(key)
            pending.shown.set()
            pending.settled.set()

    async def _wait(self, pending: _Pending) -> Answer:
        await pending.shown.wait()
        while pending.answer is None:
            deadline = pending.deadline
            with self._clock.scope(deadline):
                await pending.settled.wait()
            if pending.answer is None and pending.deadline == deadline:  # it was not shown again meanwhile
                is_held = pending.shown_by is not None and pending.shown_by.note_silence(pending.question)
                return leave_unasked(SILENCE if is_held else UNANSWERED)
        return pending.answer
