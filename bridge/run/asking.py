"""The questions of one run: each waits until the host has shown it, and then for an answer, but not for long."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import anyio

from bridge.clock import Clock
from bridge.questions import Answer, Question, leave_unasked

SILENCE = (
    "the question was not answered in time; this host is not asked again until the bridge is restarted, for some "
    "never show a question"
)


class Audience(Protocol):
    """The host as somebody who shows questions to a person."""

    def find_obstacle(self) -> str | None:
        """Why the person cannot be asked, as the end of a sentence; None: they can."""
        ...

    def note_silence(self) -> None:
        """It was shown a question, and nobody answered it."""
        ...


MAX_QUESTIONS = 50
"""Of one run. A server can ask as often as it likes; the person cannot be expected to."""


@dataclass(eq=False)
class Asked:
    """One question on its way."""

    question: Question
    deadline: float = 0.0
    answer: Answer | None = None
    shown: anyio.Event = field(default_factory=anyio.Event)
    settled: anyio.Event = field(default_factory=anyio.Event)
    """Set when it needs no answer any more."""

    def show(self, deadline: float) -> None:
        """The host has it; who does not answer by `deadline` does not answer."""
        self.deadline = max(self.deadline, deadline)
        self.shown.set()

    def settle(self, answer: Answer) -> None:
        """The first answer counts."""
        if self.answer is None:
            self.answer = answer
        self.shown.set()
        self.settled.set()


class Questions:
    """What a run wants to know of the person."""

    def __init__(self, clock: Clock, on_ask: Callable[[Question], None]) -> None:
        self.audience: Audience | None = None
        """Who would be asked: the host whose call waits for the run, or was the last to."""
        self._clock = clock
        self._on_ask = on_ask
        self._asked: dict[str, Asked] = {}
        self._count = 0

    @property
    def open(self) -> dict[str, Asked]:
        """Those that wait for an answer, by their ids."""
        return {key: asked for key, asked in self._asked.items() if not asked.settled.is_set()}

    def attend(self, audience: Audience) -> None:
        """From now on it is this host that is asked."""
        self.audience = audience
        if why_not := audience.find_obstacle():
            for asked in self.open.values():
                asked.settle(leave_unasked(why_not))

    async def ask(self, question: Question) -> Answer:
        """The person's answer, or why there is none. It waits for a host to come that can show it."""
        if self.audience is None:
            return leave_unasked("nobody can be asked here")
        if why_not := self.audience.find_obstacle():
            return leave_unasked(why_not)
        if self._count == MAX_QUESTIONS:
            return leave_unasked(f"{MAX_QUESTIONS} questions in one run are enough")
        self._count += 1
        key, asked = f"question-{self._count}", Asked(question)
        self._asked[key] = asked
        self._on_ask(question)
        try:
            return await self._wait(asked)
        finally:
            del self._asked[key]
            asked.settled.set()

    async def _wait(self, asked: Asked) -> Answer:
        await asked.shown.wait()
        while asked.answer is None:
            deadline = asked.deadline
            with self._clock.scope(deadline):
                await asked.settled.wait()
            if asked.answer is None and asked.deadline == deadline:  # it was not shown anew meanwhile
                assert self.audience
                self.audience.note_silence()
                return leave_unasked(SILENCE)
        return asked.answer
