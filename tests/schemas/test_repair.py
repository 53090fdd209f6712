"""A server's definition of a tool as the function tool that the model gets: nothing the API refuses, nothing it means
otherwise."""

import copy
import json
import random
import time
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from bridge.schemas.repair import build_function, repair_schema
from tests.fakes.api_rules import find_refusals
from tests.fakes.arguments import make_arguments
from tests.fakes.stalls import Stall

Json = Any
PUBLISHED = sorted((Path(__file__).parents[1] / "data" / "published").glob("*.json"))


def send(schema: Json, name: str = "f", description: str = "", *, strict: bool = False) -> Json:
    """The function tool that a request carries."""
    return json.loads(build_function(name, description, schema, description_chars=1024, wants_strict=strict).encoded)


def explain(schema: Json) -> str:
    """What is said of the changes."""
    return "\n".join(build_function("f", "", schema, description_chars=1024).notes)


@pytest.mark.rule("R11")
@pytest.mark.parametrize(
    ("schema", "sent"),
    [
        ({}, {"type": "object", "properties": {}}),
        ({"type": "object"}, {"type": "object", "properties": {}}),
        (
            {"$schema": "x", "properties": {"a": {"type": "string"}}, "x-odd": [None]},
            {"type": "object", "properties": {"a": {"type": "string"}}, "x-odd": [None]},
        ),
    ],
)
def test_a_schema_is_completed_and_the_servers_own_is_not_changed(schema: dict[str, Any], sent: dict[str, Any]) -> None:
    before = copy.deepcopy(schema)
    assert send(schema) == {"type": "function", "name": "f", "parameters": sent, "strict": False}
    assert schema == before


@pytest.mark.rule("R14")
@pytest.mark.parametrize("letter", ["x", "长", "😀"])
def test_a_long_description_is_cut_by_characters_with_a_mark(letter: str) -> None:
    whole = letter * 1024
    assert send({}, description=whole)["description"] == whole
    cut = send({}, description=whole + letter)["description"]
    assert cut == letter * 1023 + "…"


def old(number: int, **schema: Json) -> Json:
    return {"$schema": f"http://json-schema.org/draft-0{number}/schema#", "type": "object", **schema}


STRING: Json = {"type": "string"}
PEOPLE: Json = {"type": "object", "properties": {"name": STRING}, "required": ["name"]}
DEEP: Json = STRING
for _ in range(8):
    DEEP = {"type": "object", "properties": {"a": DEEP}, "required": ["a"]}

