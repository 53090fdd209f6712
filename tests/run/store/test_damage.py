"""A record that is damaged, and a clock that jumps: the other runs do not suffer."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from bridge.clock import Clock
from tests.engines.test_equal_calls import LaterClock
from tests.fakes.bridges import open_without_host
from tests.fakes.clock import until
from tests.fakes.items import Json
from tests.fakes.upstream import HEAD, ScriptedUpstream, gated, hang, message, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))


def sections(folder: Path) -> Json:
    return {"runs": {"store": f"sqlite:///{folder / 'runs.sqlite'}"}, "limits": {"on_cancel": "detach"}}


def read(folder: Path, query: str, *values: Any) -> list[Any]:
    with closing(sqlite3.connect(folder / "runs.sqlite")) as connection, connection:
        return connection.execute(query, values).fetchall()


async def leave_behind(folder: Path, count: int) -> list[str]:
    """So many runs that were under way when their bridge ended: their ids."""
    script = [hang(HEAD)] * count
    async with ScriptedUpstream(script) as upstream, open_without_host(upstream, **sections(folder)) as bridge:
        runs = [(await bridge.start({"input": f"{number}"}, principal="host"))[0] for number in range(count)]
        await upstream.arrivals.wait(count)
    return [run.run_id for run in runs]


CHANGES = ["arguments = '{'", "arguments = '[]'", "arguments = x'00ff'", "arguments = CAST(x'7bff' AS TEXT)"]
CHANGES += ["prompt = x'ff00'", "prompt = CAST(x'ff' AS TEXT)", "created = 'yesterday'", "used_s = 'x'", "driver = 7"]


@pytest.mark.parametrize("change", CHANGES)
async def test_of_ten_runs_of_which_one_is_damaged_all_are_listed_and_nine_go_on(change: str, tmp_path: Path) -> None:
    """Reported elsewhere: one record that cannot be read keeps all others from being found."""
    run_ids = await leave_behind(tmp_path, 10)
    read(tmp_path, f"UPDATE runs SET {change} WHERE run_id = ?", run_ids[4])
    async with (
        ScriptedUpstream(lambda _: DONE) as upstream,
        open_without_host(upstream, **sections(tmp_path)) as bridge,
        Client(bridge.server) as client,
    ):
        listed = (await client.call_tool("respond_wait", {})).structured_content or {}
        assert {run["run_id"] for run in listed["runs"]} == set(run_ids)
        results = [await client.call_tool("respond_wait", {"run_id": run_id}) for run_id in run_ids]
    receipts = [result.structured_content or {} for result in results]
    damaged = receipts.pop(4)
    assert [receipt["status"] for receipt in receipts] == ["completed"] * 9
    assert damaged["status"] == "completed" or damaged["error"]["code"] == "not_resumable"


@pytest.mark.parametrize("late_s", [30 * 86_400, -30 * 86_400])
async def test_a_run_that_goes_on_is_kept_wherever_the_clock_of_another_process_stands(
    late_s: float, tmp_path: Path
) -> None:
    """The machine may have slept for a month: its clock has jumped, and the run goes on where it was."""
    gate = anyio.Event()
    async with (
        ScriptedUpstream([gated(DONE, gate)]) as upstream,
        open_without_host(upstream, **sections(tmp_path), clock=Clock()) as one,
    ):
        run, _ = await one.start({"input": "Hello"}, principal="host")
        await upstream.arrivals.wait()
        async with open_without_host(upstream, **sections(tmp_path), clock=LaterClock(late_s)) as other:
            [seen] = await other.engine.list_recent(principal="host", limit=5)
            assert (seen.run_id, seen.status, seen.is_driven) == (run.run_id, "in_progress", True)
        gate.set()
        await until(lambda: bool(read(tmp_path, "SELECT 1 FROM runs WHERE status = 'completed'")))
