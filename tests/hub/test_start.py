"""Servers start side by side; who does not come in time is named and costs nobody else anything."""

import sys
from pathlib import Path

import anyio
import pytest

from bridge.hub.health import FIRST_BACKOFF_S
from bridge.hub.member import START_PATIENCE_S
from tests.fakes.bridges import Outcome, open_bridge
from tests.fakes.clock import PATIENCE_S, VirtualClock, until
from tests.fakes.servers import Gate, rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio


@pytest.mark.rule("REL3")
async def test_a_run_goes_on_without_those_that_fail_or_are_late_and_names_them() -> None:
    clock = VirtualClock()
    servers = {
        "missing": {"command": "no-such-command-anywhere"},
        "broken": rogue("exit_at_start"),
        "silent": rogue("silent"),
        "good": rogue("good"),
    }
    async with open_bridge(servers, clock=clock) as bridge, anyio.create_task_group() as tasks:

        async def pass_the_timeout() -> None:
            for key in ("missing", "broken", "good"):
                await bridge.member(key).settled.wait()
            await clock.advance(10)

        tasks.start_soon(pass_the_timeout)
        outcome = await bridge.use(call("good__echo", {"text": "here"}))
    assert outcome.outputs == ["here"]
    assert {name.split("__")[0] for name in outcome.offered} == {"good"}
    missing, broken, silent = outcome.notices
    assert missing.startswith('server "missing" is quarantined: it failed 5 times, the last time: command not found: ')
    assert "the process exited with status 1" in broken
    assert "rogue: cannot start: the database is missing" in broken
    assert silent == 'server "silent" is late: not ready after 10 s; its tools are missing'


@pytest.mark.rule("REL4")
async def test_all_start_at_once_and_nothing_but_a_run_waits_for_them() -> None:
    async with (
        Gate() as first,
        Gate() as second,
        open_bridge({"a": rogue(first.mode), "b": rogue(second.mode)}) as bridge,
        anyio.create_task_group() as tasks,
    ):
        with anyio.fail_after(PATIENCE_S):
            tools = (await bridge.client.list_tools()).tools
        assert [tool.name for tool in tools] == ["respond", "respond_wait", "respond_cancel"]
        await first.reached()
        await second.reached()
        outcomes: list[Outcome] = []

        async def run() -> None:
            outcomes.append(await bridge.use())

        tasks.start_soon(run)
        first.open()
        await bridge.reached("a", "ready")
        assert not bridge.requests
        second.open()
    assert {name[0] for name in outcomes[0].offered} == {"a", "b"}


async def test_one_that_comes_late_is_used_by_the_next_run() -> None:
    clock = VirtualClock()
    async with Gate() as gate, open_bridge({"slow": rogue(gate.mode)}, clock=clock) as bridge:
        await gate.reached()
        await clock.advance(10)
        assert (await bridge.use()).offered == []
        gate.open()
        await bridge.reached("slow", "ready")
        outcome = await bridge.use(call("slow__read"))
    assert outcome.outputs == ["nothing has changed"]
    assert not outcome.notices


async def test_the_reason_is_the_servers_and_not_that_it_was_ended_for_it() -> None:
    async with open_bridge({"modern": {**rogue("modern"), "protocol": "legacy"}}) as bridge:
        [notice] = (await bridge.use()).notices
    words = 'no handshake here; its setting "protocol" can be 2026-07-28'
    assert notice == f'server "modern" failed: {words}; its tools are missing'


@pytest.mark.rule("REL4")
async def test_a_start_without_end_is_given_up_and_tried_again(tmp_path: Path) -> None:
    clock = VirtualClock()
    async with open_bridge({"silent": rogue("silent", pids=tmp_path)}, clock=clock) as bridge:
        await until(lambda: len(list(tmp_path.iterdir())) == 1)  # its time runs from its start on
        await clock.advance(START_PATIENCE_S)
        await bridge.reached("silent", "failed")
        assert bridge.member("silent").reason == "not ready after 120 s"
        await clock.advance(FIRST_BACKOFF_S)
        await until(lambda: len(list(tmp_path.iterdir())) == 2)


async def test_last_words_that_come_after_the_end_of_stdout_are_heard() -> None:
    program = "import os, time; os.close(1); time.sleep(0.05); os.write(2, b'no licence'); os._exit(4)"
    async with open_bridge({"late": {"command": sys.executable, "args": ["-S", "-E", "-c", program]}}) as bridge:
        [notice] = (await bridge.use()).notices
    assert notice.startswith(
        'server "late" failed: the process exited with status 4; its last line on stderr: no licence;'
    )
