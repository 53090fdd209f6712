"""What a server lists, page by page and again after changes; a bad tool costs itself alone."""

import itertools
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import types
from mcp.server import Server
from mcp.server.mcpserver import MCPServer

from bridge.hub.settling import LAST_SETTLE_S, SETTLE_CHANGES_S
from tests.fakes.bridges import open_bridge, open_without_host
from tests.fakes.clock import VirtualClock, until
from tests.fakes.http import HttpServer, build_altered
from tests.fakes.servers import rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio


@pytest.mark.rule("S24")
async def test_all_pages_are_listed_and_an_endless_list_ends() -> None:
    async with open_bridge(
        {"book": rogue("pages"), "scroll": rogue("endless_pages"), "bad": rogue("bad_tool")}
    ) as bridge:
        outcome = await bridge.use()
    by_owner = {key: [name for name in outcome.offered if name.startswith(key)] for key in ("book", "scroll", "bad")}
    assert by_owner["book"] == [f"book__{name}" for name in ("echo", "add", "sleep_forever", "write", "read")]
    assert len(by_owner["scroll"]) == 50
    assert len(by_owner["bad"]) == 6
    assert outcome.notices == ["scroll: every page after 50 is left out: a list must end"]


async def test_while_many_tools_are_made_ready_others_have_their_turns() -> None:
    server = MCPServer("many")
    for number in range(160):
        server.add_tool(lambda: "", name=f"tool_{number}")
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await anyio.lowlevel.checkpoint()
            turns += 1

    async with open_without_host(None, {"many": server}) as bridge, anyio.create_task_group() as tasks:
        await until(lambda: bridge.hub.members[-1].state == "ready")
        tasks.start_soon(count_turns)
        await anyio.lowlevel.checkpoint()
        before = turns
        catalogue = await bridge.hub.catalogue()
        after = turns
        tasks.cancel_scope.cancel()
    assert len(catalogue.tools) == 160
    assert after - before >= 8, "one for every 20 tools"


ODD: list[Any] = [
    {"name": "first", "inputSchema": {"type": "object"}, "outputSchema": {"type": "array"}},
    {"name": "untyped", "inputSchema": {}},
    {"name": "any_of", "inputSchema": {"anyOf": [{"type": "object"}]}},
    {"name": "draft_07", "inputSchema": {"$schema": "http://json-schema.org/draft-07/schema#", "definitions": {}}},
    {"name": "first", "inputSchema": {"type": "object"}, "description": "another one"},
    {"name": "text", "inputSchema": "object"},
    {"name": 5, "inputSchema": {"type": "object"}},
    {"inputSchema": {"type": "object"}},
    "not a tool",
    None,
    {"name": "last", "inputSchema": {"type": "object"}},
]


def list_odd(_: Any, result: Any) -> None:
    result["tools"] = ODD


@pytest.mark.rule("REL14")
async def test_every_bad_definition_is_named_and_every_good_one_kept() -> None:
    async with (
        HttpServer(lambda: build_altered("tools/list", list_odd)) as served,
        open_bridge({"odd": {"url": served.url}}) as bridge,
    ):
        outcome = await bridge.use()
        parameters = [tool["parameters"] for tool in bridge.requests[0].json["tools"]]
    assert outcome.offered == [f"odd__{name}" for name in ("first", "untyped", "any_of", "draft_07", "text", "last")]
    assert all(schema["type"] == "object" and "properties" in schema for schema in parameters)
    assert outcome.notices == [
        "odd: tool 7 of its list is left out: its name is not a text: 5",
        "odd: tool 8 of its list is left out: it has no name",
        "odd: tool 9 of its list is left out: it is no definition of a tool",
        "odd: tool 10 of its list is left out: it is no definition of a tool",
        "odd: a second first is left out: a name can be called for one tool only",
    ]


@pytest.mark.parametrize(("era", "host"), [("legacy", "legacy"), ("modern", "auto")])
async def test_changed_tools_are_seen_by_the_next_run_and_told_to_the_host(era: str, host: Any, tmp_path: Path) -> None:
    told: list[object] = []

    async def hear(message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.append(message)

    async def listen() -> None:
        async with bridge.client.listen(tools_list_changed=True) as changes:
            async for change in changes:
                told.append(change)

    log, grow = tmp_path / "log", [call("shop__grow"), call("shop__grow")]
    async with open_bridge({"shop": rogue("list_changed", era, f"log={log}")}, mode=host, hear=hear) as bridge:
        await bridge.hub.catalogue()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bridge.server.tell_changes)
            if host == "auto":
                tasks.start_soon(listen)
            first = await bridge.run([grow, [call("shop__grown_1")]])
            await until(lambda: len(bridge.member("shop").tools) == 8)
            told.clear()
            await until(lambda: bool(told))
            tasks.cancel_scope.cancel()
        second = await bridge.use(call("shop__grown_2"))
    assert json.loads(first.outputs[2])["error"] == "unknown_tool"
    assert second.outputs == ["(no output)"]
    assert [name for name in second.offered if name not in first.offered] == ["shop__grown_1", "shop__grown_2"]
    assert log.read_text(encoding="utf-8").count('"tools/list"') == 2  # one at the start, one for both changes