HOSTILE: dict[str, Json] = {
    "no properties": {"type": "object", "required": ["a"]},
    "nested without properties or items": {
        "properties": {"a": {"type": "object"}, "b": {"type": "array"}, "c": {"type": ["array", "null"]}}
    },
    "any of at the root": {
        "type": "object",
        "properties": {"a": STRING, "b": STRING},
        "anyOf": [{"required": ["a"]}, {"required": ["b"]}],
    },
    "variants at the root": {
        "oneOf": [
            {"properties": {"kind": {"const": "a"}, "n": {"type": "integer"}}, "required": ["kind", "n"]},
            {"properties": {"kind": {"const": "b"}, "n": STRING}, "required": ["kind", "n"]},
        ]
    },
    "closed variants": {
        "anyOf": [
            {"type": "object", "properties": {"a": STRING}, "required": ["a"], "additionalProperties": False},
            {"type": "object", "properties": {"b": STRING}, "required": ["b"], "additionalProperties": False},
        ]
    },
    "all of at the root, and closed": {
        "allOf": [PEOPLE, {"properties": {"age": {"type": "integer"}}}],
        "unevaluatedProperties": False,
    },
    "everything at the root": {
        "properties": {"a": {"type": "integer"}},
        "not": {"required": ["extra"]},
        "enum": [{"a": 1}, {"a": 2}, {"b": 1}],
        "if": {"properties": {"a": {"const": 1}}},
        "then": {"required": ["a"]},
        "else": {"minProperties": 1},
    },
    "a named root": {"$ref": "#/$defs/People", "$defs": {"People": PEOPLE}},
    "a named root of draft-07": old(7, **{"$ref": "#/definitions/P", "definitions": {"P": PEOPLE}, "maxProperties": 0}),
    "a named root and more": {"$ref": "#/$defs/People", "required": ["age"], "$defs": {"People": PEOPLE}},
    "a tree": {
        "properties": {"name": STRING, "under": {"type": "array", "items": {"$ref": "#"}}},
        "required": ["name"],
    },
    "a tree by its anchor": {
        "properties": {"top": {"$ref": "#node"}},
        "$defs": {"n": {"$anchor": "node", "type": "object", "properties": {"next": {"$ref": "#node"}, "v": STRING}}},
    },
    "by relative name": {
        "$id": "https://example.com/root.json",
        "properties": {"a": {"$ref": "item.json"}, "b": {"$ref": "item.json#/properties/x"}},
        "$defs": {
            "i": {
                "$id": "item.json",
                "type": "object",
                "properties": {"x": {"$ref": "#/$defs/y"}},
                "$defs": {"y": STRING},
            }
        },
    },
    "dynamic": {
        "$dynamicAnchor": "node",
        "properties": {"a": STRING, "next": {"$dynamicRef": "#node"}},
        "required": ["a"],
    },
    "by path": {"properties": {"a": {"anyOf": [STRING, {"type": "null"}]}, "b": {"$ref": "#/properties/a/anyOf/0"}}},
    "an odd place": {
        "properties": {"a": {"$ref": "#/components/schemas/A~1B"}},
        "components": {"schemas": {"A/B": PEOPLE}},
    },
    "a name with signs": {
        "properties": {"a": {"$ref": "#/$defs/100%25%20%22true%22%20%E6%96%87"}},
        "$defs": {'100% "true" 文': STRING},
    },
    "a root beside what does not see it": {
        "properties": {"a": STRING},
        "$ref": "#/$defs/closed",
        "$defs": {"closed": {"properties": {"b": STRING}, "unevaluatedProperties": {"type": "integer"}}},
    },
    "a root that does not see what it refers to": {
        "$ref": "#/$defs/open",
        "additionalProperties": {"type": "integer"},
        "$defs": {"open": {"properties": {"a": {"maximum": 3}}}},
    },
    "a root with a condition of its own": {
        "$ref": "#/$defs/other",
        "if": {"required": ["a"]},
        "$defs": {"other": {"properties": {"a": STRING}, "then": {"required": ["b"]}}},
    },
    "booleans": {"properties": {"a": True, "b": False, "c": {"items": True, "type": "array"}}, "required": ["a"]},
    "a property called $ref": {"properties": {"$ref": STRING, "type": {"enum": ["x"]}, "properties": STRING}},
    "a tuple of draft-07": old(
        7, properties={"a": {"type": "array", "items": [STRING, {"type": "integer"}], "additionalItems": False}}
    ),
    "a path into a tuple": old(
        7, properties={"a": {"type": "array", "items": [STRING, PEOPLE]}, "b": {"$ref": "#/properties/a/items/1"}}
    ),
    "dependencies of draft-07": old(
        7, properties={"a": STRING}, dependencies={"a": ["b"], "b": {"required": ["name"]}, "c": True}
    ),
    "beside a reference of draft-07": old(
        7,
        properties={"a": {"$ref": "#/definitions/s", "type": "integer", "description": "d"}},
        definitions={"s": STRING},
    ),
    "bounds of draft-04": old(
        4, properties={"a": {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": 9}}, required=["a"]
    ),
    "names of draft-04": old(
        4, id="http://e.com/a", properties={"a": {"$ref": "#s"}}, definitions={"s": {**STRING, "id": "#s"}}
    ),
    "a list of types": {"type": ["object", "null"], "properties": {"a": {"type": ["string", "array", "null"]}}},
    "deep": DEEP,
    "unevaluated": {"allOf": [PEOPLE], "properties": {"a": STRING}, "unevaluatedProperties": {"type": "integer"}},
    "a lookahead": {"properties": {"a": {"pattern": "^(?!x)a"}}},
    "an explosion": {"properties": {"a": {"type": "string", "pattern": "^(a+)+$"}}},
}
FAULTY: dict[str, Json] = {
    "no such type": {"properties": {"a": {"type": "any", "description": "d"}, "b": {"type": "int"}}},
    "required as a flag": {"properties": {"a": {"type": "string", "required": True}}},
    "an empty list for an object": {"type": "object", "properties": []},
    "a name for a schema": {"properties": {"a": "string", "b": None}},
    "text for a number": {"properties": {"a": {"minimum": "0", "maxLength": -1}}},
    "null for words": {"properties": {"a": {"description": None, "title": 5}}, "required": None},
    "a name twice": {"properties": {"a": STRING}, "required": ["a", "a"]},
    "remote": {"$ref": "http://192.0.2.1/schema"},
    "a file": {"properties": {"a": {"$ref": "file:///etc/passwd"}}},
    "nowhere": {"properties": {"a": {"$ref": "#/$defs/nowhere"}, "b": {"$ref": "relative.json"}}},
    "a foreign dialect": {"$schema": "http://192.0.2.1/dialect", "properties": {"a": STRING}},
    "in a circle": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "all of itself": {"allOf": [{"$ref": "#"}]},
    "a tuple without a dialect": {"properties": {"a": {"type": "array", "items": [STRING]}}},
    "half an emoji": {"properties": {"\ud83d": {"description": "\ude00"}}},
}


@pytest.mark.rule("S24")
def test_what_is_far_too_large_is_not_even_looked_at(stall: Stall) -> None:
    values: Json = [f"value {number}" for number in range(100_000)]
    with stall.step(), pytest.raises(ValueError, match=r"its schema of 1,\d{3},\d{3} characters is too large"):
        repair_schema({"type": "object", "properties": {"a": {"enum": values}}}, lambda _: None)


def test_thousands_of_arrays_are_completed_in_one_walk() -> None:
    def time_for(count: int) -> float:
        schema: Json = {"properties": {f"p{number}": {"type": "array"} for number in range(count)}}
        began = time.thread_time()
        repair_schema(schema, lambda _: None)
        return time.thread_time() - began

    few, many = (min(time_for(count) for _ in range(3)) for count in (200, 2000))
    assert many < 25 * few + 0.01  # where each of them looks at the whole it is a hundred times as much


@pytest.mark.parametrize("schema", [*HOSTILE.values(), *FAULTY.values()], ids=[*HOSTILE, *FAULTY])
def test_whatever_a_schema_is_like_what_is_sent_is_not_refused(schema: Json, stall: Stall) -> None:
    with stall.step():
        sent = send(schema)
    assert find_refusals(sent) == []


def judge(schema: Json) -> jsonschema_rs.Validator:
    def refuse(uri: str) -> Json:
        raise ValueError(uri)

    return jsonschema_rs.validator_for(schema, retriever=refuse, validate_formats=False)


def compare(schema: Json, count: int, seed: int = 0) -> tuple[int, int]:
    """How many of `count` arguments both the schema and its repaired form accept, and how many both refuse."""
    seeded = random.Random(seed)
    repaired = repair_schema(schema, lambda _: None)
    before, after = judge(schema), judge(repaired)
    verdicts = [0, 0]
    for number in range(count):
        arguments = make_arguments(schema if number % 2 else repaired, seeded)
        verdict = before.is_valid(arguments)
        assert after.is_valid(arguments) == verdict, (arguments, schema, repaired)
        verdicts[verdict] += 1
    return verdicts[1], verdicts[0]


@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_a_repaired_schema_accepts_and_refuses_what_the_original_does(schema: Json) -> None:
    accepted, refused = compare(schema, 200)
    assert accepted
    assert refused


@pytest.mark.external
@pytest.mark.parametrize("schema", HOSTILE.values(), ids=HOSTILE)
def test_a_thousand_arguments_are_judged_alike(schema: Json) -> None:
    compare(schema, 1000, seed=1)


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (HOSTILE["any of at the root"], "anyOf beside `properties` became a condition: the API refuses it at the top"),
        (FAULTY["no such type"], "#/properties/a/type is removed, it is not valid JSON Schema: "),
        (FAULTY["a file"], "the reference to file:///etc/passwd is removed: it leads to nothing in the schema"),
        (FAULTY["in a circle"], "a reference to itself is removed: it has no effect"),
    ],
)
def test_what_was_changed_is_said_with_the_reason(schema: Json, words: str) -> None:
    assert words in explain(schema)


