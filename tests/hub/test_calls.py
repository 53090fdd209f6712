"""Calls run at once, one at a time where the config says so, and never longer than they may."""

import json
import math
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.server.mcpserver import Context, MCPServer

from bridge.call_options import CallOptions
from bridge.events import CallEnded
from bridge.items import Call
from bridge.questions import say_yes
from builtin_tools.server import BuiltinServer
from tests.fakes.bridges import open_bridge, open_without_host, use_hub
from tests.fakes.clock import PATIENCE_S, VirtualClock, until
from tests.fakes.http import HttpServer
from tests.fakes.servers import OrderedServer, error_server, rendezvous_server, rogue
from tests.fakes.upstream import ScriptedUpstream, call, message, responds

pytestmark = pytest.mark.anyio


async def test_calls_to_one_server_run_at_once() -> None:
    async with HttpServer(lambda: rendezvous_server(3)) as served, open_bridge({"far": {"url": served.url}}) as bridge:
        outcome = await bridge.use(*(call("far__meet", {"key": key}) for key in "abc"))
    assert outcome.outputs == ["a", "b", "c"]


@pytest.mark.rule("L10")
async def test_a_serial_server_gets_one_call_at_a_time() -> None:
    ordered = OrderedServer()
    async with (
        HttpServer(lambda: ordered.server) as served,
        open_bridge({"far": {"url": served.url, "serial": True}, "near": rogue("good")}) as bridge,
        anyio.create_task_group() as tasks,
    ):
        outputs: list[Any] = []

        async def run() -> None:
            calls = [call("far__answer", {"key": "a"}), call("far__answer", {"key": "b"}), call("near__read")]
            outputs.extend((await bridge.use(*calls)).outputs)

        tasks.start_soon(run)
        await ordered.reached("a")
        ordered.release("b")
        await anyio.wait_all_tasks_blocked()
        assert ordered.started == ["a"]
        ordered.release("a")
    assert ordered.answered == ["a", "b"]
    assert outputs == ["a", "b", "nothing has changed"]


async def test_a_server_of_this_process_is_held_to_what_others_are_and_cannot_end_the_run() -> None:
    """The built-in server answers calls without a client and its protocol in between."""
    clock, began, given_up = VirtualClock(), anyio.Event(), anyio.Event()

    async def hang() -> str:
        began.set()
        try:
            await anyio.sleep_forever()
        finally:
            given_up.set()
        raise AssertionError

    async def crash(number: int) -> str:
        raise SystemExit(number)

    server = BuiltinServer()
    server.add_tool(hang)
    server.add_tool(crash)
    calls = [call("near__hang", {}), call("near__crash", {"number": 3}), call("near__crash", {"number": "canary"})]
    async with (
        ScriptedUpstream([responds(*calls), responds(message("done"))]) as upstream,
        open_without_host(upstream, {"near": server}, clock=clock, limits={"call_timeout_s": 5}) as bridge,
    ):
        run, _ = await bridge.start({"input": "x"})
        with anyio.fail_after(PATIENCE_S):
            await began.wait()
            await clock.advance(5)
            await bridge.engine.wait(run, news=0, until=math.inf)
    outputs = [str(event.item) for event in run.events if isinstance(event, CallEnded)]
    assert given_up.is_set()
    assert sum("no result in time" in output for output in outputs) == 1
    assert sum("Error executing tool crash" in output for output in outputs) == 1
    assert sum("invalid_arguments" in output and "canary" in output for output in outputs) == 1


@pytest.mark.rule("R3", "REL6")
async def test_a_call_that_takes_too_long_is_given_up_and_one_in_the_queue_loses_no_time(tmp_path: Path) -> None:
    clock, counts = VirtualClock(), tmp_path / "counts"
    entry = {**rogue(f"counts={counts}"), "call_timeout_s": 5}
    async with (
        open_bridge({"slow": entry, "single": {**entry, "serial": True}}, clock=clock) as bridge,
        anyio.create_task_group() as tasks,
    ):
        await bridge.hub.catalogue()
        outputs: list[Any] = []

        async def run() -> None:
            endless = [call("slow__sleep_forever"), call("single__sleep_forever"), call("single__read")]
            outputs.extend((await bridge.run([endless, [call("slow__read"), call("single__read")]])).outputs)

        tasks.start_soon(run)
        await until(lambda: counts.exists() and len(counts.read_text(encoding="utf-8").split()) == 2)
        await clock.advance(5)
    hung, single, *after = outputs
    words = "no result in time; it may have been executed, check before repeating it"
    assert [json.loads(output) for output in (hung, single)] == [{"error": "timeout", "message": words}] * 2
    assert after == ["nothing has changed"] * 3


