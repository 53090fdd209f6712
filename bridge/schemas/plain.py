"""The JSON Schemas that need no validator: most tools have one, and the validator is 5 MB that few bridges need."""

import re
from collections.abc import Callable, Collection
from typing import cast

from bridge.json_text import Json, JsonObject, is_deep, scrub

_DRAFT = re.compile(r"https?://json-schema\.org/draft(-0[67]|/2019-09|/2020-12)/schema#?")
"""Those in which the keywords below mean the same."""


def is_plain(schema: Json) -> bool:
    """Whether `schema` is a valid one, in every draft, and has only keywords that `fits` knows."""
    return not is_deep(schema) and _is_plain(schema)


def _is_plain(schema: Json) -> bool:
    return isinstance(schema, dict) and all(
        keyword in _WELL_FORMED and _WELL_FORMED[keyword](value) for keyword, value in schema.items()
    )


def fits(value: Json, schema: JsonObject) -> bool:
    """Whether `value` keeps to a plain `schema` for sure; of any other, a validator can say whether and why not."""
    choices = cast("list[JsonObject]", schema.get("anyOf", []))
    if choices and not any(fits(value, choice) for choice in choices):
        return False
    if "enum" in schema and value not in cast("list[Json]", schema["enum"]):
        return False
    kinds = _name_kinds(value)
    return schema.get("type", kinds[0]) in kinds and _keeps_to_bounds(value, schema)


def _name_kinds(value: Json) -> tuple[str, ...]:
    """The types of JSON Schema that `value` has in every draft: whether 1.0 is an integer depends on it."""
    match value:
        case bool():
            return ("boolean",)
        case int():
            return ("integer", "number")
        case float():
            return ("number",)
        case str():
            return ("string",)
        case list():
            return ("array",)
        case dict():
            return ("object",)
        case None:
            return ("null",)


def _keeps_to_bounds(value: Json, schema: JsonObject) -> bool:
    match value:
        case bool() | None:
            return True
        case int() | float():
            return _is_between(value, schema, "minimum", "maximum")
        case str():
            return _is_between(len(value), schema, "minLength", "maxLength")
        case list():
            part = cast("JsonObject", schema.get("items", {}))
            return _is_between(len(value), schema, "minItems", "maxItems") and all(fits(each, part) for each in value)
        case dict():
            return _has_members(value, schema)


def _is_between(number: float, schema: JsonObject, least: str, most: str) -> bool:
    low, high = cast("float", schema.get(least, number)), cast("float", schema.get(most, number))
    return low <= number <= high


def _has_members(value: JsonObject, schema: JsonObject) -> bool:
    if not value.keys() >= set(cast("list[str]", schema.get("required", []))):
        return False
    known = cast("JsonObject", schema.get("properties", {}))
    parts = ((each, known.get(name, schema.get("additionalProperties", True))) for name, each in value.items())
    return all(fits(each, part) if isinstance(part, dict) else part for each, part in parts)


def _are_plain(schemas: Collection[Json]) -> bool:
    return all(map(_is_plain, schemas))


def _are_names(value: Json) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value) and len(set(value)) == len(value)


def _is_clean(name: str) -> bool:
    return scrub(name) == name


def _is_text(value: Json) -> bool:
    return isinstance(value, str)


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_size(value: Json) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


_WELL_FORMED: dict[str, Callable[[Json], bool]] = {
    "$schema": lambda value: isinstance(value, str) and bool(_DRAFT.fullmatch(value)),
    "title": _is_text,
    "description": _is_text,
    "default": lambda _: True,
    "type": lambda value: value in ("boolean", "integer", "number", "string", "array", "object", "null"),
    "enum": lambda value: bool(value) and _are_names(value),
    "anyOf": lambda value: isinstance(value, list) and bool(value) and _are_plain(value),
    "properties": lambda value: isinstance(value, dict) and all(map(_is_clean, value)) and _are_plain(value.values()),
    "required": _are_names,
    "additionalProperties": lambda value: isinstance(value, bool) or _is_plain(value),
    "items": _is_plain,
    **dict.fromkeys(("minLength", "maxLength", "minItems", "maxItems"), _is_size),
    **dict.fromkeys(("minimum", "maximum"), _is_number),
}
