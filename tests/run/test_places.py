"""How many runs go on at once, who waits for a turn, and what becomes of runs whose callers have left.

The engine is used as the bridge uses it; each run goes on until the test ends it, and tells when it begins.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext

import anyio
import pytest

from bridge.errors import Busy
from bridge.events import Notified
from bridge.json_text import JsonObject
from bridge.run.engine import Caller, Context, Stop
from bridge.run.limits import COMPLETED, Ending
from bridge.run.memory import LEFT_S, MAX_WAITING_OF_ONE, MemoryEngine
from bridge.run.run import Run
from tests.fakes.clock import VirtualClock

pytestmark = pytest.mark.anyio


class House:
    """An engine with few places. `begun` names the runs that have got one, in that order."""

    def __init__(self, max_runs: int, **bounds: int) -> None:
        self.begun: list[str] = []
        self.clock = VirtualClock()
        self.engine = MemoryEngine(
            self._execute, self.clock, orphan_s=600, max_runs=max_runs, find_most=lambda whose: bounds.get(whose or "")
        )
        self._ends: dict[str, anyio.Event] = {}

    async def bring(self, *names: str) -> list[Run]:
        """A run each, of the principal that the name begins with."""
        runs = [await self.engine.start(name, {"input": name}, principal=name.split("-")[0]) for name in names]
        await anyio.wait_all_tasks_blocked()
        return runs

    async def end(self, name: str) -> None:
        self._ends[name].set()
        await anyio.wait_all_tasks_blocked()

    async def leave(self, *runs: Run) -> None:
        """One after the other, their callers wait for them, and then give them up."""
        for run in runs:
            with self.engine.attend(run):
                pass
            await self.engine.note_delivery(run, is_delivered=False)
        await anyio.wait_all_tasks_blocked()

    async def _execute(self, ctx: Context, arguments: JsonObject) -> Ending:
        name = str(arguments["input"])
        self.begun.append(name)
        ctx.emit(Notified(code="begun", message="It begins."))
        self._ends[name] = anyio.Event()
        await self._ends[name].wait()
        return COMPLETED


@asynccontextmanager
async def house(max_runs: int, **bounds: int) -> AsyncIterator[House]:
    """`bounds`: how many runs of one principal may go on at once."""
    opened = House(max_runs, **bounds)
    async with opened.engine:
        yield opened


def codes(run: Run) -> list[str]:
    return [event.code for event in run.events if isinstance(event, Notified)]


def status(run: Run) -> str | None:
    return run.ending["status"] if run.ending else None


@pytest.mark.rule("REL22")
async def test_as_many_runs_go_on_as_there_are_places_and_the_next_begins_when_one_ends() -> None:
    async with house(2) as at:
        runs = await at.bring("ada-1", "ada-2", "ada-3", "ada-4")
        assert at.begun == ["ada-1", "ada-2"]
        await at.end("ada-2")
        assert at.begun == ["ada-1", "ada-2", "ada-3"]
        for name in ("ada-1", "ada-3", "ada-4"):
            await at.end(name)
        assert [status(run) for run in runs] == ["completed"] * 4
        await at.bring("ada-5", "ada-6", "ada-7")
        assert at.begun[4:] == ["ada-5", "ada-6"], "no place is lost, and none is made"


@pytest.mark.rule("REL22")
async def test_who_brings_one_run_does_not_wait_for_all_of_who_brings_many() -> None:
    async with house(1) as at:
        await at.bring(*(f"ada-{number}" for number in range(6)))
        await at.bring("bob-1", "bob-2", "eve-1")
        for _ in range(8):
            await at.end(at.begun[-1])
        assert at.begun == ["ada-0", "ada-1", "bob-1", "eve-1", "ada-2", "bob-2", "ada-3", "ada-4", "ada-5"]


async def test_who_has_a_bound_of_its_own_waits_for_its_own_and_holds_nobody_up() -> None:
    async with house(3, ada=1) as at:
        runs = await at.bring("ada-1", "ada-2", "ada-3", "bob-1", "bob-2", "eve-1")
        assert at.begun == ["ada-1", "bob-1", "bob-2"], "two places were free for the others"
        await at.end("bob-1")
        assert at.begun[3:] == ["eve-1"], "though ada has waited longer"
        await at.end("bob-2")
        assert at.begun[4:] == []
        await at.clock.advance(5)
        await at.end("ada-1")
        assert at.begun[4:] == ["ada-2"]
        await at.end("ada-2")
        await at.end("ada-3")
        await at.end("eve-1")
        assert [status(run) for run in runs] == ["completed"] * 6
        await at.bring("bob-3", "bob-4", "bob-5", "bob-6")
        assert at.begun[6:] == ["bob-3", "bob-4", "bob-5"], "no place is lost, and none is made"
    [told] = [event for event in runs[1].events if isinstance(event, Notified) and event.code == "queued"]
    assert told.message == "this run waited 5 s for its turn: max_runs of its principal is 1"


async def test_a_run_that_was_left_yields_to_its_own_principal_where_that_has_a_bound() -> None:
    async with house(3, ada=1) as at:
        held, other = await at.bring("ada-1", "bob-1")
        await at.leave(held, other)
        [next_one] = await at.bring("ada-2")
        assert (status(held), status(other), at.begun) == ("cancelled", None, ["ada-1", "bob-1", "ada-2"])
        await at.end("ada-2")
        assert status(next_one) == "completed"


async def test_who_waits_for_its_own_run_has_nobody_elses_stopped() -> None:
    async with house(2, ada=1) as at:
        _, other, _ = await at.bring("ada-1", "bob-1", "ada-2")
        await at.leave(other)
        assert status(other) is None


async def test_a_run_that_waited_long_says_so() -> None:
    async with house(1) as at:
        first, second = await at.bring("ada-1", "ada-2")
        await at.clock.advance(12)
        await at.end("ada-1")
        await at.end("ada-2")
    assert (codes(first), codes(second)) == (["begun"], ["queued", "begun"])
    [told] = [event for event in second.events if isinstance(event, Notified) and event.code == "queued"]
    assert told.message == "this run waited 12 s for its turn: limits.max_runs is 1"


async def test_a_run_that_is_stopped_while_it_waits_takes_nobodys_place() -> None:
    async with house(1) as at:
        runs = await at.bring("ada-1", "ada-2", "ada-3")
        await at.engine.send(runs[1], Stop())
        await anyio.wait_all_tasks_blocked()
        assert status(runs[1]) == "cancelled"
        await at.end("ada-1")
        assert at.begun == ["ada-1", "ada-3"]
        await at.end("ada-3")
        await at.bring("ada-4")
        assert at.begun[-1] == "ada-4"


async def test_one_that_is_stopped_just_as_its_turn_comes_passes_it_on() -> None:
    async with house(1) as at:
        runs = await at.bring("ada-1", "ada-2", "ada-3")
        at._ends["ada-1"].set()
        while runs[0].ending is None:
            await anyio.lowlevel.checkpoint()
        await at.engine.send(runs[1], Stop())
        await anyio.wait_all_tasks_blocked()
        assert at.begun[-1] == "ada-3"


@pytest.mark.rule("REL22")
@pytest.mark.external
async def test_who_has_too_many_waiting_is_told_when_to_come_again_and_others_are_let_in() -> None:
    async with house(1) as at:
        await at.bring(*(f"ada-{number}" for number in range(MAX_WAITING_OF_ONE + 1)))
        with pytest.raises(Busy) as caught:
            await at.bring("ada-more")
        assert caught.value.message == (
            "The bridge is busy: 1 runs go on (limits.max_runs), and 2,000 wait. Nothing was sent; try again in 60 s"
        )
        assert (caught.value.code, caught.value.retry_after_s) == ("busy", 60)
        await at.bring("bob-1")
        await at.end("ada-0")
        await at.end("ada-1")
        assert at.begun == ["ada-0", "ada-1", "bob-1"]
        await at.bring("ada-more")


async def test_the_run_that_was_left_first_yields_its_place_to_one_that_waits() -> None:
    async with house(8) as at:
        runs = await at.bring(*(f"ada-{number}" for number in range(8)))
        await at.leave(runs[3])
        await at.leave(runs[1])
        await at.bring("bob-1")
        assert at.begun[-1] == "bob-1"
        assert [status(run) for run in runs] == [None, None, None, "cancelled", None, None, None, None]
        assert codes(runs[3]) == ["begun", "yielded"]
        await at.bring("bob-2")
        assert (at.begun[-1], status(runs[1])) == ("bob-2", "cancelled")
        await at.bring("bob-3")
        assert at.begun[-1] == "bob-2", "somebody waits for each of the others"


async def test_a_run_that_is_left_while_others_wait_yields_at_once() -> None:
    async with house(1) as at:
        [left, _] = await at.bring("ada-1", "bob-1")
        await at.leave(left)
        assert (at.begun, status(left)) == (["ada-1", "bob-1"], "cancelled")


@pytest.mark.parametrize("is_gone", [False, True])
async def test_a_run_that_its_caller_came_back_for_stays(is_gone: bool) -> None:
    """Unless that call was given up as well."""
    async with house(4) as at:
        runs = await at.bring("ada-1", "ada-2", "ada-3", "ada-4")
        await at.leave(runs[0])
        back = Caller(is_gone=lambda: is_gone)
        with at.engine.attend(runs[0], caller=back):
            await at.bring("bob-1")
            assert status(runs[0]) == ("cancelled" if is_gone else None)


async def test_a_run_that_yielded_is_given_to_an_equal_call_and_not_done_again() -> None:
    async with house(1) as at:
        [left, _] = await at.bring("ada-1", "bob-1")
        await at.leave(left)
        assert await at.engine.find_lost({"input": "ada-1"}, principal="ada") is left


async def test_of_one_principal_a_quarter_of_the_places_may_hold_runs_that_were_given_up() -> None:
    async with house(20) as at:
        runs = await at.bring(*(f"ada-{number}" for number in range(6)), "bob-1", "bob-2")
        await at.leave(*runs[5::-1], *runs[6:])
        assert [status(run) for run in runs] == [None, None, None, None, None, "cancelled", None, None]


async def test_runs_that_were_answered_in_progress_stay_as_long_as_nobody_waits() -> None:
    async with house(8) as at:
        runs = await at.bring(*(f"ada-{number}" for number in range(8)))
        for run in runs:
            with at.engine.attend(run):
                pass
        await at.clock.advance(LEFT_S + 1)
        assert [status(run) for run in runs] == [None] * 8
        await at.bring("ada-more")
        assert [status(run) for run in runs] == ["cancelled"] + [None] * 7


@pytest.mark.parametrize(("waited_s", "is_left"), [(LEFT_S - 1, False), (LEFT_S + 1, True)])
async def test_a_run_answered_in_progress_counts_as_left_after_a_minute(waited_s: float, is_left: bool) -> None:
    async with house(1) as at:
        [run] = await at.bring("ada-1")
        with at.engine.attend(run):
            pass
        await at.clock.advance(waited_s)
        await at.bring("bob-1")
        assert status(run) == ("cancelled" if is_left else None)


async def test_of_six_hundred_calls_that_leave_few_go_on() -> None:
    async with house(48) as at:
        runs = await at.bring(*(f"ada-{number}" for number in range(600)))
        await at.leave(*runs)
        assert sum(run.ending is None for run in runs) == 12
        [own] = await at.bring("ada-own")
        attended: AbstractContextManager[None] = at.engine.attend(own) if own.ending is None else nullcontext()
        with attended:
            assert "ada-own" in at.begun, "who stays does not wait for them"
