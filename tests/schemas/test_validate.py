"""What the model makes of a tool's arguments: right ones reach the server, of wrong ones it is told what is wrong."""

import json
import math
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pydantic_core
import pytest
from mcp.server.mcpserver import MCPServer

from bridge.arguments import MAX_ARGUMENT_CHARS, MAX_ARGUMENT_LEVELS, drop_empty, read_arguments
from bridge.call_options import CallOptions
from bridge.items import Call
from bridge.schemas.validate import ArgumentValidator
from tests.fakes.bridges import open_bridge, use_hub
from tests.fakes.http import HttpServer, build_faulty
from tests.fakes.servers import rogue
from tests.fakes.stalls import Stall
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

Json = dict[str, Any]


def nest(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


def test_of_too_many_values_to_show_those_are_named_that_may_be_meant(stall: Stall) -> None:
    zones: list[Any] = [f"Region_{number}/City_{number}" for number in range(5000)] + ["Europe/Lisbon"]
    validator = ArgumentValidator({"type": "object", "properties": {"zone": {"enum": zones}}})
    with stall.step():
        wrong = validator.find_error({"zone": "Europe/Lisboa"})
    assert wrong
    assert (wrong.expected, wrong.near_names) == (None, ("Europe/Lisbon",))


@pytest.mark.parametrize(("draft", "fits"), [("-04", False), ("-06", True), ("-07", True)])
def test_whether_one_point_zero_is_an_integer_is_said_by_the_owners_draft(draft: str, fits: bool) -> None:
    """Up to draft-04 an integer is a number written without a fraction."""
    dialect = f"http://json-schema.org/draft{draft}/schema#"
    validator = ArgumentValidator({"$schema": dialect, "type": "object", "properties": {"n": {"type": "integer"}}})
    assert (validator.find_error(read_arguments('{"n": 1.0}')) is None) == fits
    assert validator.find_error(read_arguments('{"n": 1}')) is None


@pytest.mark.rule("REL15")
def test_a_schema_that_would_take_for_ever_is_not_validated_against() -> None:
    """Thirty definitions that each name the one before twice: a billion ways to look at one argument."""
    definitions: Json = {"a0": {"type": "string"}}
    for number in range(30):
        definitions[f"a{number + 1}"] = {"anyOf": [{"$ref": f"#/$defs/a{number}"}, {"$ref": f"#/$defs/a{number}"}]}
    schema: Json = {"type": "object", "properties": {"x": {"$ref": "#/$defs/a30"}}, "$defs": definitions}
    validator = ArgumentValidator(schema)
    assert validator.find_error({"x": 1}) is None
    assert "would take too long" in (validator.note or "")


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ("", {}),
        (None, {}),
        ("{}", {}),
        ({"text": "an object"}, {"text": "an object"}),
        ('{"text": "half \\ud83d"}', {"text": "half \ufffd"}),
        ('{"\\ud83d": 1}', {"\ufffd": 1}),
        ({"text": "half \ud83d"}, {"text": "half \ufffd"}),
        ('{"n": 9007199254740993, "x": 1.5, "z": null}', {"n": 9007199254740993, "x": 1.5, "z": None}),
        (nest(MAX_ARGUMENT_LEVELS - 1), json.loads(nest(MAX_ARGUMENT_LEVELS - 1))),
    ],
)
def test_arguments_are_read_as_they_were_meant(given: Any, read: object) -> None:
    assert read_arguments(given) == read


BAD = {
    "a word": ("hello", "Expecting value"),
    "a cut object": ('{"text": "hal', "Unterminated string"),
    "two objects": ("{}{}", "Extra data"),
    "python": ("{'text': 'x'}", "property name"),
    "a list": ('["x"]', "it is a list"),
    "text": ('"x"', "it is a str"),
    "null": ("null", "it is a NoneType"),
    "a number": ("5", "it is a int"),
    "nan": ('{"text": NaN}', "NaN is not JSON"),
    "infinity": ('{"text": -Infinity}', "-Infinity is not JSON"),
    "too large a number": ('{"text": 1e999}', "not a JSON number"),
    "too long a number": ('{"text": ' + "7" * 5000 + "}", "4300 digits"),
    "a key twice": ('{"text": "a", "text": "b"}', "a key occurs twice"),
    "a key twice inside": ('{"text": {"a": 1, "a": 2}}', "a key occurs twice"),
    "too large": ('{"text": "' + "x" * MAX_ARGUMENT_CHARS + '"}', "the limit is 262,144"),
    "too deep": (nest(MAX_ARGUMENT_LEVELS), "more than 64 levels"),
    "far too deep": (nest(20_000), "more than 64 levels"),
}


