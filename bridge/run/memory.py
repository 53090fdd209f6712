"""The engine that keeps runs in memory: each in a task of its own, and for a while after its end."""

import math
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from functools import partial
from heapq import nlargest
from typing import TYPE_CHECKING, Self, TypeAlias
from weakref import WeakValueDictionary

import anyio
from anyio.abc import TaskGroup

from bridge.clock import Clock
from bridge.errors import Busy, GivenUp
from bridge.events import Notified
from bridge.json_text import JsonObject
from bridge.run.asking import Audience
from bridge.run.detached import Detached
from bridge.run.drain import Drain
from bridge.run.engine import (
    SOMEBODY,
    Caller,
    Context,
    Execute,
    ForeignResponse,
    Listener,
    Message,
    Stop,
    is_unproven,
)
from bridge.run.heirs import Heir, waiting_for
from bridge.run.interjections import list_said
from bridge.run.limits import Ending
from bridge.run.observers import Observer
from bridge.run.places import FindMost, Places
from bridge.run.run import Run
from bridge.run.shelf import Shelf
from bridge.run.task import RunTask, guard, tell
from bridge.run.weight import weigh

if TYPE_CHECKING:
    from bridge.run.summary import Place, Summary

MAX_RUNS = 256
"""The most runs that go on at once where nothing else is said."""
MAX_WAITING, MAX_WAITING_OF_ONE = 4000, 2000
"""How many runs may wait for their turn, in all and of one principal; beyond that a call is told to come again."""
GIVEN_UP_SHARE, FEWEST_GIVEN_UP = 4, 4
"""One in so many places, but at least so many, may be held by runs that the callers of one principal have given up."""
LEFT_S = 60.0
"""How long after an answer `in_progress` a run that nobody asks for counts as left, and yields to those who wait."""
WAIT_TOLD_S = 1.0
"""A run that has waited so long for its turn says so."""
FOUND_S = 600.0
"""How long after its end, or after its caller was given up, an equal call finds a run that nobody got the result of.
Later it may be meant as another one, and is told of it."""
OVERTAKEN_S = 1.0
"""How long an equal call waits for the one before it to go: over HTTP a repeat overtakes the end of what it repeats."""

BuildTask: TypeAlias = Callable[..., RunTask]
"""Builds the task of a run; called with the arguments of `RunTask`."""


