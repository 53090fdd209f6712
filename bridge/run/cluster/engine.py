"""The engine for several processes: each run is a workflow of DBOS, driven by one of them and known to all."""

import logging
import time
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, suppress
from functools import partial
from secrets import token_hex
from typing import Any, Self, TypeAlias, TypeVar, cast

import anyio
from dbos import WorkflowStatus
from typing_extensions import override

from bridge.clock import Clock
from bridge.errors import Busy, NotResumable
from bridge.events import Notified
from bridge.json_text import JsonObject
from bridge.run.asking import Audience
from bridge.run.cluster.archive import FIND_MOST, Archive
from bridge.run.cluster.database import launch, leave, requeue
from bridge.run.cluster.lock import Lock
from bridge.run.cluster.record import Paper, SharedPast, digest
from bridge.run.cluster.task import ClusterTask
from bridge.run.cluster.workflow import ask_dbos, find_salt, set_driver
from bridge.run.engine import (
    SOMEBODY,
    Caller,
    Execute,
    ForeignResponse,
    Listener,
    Message,
    Say,
    Settle,
    Show,
    Stop,
    is_unproven,
)
from bridge.run.limits import CANCELLED, fail_with
from bridge.run.memory import MemoryEngine
from bridge.run.run import Run
from bridge.run.shelf import KEPT_S
from bridge.run.store.seal import Missing
from bridge.run.summary import Place, Summary, summarise
from bridge.run.task import RunTask

logger = logging.getLogger(__name__)

T = TypeVar("T")
BuildShared: TypeAlias = Callable[..., ClusterTask]
LOST_S = 600
"""How long an equal call finds the run of one that got no result."""
LOOK_S = 0.5
"""How long a look at what another process tells takes at most before it is looked again."""
LAST_WORDS_S, ANSWER_S = 3.0, 5.0
"""How long the end of a run is written when the process ends, and how long a caller waits for the database."""
ATTEND_S = 60.0
"""For how long one word that somebody waits holds."""
FORGET_EVERY_S = 600.0
SLACK, SLACK_S = 100, 5.0
"""By how much the database's times may differ from those in the runs, and how many more are read for that."""
AWAY = "The database of the runs cannot be reached (runs.store). Nothing was sent; try again in a moment"
TAKEN_UP = (
    "another process drove this run and has ended; it goes on here, and a turn that was not finished is asked again"
)
LACKING = "This run was cut off and cannot go on: a secret that was configured when it began is not configured any more"


