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
MAX_QUESTIONS = 50
"""Of one run. A server can ask as often as it likes; the person cannot be expected to."""


class Audience(Protocol):
    """The host as somebody who shows questions to a person."""

    def find_obstacle(self) -> str | None:
        """Say why the person cannot be asked, as the end of a sentence; None where they can."""
        ...

    def note_silence(self) -> None:
        """Note that it was shown a question, and nobody answered."""
        ...


@dataclass(eq=False)
class _Asked:
    """One question on its way."""

    deadline: float = 0.0
    answer: Answer | None = None
    shown: anyio.Event = field(default_factory=anyio.Event)
    settled: anyio.Event = field(default_factory=anyio.Event)


class Questions:
    """What a run wants to know of the person."""

    def __init__(
        self,
        clock: Clock,
        *,
        on_ask: Callable[[str, Question], None],
        on_settled: Callable[[str], None],
    ) -> None:
        self.audience: Audience | None = None
        """Who would be asked: the host whose call waits for the run, or was the last to."""
        self._clock = clock
        self._on_ask = on_ask
        self._on_settled = on_settled
        self._asked: dict[str, _Asked] = {}
        self._count = 0

    def attend(self, audience: Audience) -> None:
        """Ask this host from now on."""
        self.audience = audience
        if why_not := audience.find_obstacle():
            for key in list(self._asked):
                self.settle(key, leave_unasked(why_not))

    async def ask(self, question: Question) -> Answer:
        """Ask, and wait for the answer. It waits for a host to come that can show the question."""
        if self.audience is None:
            return leave_unasked("nobody can be asked here")
        if why_not := self.audience.find_obstacle():
            return leave_unasked(why_not)
        if self._count == MAX_QUESTIONS:
            return leave_unasked(f"{MAX_QUESTIONS} questions in one run are enough")
        self._count += 1
        key, asked = f"question-{self._count}", _Asked()
        self._asked[key] = asked
        self._on_ask(key, question)
        try:
            return await self._wait(asked)
        finally:
            del self._asked[key]
            self._on_settled(key)

    def show(self, key: str, seconds: float) -> None:
        """Note that the host has it; who does not answer in so many seconds does not answer."""
        if asked := self._asked.get(key):
            asked.deadline = max(asked.deadline, self._clock.now() + seconds)
            asked.shown.set()

    def settle(self, key: str, answer: Answer) -> None:
        """Take the answer; the first one counts."""
        if (asked := self._asked.get(key)) and asked.answer is None:
            asked.answer = answer
            self._on_settled(key)
            asked.shown.set()
            asked.settled.set()

    async def _wait(self, asked: _Asked) -> Answer:
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
