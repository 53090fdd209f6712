"""A run that goes on in this process and is written as it goes on: finished steps are not done again by another one."""

import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, cast

from typing_extensions import override

from bridge.clock import Clock
from bridge.events import Event, Kept, Notified
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question
from bridge.run.engine import Intend, Message, OutcomeUnknown, Say, Settle, Stop
from bridge.run.limits import CANCELLED, Ending
from bridge.run.run import Interjection, Run
from bridge.run.store.asked import SETTLE, Asked, Settled, read_answer
from bridge.run.store.mail import SAY
from bridge.run.store.past import Past
from bridge.run.store.store import Store
from bridge.run.summary import add_up
from bridge.run.task import RunTask

logger = logging.getLogger(__name__)

T = TypeVar("T")
STOP = "stop"
"""The type of the message that ends a run."""


class StoredTask(RunTask):
    """One run that goes on, and its `Context`: it writes steps, intents and events, and recalls those of its past."""

    def __init__(
        self, run: Run, clock: Clock, *, on_parted: Callable[[RunTask], None], store: Store, past: Past | None
    ) -> None:
        """`past`: what is written of a run that is taken up; None for one that begins."""
        super().__init__(run, clock, on_parted=on_parted)
        self._store = store
        self._past = past or Past()
        self.is_taken_over = past is not None
        self._totals = add_up(run.events)
        self._asked: dict[str, Asked] = {}
        """The open questions."""
        self._began = self.stopwatch.now()
        self._is_over_here = False

    @property
    @override
    def used_s(self) -> float:
        """Seconds for which other processes have driven it."""
        return self._past.used_s

    @property
    @override
    def is_left(self) -> bool:
        """True once this process drives it no more, and it has not ended."""
        return self._is_over_here

    @property
    def driven_s(self) -> float:
        """Seconds for which it has been driven, by whomever, without those for which it waited for a person."""
        return self._past.used_s + self.stopwatch.now() - self._began

    def leave(self) -> None:
        """Write nothing more: whatever ends the run from here on is the end of this process, or another one drives
        it."""
        if not self._is_over_here:
            self._store.note_time(self.run.run_id, self.driven_s)
        self._is_over_here = True

    def lose(self) -> None:
        """Stop driving the run, which another process has taken up."""
        self._is_over_here = True
        self._scope.cancel()

    @property
    @override
    def is_reachable(self) -> bool:
        """True as long as it is written."""
        return not (self._is_over_here or self._store.broken)

    def heed(self, body: JsonObject) -> None:
        """Take a message of another process. An answer counts only for the very question that it was given to."""
        if body.get("type") == STOP:
            self.receive(Stop())
        elif body.get("type") == SAY:
            super().receive(Say(cast("Interjection", body["said"])))
        elif body.get("type") == SETTLE and (read := read_answer(body, self.run.run_id, self._asked)):
            self.receive(Settle(*read))
        else:
            logger.warning("run %s: a message was refused: it fits no open question", self.run.run_id)

    @override
    def receive(self, message: Message) -> None:
        """Handle a message to the run; what is said to it is written until it is heard."""
        if isinstance(message, Say) and not (self._is_over_here or self.run.knows(message.interjection["message_id"])):
            self._store.mail.say(self.run.run_id, message.interjection)
        super().receive(message)

    @override
    async def hear(self, turn: int) -> list[Interjection]:
        """Take what was said before a turn."""
        heard = await super().hear(turn)
        if heard and not self._is_over_here:
            self._store.mail.hear(self.run.run_id, [one["message_id"] for one in heard])
        return heard

    @override
    def _note_question(self, key: str, question: Question) -> None:
        self._asked[key] = asked = Asked.of(question)
        super()._note_question(key, question)
        if not self._is_over_here:
            self._store.mail.note_asked(self.run.run_id, key, asked)

    @override
    def _note_settled(self, key: str, answer: Answer | None, sender: str) -> None:
        super()._note_settled(key, answer, sender)
        if self._asked.pop(key, None) and not self._is_over_here:
            self._store.mail.note_settled(self.run.run_id, key, Settled.by(answer, sender))

    @override
    async def step(self, key: str, fn: Callable[[], Awaitable[T]]) -> T:
        """Return the outcome that is written, or call `fn` and write its outcome."""
        if key in self._past.outcomes:
            return cast("T", self._past.outcomes.pop(key))
        outcome = await fn()
        self._keep(key, outcome)
        return outcome

    @override
    async def step_once(self, key: str, fn: Callable[[Intend], Awaitable[T]], *, is_harmless: bool = False) -> T:
        """Do `fn` as a step, but not where it may have been done before."""
        if key in self._past.intents:
            raise OutcomeUnknown(key)
        return await self.step(key, partial(fn, partial(self._intend, key, waits=not is_harmless)))

    async def _intend(self, key: str, *, waits: bool) -> None:
        await self._store.intend(self.run.run_id, key, waits=waits)

    def _keep(self, key: str, outcome: Any) -> None:
        if not self._is_over_here:
            self._store.keep(self.run.run_id, key, outcome, self.driven_s)

    @override
    def emit(self, event: Event) -> None:
        """Keep an event and write it; one that was told before the run was taken up is only read again."""
        if known := self._past.told.recognise(event):
            if self.run.transcript:
                self.run.transcript.add(known)
            return
        super().emit(event)
        if isinstance(event, Kept) and not self._is_over_here:
            kept = self.run.events[-1]
            self._totals.count(kept)
            self._store.add(self.run.run_id, kept, self._totals)

    @override
    def has_outcome(self, key: str) -> bool:
        """Tell whether the outcome of a step is written that comes later."""
        return key in self._past.outcomes

    @override
    def _end(self, ending: Ending) -> None:
        is_cut_off = ending is CANCELLED and not self._scope.cancel_called
        if is_cut_off:
            self.leave()
        super()._end(ending)
        if not self._is_over_here:
            self._store.end(self.run, self._totals)


def tell_resumed(task: StoredTask) -> None:
    """Tell that a run is taken up, and what that means for it."""
    message = "the bridge ended during this run; it goes on, and a turn that was not finished is asked again"
    task.emit(Notified(code="resumed", message=message))
