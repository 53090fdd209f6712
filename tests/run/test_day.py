"""A day's budget of a principal: exact to one turn, in either unit, whatever comes between.

As BerriAI/litellm#34732 and membrane/api-gateway#3210 (requests at once find the same rest), api7/aisix#48 (a restart
forgets), BerriAI/litellm#34896 (the day ends late by the offset of a time zone), geolens-io/geolens#402 (who hangs up
does not pay) and theam/facility#399 (nor does a process that is killed).
"""

import itertools
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from typing_extensions import override

from bridge.app import Bridge
from bridge.clock import Clock
from bridge.errors import ArgumentError, UsedUp
from bridge.events import Notified
from bridge.run.engine import Stop
from bridge.run.run import Run
from tests.fakes.bridges import open_without_host
from tests.fakes.clock import PATIENCE_S, until
from tests.fakes.items import Json
from tests.fakes.upstream import Request, ScriptedUpstream, api_error, call, gated, message, responds

pytestmark = pytest.mark.anyio

ANN, BOB = "principal ann", "principal bob"
NOON = 20_000 * 86_400 + 12 * 3600.0
USAGE: Json = {"input_tokens": 300, "output_tokens": 100, "total_tokens": 400}
TOKENS: Json = {"tokens_per_day": 1000}
COST: Json = {"cost_per_day": 1.0}
PRICES: Json = {"test-model": {"input": 1000, "output": 1000}}
"""A turn of 400 tokens costs 0.4."""
UNITS = pytest.mark.parametrize("budget", [TOKENS, COST], ids=["tokens", "cost"])


class DayClock(Clock):
    """The real clock, but for the time of day."""

    at = NOON

    @override
    def time(self) -> float:
        return self.at


class Place:
    """A bridge whose turns take 400 tokens each, and whose model calls a tool `turns - 1` times, then answers."""

    def __init__(self, bridge: Bridge, upstream: ScriptedUpstream, clock: DayClock) -> None:
        self.bridge, self.upstream, self.clock = bridge, upstream, clock
        self._numbers = itertools.count(1)

    async def run(self, turns: int = 1, principal: str = ANN) -> Run:
        arguments: Json = {"input": f"{turns} turns, question {next(self._numbers)}", "model": "test-model"}
        return await self.bridge.run(arguments, principal=principal)

    async def refusal(self, principal: str = ANN) -> str:
        sent = len(self.upstream.requests)
        with anyio.fail_after(PATIENCE_S), pytest.raises(UsedUp) as raised:
            await self.run(principal=principal)
        assert len(self.upstream.requests) == sent
        return raised.value.message


def answer(request: Request) -> Any:
    items = request.json["input"]
    turns, done = int(str(items[0]["content"]).split()[0]), sum("output" in item for item in items)
    if done + 1 < turns:
        return responds(call("math_calculator", {"expression": f"{done}+1"}, call_id=f"call_{done}"), usage=USAGE)
    return responds(message("done"), usage=USAGE)


@asynccontextmanager
async def place(
    state: Path,
    budget: Json,
    *,
    model: Callable[[Request], Any] = answer,
    clock: DayClock | None = None,
    **sections: Any,
) -> AsyncIterator[Place]:
    clock = clock or DayClock()
    async with (
        ScriptedUpstream(model) as upstream,
        open_without_host(
            upstream,
            clock=clock,
            environ={**os.environ, "MCP_RESPONSES_BRIDGE_STATE": str(state)},
            builtin_tools=True,
            prices=PRICES,
            serve={"principals": {"ann": budget, "bob": budget}},
            **sections,
        ) as bridge,
    ):
        yield Place(bridge, upstream, clock)


def ended(run: Run) -> tuple[str, str | None]:
    assert run.ending
    return run.ending["status"], run.ending["reason"]


def told(run: Run) -> str:
    return " ".join(event.message for event in run.events if isinstance(event, Notified))


