"""A list of tools in pages of any shape: each tool that a server lists is there, and the listing ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from bridge.hub.listing import PAGE_S
from tests.fakes.bridges import OpenBridge, Outcome, open_bridge
from tests.fakes.clock import VirtualClock, until
from tests.fakes.http import serve_rogue
from tests.fakes.items import Json
from tests.fakes.servers import rogue

pytestmark = pytest.mark.anyio

ERAS = ["legacy", "modern"]
WIRES = ["stdio", "http", "sse"]
ADVANCES = "every page after 2 is left out: its nextCursor is one that it has given before"


def tool(name: str, **fields: Any) -> Json:
    return {"name": name, "inputSchema": {"type": "object"}, **fields}


def page(*tools: Any, **fields: Any) -> Json:
    return {"tools": [tool(each) if isinstance(each, str) else each for each in tools], **fields}


def listing(*pages: Any) -> str:
    """The mode of a rogue whose `tools/list` is answered with these pages, the last again and again."""
    return f"results={json.dumps({'tools/list': list(pages)})}"


async def list_tools(*modes: str) -> Outcome:
    async with open_bridge({"s": rogue(*modes)}) as bridge:
        return await bridge.use()


def read_cursors(log: Path) -> list[Any]:
    """The cursors that were sent, in order; None for a first page."""
    received = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    asked = [message for message in received if message["method"] == "tools/list"]
    return [(message.get("params") or {}).get("cursor") for message in asked]


def names(bridge: OpenBridge) -> list[str]:
    return [tool.name for tool in bridge.member("s").tools]


CURSORS: dict[str, tuple[Any, list[Any]]] = {
    "a text": ("next", ["next"]),
    "a number": (2, [2]),
    "a fraction": (1.5, [1.5]),
    "an object": ({"offset": 50}, [{"offset": 50}]),
    "a list": ([50], [[50]]),
    "true": (True, [True]),
    "digits": ("2", ["2"]),
    "null": (None, []),
    "zero": (0, []),
    "false": (False, []),
    "an empty list": ([], []),
    "an empty object": ({}, []),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("cursor", "sent"), CURSORS.values(), ids=CURSORS)
async def test_a_cursor_goes_back_as_it_came_and_nothing_is_the_end(
    cursor: Any, sent: list[Any], era: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    outcome = await list_tools(era, listing(page("one", nextCursor=cursor), page("two")), f"log={log}")
    assert outcome.offered == (["s__one", "s__two"] if sent else ["s__one"])
    assert read_cursors(log) == [None, *sent]
    assert outcome.notices == []


@pytest.mark.parametrize(("era", "offered"), [("modern", ["s__one", "s__two"]), ("legacy", ["s__one"])])
async def test_an_empty_cursor_is_a_cursor_in_the_modern_era_only(era: str, offered: list[str]) -> None:
    """PrefectHQ/fastmcp#5025; and for the handshake era, modelcontextprotocol/java-sdk#628 and ChesterRa/cccc#50."""
    outcome = await list_tools(era, listing(page("one", nextCursor=""), page("two")))
    assert outcome.offered == offered
    assert outcome.notices == []


STUCK = {
    "the same page and cursor (DeusData/codebase-memory-mcp#1247)": [page("one", "two", nextCursor="8")],
    "a number that stays": [page("one", "two", nextCursor=8)],
    "new tools and an old cursor": [page("one", nextCursor="a"), page("two", nextCursor="a")],
    "round and round": [page("one", nextCursor="a"), page("two", nextCursor="b"), page("one", nextCursor="a")],
}


