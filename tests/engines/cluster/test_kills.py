"""Replicas that are killed: another one takes their runs up, does nothing twice, and loses nothing."""

import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.engines.cluster.nursery import bear, come_true, has_died, open_nursery
from tests.engines.cluster.postgres import Postgres
from tests.engines.cluster.replicas import (
    HELD,
    PHASES,
    Point,
    World,
    answer,
    finish,
    open_replica,
    prompt_of,
    run_doomed,
)
from tests.fakes.bridges import outputs_of
from tests.fakes.upstream import Request, ScriptedUpstream

pytestmark = [pytest.mark.anyio, pytest.mark.external]

CALLS = "abc"
MANY = 20


@asynccontextmanager
async def open_world(postgres: Postgres, folder: Path) -> AsyncIterator[tuple[World, ScriptedUpstream]]:
    async with ScriptedUpstream(answer) as model:
        yield World(postgres.url, model.base_url, folder / "done"), model


def find_turns(requests: list[Request]) -> Counter[tuple[str, int]]:
    """How often each turn of each run was asked for."""
    return Counter((prompt_of(each), len(outputs_of(each))) for each in requests)


def find_told(requests: list[Request], name: str) -> dict[str, str]:
    """What the model was told of each call of a run."""
    last = max((each for each in requests if prompt_of(each) == name), key=lambda each: len(outputs_of(each)))
    return dict(zip(CALLS, outputs_of(last), strict=True))


async def test_a_replica_killed_at_any_step_costs_no_run_no_call_twice_and_no_word(
    postgres: Postgres, tmp_path: Path, record_testsuite_property: Any
) -> None:
    noted = list[Point]()
    async with open_world(postgres, tmp_path) as (world, _):
        await run_doomed(world, None, ["undisturbed"], noted)
    points = sorted(set(noted))
    assert len(points) == len(noted) == 11 * len(PHASES), points
    async with open_world(postgres, tmp_path) as (world, model), open_replica(world) as rescuer:
        ended = dict[str, float]()

        async def follow(name: str) -> None:
            run = await finish(rescuer, name)
            ended[name] = time.monotonic()
            assert run.ending == {"status": "completed", "reason": None, "error": None}, (name, run.ending)

        names = {"-".join(point).replace(":", "."): point for point in points}
        killed = dict[str, float]()
        with open_nursery() as nursery:
            async with anyio.create_task_group() as tasks:
                for name, point in names.items():
                    process = await anyio.to_thread.run_sync(bear, nursery, world, point, [name])
                    await come_true(partial(has_died, process))
                    killed[name] = time.monotonic()
                    tasks.start_soon(follow, name)
    turns, writes = find_turns(model.requests), world.writes
    told = {name: find_told(model.requests, name) for name in names}
    twice = [each for each, count in writes.items() if count > 1]
    unknown = [(name, key) for name in names for key in CALLS if "may have been executed" in told[name][key]]
    lost = [
        (name, key)
        for name in names
        for key in CALLS
        if told[name][key] != f"wrote {name} {key}" and (name, key) not in unknown
    ]
    repeated = [turn for turn, count in turns.items() if count > 1]
    seconds = [ended[name] - killed[name] for name in names]
    record_testsuite_property("kills: points", len(points))
    record_testsuite_property("kills: unknown outcomes", len(unknown))
    record_testsuite_property("kills: turns asked twice", len(repeated))
    record_testsuite_property("kills: seconds to the end of the run, median", round(statistics.median(seconds), 2))
    assert (twice, lost) == ([], [])
    asked = {("after", f"turn:{n}") for n in (1, 2, 3)}
    assert {names[name] for name, _ in repeated} <= asked, "only a turn whose answer died with its process"
    assert all(names[name][1].startswith("call:") for name, _ in unknown)


async def test_twenty_runs_of_a_replica_that_is_killed_go_on_at_another(
    postgres: Postgres, tmp_path: Path, record_testsuite_property: Any
) -> None:
    names = [f"{HELD} {number}" for number in range(MANY)]
    async with open_world(postgres, tmp_path) as (world, model), open_replica(world) as other:
        with open_nursery() as nursery:
            process = await anyio.to_thread.run_sync(bear, nursery, world, None, names)
            await come_true(lambda: len(world.writes) == 2 * MANY)
            before = len(model.requests)
            process.kill()
            began = time.monotonic()
            await come_true(lambda: len(model.requests) > before)
            first = time.monotonic() - began
            runs = [await finish(other, name) for name in names]
            all_s = time.monotonic() - began
    record_testsuite_property("takeover of twenty: seconds to the first turn", round(first, 2))
    record_testsuite_property("takeover of twenty: seconds to the last end", round(all_s, 2))
    assert {str(run.ending and run.ending["status"]) for run in runs} == {"completed"}
    assert set(world.writes.values()) == {1}
    assert set(find_turns(model.requests).values()) == {1}
    for name in names:
        told = find_told(model.requests, name)
        assert "may have been executed" in told["a"]
        assert "may have been executed" in told["b"]
        assert told["c"] == f"wrote {name} c"
