"""The engine whose runs are kept in a file: they outlive their process, and any later one finds and resumes them."""

import hashlib
import json
import logging
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Self

import anyio
from typing_extensions import override

from bridge.clock import Clock
from bridge.errors import NotResumable
from bridge.events import Notified, RunEnded
from bridge.json_text import JsonObject
from bridge.run.engine import SOMEBODY, Caller, Execute, ForeignResponse, Message, Say, Stop, is_unproven
from bridge.run.limits import CANCELLED, Ending, fail_with
from bridge.run.memory import FOUND_S, BuildTask, MemoryEngine
from bridge.run.run import Run
from bridge.run.shelf import Bounds, Shelf
from bridge.run.store.past import Past
from bridge.run.store.store import Store, Stored
from bridge.run.store.task import STOP, StoredTask, tell_resumed
from bridge.run.store.writer import Broken
from bridge.run.summary import Place, Summary, add_up, summarise
from bridge.run.task import RunTask

logger = logging.getLogger(__name__)

HELD = Bounds(100, 32 << 20)
"""How much of what is written is also held in memory after its end."""
LOOK_S = 0.5
"""How often another process's run is looked at, and messages of other processes are."""
NOTE_EVERY = 20
"""After so many looks it is written how long the runs have been driven."""
TAKE_UP_S = 5.0
"""How often a service looks for runs that nobody drives any more."""


