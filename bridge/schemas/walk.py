"""The subschemas of a JSON Schema: one walk for all code that reads or changes them."""

from collections.abc import Iterable, Iterator
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

HOLDERS = NAMED | LISTED | SINGLE

Slot: TypeAlias = "tuple[str, JsonObject, str] | tuple[str, list[Json], int]"
"""A position that holds a subschema: the keyword, the object or list that holds it, and the key or index in that."""


def list_slots(schema: JsonObject) -> list[Slot]:
    """List the slots directly inside `schema`, whatever they hold."""
    slots: list[Slot] = []
    for keyword, value in schema.items():
        if keyword not in HOLDERS:
            continue
        if keyword in NAMED and isinstance(value, dict):
            slots += [(keyword, value, name) for name in value]
        elif keyword in LISTED and isinstance(value, list):
            slots += [(keyword, value, number) for number in range(len(value))]
        elif keyword in SINGLE:
            slots.append((keyword, schema, keyword))
    return slots


def read(slot: Slot) -> Json:
    """Return the value in a slot."""
    _, holder, key = slot
    return holder[key]  # type: ignore[index]


def fill(slot: Slot, value: Json) -> None:
    """Put `value` into a slot."""
    _, holder, key = slot
    holder[key] = value  # type: ignore[index]


def walk(schema: JsonObject) -> list[JsonObject]:
    """List every schema in `schema` that is an object, itself first."""
    nodes = [schema]
    for node in nodes:  # grows during the loop
        nodes += list_schemas(node)
    return nodes


def list_schemas(schema: JsonObject) -> list[JsonObject]:
    """List the schemas directly inside `schema` that are objects."""
    return [inner for slot in list_slots(schema) if isinstance(inner := read(slot), dict)]


def locate(schema: JsonObject, pointer: str = "#") -> Iterator[tuple[str, JsonObject]]:
    """Yield every schema in `schema` that is an object, itself first, as (JSON pointer, schema)."""
    yield pointer, schema
    for slot in list_slots(schema):
        if isinstance(inner := read(slot), dict):
            keyword, holder, key = slot
            path = [keyword] if holder is schema else [keyword, key]
            yield from locate(inner, pointer + write_pointer(path))


def write_pointer(path: Iterable[str | int]) -> str:
    """Write `path` as a JSON pointer (RFC 6901), such as `/a/0`."""
    return "".join(f"/{str(step).replace('~', '~0').replace('/', '~1')}" for step in path)


def find(schema: Json, pointer: str) -> Json:
    """Return the value at a JSON pointer, or None if there is none."""
    return follow(schema, (step.replace("~1", "/").replace("~0", "~") for step in pointer.split("/")[1:]))


def follow(schema: Json, path: Iterable[str | int]) -> Json:
    """Return the value at `path` in `schema`, or None if there is none."""
    node = schema
    for step in path:
        if isinstance(node, dict):
            node = node.get(str(step))
        elif isinstance(node, list) and (number := str(step)).isdecimal() and int(number) < len(node):
            node = node[int(number)]
        else:
            return None
    return node
