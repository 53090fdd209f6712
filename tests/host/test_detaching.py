"""Runs that outlive the call that began them: what the caller is told, how it goes on, and when they end."""

import gc
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import MCPServer

from bridge.app import Bridge
from bridge.events import Notified
from bridge.json_text import JsonObject
from bridge.run.engine import Context, Stop
from bridge.run.limits import COMPLETED, Ending
from bridge.run.memory import MemoryEngine
from bridge.run.shelf import KEPT_EACH, KEPT_S
from tests.fakes.bridges import ERAS, open_without_host, respond, text_of
from tests.fakes.clock import PATIENCE_S, VirtualClock, until
from tests.fakes.rawhost import raw_host
from tests.fakes.servers import OrderedServer, ordered_server
from tests.fakes.service import serving
from tests.fakes.upstream import Request, ScriptedUpstream, call, gated, message, responds

pytestmark = pytest.mark.anyio

UNLIMITED = {"call_timeout_s": 9999, "timeout_s": 9999}


def use_then_answer(request: Request) -> Any:
    """A model that calls `o__answer` once and then says `done`."""
    is_answered = any("output" in item for item in request.json["input"])
    return responds(message("done")) if is_answered else responds(message("Looking."), call("o__answer", {"key": "a"}))


class Place:
    """A bridge on a virtual clock whose model waits for a tool that answers when it is released."""

    def __init__(self, bridge: Bridge, clock: VirtualClock, tool: OrderedServer, upstream: ScriptedUpstream) -> None:
        self.bridge, self.clock, self.tool, self.upstream = bridge, clock, tool, upstream

    async def finish(self) -> None:
        """Let the tool answer, and the model."""
        turns = len(self.upstream.requests) + 1
        self.tool.release("a")
        await self.upstream.arrivals.wait(turns)

    async def begin(self, client: Client, **arguments: Any) -> Any:
        """A run that goes on: what `respond` said of it."""
        receipts = []

        async def run() -> None:
            receipts.append(await client.call_tool("respond", {"input": "Hello", **arguments}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await self.tool.reached("a")
            await self.clock.advance(45)
        return receipts[0]


@asynccontextmanager
async def place(**limits: Any) -> AsyncIterator[Place]:
    clock, tool = VirtualClock(), ordered_server()
    async with (
        ScriptedUpstream(use_then_answer) as upstream,
        open_without_host(upstream, {"o": tool.server}, clock=clock, limits={**UNLIMITED, **limits}) as bridge,
    ):
        yield Place(bridge, clock, tool, upstream)


async def wait(client: Client, run_id: str, **arguments: Any) -> dict[str, Any]:
    receipt = (await client.call_tool("respond_wait", {"run_id": run_id, **arguments})).structured_content
    assert receipt is not None
    return receipt


async def until_ended(bridge: Bridge, run_id: str) -> None:
    with anyio.fail_after(PATIENCE_S):
        run = await bridge.find(run_id, principal="host")
        while run.ending is None:
            run = await bridge.engine.wait(run, news=run.news, until=math.inf)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_is_answered_at_the_soft_deadline_and_its_run_goes_on(mode: ConnectMode) -> None:
    async with place() as at, Client(at.bridge.server, mode=mode) as client:
        result = await at.begin(client)
        receipt = result.structured_content
        assert (receipt["status"], receipt["output_text"], result.is_error) == ("in_progress", "Looking.", False)
        for form in (text_of(result), str(receipt)):
            assert f"call respond_wait with run_id {receipt['run_id']}" in form, "whichever form a host shows"
        await at.finish()
        final = await wait(client, receipt["run_id"])
        assert (final["status"], final["output_text"], final["run_id"]) == ("completed", "done", receipt["run_id"])
        assert await wait(client, receipt["run_id"]) == final, "it can be asked for again"
        assert at.tool.started == ["a"]


async def test_waiting_ends_by_itself_and_tells_of_progress_meanwhile() -> None:
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        assert (progress, total) == (len(heard) + 1, None)
        heard.append(message or "")

    async with place() as at, Client(at.bridge.server) as client, anyio.create_task_group() as tasks:
        run_id = (await at.begin(client)).structured_content["run_id"]
        receipts = []

        async def run() -> None:
            result = await client.call_tool("respond_wait", {"run_id": run_id}, progress_callback=hear)
            receipts.append(result.structured_content)

        tasks.start_soon(run)
        await at.clock.advance(45)
        assert receipts[0]["status"] == "in_progress"
        assert len(heard) == 4, "every ten seconds"
        assert (await wait(client, run_id, wait_s=0))["status"] == "in_progress", "0 only looks"


async def test_a_run_can_be_stopped_and_says_what_it_has_come_to() -> None:
    async with place() as at, Client(at.bridge.server) as client:
        run_id = (await at.begin(client)).structured_content["run_id"]
        result = await client.call_tool("respond_cancel", {"run_id": run_id})
        receipt = result.structured_content or {}
        assert (receipt["status"], receipt["output_text"], result.is_error) == ("cancelled", "Looking.", True)
        assert at.tool.cancelled == ["a"]
        assert (await wait(client, run_id))["status"] == "cancelled"


async def test_stopping_a_run_that_has_ended_gives_its_result() -> None:
    async with place() as at, Client(at.bridge.server) as client:
        at.tool.release("a")
        run_id = (await respond(client))["run_id"]
        result = await client.call_tool("respond_cancel", {"run_id": run_id})
        assert result.structured_content
        assert result.structured_content["status"] == "completed"


@pytest.mark.rule("S28")
async def test_a_run_that_is_unknown_expired_or_somebody_elses_has_one_and_the_same_answer() -> None:
    async with (
        place() as at,
        serving(at.bridge, clock=at.clock, no_auth=True) as served,
        served.client(mode="legacy", token=None) as alice,
        served.client(mode="legacy", token=None) as bob,
    ):
        at.tool.release("a")
        run_id = (await respond(alice))["run_id"]
        assert (await wait(alice, run_id))["status"] == "completed"
        answers = [await wait(bob, run_id), await wait(bob, "run_unknown")]
        stopped = await bob.call_tool("respond_cancel", {"run_id": run_id})
        answers.append(stopped.structured_content or {})
        await at.clock.advance(KEPT_S)
        answers.append(await wait(alice, run_id))
        assert [answer["error"]["code"] for answer in answers] == ["invalid_argument"] * 4
        assert len({str(answer) for answer in answers}) == 1


@pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_without_tokens_a_session_is_a_principal_of_its_own(path: str) -> None:
    async with (
        place() as at,
        serving(at.bridge, clock=at.clock, no_auth=True) as served,
        served.client(path, mode="legacy", token=None) as alice,
        served.client(path, mode="legacy", token=None) as bob,
    ):
        at.tool.release("a")
        run_id = (await respond(alice))["run_id"]
        assert (await wait(alice, run_id))["status"] == "completed"
        assert (await wait(bob, run_id))["error"]["code"] == "invalid_argument"
    gc.collect()  # the SDK does not close the channels of a stream of SSE


async def test_a_token_is_one_principal_in_every_session_and_two_are_two() -> None:
    async with place() as at, serving(at.bridge, clock=at.clock, no_auth=True) as served:
        at.tool.release("a")
        async with served.client(mode="legacy") as client:
            run_id = (await respond(client))["run_id"]
        async with served.client() as same, served.client(token="another token of the tests") as other:
            assert (await wait(same, run_id))["status"] == "completed"
            assert (await wait(other, run_id))["error"]["code"] == "invalid_argument"


async def test_only_the_last_runs_are_kept() -> None:
    async with place() as at, Client(at.bridge.server) as client:
        at.tool.release("a")
        ids = [(await respond(client))["run_id"] for _ in range(3)]
        for _ in range(KEPT_EACH.runs - 1):
            run, _ = await at.bridge.start({"input": "x"}, principal="host")
            await at.bridge.engine.send(run, Stop())
            await at.bridge.engine.wait(run, news=0, until=math.inf)
        assert [(await wait(client, run_id))["status"] for run_id in ids] == ["failed", "failed", "completed"]


async def test_runs_with_much_text_are_kept_for_a_shorter_time() -> None:
    async def end_at_once(ctx: Context, arguments: JsonObject) -> Ending:
        ctx.emit(Notified(code="x", message=f"{arguments['input']}!"))
        return COMPLETED

    async with MemoryEngine(end_at_once, VirtualClock(), orphan_s=1) as engine:
        for number in range(4):
            run = await engine.start(f"run_{number}", {"input": "x" * (KEPT_EACH.bytes // 5)}, principal="host")
            await engine.wait(run, news=0, until=math.inf)
        await anyio.wait_all_tasks_blocked()
        kept = [number for number in range(4) if await engine.find(f"run_{number}", principal="host")]
    assert kept == [1, 2, 3], "two, and the last"


@pytest.mark.parametrize("after", [1, 2])
async def test_what_the_model_was_saying_is_in_the_result_of_a_run_that_goes_on_or_was_stopped(after: int) -> None:
    story, gate = responds(message("Once upon a time there was a bridge.")), anyio.Event()
    clock = VirtualClock()
    async with (
        ScriptedUpstream([gated(story, gate, after="a time")]) as upstream,
        open_without_host(upstream, clock=clock) as bridge,
        raw_host(bridge.server, "legacy") as host,
    ):
        number = await host.call("respond", {"input": "Hello"})
        while not (runs := await bridge.engine.list(principal="host")):
            await anyio.lowlevel.checkpoint()
        await until(lambda: "a time" in "".join(runs[0].saying))
        await clock.advance(45)
        receipt = await host.receipt(number)
        if after == 2:
            receipt = await host.receipt(await host.call("respond_cancel", {"run_id": receipt["run_id"]}))
    assert receipt["status"] == ("in_progress" if after == 1 else "cancelled")
    assert receipt["output_text"].startswith("Once upon a")


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("respond_cancel", {}, "run_id: it is missing"),
        ("respond_wait", {"run_id": 7}, "run_id: it is missing"),
        ("respond_wait", {"run_id": "run_1", "wait": 3}, "wait: there is no such argument"),
        ("respond_wait", {"run_id": "run_1", "wait_s": -1}, "wait_s: expected"),
        ("respond_wait", {"run_id": "run_1", "wait_s": "5"}, "wait_s: expected"),
        ("respond_cancel", {"run_id": "run_1", "wait_s": 1}, "wait_s: there is no such argument"),
    ],
)
async def test_a_wrong_argument_is_named(tool: str, arguments: dict[str, Any], words: str) -> None:
    async with place() as at, raw_host(at.bridge.server, "auto") as host:
        receipt = await host.receipt(await host.call(tool, arguments))
    assert words in receipt["error"]["message"]
    assert receipt["error"]["who"] == "caller"


async def test_however_long_it_is_to_wait_the_soft_deadline_holds() -> None:
    """Also where the number is larger than any float."""
    async with place() as at, raw_host(at.bridge.server, "auto") as host:
        receipt = await host.receipt(await host.call("respond_wait", {"run_id": "run_1", "wait_s": 10**400}))
    assert receipt["error"]["message"].startswith("run_id: there is no such run")


@pytest.mark.rule("R25")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    ("reason", "age_s", "on_cancel", "goes_on"),
    [
        ("timed out after 5s", 5, "auto", True),
        ("McpError: MCP error -32001: Request timed out", 5, "auto", True),
        ("context deadline exceeded", 5, "auto", True),
        ("TIMEOUT", 5, "auto", True),
        ("The user pressed stop", 31, "auto", True),
        ("The user pressed stop", 29, "auto", False),
        (None, 29, "auto", False),
        ("timed out after 5s", 5, "stop", False),
        ("The user pressed stop", 5, "detach", True),
    ],
)
async def test_a_cancelled_call_stops_its_run_unless_it_took_too_long(
    mode: str, reason: str | None, age_s: float, on_cancel: str, goes_on: bool
) -> None:
    async with place(on_cancel=on_cancel) as at, raw_host(at.bridge.server, mode) as host:
        number = await host.call("respond", {"input": "Hello"})
        await at.tool.reached("a")
        await at.clock.advance(age_s)
        await host.cancel(number, reason)
        if goes_on:
            await anyio.wait_all_tasks_blocked()
            await at.finish()
            assert at.tool.answered == ["a"]
        else:
            with anyio.fail_after(PATIENCE_S):
                while not at.tool.cancelled:
                    await anyio.lowlevel.checkpoint()
        assert not host.has_result(number), "a cancelled call has no answer"


async def test_a_closed_request_of_the_modern_era_leaves_its_run_alone() -> None:
    with anyio.fail_after(30):
        async with place() as at, serving(at.bridge, clock=at.clock) as served:
            async with served.client() as client, anyio.create_task_group() as tasks:
                tasks.start_soon(respond, client)
                await at.tool.reached("a")
                tasks.cancel_scope.cancel()
            await anyio.wait_all_tasks_blocked()
            await at.finish()
            assert at.tool.answered == ["a"]


@pytest.mark.external
async def test_a_call_is_stopped_however_many_came_after_it() -> None:
    async with place() as at, raw_host(at.bridge.server, "legacy") as host:
        number = await host.call("respond", {"input": "Hello"})
        await at.tool.reached("a")
        [run] = await at.bridge.engine.list(principal="host")
        for _ in range(1100):
            await host.result(await host.call("respond_wait", {"run_id": run.run_id, "wait_s": 0}))
        await host.cancel(number, "The user pressed stop")
        await until(lambda: at.tool.cancelled == ["a"])


@pytest.mark.parametrize("reason", [7, ["stop"], {"text": "stop"}, None, ""])
async def test_a_reason_that_is_no_text_costs_the_reason(reason: Any) -> None:
    async with place() as at, raw_host(at.bridge.server, "legacy") as host:
        number = await host.call("respond", {"input": "Hello"})
        await at.tool.reached("a")
        await host.notify("notifications/cancelled", {"requestId": number, "reason": reason})
        await until(lambda: at.tool.cancelled == ["a"])


async def test_an_equal_call_gets_the_run_of_the_one_that_was_given_up() -> None:
    async with place() as at, raw_host(at.bridge.server, "legacy") as host:
        number = await host.call("respond", {"input": "Hello"})
        await at.tool.reached("a")
        await host.cancel(number, "Request timed out")
        again = await host.call("respond", {"input": "Hello"})  # it comes with the cancellation, in one piece
        other = await host.call("respond", {"input": "Goodbye"})
        await at.finish()
        receipt = await host.receipt(again)
        assert (receipt["output_text"], [notice["code"] for notice in receipt["notices"]]) == ("done", ["rejoined"])
        assert (await host.receipt(other))["notices"] == []
        assert at.tool.started == ["a", "a"], "one for each of the two"
        third = await host.receipt(await host.call("respond", {"input": "Hello"}))
        assert third["run_id"] != receipt["run_id"], "what was answered is not answered again"


@pytest.mark.parametrize("mode", ERAS)
async def test_a_result_that_crossed_with_the_hosts_timeout_is_given_again(mode: str) -> None:
    async with place() as at, raw_host(at.bridge.server, mode) as host:
        at.tool.release("a")
        number = await host.call("respond", {"input": "Hello"})
        first = await host.receipt(number)  # which the host throws away: it has just stopped waiting
        await host.cancel(number, "Request timed out")
        again = await host.receipt(await host.call("respond", {"input": "Hello"}))
    assert (again["run_id"], again["output_text"], at.tool.started) == (first["run_id"], "done", ["a"])


async def test_a_run_that_nobody_asks_for_ends() -> None:
    async with place(orphan_s=100) as at, Client(at.bridge.server) as client:
        run_id = (await at.begin(client)).structured_content["run_id"]
        await at.clock.advance(99)
        assert (await wait(client, run_id, wait_s=0))["status"] == "in_progress"
        await at.clock.advance(99)
        assert at.tool.cancelled == []
        await at.clock.advance(1)
        await until_ended(at.bridge, run_id)
        receipt = await wait(client, run_id)
        assert (receipt["status"], receipt["notices"][0]["code"]) == ("cancelled", "orphan")
        assert at.tool.cancelled == ["a"]


async def test_a_run_lives_on_when_one_of_two_who_wait_for_it_stops() -> None:
    async with place() as at, raw_host(at.bridge.server, "legacy") as host:
        first = await host.call("respond", {"input": "Hello"})
        await at.tool.reached("a")
        [run_id] = [run.run_id for run in await at.bridge.engine.list(principal="host")]
        second = await host.call("respond_wait", {"run_id": run_id})
        await anyio.wait_all_tasks_blocked()
        await host.cancel(first, "The user pressed stop")
        await anyio.wait_all_tasks_blocked()
        await at.finish()
        assert (await host.receipt(second))["status"] == "completed"


async def test_all_tools_are_always_listed_and_say_what_they_do() -> None:
    async with place() as at, Client(at.bridge.server) as client:
        before = (await client.list_tools()).tools
        await at.begin(client)
        assert [tool.name for tool in (await client.list_tools()).tools] == [tool.name for tool in before]
        assert [tool.name for tool in before] == ["respond", "respond_wait", "respond_cancel"]
        assert all(tool.description and tool.annotations and tool.output_schema for tool in before)


async def test_a_server_that_is_connected_can_be_used_by_a_run_that_goes_on() -> None:
    """The calls of a detached run are made like any other's."""
    server, gate = MCPServer("s"), anyio.Event()

    @server.tool()
    async def look() -> str:
        await gate.wait()
        return "seen"

    script = [responds(call("s__look")), responds(call("s__look")), responds(message("both seen"))]
    clock = VirtualClock()
    async with (
        ScriptedUpstream(script) as upstream,
        open_without_host(upstream, {"s": server}, clock=clock, limits=UNLIMITED) as bridge,
        raw_host(bridge.server, "legacy") as host,
    ):
        number = await host.call("respond", {"input": "Hello"})
        await upstream.arrivals.wait()
        await clock.advance(45)
        run_id = (await host.receipt(number))["run_id"]
        gate.set()
        receipt = await host.receipt(await host.call("respond_wait", {"run_id": run_id}))
    assert (receipt["output_text"], receipt["turns"]) == ("both seen", 3)


async def test_a_run_that_has_told_nothing_yet_is_listed_with_its_age() -> None:
    """It stood last in the list, as old as the clock."""
    async with place(max_runs=1) as at, Client(at.bridge.server) as client, anyio.create_task_group() as tasks:
        tasks.start_soon(client.call_tool, "respond", {"input": "first"})
        await at.tool.reached("a")
        tasks.start_soon(client.call_tool, "respond", {"input": "second"})
        await until(lambda: len(at.bridge.engine._runs) == 2)
        listed = (await client.call_tool("respond_wait", {})).structured_content
        assert listed is not None
        assert [run["prompt"] for run in listed["runs"]] == ["second", "first"]
        assert listed["output_text"].count("in_progress, 0 s ago") == 2
        tasks.cancel_scope.cancel()