@pytest.mark.rule("L4b")
@UNITS
async def test_a_run_stops_before_the_turn_after_the_budget_is_used_up(tmp_path: Path, budget: Json) -> None:
    async with place(tmp_path, budget) as at:
        run = await at.run(turns=9)
        assert (len(at.upstream.requests), *ended(run)) == (3, "incomplete", "budget"), "1,200 of 1,000"
        assert "the next day begins at 00:00 UTC, in 12 h 0 min" in told(run)


@UNITS
async def test_a_budget_that_is_met_exactly_is_used_up(tmp_path: Path, budget: Json) -> None:
    exact = {name: amount * 0.8 if name == "cost_per_day" else 800 for name, amount in budget.items()}
    async with place(tmp_path, exact) as at:
        assert ended(await at.run(turns=2)) == ("completed", None)
        assert "used up" in await at.refusal()


async def test_the_refusal_says_what_is_used_up_and_when_the_next_day_begins(tmp_path: Path) -> None:
    async with place(tmp_path, TOKENS) as at:
        await at.run(turns=3)
        at.clock.at = NOON + 11 * 3600 + 59 * 60
        assert await at.refusal() == (
            "Today's tokens are used up: 1,200 of 1,000 (serve.principals.ann.tokens_per_day); the next day begins at "
            "00:00 UTC, in 1 min"
        )
        assert ended(await at.run(principal=BOB)) == ("completed", None), "each has its own"


