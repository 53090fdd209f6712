"""The engine that keeps runs in memory: who starts one, finds it, hears it, and says something to it."""

import contextlib
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import anyio
import pytest
from typing_extensions import override

from bridge.events import Event, Kept, Notified, RunEnded, TextArrived, TurnEnded
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question
from bridge.run.engine import Caller, Context, ForeignResponse, Show, Stop
from bridge.run.limits import COMPLETED, Ending
from bridge.run.memory import MemoryEngine
from bridge.run.run import Run
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.anyio


class Script:
    """What runs do: each tells what `say` puts to it, until it is told to `end`."""

    def __init__(self) -> None:
        self.contexts: dict[str, Context] = {}
        self._ends: dict[str, anyio.Event] = {}

    async def execute(self, ctx: Context, arguments: JsonObject) -> Ending:
        """The body of every run."""
        name = str(arguments["input"])
        assert name not in self.contexts, f"{name} was begun twice"
        self.contexts[name] = ctx
        await self._ends.setdefault(name, anyio.Event()).wait()
        if response_id := arguments.get("response_id"):
            ctx.emit(end_turn(str(response_id)))
        return COMPLETED

    def say(self, name: str, *codes: str) -> None:
        """Let a run tell this."""
        for code in codes:
            self.contexts[name].emit(Notified(code=code, message=code))

    def end(self, name: str) -> None:
        """Let a run end."""
        self._ends.setdefault(name, anyio.Event()).set()


def end_turn(response_id: str) -> TurnEnded:
    counted = {"usage": None, "tokens": 0, "cost": None, "is_estimated": False}
    return TurnEnded(turn=1, response_id=response_id, model=None, output=[], **counted)


@asynccontextmanager
async def open_engine() -> AsyncIterator[tuple[MemoryEngine, Script]]:
    script = Script()
    async with MemoryEngine(script.execute, VirtualClock(), orphan_s=600) as engine:
        yield engine, script


async def begin(engine: MemoryEngine, name: str, *, principal: str = "ada", **arguments: str) -> Run:
    """A run that goes on."""
    run = await engine.start(f"run_{name}", {"input": name, **arguments}, principal=principal)
    await anyio.wait_all_tasks_blocked()
    return run


async def finish(engine: MemoryEngine, script: Script, run: Run) -> None:
    """Until the run has ended."""
    script.end(str(run.arguments["input"]))
    while run.ending is None:
        await engine.wait(run, news=run.news, until=math.inf)
    await anyio.wait_all_tasks_blocked()


def words(events: Sequence[Event]) -> list[str]:
    """Each event in a word."""
    return [event.code if isinstance(event, Notified) else event.type for event in events]


async def test_a_run_is_started_once_by_its_id() -> None:
    async with open_engine() as (engine, script):
        run = await begin(engine, "a")
        assert await engine.start("run_a", {"input": "another"}, principal="ada") is run
        await finish(engine, script, run)
        assert await engine.start("run_a", {"input": "another"}, principal="ada") is run
        await anyio.wait_all_tasks_blocked()
    assert [*script.contexts] == ["a"]
    assert run.ending == COMPLETED


@pytest.mark.parametrize("after", [-1, 0, 1, 2, 100])
async def test_a_listener_hears_what_was_behind_a_number_and_then_what_comes_each_once(after: int) -> None:
    heard = list[Event]()
    async with open_engine() as (engine, script):
        run = await begin(engine, "a")
        script.say("a", "one", "two", "three")
        with engine.attend(run, heard.append, after=after):
            script.say("a", "four")
            script.contexts["a"].emit(TextArrived(delta="Well"))
            await finish(engine, script, run)
    assert words(heard) == [*["one", "two", "three"][after + 1 :], "four", "text", "cut_off", "run.ended"]
    kept = [event for event in heard if isinstance(event, Kept)]
    assert kept == run.events[-len(kept) :]
    assert [event.seq for event in run.events] == [0, 1, 2, 3, 4, 5]


async def test_a_run_that_has_ended_is_heard_too() -> None:
    heard = list[Event]()
    async with open_engine() as (engine, script):
        run = await begin(engine, "a")
        script.say("a", "one", "two")
        await finish(engine, script, run)
        with engine.attend(run, heard.append, after=0):
            pass
    assert words(heard) == ["two", "run.ended"]


async def test_who_has_gone_hears_no_more() -> None:
    heard = list[Event]()
    async with open_engine() as (engine, script):
        run = await begin(engine, "a")
        with engine.attend(run, heard.append):
            script.say("a", "one")
        script.say("a", "two")
        await finish(engine, script, run)
    assert words(heard) == ["one"]