async def test_a_call_still_in_the_queue_when_its_run_ends_was_never_sent(tmp_path: Path) -> None:
    clock, counts = VirtualClock(), tmp_path / "counts"
    async with (
        open_bridge(
            {"single": {**rogue(f"counts={counts}"), "serial": True, "require_approval": "never"}}, clock=clock
        ) as bridge,
        anyio.create_task_group() as tasks,
    ):
        hub = bridge.hub
        catalogue = await hub.catalogue()
        outputs: list[Any] = []

        async def use(tool: str) -> None:
            made = Call(tool, f"single__{tool}", "{}", {})
            terms = CallOptions(deadline=5, ask=say_yes)
            outputs.append((await use_hub(hub, made, terms, catalogue)).get("output"))

        tasks.start_soon(use, "sleep_forever")
        await until(counts.exists)
        tasks.start_soon(use, "read")
        await clock.advance(5)
    assert '{"error":"timeout","message":"no result in time; it was not sent"}' in outputs
    assert counts.read_text(encoding="utf-8").split() == ["sleep_forever"]


@pytest.mark.rule("L10")
@pytest.mark.parametrize(("setting", "most"), [({"max_parallel": 2}, 2), ({"serial": True}, 1), ({}, 5)])
async def test_a_server_gets_no_more_calls_at_once_than_it_may(setting: dict[str, Any], most: int) -> None:
    ordered = OrderedServer()
    async with (
        HttpServer(lambda: ordered.server) as served,
        open_bridge({"far": {"type": "http", "url": served.url, **setting}}) as bridge,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(lambda: bridge.use(*(call("far__answer", {"key": key}) for key in "abcde")))
        await until(lambda: len(ordered.started) == most)
        await anyio.wait_all_tasks_blocked()
        assert len(ordered.started) == most
        ordered.release(*"abcde")
    assert sorted(ordered.answered) == [*"abcde"]


@pytest.mark.rule("L15")
@pytest.mark.parametrize(
    ("beats", "words"),
    [(3, "neither a result nor progress for 5 s; it may have been"), (20, "no result in time; it may have been")],
    ids=["falls silent", "talks for ever"],
)
async def test_progress_puts_off_the_end_of_a_silent_call_but_not_that_of_its_time(beats: int, words: str) -> None:
    clock, server = VirtualClock(), MCPServer("chatty")
    tell, told = anyio.create_memory_object_stream[None](1)
    heard: list[float] = []
    outputs: list[Any] = []

    @server.tool()
    async def work(ctx: Context) -> str:
        async for _ in told:
            await ctx.report_progress(1)
        return "never"

    async def note(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        heard.append(progress)

    far = {"type": "http", "require_approval": "never", "idle_timeout_s": 5, "call_timeout_s": 60}
    async with (
        HttpServer(lambda: server) as served,
        open_bridge({"far": far | {"url": served.url}}, clock=clock) as bridge,
        anyio.create_task_group() as tasks,
    ):
        catalogue = await bridge.hub.catalogue()

        async def use() -> None:
            made = Call("1", "far__work", "{}", {})
            terms = CallOptions(deadline=999, on_progress=note, ask=say_yes)
            outputs.append((await use_hub(bridge.hub, made, terms, catalogue)).get("output"))

        tasks.start_soon(use)
        for beat in range(beats):
            await tell.send(None)
            await until(lambda beat=beat: len(heard) > beat or bool(outputs))
            if outputs:
                break
            await clock.advance(4)
        await clock.advance(5)
        await until(lambda: bool(outputs))
        told.close()
        tell.close()
    assert words in outputs[0]
    assert clock.now() <= 65


@pytest.mark.rule("L12")
async def test_the_three_ways_of_failing_can_be_told_apart() -> None:
    async with HttpServer(error_server) as served, open_bridge({"far": {"url": served.url}}) as bridge:
        outcome = await bridge.use(call("far__refuse"), call("far__crash"), call("far__break_protocol"))
    refused, crashed, broken = outcome.outputs
    assert refused == '{"error":"tool_error","message":"Error executing tool refuse: the printer is out of paper"}'
    assert crashed == '{"error":"tool_error","message":"Error executing tool crash"}'
    assert (
        broken
        == '{"error":"protocol_error","message":"far answered with error -32050: the server refuses the request"}'
    )
    assert all(made["is_error"] for made in outcome.receipt["tool_calls"])


async def test_a_secret_in_a_servers_last_words_is_blanked() -> None:
    entry = rogue("exit_at_start=no access with tok-0123456789", env={"TOKEN": "tok-0123456789"})
    async with open_bridge({"sealed": entry}) as bridge:
        [notice] = (await bridge.use()).notices
    assert "its last line on stderr: no access with ***" in notice