@pytest.mark.rule("S32", "L7")
async def test_arguments_that_are_no_json_object_never_reach_the_server(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    async with open_bridge({"good": rogue(f"counts={counts}")}) as bridge:
        outcome = await bridge.use(
            *(call("good__echo", text) for text, _ in BAD.values()),
            call("good__add", {"a": "one", "b": 2}),
            call("good__add", {"a": 1}),
            call("good__ecko", {"text": "x"}),
            call("good__add", {"a": 1, "b": 2}),
        )
    *outputs, wrong, missing, unknown, right = outcome.outputs
    for (name, (_, words)), output in zip(BAD.items(), map(json.loads, outputs), strict=True):
        assert output["error"] == "invalid_arguments", name
        assert words in output["message"], name
    assert json.loads(wrong) == {
        "error": "invalid_arguments",
        "message": '"one" is not of type "number"',
        "path": "a",
        "expected": {"type": "number"},
    }
    assert json.loads(missing)["message"] == '"b" is a required property'
    assert json.loads(missing)["expected"]["required"] == ["a", "b"]
    assert json.loads(unknown)["error"] == "unknown_tool"
    assert json.loads(unknown)["near_names"][0] == "good__echo"
    assert right == "3"
    assert counts.read_text(encoding="utf-8").split() == ["add"]


SCHEMA: Json = {
    "type": "object",
    "properties": {
        "must": {"type": "string"},
        "may": {"type": "string"},
        "count": {"type": "integer"},
        "sort": {"enum": ["", "up", "down"]},
        "mark": {"type": "string", "default": ""},
        "null": {"type": ["string", "null"]},
        "any": {"description": "of any type"},
    },
    "required": ["must"],
}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ({"must": "", "may": ""}, {"must": ""}),
        ({"must": None}, {"must": None}),
        ({"may": None, "count": None, "null": None, "any": None}, {"null": None, "any": None}),
        ({"count": "", "sort": "", "mark": "", "any": "", "null": ""}, {"sort": "", "mark": ""}),
        ({"count": 0, "may": " ", "other": "", "more": None}, {"count": 0, "may": " ", "other": "", "more": None}),
    ],
)
def test_what_a_model_left_empty_is_left_out_where_it_is_optional(given: Json, left: Json) -> None:
    assert drop_empty(given, SCHEMA) == left


@pytest.mark.parametrize(("keep_empty", "heard"), [(False, "null"), (True, '""')])
async def test_empty_arguments_are_passed_on_only_where_the_config_says_so(keep_empty: bool, heard: str) -> None:
    server = MCPServer("server")

    @server.tool()
    def hear(text: str | None = None) -> str:
        return json.dumps(text)

    far: Json = {"keep_empty": keep_empty}
    async with HttpServer(lambda: server) as served, open_bridge({"far": {**far, "url": served.url}}) as bridge:
        outcome = await bridge.use(call("far__hear", {"text": ""}))
    assert outcome.outputs == [heard]


def test_an_argument_that_there_is_none_of_is_answered_with_those_like_it() -> None:
    schema: Json = {"properties": {"path": {}, "pattern": {}, "depth": {}}, "additionalProperties": False}
    wrong = ArgumentValidator(schema).find_error({"pth": "/", "depth": 1})
    assert wrong
    assert wrong.near_names[0] == "path"
    assert wrong.details["near_names"] == [*wrong.near_names]
    assert wrong.message == "Additional properties are not allowed ('pth' was unexpected)"


def mutate(text: str, seeded: random.Random) -> str:
    """`text` with up to three characters cut, doubled or put in."""
    for _ in range(seeded.randint(0, 3)):
        place = seeded.randrange(len(text) + 1)
        put = seeded.choice(["", *'{}[]",:0 \\', "null", "1e999", "NaN", "\ud83d", "true", "\x00"])
        text = text[:place] + put + text[place + seeded.randint(0, 2) :]
    return text


