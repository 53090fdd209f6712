"""The conditions under which a schema can be sent with `strict: true` and still mean the same."""

from bridge.json_text import Json, JsonObject
from bridge.schemas.walk import locate

SUPPORTED = frozenset(
    {
        *("$defs", "$ref", "additionalProperties", "anyOf", "const", "definitions", "description", "enum", "items"),
        *("properties", "required", "title", "type"),
        *("exclusiveMaximum", "exclusiveMinimum", "maximum", "minimum", "multipleOf"),
        *("format", "maxItems", "minItems", "pattern"),
    }
)
FORMATS = frozenset({"date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uuid"})
"""OpenAI's guide to structured outputs; `uri` is refused (posit-dev/chatlas#255)."""
MAX_PROPERTIES, MAX_LEVELS, MAX_ENUM_VALUES, MAX_CHARS = 5000, 10, 1000, 120_000


def find_obstacle(schema: JsonObject) -> str | None:
    """Return the first reason why `schema` cannot be sent as strict, or None.

    A schema is never made strict: an optional argument would become a required one.
    """
    nodes = list(locate(schema))
    return next((f"{pointer}: {fault}" for pointer, node in nodes if (fault := _find_fault(node))), _find_excess(nodes))


def _find_fault(node: JsonObject) -> str | None:
    if other := sorted(node.keys() - SUPPORTED):
        return f"`{other[0]}` is not supported"
    if "$ref" in node and len(node) > 1:
        return "`$ref` has siblings"
    if not node.keys() & {"$ref", "anyOf", "const", "enum", "type"}:
        return "it has no type"
    if node.get("format", "date") not in FORMATS:
        return f"the format {node['format']} is not supported"
    kinds = node.get("type")
    if kinds != "object" and not (isinstance(kinds, list) and "object" in kinds):
        return None
    if node.get("additionalProperties") is not False:
        return "`additionalProperties` is not false"
    missing = sorted(_names(node.get("properties")) - _names(node.get("required")))
    return f"`{missing[0]}` is optional" if missing else None


def _names(value: Json) -> set[str]:
    return set(map(str, value)) if isinstance(value, (dict, list)) else set()


def _find_excess(nodes: list[tuple[str, JsonObject]]) -> str | None:
    names = [name for _, node in nodes for name in _names(node.get("properties"))]
    values = [value for _, node in nodes if isinstance(listed := node.get("enum"), list) for value in listed]
    levels = max(pointer.count("/properties/") + pointer.count("/items") for pointer, _ in nodes)
    measures = {
        "properties": (len(names), MAX_PROPERTIES),
        "enum values": (len(values), MAX_ENUM_VALUES),
        "levels": (levels, MAX_LEVELS),
        "characters of names and enum values": (sum(map(len, [*names, *map(str, values)])), MAX_CHARS),
    }
    return next(
        (f"{size:,} {what}, the limit is {limit:,}" for what, (size, limit) in measures.items() if size > limit), None
    )
