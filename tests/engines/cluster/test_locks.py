"""A replica that loses its lock, or its database, while runs go on."""

import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psycopg
import pytest

from bridge.app import Bridge
from bridge.errors import Busy
from bridge.run.cluster import lock
from bridge.run.run import Run
from tests.engines.cluster.nursery import bear, come_true, open_nursery
from tests.engines.cluster.postgres import Postgres
from tests.engines.cluster.replicas import LONG_S, ME, World, answer, finish, open_replica, prompt_of
from tests.fakes.bridges import outputs_of
from tests.fakes.replies import gated
from tests.fakes.upstream import Reply, Request, ScriptedUpstream

pytestmark = [pytest.mark.anyio, pytest.mark.external]

RUNS = 8
LOCKS = "SELECT pid, objid::bigint FROM pg_locks WHERE locktype = 'advisory' AND classid = %s AND granted"


class Gate:
    """A model whose first answers wait until they are let through."""

    def __init__(self) -> None:
        self.is_open = anyio.Event()

    def answer(self, request: Request) -> Reply:
        return answer(request) if count_outputs(request) else gated(answer(request), self.is_open)


def count_outputs(request: Request) -> int:
    return len(outputs_of(request))


@asynccontextmanager
async def open_world(postgres: Postgres, folder: Path) -> AsyncIterator[tuple[World, ScriptedUpstream, Gate]]:
    gate = Gate()
    async with ScriptedUpstream(gate.answer) as model:
        yield World(postgres.url, model.base_url, folder / "done"), model, gate


@asynccontextmanager
async def open_runs(world: World, bridge: Bridge, model: ScriptedUpstream) -> AsyncIterator[list[Run]]:
    """Runs whose first turns are all under way; they have ended when this is left."""
    runs = list[Run]()

    async def run(name: str) -> None:
        runs.append(await bridge.run({"input": name}, principal=ME))

    with anyio.fail_after(LONG_S):
        async with anyio.create_task_group() as tasks:
            for name in world.name_runs(RUNS):
                tasks.start_soon(run, name)
            await model.arrivals.wait(RUNS)
            yield runs


def check_runs(world: World, runs: list[Run]) -> None:
    """Every run has ended well, and no tool was called twice."""
    assert [run.ending and run.ending["status"] for run in runs] == ["completed"] * RUNS
    assert Counter(world.writes.values()) == {1: 3 * RUNS}


def count_turns(model: ScriptedUpstream) -> dict[int, int]:
    """How many turns were asked for so often."""
    return Counter(Counter((prompt_of(each), count_outputs(each)) for each in model.requests).values())


@asynccontextmanager
async def away(postgres: Postgres) -> AsyncIterator[None]:
    """The server of PostgreSQL is down meanwhile."""
    await anyio.to_thread.run_sync(postgres.stop)
    try:
        yield
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(postgres.start)


async def ask(postgres: Postgres, query: str, *values: Any) -> list[Any]:
    return await anyio.to_thread.run_sync(postgres.ask, query, *values)


async def find_locks(postgres: Postgres, count: int) -> list[Any]:
    """The sessions of so many replicas, with the numbers of their locks, once all are there and no other is."""
    await come_true(lambda: len(postgres.ask(LOCKS, lock.SPACE)) == count)
    return await ask(postgres, LOCKS, lock.SPACE)


def fell(bridge: Bridge) -> bool:
    """Whether nothing new is begun."""
    return not bridge.engine._lock.is_held  # type: ignore[attr-defined]


async def test_a_lock_whose_session_is_ended_is_taken_again_and_no_run_notices(
    postgres: Postgres, tmp_path: Path
) -> None:
    async with open_world(postgres, tmp_path) as (world, model, gate), open_replica(world) as bridge:
        with open_nursery() as nursery:
            await anyio.to_thread.run_sync(bear, nursery, world, None, [])
            before = await find_locks(postgres, 2)
            async with open_runs(world, bridge, model) as runs:
                for session, _ in before:
                    await ask(postgres, "SELECT pg_terminate_backend(%s)", session)
                await come_true(lambda: len(set(postgres.ask(LOCKS, lock.SPACE)) - set(before)) == 2)
                gate.is_open.set()
    check_runs(world, runs)
    assert count_turns(model) == {1: 3 * RUNS}


@pytest.mark.parametrize("answers", ["while it is away", "when it is back"])
async def test_runs_go_on_when_the_database_is_back_and_ask_for_no_turn_again(
    postgres: Postgres, tmp_path: Path, answers: str
) -> None:
    async with open_world(postgres, tmp_path) as (world, model, gate), open_replica(world) as bridge:
        with open_nursery() as nursery:
            await anyio.to_thread.run_sync(bear, nursery, world, None, [])
            await find_locks(postgres, 2)
            async with open_runs(world, bridge, model) as runs:
                async with away(postgres):
                    await come_true(lambda: fell(bridge))
                    if answers == "while it is away":
                        gate.is_open.set()
                    with pytest.raises(Busy, match="cannot be reached"):
                        await bridge.start({"input": "one more"}, principal=ME)
                    await anyio.sleep(lock.GRACE_S)  # it may be away for longer than others wait
                    assert not world.writes, "nothing new is begun"
                gate.is_open.set()
    check_runs(world, runs)
    assert count_turns(model) == {1: 3 * RUNS}


async def test_a_lock_that_somebody_else_has_ends_what_is_under_way_before_anybody_may_take_it(
    postgres: Postgres, tmp_path: Path
) -> None:
    async with (
        open_world(postgres, tmp_path) as (world, model, gate),
        open_replica(world) as bridge,
        open_runs(world, bridge, model) as runs,
    ):
        [(session, number)] = await find_locks(postgres, 1)
        with psycopg.connect(postgres.url, autocommit=True) as thief:
            await ask(postgres, "SELECT pg_terminate_backend(%s)", session)
            thief.execute("SELECT pg_advisory_lock(%s, %s)", [lock.SPACE, number])
            await model.disconnects.wait(RUNS)
            assert len(model.requests) == RUNS
            assert not world.writes
        gate.is_open.set()
    check_runs(world, runs)


async def test_a_process_that_was_stopped_and_replaced_does_nothing_when_it_goes_on(
    postgres: Postgres, tmp_path: Path
) -> None:
    async with open_world(postgres, tmp_path) as (world, model, gate), open_replica(world) as other:
        with open_nursery() as nursery:
            [(own, _)] = await find_locks(postgres, 1)
            names = world.name_runs(RUNS)
            process = await anyio.to_thread.run_sync(bear, nursery, world, None, names)
            await model.arrivals.wait(RUNS)
            process.send_signal(signal.SIGSTOP)
            [session] = [pid for pid, _ in await find_locks(postgres, 2) if pid != own]
            await ask(postgres, "SELECT pg_terminate_backend(%s)", session)
            await model.arrivals.wait(2 * RUNS)
            process.send_signal(signal.SIGCONT)
            gate.is_open.set()
            runs = [await finish(other, name) for name in names]
            await find_locks(postgres, 2)
    check_runs(world, runs)
    assert len(model.requests) == 4 * RUNS, "the first turns twice: the process that had asked for them was gone"
