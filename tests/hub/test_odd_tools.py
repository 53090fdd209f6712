"""One odd tool costs its oddity alone: it stays and can be called, and its notes say what was odd."""

import json
from typing import Any

import anyio
import pytest

from tests.fakes.bridges import open_bridge
from tests.fakes.http import serve_rogue
from tests.fakes.items import Json
from tests.fakes.servers import rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

WIRES = ("stdio", "http", "sse")
ERAS = ("legacy", "modern")
OPEN: Json = {"type": "object", "properties": {}}
A_TEXT: Json = {"type": "object", "properties": {"text": {"type": "string"}}}


def schema(**changes: Any) -> Json:
    """A good schema with these keywords in place of its own."""
    return {"inputSchema": {**A_TEXT, **changes}}


def root(**keywords: Any) -> Json:
    return {**A_TEXT, **keywords}


SCHEMAS: dict[str, tuple[Json, Json, str]] = {
    "properties is a list, as PHP writes none (use-novamira/novamira#82)": (schema(properties=[]), OPEN, "properties"),
    "properties is null, as C++ writes none (MrNeRF/LichtFeld-Studio#1430)": (schema(properties=None), OPEN, "null"),
    "properties is a text": (schema(properties="none"), OPEN, "properties"),
    "properties is a list of arguments": (
        schema(properties=[{"name": "text", "type": "string"}]),
        A_TEXT,
        "properties",
    ),
    "an argument is the name of its type": (schema(properties={"text": "string"}), A_TEXT, "properties"),
    "an argument is its description": (
        schema(properties={"text": "what to say"}),
        {"type": "object", "properties": {"text": {"description": "what to say"}}},
        "properties",
    ),
    "an argument is null": (schema(properties={"text": None}), {**OPEN, "properties": {"text": {}}}, "properties"),
    "required is an object, as Lua writes none (agentic-community/mcp-gateway-registry#1532)": (
        schema(required={}),
        A_TEXT,
        "required",
    ),
    "required is null": (schema(required=None), A_TEXT, "required, null"),
    "required is true": (schema(required=True), A_TEXT, "required"),
    "required is one name": (schema(required="text"), root(required=["text"]), "required"),
    "required is an object of names": (schema(required={"0": "text"}), root(required=["text"]), "required"),
    "required is an object of flags": (schema(required={"text": True, "x": False}), root(required=["text"]), "req"),
    "required holds more than names": (schema(required=["text", 5, None]), root(required=["text"]), "required"),
    "no type (zereight/gitlab-mcp#286)": ({"inputSchema": {}}, OPEN, ""),
    "a choice without a type (anthropics/claude-code#88049)": (
        {"inputSchema": {"anyOf": [{"type": "object"}]}},
        {**OPEN, "if": {"anyOf": [{**OPEN}]}, "else": {"not": {}}},
        "",
    ),
    "the type in capitals": (schema(type="OBJECT"), A_TEXT, 'its type, "OBJECT"'),
    "two types": (schema(type=["object", "null"]), A_TEXT, "its type"),
    "the type is null": (schema(type=None), A_TEXT, "its type"),
    "the type is a class of a language": (schema(type="dict"), A_TEXT, 'its type, "dict"'),
    "the type of its only argument (sandialabs/atlas-ui-3#727)": (
        {"inputSchema": {"type": "string", "description": "the title", "enum": ["a"]}},
        {**OPEN, "description": "the title"},
        'its type, "string"',
    ),
    "a list of what it takes": ({"inputSchema": {"type": "array", "items": {}}}, OPEN, 'its type, "array"'),
    "the dialect is a number": (schema(**{"$schema": 5}), A_TEXT, "its $schema, 5"),
    "the dialect is null": (schema(**{"$schema": None}), A_TEXT, "its $schema, null"),
    "no schema": ({}, OPEN, "its inputSchema, null"),
    "null": ({"inputSchema": None}, OPEN, "its inputSchema, null"),
    "true": ({"inputSchema": True}, OPEN, "its inputSchema, true"),
    "false": ({"inputSchema": False}, OPEN, "its inputSchema, false"),
    "an empty list": ({"inputSchema": []}, OPEN, "its inputSchema, []"),
    "a number": ({"inputSchema": 5}, OPEN, "its inputSchema, 5"),
    "a word": ({"inputSchema": "object"}, OPEN, 'its inputSchema, "object"'),
    "JSON as a text": ({"inputSchema": json.dumps(A_TEXT)}, A_TEXT, "its inputSchema"),
    "a list of one schema": ({"inputSchema": [A_TEXT]}, A_TEXT, "its inputSchema"),
    "a list of arguments": (
        {"inputSchema": [{"name": "text", "type": "string", "required": True}, {"name": "n"}]},
        {"type": "object", "properties": {"text": {"type": "string"}, "n": {}}, "required": ["text"]},
        "its inputSchema",
    ),
    "a list of names": ({"inputSchema": ["text"]}, {**OPEN, "properties": {"text": {}}}, "its inputSchema"),
    "only the arguments": ({"inputSchema": {"text": {"type": "string"}}}, A_TEXT, "its inputSchema"),
    "wrapped as another API has it": ({"inputSchema": {"json": A_TEXT}}, A_TEXT, "its inputSchema"),
    "with underscores (modelcontextprotocol/python-sdk#97)": ({"input_schema": A_TEXT}, A_TEXT, "input_schema"),
    "under the name of another API": ({"parameters": A_TEXT}, A_TEXT, "parameters"),
}
"""By kind: the definition, the parameters that the model sees, and what a note says; nothing if nothing is lost."""

