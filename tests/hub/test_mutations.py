"""Whatever stands in whatever place of a good answer, the server is ready and its other tools are there."""

import copy
import json
from typing import Any

import anyio
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from mcp import types
from mcp_types.methods import parse_server_result
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from bridge.hub.handshake import mend_handshake
from bridge.hub.pages import Pages
from bridge.schemas.repair import build_function
from tests.fakes.bridges import Outcome, open_bridge
from tests.fakes.http import HttpServer, build_answering
from tests.fakes.items import Json
from tests.fakes.upstream import call

SCHEMA: Json = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {
        "path": {"type": "string"},
        "tags": {"type": "array", "items": {"$ref": "#/$defs/tag"}},
        "any": True,
    },
    "required": ["path"],
    "additionalProperties": False,
    "$defs": {"tag": {"enum": ["a", "b"]}},
    "allOf": [{"anyOf": [{"required": ["path"]}, {"required": ["tags"]}]}],
}
TOOL: Json = {
    "name": "rich",
    "title": "Rich",
    "description": "Has every part.",
    "inputSchema": SCHEMA,
    "outputSchema": {"type": "object", "properties": {"n": {"type": "number"}}, "required": ["n"]},
    "annotations": {"title": "Rich", "readOnlyHint": True, "destructiveHint": False, "openWorldHint": False},
    "icons": [{"src": "data:,", "mimeType": "image/png", "sizes": ["16x16"], "theme": "dark"}],
    "execution": {"taskSupport": "optional"},
    "_meta": {"vendor/x": {"y": [1, 2]}},
}
PLAIN: Json = {"name": "plain", "inputSchema": {"type": "object"}}
PAGE: Json = {
    "tools": [PLAIN, TOOL, {**PLAIN, "name": "last"}],
    "nextCursor": None,
    "resultType": "complete",
    "ttlMs": 0,
    "cacheScope": "private",
    "_meta": {"io.modelcontextprotocol/serverInfo": {"name": "s", "version": "1"}},
}
CAPABILITIES: Json = {
    "tools": {"listChanged": False},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True, "listChanged": True},
    "logging": {},
    "completions": {},
    "experimental": {"x": {"y": 1}},
    "tasks": {"list": {}, "requests": {"tools": {"call": {}}}},
    "extensions": {"io.modelcontextprotocol/ui": {}},
}
INITIALIZED: Json = {
    "protocolVersion": "2025-11-25",
    "capabilities": CAPABILITIES,
    "serverInfo": {"name": "s", "version": "1", "title": "S", "icons": TOOL["icons"], "websiteUrl": "https://x.org"},
    "instructions": "Use it.",
    "_meta": {"a": 1},
}
DISCOVERED: Json = {
    "supportedVersions": ["2025-11-25", "2026-07-28"],
    "capabilities": CAPABILITIES,
    "instructions": "Use it.",
    **{key: PAGE[key] for key in ("resultType", "ttlMs", "cacheScope", "_meta")},
}

WORDS = st.sampled_from(["", "object", "string", "true", "2025-06-18", "2026-07-28", "properties", "plain", "{}"])
KEYS = WORDS | st.sampled_from([*SCHEMA, *TOOL])
NUMBERS = st.integers() | st.floats() | st.sampled_from([0, -1, 1.5, 10**30])
ANY: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


def list_places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a JSON value but the whole of it."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [place for key, each in inner for place in ((*path, key), *list_places(each, (*path, key)))]


def put(value: Any, place: tuple[Any, ...], other: Any) -> Any:
    """The value with another in this place; `...` takes what is there away."""
    changed = copy.deepcopy(value)
    holder = changed
    for step in place[:-1]:
        holder = holder[step]
    if other is ...:
        del holder[place[-1]]
    else:
        holder[place[-1]] = other
    return changed


def mutate(good: Json) -> st.SearchStrategy[tuple[tuple[Any, ...], Any]]:
    return st.tuples(st.sampled_from(list_places(good)), ANY | st.just(...)).map(
        lambda change: (change[0], put(good, *change))
    )