def test_what_can_be_given_in_one_variant_only_is_named_at_the_root() -> None:
    properties = send(HOSTILE["variants at the root"])["parameters"]["properties"]
    assert json.loads(properties["kind"]["description"].split(" or ")[0]) == {"const": "a"}


def test_a_property_that_is_called_like_a_keyword_is_a_property() -> None:
    sent = send({"properties": {"additionalProperties": True, "unevaluatedItems": {"type": "array"}}})
    properties: Json = {"additionalProperties": {}, "unevaluatedItems": {"type": "array", "items": {}}}
    assert sent["parameters"] == {"type": "object", "properties": properties}


def test_types_in_other_words_are_read_and_said() -> None:
    notes: list[str] = []
    words = {"a": "STRING", "b": "int", "c": "Boolean", "d": "list", "e": "float", "f": "string"}
    properties: Json = {name: {"type": word} for name, word in words.items()}
    repaired = repair_schema({"type": "object", "properties": properties}, notes.append)
    types = {name: found["type"] for name, found in repaired["properties"].items()}  # type: ignore[union-attr]
    assert types == {"a": "string", "b": "integer", "c": "boolean", "d": "array", "e": "number", "f": "string"}
    assert notes[:2] == ['the type "STRING" is read as "string"', 'the type "int" is read as "integer"']
    assert len(notes) == 5


