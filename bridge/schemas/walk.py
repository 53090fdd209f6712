"""Where a JSON Schema holds further schemas: one walk for all that look at them or change them."""

from collections.abc import Iterator
from typing import TypeAlias

from bridge.json_text import Json, JsonObject

NAMED = frozenset({"properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"})
"""Keywords that hold schemas by name."""
LISTED = frozenset({"allOf", "anyOf", "oneOf", "prefixItems", "items"})
"""Keywords that hold a list of schemas."""
SINGLE = frozenset(
    {
        "additionalItems",
        "additionalProperties",
        "contains",
        "contentSchema",
        "else",
        "if",
        "items",
        "not",
        "propertyNames",
        "then",
        "unevaluatedItems",
        "unevaluatedProperties",
    }
)
"""Keywords that hold one schema."""

_HOLDERS = NAMED | LISTED | SINGLE

Slot: TypeAlias = "tuple[JsonObject, str] | tuple[list[Json], int]"
"""A place for a schema: what holds it, and the key or index there."""


def list_slots(schema: JsonObject) -> list[Slot]:
    """Each place for a schema directly inside `schema`, whatever is in it."""
    slots: list[Slot] = []
    for keyword, value in schema.items():
        if keyword not in _HOLDERS:
            continue
        if keyword in NAMED and isinstance(value, dict):
            slots += [(value, name) for name in value]
        elif keyword in LISTED and isinstance(value, list):
            slots += [(value, number) for number in range(len(value))]
        elif keyword in SINGLE:
            slots.append((schema, keyword))
    return slots


def read(slot: Slot) -> Json:
    """What is in a slot."""
    holder, key = slot
    return holder[key]  # type: ignore[index]


def fill(slot: Slot, value: Json) -> None:
    """Put `value` into a slot."""
    holder, key = slot
    holder[key] = value  # type: ignore[index]


def walk(schema: JsonObject) -> list[JsonObject]:
    """Every schema in `schema` that is an object, itself first."""
    nodes = [schema]
    for node in nodes:  # grows meanwhile
        nodes += list_schemas(node)
    return nodes


def list_schemas(schema: JsonObject) -> list[JsonObject]:
    """Those directly inside `schema`."""
    return [inner for slot in list_slots(schema) if isinstance(inner := read(slot), dict)]


def locate(schema: JsonObject, pointer: str = "#") -> Iterator[tuple[str, JsonObject]]:
    """Every schema in `schema` that is an object, itself first, after the JSON pointer to it."""
    yield pointer, schema
    for keyword, value in schema.items():
        if keyword not in _HOLDERS:
            continue
        place = f"{pointer}/{escape(keyword)}"
        if keyword in SINGLE and isinstance(value, dict):
            yield from locate(value, place)
        elif isinstance(value, (dict, list)):
            for name, inner in value.items() if isinstance(value, dict) else enumerate(value):
                if isinstance(inner, dict):
                    yield from locate(inner, f"{place}/{escape(str(name))}")


def escape(name: str) -> str:
    """`name` as a step of a JSON pointer (RFC 6901)."""
    return name.replace("~", "~0").replace("/", "~1")
