"""Older JSON Schema drafts, converted to 2020-12, which the API uses."""

import re

from bridge.json_text import Json, JsonObject
from bridge.schemas.walk import walk

LATEST = 2020
_DRAFT = re.compile(r"//json-schema\.org/draft(?:-0([3-7])|/(2019|2020))")
ANNOTATIONS = frozenset({"title", "description", "default", "examples", "example", "$comment", "deprecated"})
"""Keywords that no value can violate. Callers add the definitions, which apply only where something refers to them."""


def read_draft(schema: JsonObject) -> int:
    """Return the draft that a schema declares: 3 to 7, 2019 or 2020, which is also MCP's default."""
    found = _DRAFT.search(str(schema.get("$schema")))
    return int(found[1] or found[2]) if found else LATEST


def drop_ignored(schema: JsonObject, draft: int) -> None:
    """Remove, in place, what this draft ignores but 2020-12 does not: up to draft-07, all keywords beside a `$ref`."""
    for node in walk(schema) if draft <= 7 else ():
        if "$ref" in node:
            for keyword in node.keys() - ANNOTATIONS - {"$ref", "$defs", "definitions"}:
                del node[keyword]


def modernise(schema: JsonObject, draft: int) -> None:
    """Rewrite, in place, what 2020-12 expresses differently; the schema still accepts the same values."""
    schema.pop("$schema", None)
    for node in walk(schema):
        if draft <= 4:
            for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
                _convert_exclusive(node, limit, exclusive)
        if draft <= 7:
            _split_dependencies(node)
        if isinstance(node.get("items"), list):
            _convert_tuple(node)


def _convert_exclusive(node: JsonObject, limit: str, exclusive: str) -> None:
    """Convert the flag that `exclusiveMinimum` was up to draft-04 to a number."""
    if isinstance(is_open := node.get(exclusive), bool):
        del node[exclusive]
        if is_open and limit in node:
            node[exclusive] = node.pop(limit)


def _split_dependencies(node: JsonObject) -> None:
    dependencies = node.pop("dependencies", None)
    if isinstance(dependencies, dict):
        required: JsonObject = {name: value for name, value in dependencies.items() if isinstance(value, list)}
        schemas: JsonObject = {name: value for name, value in dependencies.items() if isinstance(value, dict)}
        node |= {"dependentRequired": required} if required else {}
        node |= {"dependentSchemas": schemas} if schemas else {}


def _convert_tuple(node: JsonObject) -> None:
    """Convert a list of `items` and `additionalItems`, as up to 2019-09, to `prefixItems` and `items`."""
    rest: Json = node.pop("additionalItems", None)
    node["prefixItems"] = node.pop("items")
    if not node["prefixItems"]:
        del node["prefixItems"]
    if rest is not None:
        node["items"] = rest