DECORATION: dict[str, tuple[Json, str]] = {
    "annotations are a list": ({"annotations": []}, "annotations"),
    "annotations are a text": ({"annotations": "read-only"}, "annotations"),
    "annotations are null": ({"annotations": None}, ""),
    "hints are null (r33drichards/mcp-js#117)": ({"annotations": {"readOnlyHint": None, "title": None}}, ""),
    "one hint is odd": ({"annotations": {"readOnlyHint": "maybe", "title": "T"}}, "annotations.readOnlyHint"),
    "the title of the hints is odd": ({"annotations": {"title": 5}}, "annotations.title"),
    "_meta is a list": ({"_meta": []}, "_meta"),
    "_meta is a text": ({"_meta": "x"}, "_meta"),
    "_meta is null": ({"_meta": None}, ""),
    "icons are an object": ({"icons": {}}, "icons"),
    "icons are a URL": ({"icons": "https://example.org/icon.png"}, "icons"),
    "an icon has no src": ({"icons": [{"mimeType": 5, "theme": "sepia"}, {"src": "data:,"}]}, "icons.0"),
    "the sizes of an icon are a text": ({"icons": [{"src": "data:,", "sizes": "any"}]}, "icons.0.sizes"),
    "the title is a number": ({"title": 5}, "title"),
    "the title is an object": ({"title": {"en": "T"}}, "title"),
    "the execution is a text": ({"execution": "sync"}, "execution"),
    "the support of tasks is unknown": ({"execution": {"taskSupport": "sometimes"}}, "execution.taskSupport"),
    "outputSchema with a list for properties": ({"outputSchema": {"type": "object", "properties": []}}, "outputSchema"),
    "outputSchema is a list": ({"outputSchema": []}, "outputSchema"),
    "outputSchema is a text": ({"outputSchema": "object"}, "outputSchema"),
    "outputSchema is a choice (anthropics/claude-code#10030)": ({"outputSchema": {"anyOf": [{}]}}, ""),
    "outputSchema is an array": ({"outputSchema": {"type": "array"}}, ""),
    "a vendor's own field": ({"x-cost": {"deep": [None]}, "enabled": "yes"}, ""),
}
DESCRIPTIONS: dict[str, tuple[Any, str]] = {
    "null": (None, ""),
    "a number": (5, "5"),
    "lines": (["Says a text.", "Twice."], "Says a text.\nTwice."),
    "by language": ({"en": "Says a text."}, '{"en":"Says a text."}'),
    "false": (False, "false"),
}
LEFT_OUT: dict[str, tuple[Any, str]] = {
    "no name": ({"inputSchema": A_TEXT}, "it has no name"),
    "a name of null": ({"name": None, **schema()}, "it has no name"),
    "an empty name": ({"name": "", **schema()}, "it has no name"),
    "a blank name": ({"name": " ", **schema()}, "it has no name"),
    "a name that is a number": ({"name": 5, **schema()}, "its name is not a text: 5"),
    "a name that is a list": ({"name": ["a"], **schema()}, 'its name is not a text: ["a"]'),
    "null in the list (modelcontextprotocol/go-sdk#1119)": (None, "it is no definition of a tool"),
    "a word in the list": ("echo", "it is no definition of a tool"),
    "a number in the list": (5, "it is no definition of a tool"),
}
FUNCTION = {"type": "function", "function": {"name": "as_function", "description": "D", "parameters": A_TEXT}}