def read_strictly(text: str) -> Any:
    """Another reader's value; None for what is not plain JSON."""

    def refuse(pairs: list[tuple[str, Any]]) -> Json:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("twice")
        return dict(pairs)

    try:
        pydantic_core.from_json(text.replace("\ud83d", "x"), allow_inf_nan=False)
        return json.loads(text, object_pairs_hook=refuse)
    except ValueError:
        return None


@pytest.mark.rule("L7", "L8")
@pytest.mark.external
async def test_of_two_thousand_mutations_exactly_those_that_fit_reach_the_server(
    tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    schema: Json = {
        "type": "object",
        "properties": {"text": {"type": "string", "minLength": 1}, "n": {"type": "integer", "maximum": 9}},
        "required": ["text"],
        "additionalProperties": False,
    }
    judge, seeded, counts, fit = jsonschema.Draft202012Validator(schema), random.Random(8), tmp_path / "counts", 0
    entry = {**rogue(f"schema={json.dumps(schema)}", f"counts={counts}"), "require_approval": "never"}
    async with open_bridge({"far": {**entry, "keep_empty": True}}) as bridge:
        hub = bridge.hub
        catalogue = await hub.catalogue()
        forever = CallOptions(deadline=math.inf)
        for number in range(2000):
            text = mutate(seeded.choice(['{"text": "a", "n": 5}', '{"n": 10, "text": "b"}']), seeded)
            output = await use_hub(hub, Call(str(number), "far__judged", text, {}), forever, catalogue)
            fits = judge.is_valid(read_strictly(text) if text else {})
            assert output["is_error"] != fits, (text, output)
            fit += fits
    record_testsuite_property("mutated arguments that fit, of 2,000", fit)
    assert fit > 100
    assert len(counts.read_text(encoding="utf-8").split()) == fit


@pytest.mark.rule("REL1")
async def test_half_an_emoji_kills_no_server() -> None:
    async with (
        HttpServer(build_faulty) as far,
        open_bridge({"near": rogue("good"), "far": {"url": far.url}}, builtin_tools=True) as bridge,
    ):
        half = '{"text": "half \\ud83d"}'
        outcome = await bridge.use(
            call("near__echo", half), call("far__echo", half), call("current_time", '{"timezone": "\\ud83d"}')
        )
        again = await bridge.use(call("near__read"), call("far__read"), call("current_time"))
    assert outcome.outputs[:2] == ["half \ufffd"] * 2
    assert "\ufffd" in outcome.outputs[2]
    assert again.outputs[:2] == ["nothing has changed"] * 2
    assert "20" in again.outputs[2]


def deep_schema(levels: int) -> Json:
    schema: Json = {"type": "object"}
    for _ in range(levels):
        schema = {"type": "object", "properties": {"a": schema}}
    return schema


UNUSABLE: dict[str, Json] = {
    "remote": {"$ref": "http://192.0.2.1/schema"},
    "file": {"$ref": "file:///etc/passwd"},
    "relative": {"$id": "http://192.0.2.1/a", "$ref": "b"},
    "foreign dialect": {"$schema": "http://192.0.2.1/dialect"},
    "nowhere": {"$ref": "#/$defs/nowhere"},
    "no type": {"properties": {"a": {"type": "nonsense"}}},
    "half an emoji": {"properties": {"\ud83d": {}}},
    "very deep": deep_schema(900),
}


@pytest.mark.rule("L8")
@pytest.mark.parametrize("schema", UNUSABLE.values(), ids=UNUSABLE)
def test_a_schema_that_cannot_be_used_lets_everything_pass_with_a_note(schema: Json) -> None:
    validator = ArgumentValidator(schema)
    assert validator.find_error({"a": 5}) is None
    assert "the schema is unusable" in (validator.note or "")


@pytest.mark.parametrize(
    "schema",
    [
        {"properties": {"a": {"type": "integer"}, "b": {"pattern": "^(?!x)a"}}},
        {"properties": {"a": {"type": "integer"}, "b": {"pattern": "(a{1000}){1000}"}}},
        {
            "properties": {"a": {"type": "integer"}},
            "patternProperties": {"^(?=b)b": {}},
            "additionalProperties": False,
        },
    ],
    ids=["lookahead", "huge pattern", "names"],
)
def test_a_pattern_that_no_linear_engine_takes_is_left_out_alone(schema: Json) -> None:
    validator = ArgumentValidator(schema)
    wrong = validator.find_error({"a": "5", "b": "x"})
    assert wrong
    assert wrong.path == "a"
    assert validator.find_error({"a": 5, "b": "x"}) is None
    assert validator.note is None


CYCLIC: dict[str, Json] = {
    "itself": {"$ref": "#"},
    "in a circle": {"$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    "all of itself": {"allOf": [{"$ref": "#"}]},
    "a tree": {"type": "object", "properties": {"a": {"$ref": "#"}}},
}


@pytest.mark.parametrize("schema", CYCLIC.values(), ids=CYCLIC)
def test_a_schema_that_refers_to_itself_ends(schema: Json) -> None:
    assert ArgumentValidator(schema).find_error({"a": {"a": {}}}) is None


@pytest.mark.rule("REL15")
def test_a_string_that_stalls_backtracking_engines_is_judged_at_once() -> None:
    validator = ArgumentValidator({"properties": {"a": {"pattern": "^(a+)+$"}}})

    def time_for(length: int) -> float:
        began = time.perf_counter()
        error = validator.find_error({"a": "a" * length + "!"})
        assert error
        assert error.path == "a"
        return time.perf_counter() - began

    time_for(10)  # compiles
    assert time_for(5000) < 1  # a backtracking engine doubles its time with each character: 24 take 2 s


def double_often(times: int, keyword: str) -> Json:
    """Each definition names the one before twice; the last holds for every value of a list."""
    names = [{"$ref": f"#/$defs/{number}"} for number in range(times)]
    definitions = {"0": {"type": "string"}} | {str(n + 1): {keyword: [name, name]} for n, name in enumerate(names)}
    return {"properties": {"a": {"items": {"$ref": f"#/$defs/{times}"}}}, "$defs": definitions}


@pytest.mark.parametrize("keyword", ["anyOf", "allOf", "oneOf"])
def test_of_very_many_faults_the_first_is_found_in_the_time_of_one(keyword: str) -> None:
    validator = ArgumentValidator(double_often(6, keyword))
    validator.find_error({"a": ["compiles"]})

    def time_for(values: int) -> float:
        began = time.thread_time()
        assert validator.find_error({"a": [5] * values})
        return time.thread_time() - began

    few, many = (min(time_for(values) for _ in range(3)) for values in (1, 100))
    assert many < 15 * few + 0.005  # where all are looked for it is a hundred times as much


@pytest.mark.rule("REL15")
def test_what_would_take_too_long_to_judge_is_left_to_the_server() -> None:
    fork: Json = {"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": [name]} for name in ("b", "c")]}
    arguments: Json = {}
    for _ in range(60):
        arguments = {"a": arguments}
    assert ArgumentValidator(fork).find_error({"a": {}})
    assert ArgumentValidator(fork).find_error(arguments) is None
    assert ArgumentValidator(double_often(10, "allOf")).find_error({"a": ["x"] * 100_000}) is None


