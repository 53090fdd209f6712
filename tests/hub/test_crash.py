"""A server that dies costs the calls that were on it, and nothing else."""

import os
import signal
from collections.abc import Callable
from pathlib import Path

import anyio
import pytest

from bridge.hub.health import BREAKER_FAILURES, PROBE_S
from tests.fakes.bridges import open_bridge
from tests.fakes.clock import PATIENCE_S, VirtualClock, until
from tests.fakes.servers import rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio


def pids_in(folder: Path) -> list[int]:
    """The processes that have signed in there."""
    return [int(file.name) for file in folder.iterdir()]


@pytest.mark.rule("R3", "REL5", "L11")
async def test_a_crash_costs_one_call_and_the_next_one_works(
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    async with open_bridge({"frail": rogue("crash_mid_call"), "other": rogue("good")}) as bridge:
        outcome = await bridge.run(
            [
                [call("frail__crash"), call("other__echo", {"text": "unharmed"})],
                [call("frail__echo", {"text": "back again"})],
            ]
        )
    crashed, *others = outcome.outputs
    assert '"connection_lost"' in crashed
    assert "frail went away during the call; it may have been executed, check before repeating it" in crashed
    assert others == ["unharmed", "back again"]
    took = outcome.receipt["tool_calls"][0]["duration_ms"]
    record_testsuite_property("crash detected, ms", took)
    assert took < 1000  # the promise is 100 ms


async def test_a_server_killed_while_idle_is_restarted_and_a_call_waits_for_it(tmp_path: Path) -> None:
    async with open_bridge({"mortal": rogue("good", pids=tmp_path)}) as bridge:
        await bridge.hub.catalogue()
        [pid] = pids_in(tmp_path)
        os.kill(pid, signal.SIGKILL)
        await bridge.reached("mortal", "backing off")
        assert (
            bridge.member("mortal").reason
            == "the process was ended by SIGKILL (the system does that when memory runs out)"
        )
        outcome = await bridge.use(call("mortal__read"))
    assert outcome.outputs == ["nothing has changed"]
    assert len(pids_in(tmp_path)) == 2
    assert not outcome.notices


async def test_no_run_waits_for_a_server_that_was_lost_nor_misses_its_tools(tmp_path: Path) -> None:
    servers = {"lost": rogue("good", pids=tmp_path), "other": rogue("good")}
    async with open_bridge(servers, clock=VirtualClock()) as bridge:
        before = (await bridge.use()).offered
        [pid] = pids_in(tmp_path)
        os.kill(pid, signal.SIGKILL)
        await bridge.reached("lost", "backing off")
        with anyio.fail_after(PATIENCE_S):  # the time after which it is started again never comes
            outcome = await bridge.use(call("other__echo", {"text": "meanwhile"}))
    assert outcome.outputs == ["meanwhile"]
    assert outcome.offered == before
    assert not outcome.notices


@pytest.mark.rule("REL5")
@pytest.mark.external
async def test_one_that_only_crashes_is_restarted_ever_less_often_then_left_alone_and_probed() -> None:
    clock = VirtualClock()
    async with open_bridge({"frail": rogue("crash_mid_call")}, clock=clock) as bridge:
        for crash in range(BREAKER_FAILURES + 1):
            await bridge.reached("frail", "ready")
            await bridge.use(call("frail__crash"))
            rests = crash >= BREAKER_FAILURES - 1
            await bridge.reached("frail", "quarantined" if rests else "backing off")
            if rests:
                assert (bridge.member("frail").reason or "").startswith(f"it failed {crash + 1} times, the last time:")
                [notice] = (await bridge.use()).notices  # and no run waits for it
                assert notice.startswith('server "frail" is quarantined')
            await clock.advance(PROBE_S if rests else 9)
        await bridge.reached("frail", "ready")
        assert (await bridge.use(call("frail__read"))).outputs == ["nothing has changed"]
        await bridge.use(call("frail__crash"))
        await bridge.reached("frail", "backing off")  # what was of use is forgiven
    pauses = [pause for pause in clock.sleeps if pause in (0.25, 0.5, 1, 2, 4, PROBE_S)]
    assert pauses == [0.25, 0.5, 1, 2, PROBE_S, PROBE_S, 0.25]


@pytest.mark.rule("L11")
async def test_a_call_that_does_no_harm_twice_is_made_again_on_the_next_connection(tmp_path: Path) -> None:
    """One that may have been executed is not: the model is told instead."""
    counts, pids = tmp_path / "counts", tmp_path / "pids"
    pids.mkdir()
    async with (
        open_bridge({"mortal": rogue(f"counts={counts}", "hangs_once", pids=pids)}) as bridge,
        anyio.create_task_group() as tasks,
    ):
        await bridge.hub.catalogue()
        outputs: list[str] = []

        async def run() -> None:
            outputs.extend((await bridge.use(call("mortal__read"), call("mortal__sleep_forever"))).outputs)

        tasks.start_soon(run)
        await until(lambda: counts.exists() and len(counts.read_text(encoding="utf-8").split()) == 2)
        [pid] = pids_in(pids)
        os.kill(pid, signal.SIGKILL)
    assert outputs[0] == "nothing has changed"
    assert "mortal went away during the call; it may have been executed, check before repeating it" in outputs[1]
    assert counts.read_text(encoding="utf-8").split().count("read") == 2
    assert counts.read_text(encoding="utf-8").split().count("sleep_forever") == 1


async def test_calls_wait_for_a_lost_server_for_its_connect_timeout_and_are_then_told_why(tmp_path: Path) -> None:
    clock = VirtualClock()
    entry = rogue("crash_mid_call")
    script = tmp_path / "server"
    script.symlink_to(entry["args"][2])
    entry["args"][2] = str(script)
    async with open_bridge({"gone": entry}, clock=clock) as bridge, anyio.create_task_group() as tasks:
        catalogue = await bridge.hub.catalogue()
        script.unlink()
        outputs = []

        async def run() -> None:
            outputs.extend((await bridge.run([[call("gone__crash")], [call("gone__read")]])).outputs)

        tasks.start_soon(run)
        await bridge.reached("gone", "backing off")
        await clock.advance(0.25)
        await bridge.reached("gone", "failed")
        assert not outputs
        await clock.advance(10)
    assert "gone is not connected: " in outputs[1]  # after one attempt, or several
    assert "the process exited with status 2" in outputs[1]
    assert "can't open file" in outputs[1]
    assert catalogue.tools.keys() >= {"gone__read"}


async def test_one_that_has_not_come_back_in_its_time_is_not_offered_any_more(tmp_path: Path) -> None:
    clock, pids, script = VirtualClock(), tmp_path / "pids", tmp_path / "server"
    pids.mkdir()
    entry = rogue("good", pids=pids)
    script.symlink_to(entry["args"][2])
    entry["args"][2] = str(script)
    async with open_bridge({"gone": entry}, clock=clock) as bridge:
        await bridge.hub.catalogue()
        script.unlink()
        [pid] = pids_in(pids)
        os.kill(pid, signal.SIGKILL)
        await bridge.reached("gone", "backing off")
        await clock.advance(0.25)
        await bridge.reached("gone", "failed")
        await clock.advance(10)
        for _ in range(3):  # between and after the attempts that are still made; no time passes in a run
            with anyio.fail_after(PATIENCE_S):
                outcome = await bridge.use()
            assert not [name for name in outcome.offered if name.startswith("gone")]
            [notice] = outcome.notices
            assert notice.startswith('server "gone" ')
            assert notice.endswith("its tools are missing")
            await clock.advance(60)