@pytest.mark.parametrize("breaks_at", ["one", "two", "three", "run.ended"])
async def test_a_listener_that_breaks_hears_no_more_and_all_others_everything(breaks_at: str) -> None:
    """However early: among the events that it is told again, or among those that come."""
    brittle, before, behind = list[Event](), list[Event](), list[Event]()

    def break_at(event: Event) -> None:
        brittle.append(event)
        if words([event]) == [breaks_at]:
            raise RuntimeError("the host has gone")

    async with open_engine() as (engine, script):
        run = await begin(engine, "a")
        script.say("a", "one", "two")
        with engine.attend(run, before.append), engine.attend(run, break_at), engine.attend(run, behind.append):
            script.say("a", "three", "four")
            await finish(engine, script, run)
    told = ["one", "two", "three", "four", "run.ended"]
    assert words(before) == words(behind) == words(run.events) == told
    assert words(brittle) == told[: told.index(breaks_at) + 1]
    assert run.ending == COMPLETED


async def test_everybody_has_a_list_of_their_own_runs_the_newest_first() -> None:
    async with open_engine() as (engine, script):
        first = await begin(engine, "a")
        other = await begin(engine, "b", principal="bob")
        second = await begin(engine, "c")
        await finish(engine, script, first)
        assert await engine.list(principal="ada") == [second, first]
        assert await engine.list(principal="bob") == [other]
        assert await engine.list(principal="eve") == []
        assert await engine.find("run_a", principal="ada") is first
        assert await engine.find("run_a", principal="bob") is None


async def test_a_response_is_found_by_those_whose_runs_ended_with_it() -> None:
    async with open_engine() as (engine, script):
        runs = [await begin(engine, name, response_id="resp_1") for name in ("a", "b")]
        assert await engine.find_response("resp_1", principal="ada") is None
        for run in runs:
            await finish(engine, script, run)
        assert await engine.find_response("resp_1", principal="ada") is runs[-1], "the newest"
        with pytest.raises(ForeignResponse):
            await engine.find_response("resp_1", principal="bob")
        assert await engine.find_response("resp_2", principal="ada") is None


async def test_a_run_that_goes_on_hears_that_it_is_to_stop_and_one_that_has_ended_does_not() -> None:
    async with open_engine() as (engine, script):
        ended, going_on = await begin(engine, "a"), await begin(engine, "b")
        await finish(engine, script, ended)
        for run in (ended, going_on):
            await engine.send(run, Stop())
        await anyio.wait_all_tasks_blocked()
    assert (ended.is_stopped, ended.ending) == (False, COMPLETED)
    assert going_on.is_stopped
    assert going_on.ending is not None
    assert going_on.ending["status"] == "cancelled"
    ends = [[event for event in run.events if isinstance(event, RunEnded)] for run in (ended, going_on)]
    assert [[event.status for event in each] for each in ends] == [["completed"], ["cancelled"]]


async def test_a_caller_that_comes_as_the_time_of_an_orphan_is_over_gets_its_result() -> None:
    script, clock = Script(), VirtualClock()
    async with MemoryEngine(script.execute, clock, orphan_s=600) as engine, anyio.create_task_group() as tasks:
        run = await begin(engine, "a")

        async def come_back() -> None:
            await clock.sleep(600)
            with engine.attend(run):
                script.end("a")
                await engine.wait(run, news=0, until=math.inf)

        tasks.start_soon(come_back)
        await anyio.wait_all_tasks_blocked()
        with engine.attend(run):
            pass
        await anyio.wait_all_tasks_blocked()
        await clock.advance(600)
    assert run.ending == COMPLETED
    assert not [event for event in run.events if isinstance(event, Notified)]


class Call:
    """A call of the origin of all others, which may go; `got` is the run that it found."""

    def __init__(self) -> None:
        self.is_gone = False
        self.caller = Caller("here", lambda: self.is_gone)
        self.got: Run | None = None

    async def repeat(self, engine: MemoryEngine, name: str) -> None:
        """Be equal to the call that began this run."""
        self.got = await engine.find_lost({"input": name}, principal="ada", caller=self.caller)


@asynccontextmanager
async def attended(engine: MemoryEngine, run: Run) -> AsyncIterator[tuple[Call, Call, anyio.CancelScope]]:
    """A run with the call that waits for it and one that waits to take it over, until its scope is cancelled."""
    first, again = Call(), Call()
    with engine.attend(run, caller=first.caller):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(again.repeat, engine, str(run.arguments["input"]))
            await anyio.wait_all_tasks_blocked()
            yield first, again, tasks.cancel_scope


async def test_a_run_that_was_given_up_for_its_heir_ends_where_that_goes_without_it() -> None:
    async with open_engine() as (engine, _):
        run = await begin(engine, "a")
        async with attended(engine, run) as (first, again, life):
            life.cancel()
            first.is_gone = True
            await engine.give_up(run)
            assert not run.is_stopped, "somebody waits to take it over"
        await anyio.wait_all_tasks_blocked()
        assert (again.got, run.is_stopped) == (None, True)


async def test_a_run_that_was_given_up_for_its_heir_goes_on_where_that_takes_it() -> None:
    async with open_engine() as (engine, _):
        run = await begin(engine, "a")
        async with attended(engine, run) as (first, again, _life):
            first.is_gone = True
            await engine.give_up(run)
        assert (again.got, run.is_stopped) == (run, False)


