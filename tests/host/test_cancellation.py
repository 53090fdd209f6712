"""A host that gives up a `respond` call: its upstream request and its running calls end with it."""

import sys
from pathlib import Path

import anyio
import anyio.lowlevel
import pytest
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.client.stdio import StdioServerParameters

from tests.fakes.bridges import ERAS, open_bridge, respond
from tests.fakes.clock import PATIENCE_S
from tests.fakes.servers import ordered_server
from tests.fakes.upstream import HEAD, ScriptedUpstream, api_error, call, gated, hang, message, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))


async def give_up(client: Client, when: anyio.Event) -> None:
    """Call `respond` and give it up at that moment."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(respond, client)
        await when.wait()
        tasks.cancel_scope.cancel()


@pytest.mark.rule("R25", "REL23")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("after", [0, HEAD, "response.output_text.delta"])
async def test_a_cancelled_call_ends_its_upstream_request(mode: ConnectMode, after: int | str) -> None:
    arrived = anyio.Event()
    async with (
        open_bridge(script=[hang(after, responds(message("a long story"))), DONE], mode=mode) as bridge,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(give_up, bridge.client, arrived)
        await bridge.upstream.arrivals.wait()
        arrived.set()
        await bridge.upstream.disconnects.wait()
        assert (await bridge.respond())["output_text"] == "done", "the next call is not harmed"


@pytest.mark.rule("R25", "REL23")
@pytest.mark.parametrize("mode", ERAS)
async def test_a_cancelled_call_ends_its_running_calls(mode: ConnectMode) -> None:
    ordered, reached = ordered_server(), anyio.Event()
    calls = [call("o__answer", {"key": key}) for key in ("one", "two")]
    async with (
        open_bridge({"o": ordered.server}, script=[responds(*calls), DONE], mode=mode) as bridge,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(give_up, bridge.client, reached)
        await ordered.reached("one", "two")
        reached.set()
        with anyio.fail_after(PATIENCE_S):
            while len(ordered.cancelled) < 2:
                await anyio.lowlevel.checkpoint()
        assert (await bridge.respond())["output_text"] == "done"
        assert len(bridge.requests) == 2, "the cancelled run asked no more"


async def test_a_call_cancelled_during_a_pause_asks_no_more() -> None:
    paused = anyio.Event()
    busy = api_error(503, "busy", headers={"retry-after": "60"})
    async with open_bridge(script=[busy, DONE]) as bridge, anyio.create_task_group() as tasks:
        tasks.start_soon(give_up, bridge.client, paused)
        await bridge.upstream.arrivals.wait()
        await anyio.wait_all_tasks_blocked()
        paused.set()
    assert len(bridge.requests) == 1


@pytest.mark.rule("REL23")
async def test_one_cancelled_call_leaves_the_others_alone() -> None:
    arrived, gate = anyio.Event(), anyio.Event()
    receipts = []
    async with open_bridge(script=[gated(responds(message("kept")), gate), hang()]) as bridge:

        async def keep() -> None:
            receipts.append(await bridge.respond())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(keep)
            await bridge.upstream.arrivals.wait(1)
            tasks.start_soon(give_up, bridge.client, arrived)
            await bridge.upstream.arrivals.wait(2)
            arrived.set()
            await bridge.upstream.disconnects.wait()
            gate.set()
    assert receipts[0]["output_text"] == "kept"


@pytest.mark.external
@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_cancelled_over_stdio_ends_its_upstream_request(mode: ConnectMode, tmp_path: Path) -> None:
    arrived = anyio.Event()
    async with ScriptedUpstream([hang(HEAD), DONE]) as upstream:
        config = tmp_path / "config.json"
        config.write_text(
            f'{{"upstream": {{"base_url": "{upstream.base_url}", "model": "m"}}, "builtin_tools": false}}'
        )
        command = ["-m", "bridge", "serve", "--config", str(config), "--log-level", "warning"]
        async with Client(StdioServerParameters(command=sys.executable, args=command), mode=mode) as client:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(give_up, client, arrived)
                await upstream.arrivals.wait()
                arrived.set()
                await upstream.disconnects.wait()
            assert (await respond(client))["output_text"] == "done"