def test_what_means_nothing_is_not_sent() -> None:
    sent = send({"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": "x", "properties": {"a": STRING}})
    assert sent["parameters"] == {"type": "object", "properties": {"a": STRING}}


def nest(levels: int) -> Json:
    schema: Json = STRING
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        (
            {"properties": {"a": {"description": "x" * 70_000}}},
            r"definition of 70,\d\d\d bytes is over the limit of 65,536",
        ),
        (nest(900), "nested more than 100 levels deep"),
        ({"type": "array"}, 'its schema has the type "array", but arguments are always an object'),
        ({"properties": {"a": {"default": float("nan")}}}, "not JSON compliant"),
        (
            {"properties": {"a": {"type": "array", "unevaluatedItems": False}}},
            "which cannot be repaired",
        ),
        ({"properties": {f"p{n}": n for n in range(200)}}, "more than 100 faults"),
    ],
)
def test_what_cannot_be_repaired_is_left_out_with_the_reason(schema: Json, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        send(schema)


CLOSED: Json = {**PEOPLE, "additionalProperties": False}


@pytest.mark.parametrize(
    ("schema", "obstacle"),
    [
        (CLOSED, None),
        ({**CLOSED, "properties": {"name": {"type": ["string", "null"], "pattern": "x"}}}, None),
        ({**CLOSED, "properties": {"name": {"$ref": "#/$defs/n"}}, "$defs": {"n": {**STRING, "format": "date"}}}, None),
        (PEOPLE, "#: `additionalProperties` is not false"),
        ({**CLOSED, "required": []}, "#: `name` is optional"),
        ({**CLOSED, "properties": {"name": {"type": "string", "default": ""}}}, "`default` is not supported"),
        ({**CLOSED, "properties": {"name": {**STRING, "format": "uri"}}}, "the format uri is not supported"),
        ({**CLOSED, "properties": {"name": {}}}, "#/properties/name: it has no type"),
        ({**CLOSED, "properties": {"name": {"enum": list(range(1001))}}}, "1,001 enum values, the limit is 1,000"),
    ],
)
def test_a_tool_is_strict_on_request_where_its_schema_is_so_already(schema: Json, obstacle: str | None) -> None:
    function = build_function("f", "", schema, description_chars=1024, wants_strict=True)
    sent = json.loads(function.encoded)
    assert sent["strict"] is (obstacle is None)
    assert find_refusals(sent) == []
    assert any(obstacle in note for note in function.notes) if obstacle else not function.notes


def test_no_published_tool_is_refused_or_left_out(stall: Stall) -> None:
    assert len(PUBLISHED) >= 15
    for file in PUBLISHED:
        for tool in json.loads(file.read_text(encoding="utf-8"))["tools"]:
            with stall.step():
                sent = send(tool["inputSchema"], tool["name"][:64], tool.get("description", ""))
            assert find_refusals(sent) == [], (file.stem, tool["name"])


@pytest.mark.external
@pytest.mark.parametrize("file", PUBLISHED, ids=lambda file: file.stem)
def test_published_schemas_accept_and_refuse_the_same_thousand_arguments(file: Path) -> None:
    for tool in json.loads(file.read_text(encoding="utf-8"))["tools"]:
        compare(tool["inputSchema"], 1000)