async def test_an_heir_that_has_gone_keeps_no_run() -> None:
    async with open_engine() as (engine, _):
        run = await begin(engine, "a")
        async with attended(engine, run) as (first, again, life):
            first.is_gone = again.is_gone = True
            await engine.give_up(run)
            assert run.is_stopped
            life.cancel()


async def test_a_run_that_ends_before_its_caller_is_seen_to_have_gone_is_the_heirs() -> None:
    script, clock = Script(), VirtualClock()
    async with MemoryEngine(script.execute, clock, orphan_s=600) as engine:
        run = await begin(engine, "a")
        async with attended(engine, run) as (first, again, _):
            await finish(engine, script, run)
            await clock.advance(0.5)
            assert again.got is None
            first.is_gone = True
            await clock.advance(0.5)
            assert again.got is run


class Host:
    """A host that shows questions; `blamed` once it has left one unanswered."""

    blamed = False

    def find_obstacle(self, question: Question) -> str | None:
        """It can ask."""

    def note_silence(self, question: Question) -> bool:  # noqa: ARG002
        """It is not asked again."""
        self.blamed = True
        return True


async def test_a_question_that_stays_unanswered_is_held_against_the_host_that_showed_it() -> None:
    clock, showing, passing = VirtualClock(), Host(), Host()
    answers = list[Answer]()

    async def ask(ctx: Context, _arguments: JsonObject) -> Ending:
        await started.wait()
        answers.append(await ctx.ask(Question("desk", "May I?", {})))
        return COMPLETED

    started = anyio.Event()
    async with MemoryEngine(ask, clock, orphan_s=600) as engine:
        run = await engine.start("a", {}, principal=None)
        with engine.attend(run, audience=showing):
            started.set()
            await anyio.wait_all_tasks_blocked()
            [key] = run.questions
            await engine.send(run, Show(key, 30, showing))
            with engine.attend(run, audience=passing):
                pass
            await clock.advance(30)
    assert answers
    assert (showing.blamed, passing.blamed) == (True, False)


class Mute(Host):
    """A host that cannot ask."""

    @override
    def find_obstacle(self, question: Question) -> str | None:
        """It has no way to."""
        return "it cannot ask"


class Asking:
    """The body of a run that asks one thing; its answer."""

    def __init__(self) -> None:
        self.started = anyio.Event()
        self.answer: Answer | None = None

    async def execute(self, ctx: Context, _arguments: JsonObject) -> Ending:
        """Ask once it is told to."""
        await self.started.wait()
        self.answer = await ctx.ask(Question("desk", "May I?", {}))
        return COMPLETED

    async def ask(self) -> None:
        """Let it ask."""
        self.started.set()
        await anyio.wait_all_tasks_blocked()


async def test_a_host_that_only_looked_is_not_blamed_for_the_question_that_another_shows() -> None:
    clock, showing, looking, body = VirtualClock(), Host(), Host(), Asking()
    async with MemoryEngine(body.execute, clock, orphan_s=600) as engine:
        run = await engine.start("a", {}, principal=None)
        with engine.attend(run, audience=showing):
            with engine.attend(run, audience=looking):
                pass
            await body.ask()
            [key] = run.questions
            await engine.send(run, Show(key, 30, showing))
            await clock.advance(30)
    assert (showing.blamed, looking.blamed) == (True, False)


@pytest.mark.parametrize("waits", [True, False], ids=["while it waits", "after it was given the question"])
async def test_a_host_that_cannot_ask_settles_no_question_that_another_shows(waits: bool) -> None:
    showing, looking, body = Host(), Mute(), Asking()
    async with MemoryEngine(body.execute, VirtualClock(), orphan_s=600) as engine:
        run = await engine.start("a", {}, principal=None)
        with contextlib.ExitStack() as stack:
            stack.enter_context(engine.attend(run, audience=showing))
            await body.ask()
            [key] = run.questions
            await engine.send(run, Show(key, 30, showing))
            if not waits:
                stack.close()
            with engine.attend(run, audience=looking):
                await anyio.wait_all_tasks_blocked()
    assert (body.answer, [*run.questions]) == (None, [])


@pytest.mark.parametrize("mute_first", [True, False])
async def test_a_question_is_asked_where_one_of_the_hosts_that_wait_can_ask_it(mute_first: bool) -> None:
    hosts = [Mute(), Host()] if mute_first else [Host(), Mute()]
    body = Asking()
    async with MemoryEngine(body.execute, VirtualClock(), orphan_s=600) as engine:
        run = await engine.start("a", {}, principal=None)
        with engine.attend(run, audience=hosts[0]), engine.attend(run, audience=hosts[1]):
            await body.ask()
            assert [*run.questions] == ["question-1"]


async def test_a_question_that_nobody_shows_is_settled_where_none_who_waits_can_ask_it() -> None:
    body = Asking()
    async with MemoryEngine(body.execute, VirtualClock(), orphan_s=600) as engine:
        run = await engine.start("a", {}, principal=None)
        with engine.attend(run, audience=Host()):
            await body.ask()
        with engine.attend(run, audience=Mute()):
            await anyio.wait_all_tasks_blocked()
    assert body.answer
    assert body.answer["reason"] == "it cannot ask"
