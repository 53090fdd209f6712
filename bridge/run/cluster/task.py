"""A run that this process drives: what it does are steps of DBOS, and what it tells others can read."""

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any, TypeVar, cast

import anyio
from dbos import DBOS
from dbos import error as dbos_errors
from typing_extensions import override

from bridge.clock import Clock
from bridge.events import Event, Kept
from bridge.run.cluster.lock import Lock
from bridge.run.cluster.record import CLAIM, Paper, SharedPast, write_batch
from bridge.run.engine import Intend, OutcomeUnknown
from bridge.run.limits import Ending
from bridge.run.run import Run
from bridge.run.task import RunTask

T = TypeVar("T")
EVENTS, MESSAGES = "events", "messages"
"""The stream of DBOS that a run writes, and the topic that it hears."""
LINGER_S = 0.02
"""How long an event waits for others that are written with it."""
LISTEN_S = 3600.0


class ClusterTask(RunTask):
    """One run that goes on here. It is abandoned when it may be another process's: then it ends without an ending, and
    nothing more is written of it."""

    def __init__(
        self,
        run: Run,
        clock: Clock,
        *,
        on_parted: Callable[[RunTask], None],
        lock: Lock,
        paper: Paper,
        nonce: str,
        past: SharedPast | None = None,
    ) -> None:
        """`nonce`: of this process. `past`: what others have done of the run; None where it begins."""
        super().__init__(run, clock, on_parted=on_parted)
        self.past = past or SharedPast()
        self.is_taken_over = past is not None
        self.is_abandoned = False
        self.is_over = anyio.Event()
        """Set when nothing of it goes on any more."""
        self._lock = lock
        self._paper = paper
        self._nonce = nonce
        self._began = clock.now()
        self._outbox: list[Kept] = []
        self._told = anyio.Event()
        self._is_ending = False
        self._context = contextvars.copy_context()

    @property
    @override
    def used_s(self) -> float:
        """Seconds for which other processes have driven it."""
        return self.past.used_s

    @property
    @override
    def is_left(self) -> bool:
        """True once this process drives it no more, and it has not ended."""
        return self.is_abandoned

    @override
    def has_outcome(self, key: str) -> bool:
        """Tell whether the outcome of a step is recorded."""
        return key in self.past.outcomes

    def enter(self) -> None:
        """Note that this is where DBOS runs the run."""
        self._context = contextvars.copy_context()
        while self.past.last and DBOS.reserve_step().step_id < self.past.last:
            pass

    @override
    async def step(self, key: str, fn: Callable[[], Awaitable[T]]) -> T:
        """Do `fn` as a step of DBOS, unless its outcome is known."""
        if key in self.past.errors:
            raise self.past.errors[key]
        if key in self.past.outcomes:
            return cast("T", self.past.outcomes[key])
        await self._lock.hold()
        return await self._record(key, fn)

    @override
    async def step_once(self, key: str, fn: Callable[[Intend], Awaitable[T]], *, is_harmless: bool = False) -> T:
        """Do `fn` as a step of DBOS. What it is about to send is noted before, in a step of its own that holds the
        nonce of this process: whoever finds another's, and no outcome, does not send it. What does no harm is sent
        without a note, and again where nobody knows what came of it."""
        if key in self.past.intents:
            raise OutcomeUnknown(key)
        is_claimed = is_harmless

        async def intend() -> None:
            nonlocal is_claimed
            if is_claimed:
                return
            await self._lock.hold()
            if await self._outside(partial(self._record, f"{key}{CLAIM}", self._show_nonce)) != self._nonce:
                await self.give_way()
            is_claimed = True

        return await self.step(key, partial(fn, intend))

    async def _show_nonce(self) -> str:
        return self._nonce

    async def _record(self, key: str, fn: Callable[[], Awaitable[T]]) -> T:
        """Do a step and record its outcome. A run that is somebody else's by now is given up instead."""
        done: list[T] = []

        async def do() -> str:
            done.append(await fn())
            return self._paper.write(done[0])

        try:
            await DBOS.reserve_step().run_async({"name": key}, do)
        except dbos_errors.DBOSWorkflowConflictIDError:
            await self.give_way()
        return done[0]

    async def _outside(self, do: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Do something as a step beside the one that goes on, not within it."""
        return await asyncio.create_task(do(), context=self._context.copy())

    @override
    def emit(self, event: Event) -> None:
        """Keep an event and let it be written, but for one that was told before: that one stays as it is."""
        if known := self.past.told.recognise(event):
            if self.run.transcript:
                self.run.transcript.add(known)
            return
        super().emit(event)
        if isinstance(event, Kept):
            self._outbox.append(self.run.events[-1])
            self._told.set()

    def abandon(self) -> None:
        """End here and leave the run to whoever takes it up."""
        self.is_abandoned = True
        self._scope.cancel()

    async def give_way(self) -> None:
        """Abandon the run from within: it is another process's."""
        self.abandon()
        await anyio.sleep_forever()

    def tell_left(self) -> None:
        """Have whoever waits for it look elsewhere."""
        self._wake()

    @override
    def _end(self, ending: Ending) -> None:
        if not self.is_abandoned:
            super()._end(ending)
        else:
            self.joined.set()
            self.note_departure()

    async def write_events(self) -> None:
        """Write events as they come, several at once, until the last is written."""
        while not (self._is_ending and not self._outbox):
            await self._told.wait()
            await anyio.sleep(0 if self._is_ending else LINGER_S)
            events, self._outbox, self._told = self._outbox, list[Kept](), anyio.Event()
            if events:
                await self._write(events)

    async def _write(self, events: Sequence[Kept]) -> None:
        used_s = self.past.used_s + self._clock.now() - self._began
        try:
            await DBOS.write_stream_async(EVENTS, self._paper.write(write_batch(events, used_s)))
        except dbos_errors.DBOSWorkflowConflictIDError:
            await self.give_way()

    def end_events(self) -> None:
        """Say that no more will come."""
        self._is_ending = True
        self._told.set()

    async def listen(self, receive: Callable[[Any], None]) -> None:
        """Pass on what other processes say to the run, until cancelled."""
        while True:
            try:
                text = await DBOS.recv_async(MESSAGES, timeout_seconds=LISTEN_S)
            except dbos_errors.DBOSWorkflowConflictIDError:
                await self.give_way()
            else:
                if text is not None:
                    receive(self._paper.read(text))
