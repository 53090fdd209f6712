"""Schemas judged without the validator: whatever is said of them, the validator says too."""

from typing import Any

import jsonschema_rs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bridge.schemas.plain import fits, is_plain

KINDS = ["boolean", "integer", "number", "string", "array", "object", "null"]
NAMES = st.sampled_from(["a", "b", "c"])
SCALARS = st.none() | st.booleans() | st.integers(-2, 4) | st.sampled_from([1.0, 1.5]) | st.text("ab😀", max_size=3)
VALUES = st.recursive(
    SCALARS, lambda part: st.lists(part, max_size=3) | st.dictionaries(NAMES, part, max_size=3), max_leaves=6
)
SIZES = st.integers(-1, 3)


def keywords(schemas: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Schemas, and a few that are none."""
    return st.fixed_dictionaries(
        {},
        optional={
            "$schema": st.sampled_from(
                ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"]
            ),
            "title": st.just("Title") | st.just(1),
            "type": st.sampled_from([*KINDS, "any"]),
            "enum": st.lists(SCALARS, max_size=2),
            "anyOf": st.lists(schemas, max_size=2),
            "properties": st.dictionaries(NAMES, schemas, max_size=3),
            "required": st.lists(NAMES, max_size=2),
            "additionalProperties": st.booleans() | schemas,
            "items": schemas,
            "minLength": SIZES,
            "maxItems": SIZES,
            "minimum": SIZES,
            "maximum": SIZES | st.just(True),
        },
    )


SCHEMAS = st.recursive(keywords(st.just({})), keywords, max_leaves=4)


@given(SCHEMAS, VALUES)
@settings(max_examples=200, derandomize=True, deadline=None)
def test_what_is_plain_is_valid_and_what_fits_it_the_validator_takes(schema: Any, value: Any) -> None:
    if is_plain(schema):
        jsonschema_rs.meta.validate(schema)
        validator = jsonschema_rs.validator_for(schema)
        assert fits(value, schema) <= validator.is_valid(value)
        if not has_whole_floats(value):  # an integer or not: it depends on the draft
            assert fits(value, schema) == validator.is_valid(value)


def has_whole_floats(value: Any) -> bool:
    match value:
        case float():
            return value.is_integer()
        case list():
            return any(map(has_whole_floats, value))
        case dict():
            return any(map(has_whole_floats, value.values()))
    return False


@pytest.mark.parametrize(
    "schema",
    [
        True,
        {"type": ["string", "null"]},
        {"type": "any"},
        {"pattern": "^a"},
        {"$ref": "#"},
        {"$schema": "http://json-schema.org/draft-04/schema#"},
        {"properties": {"a": {"oneOf": [{}]}}},
        {"required": ["a", "a"]},
        {"items": [{}]},
        {"minimum": True},
        {"maxLength": -1},
    ],
)
def test_whatever_else_is_left_to_the_validator(schema: Any) -> None:
    assert not is_plain(schema)


@pytest.mark.parametrize(
    ("schema", "value"),
    [
        ({"type": "integer"}, 1.5),
        ({"type": "integer"}, True),
        ({"type": "string"}, None),
        ({"enum": ["a"]}, "b"),
        ({"anyOf": [{"type": "null"}, {"type": "string"}]}, 1),
        ({"minimum": 2}, 1),
        ({"maximum": 2}, 2.5),
        ({"minLength": 2}, "😀"),
        ({"maxLength": 1}, "ab"),
        ({"minItems": 1}, []),
        ({"maxItems": 0}, [1]),
        ({"items": {"type": "null"}}, [None, 1]),
        ({"required": ["a"]}, {}),
        ({"properties": {"a": {"type": "null"}}}, {"a": 1}),
        ({"additionalProperties": False}, {"a": 1}),
        ({"additionalProperties": {"type": "null"}}, {"a": 1}),
    ],
)
def test_each_keyword_is_held_to(schema: Any, value: Any) -> None:
    assert is_plain(schema)
    assert not fits(value, schema)
    assert not jsonschema_rs.validator_for(schema).is_valid(value)