@pytest.mark.rule("S24")
@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("pages", STUCK.values(), ids=STUCK)
async def test_a_cursor_that_does_not_advance_ends_the_list_at_once(
    pages: list[Json], era: str, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    outcome = await list_tools(era, listing(*pages), f"log={log}")
    count = max(2, len(pages))
    assert outcome.offered == ["s__one", "s__two"]
    assert outcome.notices == [f"s: {ADVANCES.replace('2', str(count))}"]
    assert len(read_cursors(log)) == count


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("wire", WIRES)
async def test_pages_are_read_on_every_transport(wire: str, era: str) -> None:
    pages = [page("one", nextCursor=7), page("two", nextCursor="b"), page("three", nextCursor=7)]
    async with serve_rogue(wire, era, listing(*pages)) as entry, open_bridge({"s": entry}) as bridge:
        outcome = await bridge.use()
    assert outcome.offered == ["s__one", "s__two", "s__three"]
    assert outcome.notices == [f"s: {ADVANCES.replace('2', '3')}"]


async def test_an_empty_cursor_that_does_not_advance_ends_the_list_too() -> None:
    outcome = await list_tools("modern", listing(page("one", "two", nextCursor="")))
    assert outcome.offered == ["s__one", "s__two"]
    assert outcome.notices == [f"s: {ADVANCES}"]


FAILING: dict[str, Any] = {
    "an invalid cursor": {"error": {"code": -32602, "message": "Invalid cursor"}},
    "an error of the server": {"error": {"code": -32603, "message": "Internal error"}},
    "an error with the code of a closed connection": {"error": {"code": -32000, "message": "try later"}},
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("failing", FAILING.values(), ids=FAILING)
async def test_a_page_that_fails_costs_what_comes_from_there_on(failing: Any, era: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    good = page("one", nextCursor="b")
    async with open_bridge({"s": rogue(era, listing(good, failing, good, failing), f"log={log}")}) as bridge:
        outcome = await bridge.use()
        await until(lambda: len(read_cursors(log)) == 4)
        assert (bridge.member("s").state, names(bridge)) == ("ready", ["one"])
    assert outcome.offered == ["s__one"]
    [notice] = outcome.notices
    assert notice.startswith("s: every page after 1 is left out: the next one failed: ")


async def test_a_page_that_fails_once_is_there_after_the_next_listing() -> None:
    good, failing = page("one", nextCursor="b"), {"error": {"code": -32603, "message": "busy"}}
    async with open_bridge({"s": rogue(listing(good, failing, good, page("two")))}) as bridge:
        await until(lambda: names(bridge) == ["one", "two"])
        outcome = await bridge.use()
    assert outcome.offered == ["s__one", "s__two"]
    assert outcome.notices == []


@pytest.mark.rule("S24")
@pytest.mark.parametrize("era", ERAS)
async def test_a_page_that_does_not_come_is_not_waited_for_for_ever(era: str, tmp_path: Path) -> None:
    clock, log = VirtualClock(), tmp_path / "log"
    mode = listing(page("one", nextCursor="b"), {"error": "never"})
    async with open_bridge({"s": rogue(era, mode, f"log={log}")}, clock=clock) as bridge:
        await until(lambda: log.exists() and len(read_cursors(log)) == 2)
        await clock.drive(lambda: bridge.member("s").state == "ready", PAGE_S + 1)
        outcome = await bridge.use()
    assert outcome.offered == ["s__one"]
    assert outcome.notices == [f"s: every page after 1 is left out: the next one did not come within {PAGE_S:g} s"]


SHAPES: dict[str, tuple[Any, list[str]]] = {
    "null (modelcontextprotocol/go-sdk#1119)": ({"tools": None}, []),
    "absent (googleapis/mcp-toolbox#3147)": ({}, []),
    "an empty object, as Lua writes none": ({"tools": {}}, []),
    "an object by name": ({"tools": {"one": {"inputSchema": {}}, "two": {"name": "two"}, "3": None}}, ["one", "two"]),
    "an object by number": ({"tools": {"0": tool("one"), "2": tool("two")}}, ["one", "two"]),
    "one tool": ({"tools": tool("one")}, ["one"]),
    "a list in an object": ({"tools": {"tools": [tool("one")]}}, ["one"]),
    "false": ({"tools": False}, []),
    "a list with null (cognizant-ai-lab/neuro-san#1341)": ({"tools": [None, tool("one")]}, ["one"]),
    "JSON as a text": ({"tools": json.dumps([tool("one")])}, ["one"]),
    "lists by group": ({"tools": {"files": [tool("one")], "net": [tool("two")]}}, ["one", "two"]),
    "wrapped once more": ({"result": {"tools": [tool("one")]}}, ["one"]),
    "a list of lists": ({"tools": [[tool("one"), tool("two")]]}, ["one", "two"]),
    "the list itself": ([tool("one"), tool("two")], ["one", "two"]),
    "an empty list itself, as PHP writes an object": ([], []),
    "no result at all": (None, []),
    "_meta is a list": (page("one", _meta=[]), ["one"]),
    "_meta is null": (page("one", _meta=None), ["one"]),
    "no resultType": (page("one"), ["one"]),
    "a ttlMs below 0": (page("one", ttlMs=-1), ["one"]),
    "an odd resultType": (page("one", resultType=None, ttlMs="x", cacheScope=5), ["one"]),
    "a resultType of its own": (page("one", resultType="partial"), ["one"]),
    "the same tool twice": (page("one", "one"), ["one"]),
}


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize(("result", "offered"), SHAPES.values(), ids=SHAPES)
async def test_tools_are_found_in_a_list_of_any_shape(result: Any, offered: list[str], era: str) -> None:
    async with open_bridge({"s": rogue(era, listing(result)), "good": rogue()}) as bridge:
        outcome = await bridge.use()
        assert (bridge.member("s").state, names(bridge)) == ("ready", offered)
    assert [name for name in outcome.offered if name.startswith("s__")] == [f"s__{name}" for name in offered]
    assert [notice for notice in outcome.notices if "no definition" not in notice] == []


@pytest.mark.parametrize("era", ERAS)
async def test_a_tool_that_the_era_forbids_is_named_with_the_reason(era: str) -> None:
    bad = tool("one", inputSchema={"type": "object", "properties": {"a": {"type": "array", "x-mcp-header": "A"}}})
    outcome = await list_tools(era, listing(page(bad, "two")))
    if era == "legacy":
        assert (outcome.offered, outcome.notices) == (["s__one", "s__two"], [])
    else:
        assert outcome.offered == ["s__two"]
        assert "s: one is left out: property 'a': x-mcp-header is only permitted on" in outcome.notices[0]


@pytest.mark.parametrize("era", ERAS)
async def test_an_answer_that_is_something_else_is_named(era: str) -> None:
    outcome = await list_tools(era, listing({"isError": True, "content": [{"type": "text", "text": "denied"}]}))
    assert outcome.offered == []
    [notice] = outcome.notices
    assert notice.startswith("s: every tool is left out: its answer has no list of tools, but")
    assert "denied" in notice


async def test_a_cursor_with_an_underscore_is_one() -> None:
    outcome = await list_tools(listing(page("one", next_cursor="b"), page("two")))
    assert outcome.offered == ["s__one", "s__two"]