class MemoryEngine(anyio.AsyncContextManagerMixin):
    """Starts runs of `body` for as long as it is entered; leaving it cancels those that still run.

    A run that somebody waited for, and nobody has for `orphan_s` seconds, is stopped.
    """

    def __init__(
        self,
        body: Execute,
        clock: Clock,
        *,
        orphan_s: float,
        max_runs: int = MAX_RUNS,
        find_most: FindMost = lambda _: None,
        shelf: Shelf | None = None,
        build_task: BuildTask = RunTask,
        observers: Sequence[Observer] = (),
    ) -> None:
        self._body = body
        self._clock = clock
        self._orphan_s = orphan_s
        self.drain = Drain()
        self._places = Places(max_runs, find_most)
        self._detached = Detached(_bound_given_up(max_runs))
        self._usual_s = 1.0
        """How long runs take, the latest most of all."""
        self._build_task = build_task
        self._observers = list(observers)
        self._has_page = False
        self._runs: dict[str, Run] = {}
        self._live: dict[str, RunTask] = {}
        self._attended = WeakValueDictionary[str, RunTask]()
        """The tasks of runs that go on or have just ended: whoever attends one still holds it."""
        self._undelivered: dict[str, float] = {}
        """Of which run nobody got the result, by its id, with the time of its beginning, of its end or of when its
        caller was given up, whichever came last."""
        self._ended = Shelf() if shelf is None else shelf
        self._responses: dict[str, dict[str | None, str]] = {}
        """Id of the newest run that ended with a response, by response and principal: relays make up ids, and some
        give every response the same one."""
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with anyio.create_task_group() as self._tasks:
            yield self
            self._tasks.cancel_scope.cancel()
        self._tasks = None

    def reconfigure(self, *, orphan_s: float, max_runs: int, **_: object) -> None:
        """Let these hold from now on, also for runs that go on or wait."""
        self._orphan_s = orphan_s
        self._places.resize(max_runs)
        self._detached.most = _bound_given_up(max_runs)

    def list_unfetched(self, run_ids: Iterable[str]) -> list[str]:
        """List those of these runs that have ended, and whose result nobody has got."""
        return [run_id for run_id in run_ids if run_id in self._undelivered and run_id not in self._live]

    def list_live(self) -> list[str]:
        """List the ids of the runs that go on here, or wait for their turn."""
        return list(self._live)

    @property
    def places(self) -> Places:
        """Number of runs that go on, and of those that wait."""
        return self._places

    @property
    def outlives(self) -> bool:
        """A run ends with its process."""
        return False

    @property
    def unreadable(self) -> str | None:
        """All runs are in memory."""
        return None

    async def start(self, run_id: str, arguments: JsonObject, *, principal: str | None) -> Run:
        """Start a run of checked arguments; it may have to wait for its turn. Returns the existing run if the id is
        taken. Raises Busy where too many wait."""
        if run_id not in self._runs:
            missed = self._find_missed(arguments, principal)
            self._check_room(principal)
            self._launch(Run(run_id, principal, arguments, created=self._clock.time()))
            if missed:
                self._live[run_id].emit(_tell_missed(missed))
        return self._runs[run_id]

    def _launch(self, run: Run) -> None:
        """Have a task drive the run."""
        assert self._tasks
        task = self._build_task(run, self._clock, on_parted=self._note_parting)
        self._runs[run.run_id], self._live[run.run_id] = run, task
        self._attended[run.run_id] = task
        self._note_undelivered(run)
        self._have_observed(task)
        self._tasks.start_soon(self._drive, task, name=f"run {run.run_id}")

    def _have_observed(self, task: RunTask) -> None:
        """Let the observers hear of a run that begins here."""
        task.observers = self._observers
        task.has_page = self._has_page
        for observer in self._observers:
            guard(task.run, partial(observer.begin, task.run))

    def _check_room(self, principal: str | None) -> None:
        self.drain.check(self._clock.now())
        waiting, own = self._places.waiting, self._places.count_waiting(principal)
        if waiting >= MAX_WAITING or own >= MAX_WAITING_OF_ONE:
            seconds = math.ceil(min(max(self._usual_s * waiting / self._places.count, 1), 60))
            raise Busy(
                f"The bridge is busy: {self._places.count:,} runs go on (limits.max_runs), and {waiting:,} wait. "
                f"Nothing was sent; try again in {seconds} s",
                retry_after_s=seconds,
            )

    async def find(self, run_id: str, *, principal: str | None) -> Run | None:
        """Find a run of this principal that goes on, or has ended not long ago."""
        self._forget()
        run = self._runs.get(run_id)
        return run if run and run.principal == principal else None

    async def find_lost(self, arguments: JsonObject, *, principal: str | None, caller: Caller = SOMEBODY) -> Run | None:
        """Find the run that an earlier, equal call of this principal began and got no result of: that call was given
        up by the host, and this one repeats it.

        One of the same origin that seems to wait may have been given up a moment ago: wait that moment for it to go.
        """
        self._forget()
        equal = self._list_undelivered(arguments, principal)
        lost = next(filter(self._is_lost, equal), None)
        if lost or not equal or caller.origin is None:
            return lost
        lost = await self._inherit(equal, Heir(caller, self._clock), caller.origin)
        if lost is None and caller.is_gone():
            raise GivenUp("this call was given up before a run began for it")
        return lost

    def _list_undelivered(self, arguments: JsonObject, principal: str | None) -> Sequence[Run]:
        runs = map(self._runs.__getitem__, self._undelivered)
        return [run for run in runs if run.principal == principal and run.arguments == arguments]

    def _find_missed(self, arguments: JsonObject, principal: str | None) -> str | None:
        """Find the id of the latest run of an equal call of this principal that nobody got the result of, and that is
        too old to be taken for this one. Who might be somebody else is told none: an id is all that a result takes."""
        if principal is None or is_unproven(principal):
            return None
        equal = reversed(self._list_undelivered(arguments, principal))
        return next((run.run_id for run in equal if not (run.is_stopped or self._is_recent(run))), None)

    def _note_undelivered(self, run: Run) -> None:
        self._undelivered[run.run_id] = self._clock.now()

    def _is_recent(self, run: Run) -> bool:
        return run.ending is None or self._clock.now() - self._undelivered[run.run_id] <= FOUND_S

    async def find_said(self, run: Run, name: str, *, caller: Caller = SOMEBODY) -> str | None:
        """Find an equal interjection whose call was given up; one of the same origin that seems to wait may have been,
        a moment ago: wait that moment for it to go."""
        task, equal = self._attended.get(run.run_id), list_said(run, name)
        lost = self._pick_lost(run, equal)
        if lost or task is None or caller.origin is None or not any(map(task.is_awaited_for, equal)):
            return lost
        lost = await self._inherit_said(task, equal, Heir(caller, self._clock), caller.origin)
        if lost is None and caller.is_gone():
            raise GivenUp("this call was given up before its message was put")
        return lost

    async def _inherit_said(self, task: RunTask, equal: Sequence[str], heir: Heir, origin: str) -> str | None:
        until = self._clock.now() + OVERTAKEN_S
        awaited = [message_id for message_id in equal if task.is_awaited_for(message_id, origin)]
        with waiting_for([task], heir):
            while not (lost := self._pick_lost(task.run, equal)) and not heir.caller.is_gone():
                is_left = not any(task.is_awaited_for(message_id, origin) for message_id in awaited)
                if self._clock.now() >= until or (is_left and task.run.ending is None):
                    break
                await heir.rest(until)
            heir.taken = task.run if lost else None
        return lost

    def _pick_lost(self, run: Run, equal: Sequence[str]) -> str | None:
        """Pick the interjection whose call nobody waits in, and that got no result."""
        task = self._attended.get(run.run_id)
        left = [message_id for message_id in equal if not (task and task.is_awaited_for(message_id))]
        if run.is_stopped:
            return None
        if run.ending is None or run.run_id in self._undelivered:
            return next(iter(left), None)
        return next((message_id for message_id in left if message_id not in run.answered), None)

    async def note_answer(self, run: Run, message_id: str, *, is_answered: bool) -> None:
        """Note that a call that brought an interjection was answered, or was given up."""
        if is_answered:
            run.answered.add(message_id)
        else:
            run.answered.discard(message_id)
            if task := self._attended.get(run.run_id):
                task.note_departure()

    async def _inherit(self, runs: Sequence[Run], heir: Heir, origin: str) -> Run | None:
        """Wait for the callers of this origin to go, and return the first run that one of them leaves behind."""
        until = self._clock.now() + OVERTAKEN_S
        tasks = [task for run in runs if (task := self._attended.get(run.run_id)) and task.is_awaited_from(origin)]
        with waiting_for(tasks, heir):
            while any(task.run.ending or task.is_awaited_from(origin) for task in tasks) and not heir.caller.is_gone():
                if self._clock.now() >= until or any(map(self._is_lost, runs)):
                    break
                await heir.rest(until)
            heir.taken = next(filter(self._is_lost, runs), None)
        return heir.taken

    def _is_lost(self, run: Run) -> bool:
        task = self._attended.get(run.run_id)
        is_awaited = task is not None and task.is_awaited
        return run.run_id in self._undelivered and self._is_recent(run) and not (run.is_stopped or is_awaited)

    async def find_response(self, response_id: str, *, principal: str | None) -> Run | None:
        """Find the newest run of this principal that ended with this response."""
        self._forget()
        runs = self._responses.get(response_id, {})
        if runs and (is_unproven(principal) or principal not in runs):
            raise ForeignResponse(response_id)
        return self._runs[runs[principal]] if runs else None

    async def list(self, *, principal: str | None) -> list[Run]:
        """List the runs of this principal, the newest first."""
        self._forget()
        return [run for run in reversed(self._runs.values()) if run.principal == principal]

    async def list_recent(self, *, principal: str | None, limit: int) -> "Sequence[Summary]":
        """Summarise the newest runs of this principal."""
        from bridge.run.summary import summarise  # late: few ask for a list

        runs = (await self.list(principal=principal))[:limit]
        return [summarise(run, is_driven=run.ending is None) for run in runs]

    async def list_page(self, *, whose: str | None, before: "Place | None", limit: int) -> "Sequence[Summary]":
        """Summarise the newest runs behind that place, of this principal or of everybody."""
        from bridge.run.summary import summarise

        self._forget()
        return [summarise(run, is_driven=run.ending is None) for run in self._find_newest(whose, before, limit)]

    def _find_newest(self, whose: str | None, before: "Place | None", limit: int) -> Sequence[Run]:
        """Find those in memory. Only what is shown of a list is looked into: most lists are long."""
        from bridge.run.summary import place

        runs = (run for run in self._runs.values() if whose in (None, run.principal))
        return nlargest(limit, (run for run in runs if before is None or place(run) < before), key=place)

    async def look_up(self, run_id: str) -> "tuple[Run, Summary] | None":
        """Look up a run that is in memory, whoever's it is."""
        from bridge.run.summary import summarise

        self._forget()
        run = self._runs.get(run_id)
        return (run, summarise(run, is_driven=run.ending is None)) if run else None

    def note_page(self) -> None:
        """Note that approvals can be given on a page of this process."""
        self._has_page = True

    def observe(self, observer: Observer) -> None:
        """Let one more observer hear of every run, also of those that go on: they all have this one list."""
        self._observers.append(observer)

    def ignore(self, observer: Observer) -> None:
        """Let an observer that was added hear no more."""
        self._observers.remove(observer)

    async def resume(self, run: Run) -> Run:
        """Return the run: while it has not ended, it is driven here."""
        return run

    async def wait(self, run: Run, *, news: int, until: float) -> Run:
        """Wait until the run has more news than that, or until an instant of the clock."""
        if live := self._live.get(run.run_id):
            await live.wait(news, until)
        return run

    async def send(self, run: Run, message: Message) -> None:
        """Say something to a run; one that has ended does not hear it."""
        if live := self._live.get(run.run_id):
            live.receive(message)

    async def note_delivery(self, run: Run, *, is_delivered: bool) -> None:
        """Note that a caller was given the result of a run, or was given up before it got it."""
        if is_delivered:
            self._undelivered.pop(run.run_id, None)
            self.drain.note()
        elif run.run_id in self._runs:
            self._note_undelivered(run)
            if task := self._attended.get(run.run_id):
                task.note_departure()
                self._note_left(task, is_given_up=True)

    async def give_up(self, run: Run) -> None:
        """Stop the run, unless somebody waits for it; who waits to take it over has to do that."""
        if live := self._live.get(run.run_id):
            self._note_undelivered(run)
            live.give_up()

    def attend(
        self,
        run: Run,
        listener: Listener | None = None,
        *,
        after: int = -1,
        audience: Audience | None = None,
        caller: Caller = SOMEBODY,
    ) -> AbstractContextManager[None]:
        """Wait for the run while entered, and hear its events behind number `after`."""
        if live := self._live.get(run.run_id):
            if not caller.is_gone():
                self._detached.discard(live)  # also by somebody who only looks, as often as hosts poll
            return live.attend(listener, after, audience, caller)
        if listener:
            tell(run, listener, run.events[after + 1 :])
        return nullcontext()

    async def _drive(self, task: RunTask) -> None:
        try:
            await task.execute(partial(self._take_turn, task))
        finally:
            self._detached.discard(task)
            self._note_end(task.run)

    async def _take_turn(self, task: RunTask, ctx: Context, arguments: JsonObject) -> Ending:
        came, bound = self._clock.now(), self._places.find_bound(task.principal)
        if bound is not None:
            self._detached.make_own_room(task.principal)
        elif self._places.is_full:
            self._detached.make_room()
        async with self._places.occupy(task.principal):
            began, task.has_place = self._clock.now(), True
            if began - came >= WAIT_TOLD_S:
                why = f"max_runs of its principal is {bound}" if bound else f"limits.max_runs is {self._places.count}"
                task.emit(Notified(code="queued", message=f"this run waited {began - came:.0f} s for its turn: {why}"))
            try:
                return await self._body(ctx, arguments)
            finally:
                task.has_place = False
                self._usual_s += (self._clock.now() - began - self._usual_s) / 10

    def _note_end(self, run: Run) -> None:
        del self._live[run.run_id]
        self.drain.note()
        if run.run_id in self._undelivered:
            self._note_undelivered(run)
        if run.response_id:
            self._responses.setdefault(run.response_id, {})[run.principal] = run.run_id
        for dropped in self._ended.put(run.run_id, run.principal, self._clock.now(), weigh(run)):
            self._drop(dropped)
        self._forget()

    def _forget(self) -> None:
        for run_id in self._ended.drop_old(self._clock.now()):
            self._drop(run_id)

    def _drop(self, run_id: str) -> None:
        run = self._runs.pop(run_id)
        self._undelivered.pop(run_id, None)
        kept = self._responses.get(run.response_id or "", {})
        if kept.get(run.principal) == run_id:
            del kept[run.principal]
        if run.response_id and not kept:
            self._responses.pop(run.response_id, None)

    def _note_parting(self, task: RunTask) -> None:
        if self._tasks:
            self._tasks.start_soon(self._stop_orphan, task)

    def _note_left(self, task: RunTask, *, is_given_up: bool) -> None:
        if task.run.ending is None and not task.is_wanted:
            self._detached.add(task, is_given_up=is_given_up)
            if self._places.is_wanted:
                self._detached.make_room()
            elif self._places.count_waiting(task.principal):
                self._detached.make_own_room(task.principal)

    async def _stop_orphan(self, task: RunTask) -> None:
        joined, parted = task.joined, task.stopwatch.now()
        for seconds in (min(LEFT_S, self._orphan_s), self._orphan_s):
            with task.stopwatch.scope(parted + seconds):
                await joined.wait()
            if joined.is_set():  # also by a caller that came just as the time was over
                return
            self._note_left(task, is_given_up=False)
        message = f"nobody asked for this run for {self._orphan_s:g} s (limits.orphan_s), so it was stopped"
        task.emit(Notified(code="orphan", message=message))
        task.receive(Stop())


def _bound_given_up(max_runs: int) -> int:
    return max(FEWEST_GIVEN_UP, max_runs // GIVEN_UP_SHARE)


def _tell_missed(run_id: str) -> Notified:
    message = (
        "an earlier, equal call got no result, and is too long ago to be taken for this one; its run_id is "
        f"{run_id}: ask respond_wait for it"
    )
    return Notified(code="earlier_call", message=message)