@pytest.mark.parametrize("zone", ["Asia/Tokyo", "America/Los_Angeles", "UTC"])
async def test_the_day_begins_at_midnight_of_utc_wherever_the_service_is(
    tmp_path: Path, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        async with place(tmp_path, TOKENS) as at:
            at.clock.at = NOON + 12 * 3600 - 1
            await at.run(turns=3)
            await at.refusal()
            at.clock.at += 1
            assert ended(await at.run(turns=2)) == ("completed", None)
    finally:
        monkeypatch.undo()
        time.tzset()


async def test_a_turn_counts_for_the_day_that_it_began_on(tmp_path: Path) -> None:
    clock = DayClock()

    def pass_midnight(request: Request) -> Any:
        clock.at = NOON + 13 * 3600
        return answer(request)

    async with place(tmp_path, {"tokens_per_day": 400}, model=pass_midnight, clock=clock) as at:
        await at.run()
        assert ended(await at.run()) == ("completed", None)
        await at.refusal()


@pytest.mark.rule("L4b")
@UNITS
async def test_a_restart_forgets_nothing(tmp_path: Path, budget: Json) -> None:
    async with place(tmp_path, budget) as at:
        await at.run(turns=2)
    async with place(tmp_path, budget) as at:
        run = await at.run(turns=9)
        assert (len(at.upstream.requests), *ended(run)) == (1, "incomplete", "budget")
    async with place(tmp_path, budget) as at:
        await at.refusal()


@UNITS
async def test_processes_of_one_state_folder_share_it(tmp_path: Path, budget: Json) -> None:
    async with place(tmp_path, budget) as at, place(tmp_path, budget) as other:
        await at.run(turns=1)
        await other.run(turns=1)
        await at.run(turns=1)
        await other.refusal()


@pytest.mark.rule("L4b")
@UNITS
async def test_of_many_runs_at_once_one_turn_at_most_goes_beyond(tmp_path: Path, budget: Json) -> None:
    large = {name: amount * 10 for name, amount in budget.items()}
    async with place(tmp_path, large) as at, anyio.create_task_group() as tasks:
        runs: list[Run] = []

        async def one() -> None:
            runs.append(await at.run(turns=5))

        for _ in range(20):
            tasks.start_soon(one)
        await until(lambda: len(runs) == 20)
        assert len(at.upstream.requests) == 25, "10,000 tokens at 400 a turn"


async def test_turns_go_on_at_once_where_there_is_enough_for_all(tmp_path: Path) -> None:
    """The first alone: what a turn takes is not known before."""
    gate = anyio.Event()

    def wait(request: Request) -> Any:
        return gated(answer(request), gate) if "last" in str(request.json["input"]) else answer(request)

    async with place(tmp_path, {"tokens_per_day": 100_000}, model=wait) as at, anyio.create_task_group() as tasks:
        await at.run()
        for number in range(8):
            arguments: Json = {"input": f"1 turn, the last, {number}", "model": "test-model"}
            run, _ = await at.bridge.start(arguments, principal=ANN)
            tasks.start_soon(at.bridge.see_out, run)
        await at.upstream.arrivals.wait(9)
        gate.set()


async def test_a_turn_that_is_given_up_is_paid_for(tmp_path: Path) -> None:
    gate = anyio.Event()
    text = "a long question " * 400

    async with place(tmp_path, TOKENS, model=lambda _: gated(responds(message("late")), gate)) as at:
        run, _ = await at.bridge.start({"input": text, "model": "test-model"}, principal=ANN)
        await at.upstream.arrivals.wait(1)
        await at.bridge.engine.send(run, Stop())
        await at.bridge.see_out(run)
        assert ended(run) == ("cancelled", None)
        assert "used up" in await at.refusal()


async def test_a_refusal_of_the_upstreams_costs_nothing(tmp_path: Path) -> None:
    async with place(tmp_path, TOKENS, model=lambda _: api_error(400, "no")) as at:
        for _ in range(3):
            run = await at.bridge.run({"input": "a long question " * 400, "model": "test-model"}, principal=ANN)
            assert ended(run)[0] == "failed"


async def test_a_turn_of_a_process_that_was_killed_counts_by_what_it_may_have_cost(tmp_path: Path) -> None:
    gate = anyio.Event()
    text = "a long question " * 400
    async with place(tmp_path, TOKENS, model=lambda _: gated(responds(message("late")), gate)) as at:
        await at.bridge.start({"input": text, "model": "test-model"}, principal=ANN)
        await at.upstream.arrivals.wait(1)
        async with place(tmp_path, TOKENS) as other:  # the first does not get to write its end
            assert "used up" in await other.refusal()


async def test_who_has_no_budget_leaves_no_file(tmp_path: Path) -> None:
    async with place(tmp_path, {"tokens_per_day": 1000}) as at:
        await at.run(principal="token 0123")
        await at.run(principal="principal carol")
    assert not (tmp_path / "days").exists()


async def test_the_file_is_its_owners_alone_and_old_ones_go(tmp_path: Path) -> None:
    async with place(tmp_path, TOKENS) as at:
        await at.run()
        [file] = (tmp_path / "days").iterdir()
        assert (file.name, file.stat().st_mode & 0o777) == ("2024-10-04 ann", 0o600)
        assert len(file.read_text("utf-8").splitlines()) == 2, "as a turn begins, and as it ends"
        at.clock.at += 5 * 86_400
        await at.run(principal=BOB)
        assert [each.name for each in (tmp_path / "days").iterdir()] == ["2024-10-09 bob"]


async def test_damage_in_the_file_is_passed_over(tmp_path: Path) -> None:
    async with place(tmp_path, TOKENS) as at:
        await at.run(turns=2)
        [file] = (tmp_path / "days").iterdir()
        file.write_bytes(file.read_bytes() + b"\xff\xff 12 x\nhalf of a li")
    async with place(tmp_path, TOKENS) as at:
        await at.run(turns=1)
        await at.refusal()


async def test_where_it_cannot_be_written_it_holds_in_this_process(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "days").write_text("a file where the folder should be")
    async with place(tmp_path, TOKENS) as at:
        await at.run(turns=3)
        await at.refusal()
    [warning] = {record.message for record in caplog.records if "known to this process only" in record.message}
    assert warning.startswith("2024-10-04 ann: ")


async def test_a_model_without_a_price_is_refused_where_the_cost_is_bounded(tmp_path: Path) -> None:
    async with place(tmp_path, COST) as at:
        with pytest.raises(ArgumentError) as raised:
            await at.bridge.run({"input": "1", "model": "other"}, principal=ANN)
    assert raised.value.message == (
        "model: serve.principals.ann.cost_per_day is set, and `prices` has no price for 'other'"
    )