def name_all() -> dict[str, Json]:
    """Every odd definition that can be called, by its kind; the names are numbered."""
    bare = {kind: definition for kind, (definition, *_) in SCHEMAS.items()}
    bare |= {kind: schema() | decoration for kind, (decoration, _) in DECORATION.items()}
    bare |= {f"description: {kind}": schema() | {"description": said} for kind, (said, _) in DESCRIPTIONS.items()}
    named = {kind: {"name": f"odd_{number}", **definition} for number, (kind, definition) in enumerate(bare.items())}
    return named | {"a function of another API": FUNCTION}


NAMED = name_all()


def find_name(kind: str) -> str:
    tool = NAMED[kind]
    return f"s__{tool.get('name') or tool['function']['name']}"


async def gather() -> dict[str, Json]:
    """Each tool by its model name: its parameters, its description and its notes."""
    async with open_bridge({"s": rogue("legacy", f"tools={json.dumps([*NAMED.values()])}")}) as bridge:
        catalogue = await bridge.hub.catalogue()
    return {name: json.loads(tool.encoded) | {"notes": tool.notes} for name, tool in catalogue.tools.items()}


@pytest.fixture(scope="module")
def shown() -> dict[str, Json]:
    return anyio.run(gather)


@pytest.mark.parametrize(
    ("kind", "meant", "note"), [(kind, *rest) for kind, (_, *rest) in SCHEMAS.items()], ids=SCHEMAS
)
def test_an_odd_schema_is_read_as_what_it_can_only_mean(
    shown: dict[str, Json], kind: str, meant: Json, note: str
) -> None:
    tool = shown[find_name(kind)]
    assert tool["parameters"] == meant
    assert len(tool["notes"]) >= bool(note)
    assert note in "".join(tool["notes"])
    assert bool(tool["notes"]) == bool(note) or "anyOf" in "".join(tool["notes"])


@pytest.mark.parametrize(("kind", "gone"), [(kind, gone) for kind, (_, gone) in DECORATION.items()], ids=DECORATION)
def test_odd_decoration_goes_and_the_tool_stays(shown: dict[str, Json], kind: str, gone: str) -> None:
    tool = shown[find_name(kind)]
    assert tool["parameters"] == A_TEXT
    assert tool["notes"] == ((f"left out, as MCP does not allow it so: {gone}",) if gone else ())


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, (_, text) in DESCRIPTIONS.items()], ids=DESCRIPTIONS)
def test_a_description_is_read_to_the_model_whatever_it_is(shown: dict[str, Json], kind: str, text: str) -> None:
    assert shown[find_name(f"description: {kind}")].get("description", "") == text


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("wire", WIRES)
async def test_every_odd_tool_is_offered_and_called_on_every_way(wire: str, era: str) -> None:
    names = [find_name(kind) for kind, tool in NAMED.items() if "name" in tool]
    async with serve_rogue(wire, era, f"tools={json.dumps([*NAMED.values()])}") as entry:
        allowed = entry | {"require_approval": "never"}
        async with open_bridge({"s": allowed}, limits={"max_turn_calls": 500, "max_tool_calls": 500}) as bridge:
            outcome = await bridge.use(*(call(name, {"text": "x"}) for name in names))
    assert {*names, "s__echo", "s__as_function"} <= set(outcome.offered)
    assert outcome.notices == []
    assert [output for output in outcome.outputs if "error" in output] == []


@pytest.mark.rule("REL14")
@pytest.mark.parametrize("era", ERAS)
async def test_what_cannot_be_called_is_left_out_by_name(era: str) -> None:
    definitions = [definition for definition, _ in LEFT_OUT.values()]
    async with open_bridge({"s": rogue(era, f"tools={json.dumps(definitions)}")}) as bridge:
        outcome = await bridge.use()
    assert len(outcome.offered) == 5
    assert outcome.notices == [
        f"s: tool {number} of its list is left out: {reason}" for number, (_, reason) in enumerate(LEFT_OUT.values(), 6)
    ]


@pytest.mark.parametrize(("wire", "era"), [("stdio", "legacy"), ("stdio", "modern"), ("http", "modern")])
@pytest.mark.parametrize("levels", [60, 150, 400])
async def test_a_tool_that_is_nested_too_deeply_costs_itself_at_most(levels: int, wire: str, era: str) -> None:
    nested: Json = {"type": "object"}
    for _ in range(levels):
        nested = {"type": "object", "properties": {"a": nested}}
    deep = [{"name": "deep", "inputSchema": nested}, {"name": "by_meta", "_meta": nested, **schema()}]
    async with serve_rogue(wire, era, f"tools={json.dumps(deep)}") as entry, open_bridge({"s": entry}) as bridge:
        outcome = await bridge.use()
    assert {"s__echo", "s__by_meta"} <= set(outcome.offered)
    assert "s__deep" in outcome.offered or "nested more than 100 levels deep" in str(outcome.notices)