class Restless:
    """A server whose tools the test decides, list by list. `asked` counts them; `listed` is called with each."""

    def __init__(self, lists: Iterator[list[str]]) -> None:
        self._lists = lists
        self.asked = 0
        self.listed = anyio.lowlevel.checkpoint
        self.server = Server[dict[str, object]]("restless", on_list_tools=self._list)

    async def _list(self, *_: object) -> types.ListToolsResult:
        self.asked += 1
        await self.listed()
        names = next(self._lists)
        return types.ListToolsResult(tools=[types.Tool(name=name, input_schema={"type": "object"}) for name in names])


CHANGED = types.ToolListChangedNotification(method="notifications/tools/list_changed")
STORMS: dict[str, tuple[list[list[str]], float, int]] = {
    "after every list, and nothing changes (microsoft/aspire#14375)": ([["a"]], 0, 1),
    "three a second, and nothing changes (browseros-ai/BrowserOS#1005)": ([["a"]], 0.3, 1),
    "tools that come and go with every list": ([["a"], ["a", "b"]], 0, 35),
    "tools that come and go every five seconds": ([["a"], ["a", "b"]], 5, 35),
}


@pytest.mark.rule("REL17")
@pytest.mark.external
@pytest.mark.parametrize(("lists", "pause_s", "told_at_most"), STORMS.values(), ids=STORMS)
async def test_a_storm_of_changes_costs_a_listing_a_minute(
    lists: list[list[str]], pause_s: float, told_at_most: int
) -> None:
    clock, told = VirtualClock(), list[object]()
    server = Restless(itertools.cycle(lists))

    async def hear(message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            told.append(message)
            await bridge.client.list_tools(cache_mode="bypass")

    async with (
        open_bridge({"shop": server.server}, clock=clock, mode="legacy", hear=hear) as bridge,
        anyio.create_task_group() as tasks,
    ):
        await bridge.use()
        await bridge.client.list_tools(cache_mode="bypass")
        tasks.start_soon(bridge.server.tell_changes)
        change = partial(bridge.member("shop").listing.handle_notification, CHANGED)
        began = server.asked

        async def storm() -> None:
            while True:
                await change()
                await clock.sleep(pause_s)

        if pause_s:
            tasks.start_soon(storm)
        else:
            server.listed = change
            await change()
        await clock.advance(1200)
        tasks.cancel_scope.cancel()
    assert 20 <= server.asked - began <= 35
    assert len(told) <= told_at_most


@pytest.mark.rule("REL17")
async def test_a_change_after_a_quiet_minute_is_seen_at_once() -> None:
    clock, names = VirtualClock(), ["a"]
    server = Restless(itertools.repeat(names))
    async with open_bridge({"shop": server.server}, clock=clock) as bridge:
        await bridge.use()
        listing = bridge.member("shop").listing
        for number in range(12):
            names.append(f"grown_{number}")
            await listing.handle_notification(CHANGED)
            await clock.advance(SETTLE_CHANGES_S)
            assert len(listing.tools) == len(names)
            await clock.advance(LAST_SETTLE_S if number > 1 else 1)


ANNOUNCED: dict[str, Any] = {
    "parameters are a list": {"params": []},
    "parameters are null": {"params": None},
    "parameters are a text": {"params": "tools"},
    "_meta is a list": {"params": {"_meta": []}},
    "_meta is a text": {"params": {"_meta": "x"}},
    "an id of null": {"id": None},
    "an id of null, and parameters": {"params": {}, "id": None},
}


@pytest.mark.parametrize("announced", ANNOUNCED.values(), ids=ANNOUNCED)
async def test_a_change_is_heard_however_it_is_announced(announced: Any) -> None:
    modes = ("legacy", "list_changed", f"announces={json.dumps(announced)}")
    async with open_bridge({"shop": rogue(*modes)}) as bridge:
        await bridge.use(call("shop__grow"))
        await until(lambda: len(bridge.member("shop").tools) == 7)