def read_page(odd: Json) -> list[str]:
    """The names in a page, as the SDK reads it in both eras, each with a definition that the catalogue can judge."""
    pages = Pages()
    pages.repair(odd)
    pages.prepare({"cursor": odd.get("nextCursor")})
    for revision in ("2025-11-25", "2026-07-28"):
        page = parse_server_result("tools/list", revision, odd)
        assert isinstance(page, types.ListToolsResult)
    pages.add(page, "2026-07-28")
    assert all(isinstance(note, str) for notes in pages.notes.values() for note in notes)
    return [tool.name for tool in page.tools if is_offered(tool)]


def is_offered(tool: types.Tool) -> bool:
    """Tell whether a tool can be offered; what keeps it out must be a ValueError, which names the reason."""
    try:
        build_function(tool.name, "", tool.input_schema, description_chars=100)
    except (ValueError, RecursionError):
        return False
    return True


@pytest.mark.rule("REL14")
@given(mutate(PAGE))
@settings(max_examples=150, deadline=None)
def test_a_page_with_anything_in_any_place_keeps_its_other_tools(change: tuple[tuple[Any, ...], Json]) -> None:
    place, odd = change
    kept = read_page(odd)
    if place != ("tools",):
        others = {0: ["rich", "last"], 1: ["plain", "last"], 2: ["plain", "rich"]}
        assert set(others.get(place[1] if place[0] == "tools" else -1, ["plain", "rich", "last"])) <= set(kept)
    if place[:2] == ("tools", 1) and place[2:] not in ((), ("name",)) and place[2] != "inputSchema":
        assert "rich" in kept


@given(mutate(INITIALIZED))
@settings(max_examples=100, deadline=None)
def test_an_answer_to_initialize_with_anything_in_any_place_is_read(change: tuple[tuple[Any, ...], Json]) -> None:
    _, odd = change
    mend_handshake("initialize", odd, None)
    read = parse_server_result("initialize", "2025-11-25", odd)
    assert isinstance(read, types.InitializeResult)
    assert read.protocol_version in HANDSHAKE_PROTOCOL_VERSIONS


@given(mutate(DISCOVERED))
@settings(max_examples=100, deadline=None)
def test_an_answer_to_discover_with_anything_in_any_place_is_read(change: tuple[tuple[Any, ...], Json]) -> None:
    place, odd = change
    mend_handshake("server/discover", odd, None)
    if place[0] != "supportedVersions":
        assert types.DiscoverResult.model_validate(odd).supported_versions == DISCOVERED["supportedVersions"]


async def use_odd(era: str, answers: Json) -> Outcome:
    """A run that calls a tool of a server with these answers."""
    modes = {era: "", "results": json.dumps(answers), "tools": json.dumps([PLAIN])}
    async with (
        HttpServer(lambda: build_answering(lambda _: None, modes)) as served,
        open_bridge({"s": {"url": served.url, "require_approval": "never"}}) as bridge,
    ):
        return await bridge.use(call("s__plain"))


@pytest.mark.external
@pytest.mark.parametrize(
    ("era", "method", "good"), [("legacy", "initialize", INITIALIZED), ("modern", "server/discover", DISCOVERED)]
)
@given(st.data())
@settings(max_examples=40, deadline=None)
def test_a_run_goes_on_whatever_a_server_says_of_itself_and_of_one_tool(
    era: str, method: str, good: Json, data: st.DataObject
) -> None:
    (place, opening), (_, tool) = data.draw(mutate(good)), data.draw(mutate(TOOL))
    assume(place[0] != "supportedVersions" or "2026-07-28" in str(opening))  # else it asks for the other era
    outcome = anyio.run(use_odd, era, {method: [opening], "tools/list": [put(PAGE, ("tools", 1), tool)]})
    assert outcome.outputs == ["(no output)"], outcome.notices
    assert outcome.receipt["status"] == "completed"
