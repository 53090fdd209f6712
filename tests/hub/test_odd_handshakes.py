"""Decoration in the answers that open a connection does not keep a server out: its tools are listed and called."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest

from tests.fakes.bridges import OpenBridge, open_bridge
from tests.fakes.http import serve_rogue
from tests.fakes.items import Json
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

GOOD: Json = {
    "protocolVersion": "2025-06-18",
    "capabilities": {"tools": {"listChanged": False}},
    "serverInfo": {"name": "rogue", "version": "1"},
}
FOUND: Json = {
    "supportedVersions": ["2026-07-28"],
    "capabilities": {"tools": {}},
    "resultType": "complete",
    "ttlMs": 0,
    "cacheScope": "private",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "rogue", "version": "1"}},
}
ABSENT = object()
WIRES = ["stdio", *(pytest.param(wire, marks=pytest.mark.external) for wire in ("http", "sse"))]


def change(good: Json, **changes: Any) -> Json:
    return {key: value for key, value in {**good, **changes}.items() if value is not ABSENT}


def announce(good: Json, **changes: Any) -> Json:
    return change(good, capabilities=change({"tools": {}}, **changes))


INITIALIZE: Mapping[str, Any] = {
    "capabilities are a list (logiscape/mcp-sdk-php#1)": change(GOOD, capabilities=[]),
    "capabilities are null": change(GOOD, capabilities=None),
    "no capabilities": change(GOOD, capabilities=ABSENT),
    "capabilities are a text": change(GOOD, capabilities="tools"),
    "capabilities are a list of names": change(GOOD, capabilities=["tools"]),
    "that of tools is a list": announce(GOOD, tools=[]),
    "that of tools is the tools (springfall2008/batpred#3501)": announce(GOOD, tools=[{"name": "echo"}]),
    "that of tools is true": announce(GOOD, tools=True),
    "that of tools is null": announce(GOOD, tools=None),
    "listChanged is a text": announce(GOOD, tools={"listChanged": "maybe"}),
    "listChanged is null": announce(GOOD, tools={"listChanged": None}),
    "experimental is a list (logiscape/mcp-sdk-php#1)": announce(GOOD, experimental=[]),
    "experimental is null": announce(GOOD, experimental=None),
    "experimental holds flags (leehack/mcp_dart#218)": announce(GOOD, experimental={"x": True}),
    "logging is null (DataZooDE/flapi#102)": announce(GOOD, logging=None),
    "logging is a list": announce(GOOD, logging=[]),
    "prompts and resources are lists": announce(GOOD, prompts=[], resources=[]),
    "resources are a flag": announce(GOOD, resources=True),
    "completions are a flag": announce(GOOD, completions=True),
    "tasks are a list": announce(GOOD, tasks={"list": [], "requests": 5}),
    "a capability of its own": announce(GOOD, sampling=[], x=5),
    "_meta is a list": change(GOOD, _meta=[]),
    "_meta is null": change(GOOD, _meta=None),
    "_meta is a text": change(GOOD, _meta="x"),
    "no version of the server (asciimoo/hister#363)": change(GOOD, serverInfo={"name": "rogue"}),
    "a number for its version": change(GOOD, serverInfo={"name": "rogue", "version": 1.5}),
    "null for its version": change(GOOD, serverInfo={"name": "rogue", "version": None}),
    "no name": change(GOOD, serverInfo={"version": "1"}),
    "odd icons and title": change(GOOD, serverInfo={"name": "r", "version": "1", "icons": {}, "title": 5}),
    "no serverInfo": change(GOOD, serverInfo=ABSENT),
    "serverInfo is null": change(GOOD, serverInfo=None),
    "serverInfo is a list": change(GOOD, serverInfo=[]),
    "serverInfo is a name": change(GOOD, serverInfo="rogue"),
    "instructions are a list": change(GOOD, instructions=["Use echo."]),
    "instructions are a number": change(GOOD, instructions=5),
    "instructions are null": change(GOOD, instructions=None),
    "instructions are false": change(GOOD, instructions=False),
    "no revision (automateyournetwork/pyATS_MCP#1)": change(GOOD, protocolVersion=ABSENT),
    "the revision is null": change(GOOD, protocolVersion=None),
    "the revision is a number": change(GOOD, protocolVersion=20250618),
    "the revision is a version": change(GOOD, protocolVersion="1.0"),
    "the revision is empty": change(GOOD, protocolVersion=""),
    "the revision is of the other era": change(GOOD, protocolVersion="2026-07-28"),
    "the revision is unknown": change(GOOD, protocolVersion="2024-10-07"),
    "the revision is of the future": change(GOOD, protocolVersion="2031-01-01"),
    "the revision has a space": change(GOOD, protocolVersion=" 2025-06-18 "),
    "a list of revisions": change(GOOD, protocolVersion=["2025-03-26", "2024-11-05"]),
    "an object with the revision": change(GOOD, protocolVersion={"version": "2025-03-26"}),
    "neither revision nor serverInfo (ian-cowley/MCPSqlServer#3)": {"capabilities": {"tools": {}}},
    "nothing at all": {},
    "no result": None,
    "an empty list itself, as PHP writes an object": [],
    "a text itself": "ok",
    "an endless number for the version": change(GOOD, serverInfo={"name": "rogue", "version": float("inf")}),
    "_meta is nested too deeply": change(GOOD, _meta=json.loads('{"a":' * 300 + "1" + "}" * 300)),
    "fields of the other era": change(GOOD, resultType=5, ttlMs="x", cacheScope=[], supportedVersions=7),
}
DISCOVER: Mapping[str, Any] = {
    "capabilities are a list": change(FOUND, capabilities=[]),
    "capabilities are null": change(FOUND, capabilities=None),
    "no capabilities": change(FOUND, capabilities=ABSENT),
    "that of tools is a list": announce(FOUND, tools=[]),
    "that of tools is null": announce(FOUND, tools=None),
    "experimental is a list": announce(FOUND, experimental=[]),
    "extensions are a list": announce(FOUND, extensions=[]),
    "extensions hold flags": announce(FOUND, extensions={"io.modelcontextprotocol/ui": True}),
    "_meta is a list": change(FOUND, _meta=[]),
    "_meta is null": change(FOUND, _meta=None),
    "the stamp of the server is a text": change(FOUND, _meta={"io.modelcontextprotocol/serverInfo": "rogue"}),
    "instructions are a list": change(FOUND, instructions=[]),
    "no resultType": change(FOUND, resultType=ABSENT),
    "resultType is null": change(FOUND, resultType=None),
    "resultType is a number": change(FOUND, resultType=5),
    "no hints for caches": change(FOUND, ttlMs=ABSENT, cacheScope=ABSENT),
    "ttlMs is a text": change(FOUND, ttlMs="an hour"),
    "ttlMs is negative": change(FOUND, ttlMs=-1),
    "ttlMs is a fraction": change(FOUND, ttlMs=0.5),
    "ttlMs is null": change(FOUND, ttlMs=None),
    "cacheScope is a word of its own": change(FOUND, cacheScope="shared"),
    "cacheScope is null": change(FOUND, cacheScope=None),
    "one supported version": change(FOUND, supportedVersions="2026-07-28"),
    "supported versions by name": change(FOUND, supportedVersions={"2026-07-28": True}),
    "more than texts among the versions": change(FOUND, supportedVersions=["2026-07-28", None, 5]),
    "no supported versions": change(FOUND, supportedVersions=ABSENT),
    "null for the supported versions": change(FOUND, supportedVersions=None),
    "an empty list of versions": change(FOUND, supportedVersions=[]),
    "only versions of the future": change(FOUND, supportedVersions=["2031-01-01"]),
    "versions under the name of an error": change(FOUND, supportedVersions=ABSENT, supported=["2026-07-28"]),
    "serverInfo as in the other era": change(FOUND, serverInfo=5, _meta=ABSENT),
}


def answer(method: str, result: Any, era: str) -> list[str]:
    return [era, f"results={json.dumps({method: [result]})}"]


@asynccontextmanager
async def connect(wire: str, kinds: Mapping[str, list[str]]) -> AsyncIterator[tuple[OpenBridge, dict[str, str]]]:
    """A bridge with a server in the modes of each kind, and each kind by its server's key."""
    keys = {f"s{number}": kind for number, kind in enumerate(kinds)}
    async with AsyncExitStack() as servers:
        entries = {
            key: await servers.enter_async_context(serve_rogue(wire, *kinds[kind])) for key, kind in keys.items()
        }
        limits = {"max_turn_calls": len(keys), "max_tool_calls": len(keys), "max_tools": 1000}
        yield await servers.enter_async_context(open_bridge(entries, limits=limits)), keys


async def find_kept_out(wire: str, kinds: Mapping[str, list[str]]) -> dict[str, Any]:
    """The servers whose tool cannot be called, by kind, each with the reason and what the model reads."""
    async with connect(wire, kinds) as (bridge, keys):
        outcome = await bridge.use(*(call(f"{key}__read") for key in keys))
        answers = dict(zip(keys, outcome.outputs, strict=True))
        assert outcome.notices == []
        return {keys[key]: (bridge.member(key).reason, said) for key, said in answers.items() if "changed" not in said}


@pytest.mark.parametrize("wire", WIRES)
async def test_no_answer_to_initialize_keeps_a_server_out(wire: str) -> None:
    assert (
        await find_kept_out(wire, {kind: answer("initialize", odd, "legacy") for kind, odd in INITIALIZE.items()}) == {}
    )


@pytest.mark.parametrize("wire", WIRES)
async def test_no_answer_to_discover_keeps_a_server_of_the_modern_era_out(wire: str) -> None:
    kinds = {kind: answer("server/discover", odd, "modern") for kind, odd in DISCOVER.items()}
    assert await find_kept_out(wire, kinds) == {}
