"""An answer that was asked for as JSON comes as a value too, and one of another form is named."""

from typing import Any

import pytest

from tests.fakes.bridges import ask
from tests.fakes.upstream import message, responds

pytestmark = pytest.mark.anyio

SCHEMA = {
    "type": "object",
    "properties": {"sum": {"type": "number"}, "words": {"type": "array", "items": {"type": "string"}}},
    "required": ["sum"],
    "additionalProperties": False,
}


def form(schema: Any = SCHEMA) -> dict[str, Any]:
    return {"text": {"format": {"type": "json_schema", "name": "answer", "schema": schema}}}


async def answer(text: str, arguments: dict[str, Any], **options: Any) -> dict[str, Any]:
    receipt, _ = await ask([responds(message(text))], None, arguments, **options)
    assert receipt["status"] == "completed"
    return receipt


async def test_the_value_is_beside_the_text() -> None:
    receipt = await answer('{"sum": 5, "words": ["a"]}', form())
    assert receipt["output_parsed"] == {"sum": 5, "words": ["a"]}
    assert receipt["output_text"] == '{"sum": 5, "words": ["a"]}'
    assert receipt["notices"] == []


@pytest.mark.parametrize("text", ["null", "[1]", '"x"', '{"any": {"thing": true}}'])
async def test_where_any_json_was_asked_for_any_is_the_value(text: str) -> None:
    receipt = await answer(text, {"text": {"format": {"type": "json_object"}}})
    assert "output_parsed" in receipt


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"words": []}', 'the whole: "sum" is a required property'),
        ('{"sum": "5"}', "asks for: sum: "),
        ('{"sum": 1, "words": ["a", 2]}', "words[1]: "),
        ("I cannot", "it is not JSON: "),
        ('{"sum": 1', "it is not JSON: "),
        ('{"sum": NaN}', "it is not JSON: "),
        ("[" * 150 + "]" * 150, "it is nested too deeply"),
    ],
)
async def test_an_answer_of_another_form_has_no_value_and_the_violation_is_named(text: str, words: str) -> None:
    receipt = await answer(text, form())
    assert "output_parsed" not in receipt
    (notice,) = receipt["notices"]
    assert notice["code"] == "answer_form"
    assert words in notice["message"]
    assert receipt["output_text"] == text


@pytest.mark.parametrize("schema", [{"$ref": "https://example.com/s.json"}, {"type": "nonsense"}, 5])
async def test_a_schema_that_cannot_be_used_fetches_nothing_and_judges_nothing(schema: Any) -> None:
    assert (await answer('{"sum": 1}', form(schema)))["output_parsed"] == {"sum": 1}


DRAFT_07 = "http://json-schema.org/draft-07/schema#"


@pytest.mark.parametrize(
    "rule",
    [{"pattern": "^(?!x)"}, {"$schema": DRAFT_07, "format": "date"}],
    ids=["a pattern that looks ahead", "a format"],
)
async def test_what_others_may_pass_over_is_judged_here(rule: dict[str, Any]) -> None:
    receipt = await answer('"xyz"', form({"type": "string", **rule}))
    assert receipt["notices"][0]["code"] == "answer_form"


async def test_a_text_that_was_not_asked_for_as_json_is_only_a_text() -> None:
    assert "output_parsed" not in await answer('{"sum": 1}', {})


async def test_over_the_hosts_limit_the_value_goes_before_the_text() -> None:
    text = '{"sum": 1, "words": ["%s"]}' % ("x" * 1500)
    receipt = await answer(text, form(), limits={"result_chars": 2600})
    assert receipt["output_text"] == text
    assert "output_parsed" not in receipt
    assert "the parsed answer left out" in receipt["notices"][0]["message"]


def double(levels: int) -> dict[str, Any]:
    """A schema in which each definition names the next one twice."""
    definitions: dict[str, Any] = {f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 2} for n in range(levels)}
    return {"$defs": {**definitions, f"d{levels}": {"type": "string"}}, "$ref": "#/$defs/d0"}


@pytest.mark.rule("REL15")
async def test_a_schema_that_would_take_an_age_is_left_to_the_upstream() -> None:
    receipt = await answer("1", form(double(60)))
    assert receipt["output_parsed"] == 1


async def test_a_value_that_would_take_an_age_is_left_to_the_upstream() -> None:
    """Each level of it can be looked at in two ways."""
    fork = {"anyOf": [{"properties": {"a": {"$ref": "#"}}, "required": [name]} for name in ("b", "c")]}
    receipt = await answer('{"a":' * 60 + "{}" + "}" * 60, form(fork))
    assert "output_parsed" in receipt


async def test_of_a_large_schema_it_is_said_that_it_is_broken_and_not_where() -> None:
    receipt = await answer("1", form(double(10)))
    [notice] = receipt["notices"]
    assert notice["message"].endswith(": the whole does not fit the schema")
