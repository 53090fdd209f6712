"""A schema of an older JSON Schema draft in the words of 2020-12, which are the API's."""

import re

from bridge.json_text import Json, JsonObject
from bridge.schemas.walk import walk

LATEST = 2020
_DRAFT = re.compile(r"//json-schema\.org/draft(?:-0([3-7])|/(2019|2020))")
ANNOTATIONS = frozenset({"title", "description", "default", "examples", "example", "$comment", "deprecated"})
"""Keywords that refuse nothing. With them come definitions, which are judged only where something refers to them."""


def read_draft(schema: JsonObject) -> int:
    """The draft that a schema says it is written in: 3 to 7, 2019 or 2020, which is also MCP's default."""
    found = _DRAFT.search(str(schema.get("$schema")))
    return int(found[1] or found[2]) if found else LATEST


def drop_ignored(schema: JsonObject, draft: int) -> None:
    """Take out, in place, what means nothing in this draft and would in 2020-12: all beside a `$ref` up to draft-07."""
    for node in walk(schema) if draft <= 7 else ():
        if "$ref" in node:
            for keyword in node.keys() - ANNOTATIONS - {"$ref", "$defs", "definitions"}:
                del node[keyword]


def modernise(schema: JsonObject, draft: int) -> None:
    """Rewrite, in place, what 2020-12 says otherwise; what is accepted stays the same."""
    schema.pop("$schema", None)
    for node in walk(schema):
        if draft <= 4:
            for limit, exclusive in (("minimum", "exclusiveMinimum"), ("maximum", "exclusiveMaximum")):
                _open_bound(node, limit, exclusive)
        if draft <= 7:
            _split_dependencies(node)
        if isinstance(node.get("items"), list):
            _name_tuple(node)


def _open_bound(node: JsonObject, limit: str, exclusive: str) -> None:
    """Up to draft-04 `exclusiveMinimum` was a flag of `minimum`."""
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


def _name_tuple(node: JsonObject) -> None:
    """Up to 2019-09 a list of `items` was what `prefixItems` is, and `additionalItems` were the others."""
    rest: Json = node.pop("additionalItems", None)
    node["prefixItems"] = node.pop("items")
    if not node["prefixItems"]:
        del node["prefixItems"]
    if rest is not None:
        node["items"] = rest
