"""What the Responses API refuses in a function tool: its documented rules and its observed errors, written as a check.

It shares no code with the bridge. A rule that is not known to be checked for `strict: false` is checked all the same.
"""

import functools
import json
import re
from collections.abc import Iterator
from typing import Any

import jsonschema_rs

Json = Any

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_AT_THE_TOP = {"anyOf", "oneOf", "allOf", "not", "enum"}
_MAPS = {"properties", "patternProperties", "$defs", "definitions", "dependentSchemas"}
_LISTS = {"anyOf", "oneOf", "allOf", "prefixItems"}
_ONES = {"items", "contains", "not", "if", "then", "else", "propertyNames", "additionalProperties"}
_ONES |= {"unevaluatedProperties", "unevaluatedItems", "contentSchema"}
_STRICT = {"type", "properties", "required", "additionalProperties", "items", "enum", "const", "anyOf", "$ref", "$defs"}
_STRICT |= {"definitions", "description", "title", "pattern", "format", "minimum", "maximum", "multipleOf"}
_STRICT |= {"exclusiveMinimum", "exclusiveMaximum", "minItems", "maxItems"}
MAX_LEVELS = 100


def find_refusals(tool: Json) -> list[str]:
    """Every reason for which the API would answer 400 to a request with this function tool."""
    return list(_judge(tool))


def _judge(tool: Json) -> Iterator[str]:
    schema = tool.get("parameters")
    if not _NAME.fullmatch(tool.get("name", "")):
        yield f"name: {tool.get('name')!r}"
    if not isinstance(tool.get("strict"), bool):
        yield "strict: not said"
    if len(tool.get("description", "x")) > 1024 or tool.get("description") == "":
        yield "description: too long or empty"
    if not isinstance(schema, dict) or schema.get("type") != "object":
        yield "parameters: schema must be of type object"
        return
    if found := _AT_THE_TOP & schema.keys():
        yield f"parameters: {found} at the top level"
    if len(json.dumps(tool, ensure_ascii=False).encode()) > 65_536:
        yield "too large"
    if not _meta_schema().is_valid(schema):
        yield "parameters: not a valid JSON Schema of 2020-12"
    for place, node in _list_schemas(schema, "#", 0):
        yield from (f"{place}: {fault}" for fault in _judge_schema(node, schema, strict=tool["strict"]))


@functools.cache
def _meta_schema() -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({"$ref": "https://json-schema.org/draft/2020-12/schema"})


def _list_schemas(node: Json, place: str, level: int) -> Iterator[tuple[str, Json]]:
    yield place, node
    if not isinstance(node, dict) or level > MAX_LEVELS:
        return
    for keyword, value in node.items():
        if keyword in _MAPS:
            for name, inner in value.items():
                yield from _list_schemas(inner, f"{place}/{keyword}/{name}", level + 1)
        elif keyword in _LISTS:
            for number, inner in enumerate(value):
                yield from _list_schemas(inner, f"{place}/{keyword}/{number}", level + 1)
        elif keyword in _ONES:
            yield from _list_schemas(value, f"{place}/{keyword}", level + 1)


def _judge_schema(node: Json, root: Json, *, strict: bool) -> Iterator[str]:
    if isinstance(node, bool):
        return
    if not isinstance(node, dict):
        yield f"{node!r} is not of type 'object', 'boolean'"
        return
    kinds = node.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if "array" in kinds and not isinstance(node.get("items"), dict):
        yield "array schema missing items"
    if "object" in kinds and not isinstance(node.get("properties"), dict):
        yield "object schema missing properties"
    if odd := {"$dynamicRef", "$recursiveRef", "$id", "$anchor", "$schema"} & node.keys():
        yield f"{odd} is not supported"
    if "$ref" in node and (fault := _judge_reference(node, root)):
        yield fault
    if strict:
        yield from _judge_strict(node, kinds)


def _judge_reference(node: Json, root: Json) -> str | None:
    """A chain of references ends at a schema inside this one."""
    seen: list[str] = []
    while isinstance(node, dict) and "$ref" in node:
        target = node["$ref"]
        if not re.fullmatch(r"#(/.*)?", target):
            return f"{target} is not a local reference"
        if target in seen:
            return f"{target} leads back to itself"
        seen.append(target)
        node = root
        for step in target.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            try:
                node = node[int(step)] if isinstance(node, list) else node[step]
            except (KeyError, IndexError, TypeError, ValueError):
                return f"{target} cannot be resolved"
    return None if isinstance(node, (dict, bool)) else f"{seen[-1]} is no schema"


def _judge_strict(node: Json, kinds: list[str]) -> Iterator[str]:
    if other := node.keys() - _STRICT:
        yield f"{other} is not permitted"
    if "object" in kinds and node.get("additionalProperties") is not False:
        yield "'additionalProperties' is required to be supplied and to be false"
    if "object" in kinds and set(node.get("required", [])) != set(node.get("properties", {})):
        yield "'required' is required to be an array including every key in properties"