class ClusterEngine(MemoryEngine):
    """Keeps the runs that this process drives in its memory, as the engine that it is made of, and all in the database.

    A run whose process died is taken up by another. A call that waits may come to any process: what one of them tells
    of a run the others read.
    """

    def __init__(
        self,
        body: Execute,
        clock: Clock,
        *,
        store: str,
        configuration: str,
        secrets: Collection[str] = (),
        keep_s: float = KEPT_S,
        build_shared: BuildShared = ClusterTask,
        **limits: Any,
    ) -> None:
        """`store`: the URL of the database. `configuration`: identifies it, for equal calls. `secrets`: are not written
        there. `keep_s`: how long what has ended is. `build_shared`: builds the task of a run that is kept there."""
        super().__init__(body, clock, **limits)
        self._build_shared = build_shared
        self._store = store
        self._configuration = configuration
        self._secrets = secrets
        self._keep_s = keep_s
        self._name = token_hex(8)
        self._begun: dict[str, ClusterTask] = {}
        """The runs that begin here, until DBOS drives them."""
        self._driven: dict[str, ClusterTask] = {}
        self._dropped = set[str]()
        self._attended_at: dict[str, float] = {}

    @asynccontextmanager
    @override
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        launch(self._store, self._name)
        self._lock = Lock(self._store, self._name, on_held=self._note_held, on_lost=self._abandon_all)
        self._lock.start()
        try:
            async with anyio.create_task_group() as self._tasks:
                self._tasks.start_soon(self._lock.guard)
                await self._lock.hold()
                self._paper = Paper(self._secrets, await ask_dbos(find_salt))
                self._archive = Archive(self._paper)
                set_driver(self._drive_workflow)
                self._tasks.start_soon(self._forget_old)
                yield self
                await self._end()
                self._tasks.cancel_scope.cancel()
            self._tasks = None
        finally:
            set_driver(None)
            with anyio.CancelScope(shield=True):
                await self._end()
                await leave()
                await self._lock.close()

    async def _end(self) -> None:
        """Leave what goes on here to others; what has ended is written to its end."""
        set_driver(None)
        driven = list(self._driven.values())
        for task in driven:
            if task.run.ending is None:
                task.abandon()
        with anyio.move_on_after(LAST_WORDS_S):
            for task in driven:
                await task.is_over.wait()
        self._abandon_all()
        for task in driven:
            await task.is_over.wait()

    @override
    async def start(self, run_id: str, arguments: JsonObject, *, principal: str | None) -> Run:
        """Start a run as a workflow; one that is not to be stored stays in the memory of this process. Raises Busy also
        while the database is away."""
        if arguments.get("store") is False:
            return await super().start(run_id, arguments, principal=principal)
        if run_id in self._runs:
            return self._runs[run_id]
        self._check_room(principal)
        run = Run(run_id, principal, arguments, created=self._clock.time())
        task = self._note_begin(run, None)
        self._begun[run_id] = task
        marks: JsonObject = {"principal": digest(principal), "call": self._identify(arguments), "is_delivered": False}
        try:
            with anyio.CancelScope(shield=True):  # else nobody might drive what was begun
                await self._ask(partial(self._archive.begin, run, marks))
        except Busy:
            self._drop_begun(run_id)
            raise
        return run

    async def _ask(self, ask: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Ask the database for a caller. Raises Busy while it is away."""
        with self._clock.scope(self._clock.now() + ANSWER_S):
            await self._lock.hold()
            return await ask()
        raise Busy(AWAY, retry_after_s=5)

    def _drop_begun(self, run_id: str) -> None:
        """Have a run not begin that the caller was told of as not sent, whatever of it gets to the database."""
        self._dropped.add(run_id)
        for known in (self._begun, self._live, self._runs, self._undelivered, self._attended):
            known.pop(run_id, None)

    def _note_begin(self, run: Run, past: SharedPast | None) -> ClusterTask:
        task = self._build_shared(
            run,
            self._clock,
            on_parted=self._note_parting,
            lock=self._lock,
            paper=self._paper,
            nonce=self._name,
            past=past,
        )
        self._runs[run.run_id], self._live[run.run_id] = run, task
        self._attended[run.run_id] = task
        self._note_undelivered(run)
        self._have_observed(task)
        return task

    async def _drive_workflow(self, run_id: str, record: str) -> str:
        """Drive a run that begins here or is taken up; DBOS calls this. One that is abandoned is cancelled, which DBOS
        leaves pending."""
        if (earlier := self._driven.get(run_id)) is not None:
            earlier.abandon()
            await earlier.is_over.wait()
        if run_id in self._dropped:
            self._dropped.discard(run_id)
            return self._paper.write(CANCELLED)
        try:
            task = self._begun.pop(run_id, None) or await self._take_up(run_id, record)
        except Missing:
            return self._paper.write(fail_with(NotResumable(LACKING)))
        self._driven[run_id] = task
        try:
            task.enter()
            await self._drive_task(task)
            if task.is_abandoned:
                raise anyio.get_cancelled_exc_class()
            return self._paper.write(task.run.ending)
        finally:
            del self._driven[run_id]
            self._forget_driven(task)
            task.is_over.set()

    async def _drive_task(self, task: ClusterTask) -> None:
        async with anyio.create_task_group() as beside:
            async with anyio.create_task_group() as writing:
                writing.start_soon(task.write_events)
                beside.start_soon(task.listen, partial(self._hear, task))
                await task.execute(partial(self._take_turn, task))
                if task.is_abandoned:
                    writing.cancel_scope.cancel()
                elif self._live.get(task.run.run_id) is task:
                    self._note_end(task.run)  # before its last words are written: a caller may go on from it at once
                task.end_events()
            beside.cancel_scope.cancel()
        if not task.is_abandoned and task.run.response_id:
            await self._archive.mark(task.run.run_id, {"response": digest(task.run.response_id)})

    def _forget_driven(self, task: ClusterTask) -> None:
        """Keep a run that has ended as any other; one that was abandoned is looked up from now on."""
        run = task.run
        self._detached.discard(task)
        if self._live.get(run.run_id) is not task:
            return
        for known in (self._live, self._runs, self._undelivered, self._attended):
            known.pop(run.run_id, None)
        run.saying.clear()
        self._archive.forget(run)
        task.tell_left()

    async def _take_up(self, run_id: str, record: str) -> ClusterTask:
        """Take up a run that another process has driven."""
        await self._lock.hold()
        run, past = await self._archive.read_cut(run_id, record)
        await self._archive.mark(run_id, {"is_left": True})
        logger.info("run %s is taken up after %d steps", run_id, len(past.outcomes))
        task = self._note_begin(run, past)
        task.emit(Notified(code="resumed", message=TAKEN_UP))
        return task

    def _note_held(self, run_ids: set[str]) -> None:
        """Go on with the runs that are still ours; those that another process has taken are its own. What was given up
        while nobody could take it is taken up again."""
        for run_id, task in list(self._driven.items()):
            if run_id not in run_ids:
                task.abandon()
        ours = {run_id for run_id, task in self._driven.items() if not task.is_abandoned}
        if left := run_ids - ours - self._begun.keys():
            assert self._tasks
            self._tasks.start_soon(anyio.to_thread.run_sync, requeue, self._name, left)

    def _identify(self, arguments: JsonObject) -> str:
        """Identify an equal call under the same configuration."""
        return digest([self._configuration, arguments])

    async def _forget_old(self) -> None:
        """Delete what ended long ago, from time to time."""
        while True:
            with suppress(Busy):
                await self._ask(partial(self._archive.delete_old, self._keep_s))
            await self._clock.sleep(FORGET_EVERY_S)

    def _abandon_all(self) -> None:
        for task in self._driven.values():
            task.abandon()

    # -- what other processes know ------------------------------------------------------------------------------------

    @override
    async def find(self, run_id: str, *, principal: str | None) -> Run | None:
        """Find a run of this principal, whoever drives or has driven it."""
        if run := await super().find(run_id, principal=principal):
            return run
        if run_id in self._runs:
            return None
        status = await self._ask(partial(self._archive.find, run_id))
        return await self._archive.read_run(status, principal) if status else None

    @override
    async def find_lost(self, arguments: JsonObject, *, principal: str | None, caller: Caller = SOMEBODY) -> Run | None:
        """Find the run of an equal call that got no result, also one that another process has driven: it has ended, or
        its process has."""
        if run := await super().find_lost(arguments, principal=principal, caller=caller):
            return run
        marks: JsonObject = {
            "principal": digest(principal),
            "call": self._identify(arguments),
            "is_delivered": False,
        }
        for status in await self._search(marks, limit=10):
            is_left = (status.attributes or {}).get("is_left")
            is_new = (status.created_at or 0) / 1000 > time.time() - LOST_S
            if is_new and (is_left or status.status == "SUCCESS") and status.workflow_id not in self._runs:
                run = await self._archive.read_run(status, principal)
                if run and run.arguments == arguments:
                    return run
        return None

    @override
    async def find_response(self, response_id: str, *, principal: str | None) -> Run | None:
        """Find the newest run of this principal that ended with this response, wherever it was driven."""
        with suppress(ForeignResponse):  # there may be one of this principal that others have driven
            if run := await super().find_response(response_id, principal=principal):
                return run
        found = await self._search({"response": digest(response_id)})
        if (found or response_id in self._responses) and is_unproven(principal):
            raise ForeignResponse(response_id)
        for status in found:
            if (status.attributes or {}).get("principal") == digest(principal):
                return await self._archive.read_run(status, principal)
        if found or response_id in self._responses:
            raise ForeignResponse(response_id)
        return None

    @override
    async def list_recent(self, *, principal: str | None, limit: int) -> Sequence[Summary]:
        """Summarise the newest runs of this principal, whoever drives or has driven them."""
        found = await self._search({"principal": digest(principal)}, limit=limit)
        here = {run.run_id: run for run in self._runs.values() if run.principal == principal}
        runs = [
            here.pop(status.workflow_id, None) or await self._archive.read_run(status, principal) for status in found
        ]
        listed = [*here.values(), *filter(None, runs)]
        summaries = [summarise(run, is_driven=run.ending is None) for run in listed]
        return sorted(summaries, key=lambda each: -each.created)[:limit]

    @override
    async def list_page(self, *, whose: str | None, before: Place | None, limit: int) -> Sequence[Summary]:
        """Summarise the newest runs behind that place, whoever drives or has driven them."""
        marks: JsonObject = {"principal": digest(whose)} if whose else {}
        most, until = (limit + SLACK, before.created + SLACK_S) if before else (limit, None)
        found = await self._ask(partial(self._archive.search, marks, limit=most, until=until))
        listed = list(await super().list_page(whose=whose, before=before, limit=limit))
        left = limit
        for status in found:
            if left and status.workflow_id not in self._runs and (run := await self._archive.read_run(status, whose)):
                summary = summarise(run, is_driven=run.ending is None)
                if before is None or summary.place < before:
                    listed.append(summary)
                    left -= 1
        return sorted(listed, key=lambda each: each.place, reverse=True)[:limit]

    @override
    async def look_up(self, run_id: str) -> tuple[Run, Summary] | None:
        """Look up a run, whoever drives or has driven it."""
        if found := await super().look_up(run_id):
            return found
        status = await self._ask(partial(self._archive.find, run_id))
        run = await self._archive.read_run(status, None) if status else None
        return (run, summarise(run, is_driven=run.ending is None)) if run else None

    async def _search(self, marks: JsonObject, *, limit: int = FIND_MOST) -> Sequence[WorkflowStatus]:
        return await self._ask(partial(self._archive.search, marks, limit=limit))

    @override
    async def wait(self, run: Run, *, news: int, until: float) -> Run:
        """Wait until there is news of a run, or until an instant, whoever drives it."""
        while run.news <= news and run.ending is None and self._clock.now() < until:
            if (here := self._runs.get(run.run_id)) and here is not run:  # it was given up here, and taken up again
                run, news = here, min(news, here.news)
            if run.run_id in self._live:
                await super().wait(run, news=news, until=until)
            else:
                with self._clock.scope(until):
                    await self._follow(run)
        return run

    async def _follow(self, run: Run) -> None:
        """Look at what another process does with a run, and let it know that somebody waits."""
        await self._lock.hold()
        if self._clock.now() - self._attended_at.get(run.run_id, -ATTEND_S) > ATTEND_S / 2:
            self._attended_at[run.run_id] = self._clock.now()
            await self._say(run, {"attend": ATTEND_S})
        await self._archive.follow(run, LOOK_S)

    @override
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
        if run.run_id in self._live or run.ending or not listener:
            return super().attend(run, listener, after=after, audience=audience, caller=caller)
        return self._archive.listen(run, listener, after)

    @override
    async def send(self, run: Run, message: Message) -> None:
        """Say something to a run, also to one that another process drives."""
        if run.run_id in self._live or run.ending:
            await super().send(run, message)
        elif words := _write_message(message):
            run.is_stopped |= isinstance(message, Stop)
            await self._say(run, words)

    async def _say(self, run: Run, words: JsonObject) -> None:
        await self._ask(partial(self._archive.say, run.run_id, words))

    def _hear(self, task: ClusterTask, words: JsonObject) -> None:
        """Do what another process says to a run of this one."""
        match words:
            case {"stop": _}:
                task.receive(Stop())
            case {"give_up": _}:
                task.give_up()
            case {"settle": str(key), "answer": answer}:
                task.receive(Settle(key, cast("Any", answer)))
            case {"say": interjection}:
                task.receive(Say(cast("Any", interjection)))
            case {"attend": float(seconds) | int(seconds)} if self._tasks:
                self._tasks.start_soon(self._attend_for, task, seconds)
            case _:
                logger.warning("run %s: a message of another process is not understood", task.run.run_id)

    async def _attend_for(self, task: RunTask, seconds: float) -> None:
        with task.attend(None, -1, None, SOMEBODY):
            await self._clock.sleep(seconds)

    @override
    async def note_delivery(self, run: Run, *, is_delivered: bool) -> None:
        """Note that a caller was given the result of a run, or was given up; every process knows it."""
        await super().note_delivery(run, is_delivered=is_delivered)
        if run.arguments.get("store") is not False:
            await self._archive.mark(run.run_id, {"is_delivered": is_delivered})

    @override
    async def give_up(self, run: Run) -> None:
        """Stop the run, unless somebody waits for it, at any process."""
        if run.run_id in self._live or run.ending:
            await super().give_up(run)
        else:
            await self._say(run, {"give_up": True})


def _write_message(message: Message) -> JsonObject | None:
    """Write a message to a run of another process. It need not know who shows a question."""
    match message:
        case Stop():
            return {"stop": True}
        case Settle(key, answer):
            return {"settle": key, "answer": cast("JsonObject", answer)}
        case Say(interjection):
            return {"say": cast("JsonObject", interjection)}
        case Show():
            return None
