"""A server with very many tools, and one whose tools are never the same: neither slows the runs that do not use it."""

import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import anyio
import pytest
from mcp import types

from bridge.hub.catalogue import MAX_NAMED
from bridge.hub.pages import MANY, MAX_TOOLS
from tests.fakes.bridges import OpenBridge, open_bridge
from tests.fakes.clock import until
from tests.fakes.http import HttpServer, build_answering
from tests.fakes.items import Json
from tests.fakes.servers import rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

CHANGED = types.ToolListChangedNotification(method="notifications/tools/list_changed")


def define(name: str, **more: Any) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}, **more}


def listing(tools: list[Json]) -> Callable[[Json], Json | None]:
    """What a server answers that has these tools, whatever they are by then."""

    def answer(message: Json) -> Json | None:
        match message:
            case {"method": "tools/list"}:
                return {"result": {"tools": list(tools), "resultType": "complete", "ttlMs": 0, "cacheScope": "private"}}
            case {"method": "tools/call", "params": params}:
                return {"result": {"content": [{"type": "text", "text": params["name"]}], "resultType": "complete"}}
            case _:
                return None

    return answer


@pytest.mark.parametrize("era", ["legacy", "2026-07-28"])
@pytest.mark.parametrize("count", [MANY, MANY + 1, 3 * MANY])
async def test_every_good_tool_of_a_long_list_is_there_and_can_be_called(count: int, era: str) -> None:
    tools = [define(f"tool_{number}") for number in range(count)]
    tools[7] = define("odd") | {"outputSchema": 5}
    tools[11] = {"inputSchema": {"type": "object"}}
    async with (
        HttpServer(lambda: build_answering(listing(tools), {era: ""})) as served,
        open_bridge({"big": {"url": served.url, "protocol": era, "require_approval": "never"}}) as bridge,
    ):
        outcome = await bridge.use(call("big__odd"), call(f"big__tool_{count - 1}"))
        names = [tool.name for tool in bridge.member("big").tools]
    assert outcome.outputs == ["odd", f"tool_{count - 1}"]
    assert names == [tool["name"] for tool in tools if "name" in tool]
    assert "big: tool 12 of its list is left out: it has no name" in outcome.notices


@pytest.mark.rule("S24")
async def test_what_is_over_the_limit_is_left_out_and_said_once() -> None:
    tools = [define(f"tool_{number}") for number in range(MAX_TOOLS + 500)]
    async with (
        HttpServer(lambda: build_answering(listing(tools))) as served,
        open_bridge({"big": {"url": served.url}}) as bridge,
    ):
        outcome = await bridge.use()
        assert len(bridge.member("big").tools) == MAX_TOOLS
    assert f"big: every tool after {MAX_TOOLS:,} is left out: one server may have so many" in outcome.notices


async def test_of_many_tools_that_are_left_out_the_notices_name_some() -> None:
    tools: list[Json] = [{"name": number, "inputSchema": {"type": "object"}} for number in range(300)]
    async with (
        HttpServer(lambda: build_answering(listing([*tools, define("good")]))) as served,
        open_bridge({"bad": {"url": served.url}}) as bridge,
    ):
        outcome = await bridge.use()
    assert outcome.offered == ["bad__good"]
    assert len(outcome.notices) == MAX_NAMED + 1
    assert outcome.notices[-1] == "bad: 290 more of its tools are left out; the command `tools bad` names them"


async def test_tools_that_have_not_changed_are_not_converted_again() -> None:
    tools = [define(f"tool_{number}") for number in range(MANY + 50)]
    async with (
        HttpServer(lambda: build_answering(listing(tools))) as served,
        open_bridge({"big": {"url": served.url}}) as bridge,
    ):
        before = (await bridge.hub.catalogue()).tools
        tools[3] = define("tool_3", description="another one")
        tools.append(define("tool_new"))
        member = bridge.member("big")
        await member.listing.handle_notification(CHANGED)
        await until(lambda: len(member.tools) == len(tools))
        after = (await bridge.hub.catalogue()).tools
    assert [name for name in after if after[name] is not before.get(name)] == ["big__tool_3", "big__tool_new"]


async def test_headers_that_a_long_list_asks_for_are_sent() -> None:
    schema = {"type": "object", "properties": {"region": {"type": "string", "x-mcp-header": "Region"}}}
    tools = [*(define(f"tool_{number}") for number in range(MANY)), {"name": "query", "inputSchema": schema}]
    bad = {"type": "object", "properties": {"region": {"type": "object", "x-mcp-header": "a b"}}}
    tools.append({"name": "bad", "inputSchema": bad})
    headers = list[str | None]()

    def hear(got: Mapping[str, str]) -> None:
        headers.append(got.get("mcp-param-region"))

    async with (
        HttpServer(lambda: build_answering(listing(tools), hear=hear)) as served,
        open_bridge({"big": {"url": served.url, "require_approval": "never"}}) as bridge,
    ):
        outcome = await bridge.use(call("big__query", {"region": "eu"}))
    assert outcome.outputs == ["query"]
    assert headers[-1] == "eu"
    assert any(notice.startswith("big: bad is left out") for notice in outcome.notices)


async def measure(server: Json, seconds: float) -> float:
    """The median of a neighbour's runs beside this server, in milliseconds."""
    took = list[float]()
    async with open_bridge({"good": rogue("good"), "big": server}, limits={"connect_timeout_s": 60}) as bridge:
        await bridge.hub.catalogue()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bridge.server.tell_changes)
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                took.append(await time_run(bridge))
            tasks.cancel_scope.cancel()
    return statistics.median(took)


async def time_run(bridge: OpenBridge) -> float:
    began = time.perf_counter()
    assert (await bridge.use(call("good__read"))).outputs == ["nothing has changed"]
    return (time.perf_counter() - began) * 1000


@pytest.mark.rule("REL17")
@pytest.mark.external
@pytest.mark.parametrize("count", [10_000, 20_000])
async def test_tools_that_churn_do_not_slow_a_neighbour(
    count: int, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """The promise is 1.5; machines are busy."""
    quiet = await measure(rogue(f"many={count}", "legacy"), 5)
    churning = await measure(rogue(f"churns={count}", "legacy"), 20)
    record_testsuite_property(f"a neighbour's run beside {count:,} churning tools, ratio", round(churning / quiet, 2))
    assert churning / quiet < 2.5