def test_what_is_quoted_back_is_bounded() -> None:
    schema: Json = {
        "type": "object",
        "properties": {f"p{n}": {"type": "string"} for n in range(500)},
        "required": ["p1"],
    }
    missing = ArgumentValidator(schema).find_error({})
    assert missing
    assert missing.expected == {"required": ["p1"]}
    wrong = ArgumentValidator({"properties": {"a": {"enum": ["x" * 5000]}}}).find_error({"a": "y" * 100_000})
    assert wrong
    assert len(wrong.message) < 1000
    assert wrong.expected is None


def test_the_path_leads_through_objects_and_lists() -> None:
    schema: Json = {"properties": {"rows": {"items": {"properties": {"n": {"type": "integer", "maximum": 9}}}}}}
    error = ArgumentValidator(schema).find_error({"rows": [{"n": 1}, {"n": 10}]})
    assert error
    assert (error.path, error.expected) == ("rows[1].n", {"type": "integer", "maximum": 9})


async def test_a_call_that_could_not_be_validated_is_made_and_its_run_says_so() -> None:
    schema = json.dumps(UNUSABLE["remote"])
    async with open_bridge({"odd": rogue(f"schema={schema}")}) as bridge:
        outcome = await bridge.use(call("odd__judged", {"text": "made"}))
    assert outcome.outputs == ["made"]
    [notice] = outcome.notices
    assert notice.startswith("odd__judged: arguments are not validated here, the schema is unusable")