class StoredEngine(MemoryEngine):
    """Keeps runs in a store, except for those whose arguments say `store: false`.

    `resumes`: takes up by itself what other processes have left, as a service does; else a run is taken up when
    somebody asks for its result, because nothing may be done or paid for unasked.
    """

    def __init__(
        self,
        body: Execute,
        clock: Clock,
        *,
        open_store: Callable[..., Store],
        configuration: str,
        resumes: bool = False,
        writes: bool = True,
        build_task: BuildTask = RunTask,
        build_stored: BuildTask = StoredTask,
        **options: Any,
    ) -> None:
        """`open_store`: called with what the store tells. `configuration`: identifies it, for equal calls.
        `writes`: False for one that finds runs, and writes none. `build_task` and `build_stored` build the task of a
        run that begins, without the store and with it."""
        super().__init__(body, clock, shelf=Shelf(HELD, HELD), build_task=self._build, **options)
        self._store = open_store(time=clock.time, on_broken=self._note_broken, on_lost=self._note_lost)
        self._configuration = configuration
        self._resumes = resumes
        self._writes = writes
        self._build_plain, self._build_stored = build_task, build_stored
        self._pasts: dict[str, Past] = {}
        """The past of each run that is about to be taken up."""
        self._missed: dict[str, str] = {}
        """Of equal calls that are about to begin runs, by what identifies them, the id of a run that is too old for
        them to be taken."""
        self._is_looking = False
        self._untold: str | None = None
        """What is wrong with the file, where no run went on that could tell it."""

    @asynccontextmanager
    @override
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        try:
            async with super().__asynccontextmanager__():
                if self._resumes:
                    assert self._tasks
                    self._tasks.start_soon(self._take_up)
                try:
                    yield self
                finally:
                    for task in self._list_stored():
                        task.leave()
        finally:
            with anyio.CancelScope(shield=True):
                await self._store.close()

    def _build(self, run: Run, clock: Clock, *, on_parted: Callable[[RunTask], None]) -> RunTask:
        past = self._pasts.pop(run.run_id, None)
        is_unwritten = past is None and (self._store.broken or not self._writes)
        if run.arguments.get("store") is False or is_unwritten:
            plain = self._build_plain(run, clock, on_parted=on_parted)
            if is_unwritten and self._untold:
                plain.emit(Notified(code="not_kept", message=self._untold))
                self._untold = None
            return plain
        if past is None:
            self._store.begin(run, self._identify(run.arguments, run.principal))
        build = self._build_stored if past is None else StoredTask  # a recording needs all of a run
        task = build(run, clock, on_parted=on_parted, store=self._store, past=past)
        assert isinstance(task, StoredTask)
        if past is not None:
            tell_resumed(task)
        if not self._is_looking and self._tasks:
            self._is_looking = True
            self._tasks.start_soon(self._look)
        return task

    @property
    @override
    def outlives(self) -> bool:
        """True as long as runs are written."""
        return self._writes and not self._store.broken

    @property
    @override
    def unreadable(self) -> str | None:
        """What is wrong with the file."""
        return self._store.broken

    @override
    async def find(self, run_id: str, *, principal: str | None) -> Run | None:
        """Find a run of this principal, in memory or in the file; the person at this terminal finds everybody's."""
        held = self._runs.get(run_id)
        if held is None and (stored := await self._load(run_id)):
            held = stored.run
        return held if held and principal in (held.principal, None) else None

    async def _load(self, run_id: str) -> Stored | None:
        try:
            return await self._store.load(run_id)
        except Broken:
            return None

    @override
    async def find_lost(self, arguments: JsonObject, *, principal: str | None, caller: Caller = SOMEBODY) -> Run | None:
        """Find the run of an earlier, equal call, also of one that a process before this has begun."""
        lost = await super().find_lost(arguments, principal=principal, caller=caller)
        if lost or arguments.get("store") is False:
            return lost
        call = self._identify(arguments, principal)
        try:
            equal = await self._store.find_equal(call)
        except Broken:
            return None
        if equal and self._clock.time() - equal[0][1] <= FOUND_S:
            run = await self.find(equal[0][0], principal=principal)
            return run and await self.resume(run)
        if equal and not is_unproven(principal):
            self._missed[call] = equal[0][0]
        # Another equal call may have taken the run up while this one looked.
        return await super().find_lost(arguments, principal=principal, caller=caller)

    @override
    def _find_missed(self, arguments: JsonObject, principal: str | None) -> str | None:
        written = self._missed.pop(self._identify(arguments, principal), None) if self._missed else None
        return super()._find_missed(arguments, principal) or written

    @override
    async def find_response(self, response_id: str, *, principal: str | None) -> Run | None:
        """Find the newest run of this principal that ended with this response."""
        if response_id in self._responses:
            return await super().find_response(response_id, principal=principal)
        try:
            known = await self._store.find_response(response_id)
        except Broken:
            known = list[tuple[str, str | None]]()
        own = [run_id for run_id, whose in known if principal in (whose, None)]
        if known and (is_unproven(principal) or not own):
            raise ForeignResponse(response_id)
        return await self.find(own[0], principal=principal) if own else None

    @override
    async def list_recent(self, *, principal: str | None, limit: int) -> Sequence[Summary]:
        """Summarise the newest runs, in memory and in the file."""
        held = [run for run in self._runs.values() if principal in (run.principal, None)]
        try:
            listed = {each.run_id: each for each in await self._store.list_recent(limit=limit, principal=principal)}
        except Broken:
            listed = dict[str, Summary]()
        for run in held[-limit:]:
            if run.run_id not in listed:
                listed[run.run_id] = summarise(run, is_driven=run.ending is None)
        return sorted(listed.values(), key=lambda each: -each.created)[:limit]

    @override
    async def list_page(self, *, whose: str | None, before: Place | None, limit: int) -> Sequence[Summary]:
        """Summarise the newest runs behind that place, in memory and in the file."""
        try:
            listed = await self._store.list_recent(limit=limit, principal=whose, before=before)
        except Broken:
            listed = list[Summary]()
        here = await super().list_page(whose=whose, before=before, limit=limit)  # these are known up to now
        merged = {each.run_id: each for each in (*listed, *here)}
        return sorted(merged.values(), key=lambda each: each.place, reverse=True)[:limit]

    @override
    async def look_up(self, run_id: str) -> tuple[Run, Summary] | None:
        """Look up a run in memory or in the file."""
        if run_id in self._runs:
            return await super().look_up(run_id)
        stored = await self._load(run_id)
        return (stored.run, summarise(stored.run, is_driven=await self._is_driven(run_id))) if stored else None

    async def _is_driven(self, run_id: str) -> bool:
        try:
            return await self._store.is_driven(run_id)
        except Broken:
            return False

    @override
    async def resume(self, run: Run) -> Run:
        """Take the run up if it has not ended and no process drives it."""
        if run.ending or run.run_id in self._live:
            return run
        try:
            taken = await self._take(run.run_id)
        except Broken:
            return run
        if taken is None or run.run_id in self._live:
            return run
        if taken.flaw:
            return self._close(taken, fail_with(NotResumable(f"This run was cut off and cannot go on: {taken.flaw}")))
        self._pasts[run.run_id] = taken.past
        taken.run.transcript = None
        self._launch(taken.run)
        return taken.run

    async def _take(self, run_id: str) -> Stored | None:
        """Have this process drive a run. Whoever asks for that may be given up meanwhile: then it does so all the
        same."""
        with anyio.CancelScope(shield=True):
            return await self._store.take(run_id)

    def _close(self, taken: Stored, ending: Ending) -> Run:
        """End a run that was taken up, without driving it."""
        run, totals = taken.run, add_up(taken.run.events)
        run.ending = ending
        last = RunEnded(status=ending["status"], reason=ending["reason"], error=ending["error"])
        kept = run.add(last, self._clock.time())
        assert isinstance(kept, RunEnded)
        self._store.add(run.run_id, kept, totals)
        self._store.end(run, totals)
        return run

    @override
    async def wait(self, run: Run, *, news: int, until: float) -> Run:
        """Wait until the run has more news than that; one that another process drives is looked at now and then."""
        if run.ending or run.run_id in self._live or self._clock.now() >= until:
            return await super().wait(run, news=news, until=until)
        await self._clock.sleep(min(LOOK_S, until - self._clock.now()))
        stored = await self._load(run.run_id)
        return await self.resume(stored.run) if stored else run

    @override
    async def send(self, run: Run, message: Message) -> None:
        """Say something to a run, also to one that another process drives."""
        if run.ending or run.run_id in self._live:
            return await super().send(run, message)
        try:
            if isinstance(message, Stop) and (taken := await self._take(run.run_id)):
                run.is_stopped = taken.run.is_stopped = True
                run.ending = self._close(taken, CANCELLED).ending
            elif isinstance(message, Stop):
                await self._store.mail.send(run.run_id, {"type": STOP})
            elif isinstance(message, Say):
                await self._store.mail.say_elsewhere(run.run_id, message.interjection)
        except Broken as broken:
            logger.warning("run %s: it could not be told: %s", run.run_id, broken)
        return None

    @override
    async def note_delivery(self, run: Run, *, is_delivered: bool) -> None:
        """Note that a caller was given the result of a run, or was given up before it got it."""
        await super().note_delivery(run, is_delivered=is_delivered)
        if run.arguments.get("store") is not False:
            self._store.note_delivery(run.run_id, is_delivered=is_delivered)

    def _list_stored(self) -> list[StoredTask]:
        return [task for task in self._live.values() if isinstance(task, StoredTask)]

    async def _look(self) -> None:
        """Pass on what other processes say to the runs that go on here, as long as there are any."""
        looks = 0
        while tasks := self._list_stored():
            await self._clock.sleep(LOOK_S)
            looks += 1
            try:
                messages = await self._store.mail.receive()
            except Broken:
                break
            for message in messages:
                if isinstance(live := self._live.get(message.run_id), StoredTask):
                    live.heed(message.body)
            if looks % NOTE_EVERY == 0:
                for task in tasks:
                    self._store.note_time(task.run.run_id, task.driven_s)
        self._is_looking = False

    async def _take_up(self) -> None:
        """Take up what other processes have left, now and from time to time."""
        while True:
            try:
                for run_id in await self._store.list_left():
                    if stored := await self._store.load(run_id):
                        await self.resume(stored.run)
            except Broken:
                return
            await self._clock.sleep(TAKE_UP_S)

    def _identify(self, arguments: JsonObject, principal: str | None) -> str:
        """Identify an equal call of the same principal under the same configuration."""
        text = json.dumps([self._configuration, principal, arguments], sort_keys=True)
        return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

    def _note_broken(self, reason: str) -> None:
        logger.warning("runs are kept in memory only: %s", reason)
        message = f"This run is kept in memory only, and ends with the bridge: {reason}"
        tasks = self._list_stored()
        for task in tasks:
            task.emit(Notified(code="not_kept", message=message))
        self._untold = None if tasks else message

    def _note_lost(self, run_id: str) -> None:
        live = self._live.get(run_id)
        if isinstance(live, StoredTask):
            live.lose()
