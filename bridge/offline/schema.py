"""Reads a tool's JSON Schema as the list of values that it asks for."""

import re
from collections.abc import Iterator
from typing import NamedTuple

from bridge.items import Json, JsonObject
from bridge.offline.words import spaced, terms

_KINDS = {"=timezone": "zone", "=email": "email", "=url": "url", "=date": "date", "=time": "time"}
_KINDS |= {"~path": "path", "=file": "path"}
_FORMATS = {"uri": "url", "email": "email", "date": "date", "date-time": "date", "time": "time"}
_ASIDE = re.compile(r"[(\uff08][^)\uff09]*[)\uff09]|(?:e\.g\.|such as|例如|[Uu]se '|true ).*")
_LISTED = re.compile(r"[:\uff1a]\s*(\w+(?:\s*[,\uff0c、|/]\s*\w+)+)")
_DEPTH = 4


class Leaf(NamedTuple):
    """One value: its path in the arguments, its schema, and whether the tool cannot do without it.

    `named` and `about` are the terms of its name and of its description without asides, examples and defaults.
    """

    path: tuple[str, ...]
    schema: JsonObject
    required: bool
    named: frozenset[str]
    about: frozenset[str]


def leaves(schema: JsonObject) -> list[Leaf]:
    """All values of `schema`, those of nested objects included, in order."""
    return list(_leaves(schema, schema, (), required=True))


def properties(schema: JsonObject, root: JsonObject) -> Iterator[tuple[str, JsonObject, bool]]:
    """Name, schema (references resolved in `root`) and need of each property."""
    parts, required = schema.get("properties"), schema.get("required")
    for name, part in parts.items() if isinstance(parts, dict) else ():
        yield name, _plain(part, root), isinstance(required, list) and name in required


def is_nested(part: JsonObject, path: tuple[str, ...]) -> bool:
    """Whether a property is an object to be filled property by property."""
    return "properties" in part and len(path) < _DEPTH


def kind(leaf: Leaf) -> str:
    """`number`, `boolean`, `array`, or for a string what it holds: `url`, `path`, `zone`, ... `text`."""
    declared = leaf.schema.get("type", "string")
    if declared != "string":
        return "number" if declared == "integer" else str(declared)
    said = (_KINDS[key] for words in (leaf.named, leaf.about) for key in _KINDS if key in words)
    return _FORMATS.get(str(leaf.schema.get("format")), next(said, "text"))


def choices(leaf: Leaf) -> list[Json]:
    """The values of its enum, or those its description counts up (`kind: a, b, c`; `('a')`, `('b')`)."""
    enum = leaf.schema.get("enum")
    if isinstance(enum, list) or leaf.schema.get("type") != "string":
        return enum if isinstance(enum, list) else []
    quoted, listed = re.findall(r"\('(\w+)'\)", description(leaf)), _LISTED.search(description(leaf))
    return quoted if quoted[1:] else re.split(r"\W+", listed[1]) if listed else []


def item(leaf: Leaf) -> Leaf:
    """What the elements of an array look like."""
    items = leaf.schema.get("items")
    return leaf._replace(schema={"description": description(leaf), **(items if isinstance(items, dict) else {})})


def description(leaf: Leaf) -> str:
    """What the schema says about the value."""
    return str(leaf.schema.get("description", ""))


def vocabulary(schema: JsonObject) -> frozenset[str]:
    """Every term by which the values of `schema` could be meant."""
    said = (leaf.named | leaf.about | terms(" ".join(map(str, choices(leaf)))) for leaf in leaves(schema))
    return frozenset[str]().union(*said)


def _leaves(schema: JsonObject, root: JsonObject, path: tuple[str, ...], *, required: bool) -> Iterator[Leaf]:
    for name, part, needed in properties(schema, root):
        here = (*path, name)
        if is_nested(part, here):
            yield from _leaves(part, root, here, required=required and needed)
        else:
            about = terms(_ASIDE.sub(" ", str(part.get("description", ""))))
            yield Leaf(here, part, required and needed, terms(" ".join(map(spaced, here))), about)


def _plain(part: Json, root: JsonObject) -> JsonObject:
    """`part` without its reference, or with the first of its alternatives that is not null."""
    part = part if isinstance(part, dict) else {}
    definitions, several = root.get("$defs"), part.get("anyOf", part.get("oneOf"))
    target = definitions.get(str(part.get("$ref")).removeprefix("#/$defs/")) if isinstance(definitions, dict) else None
    for other in (target, *(several if isinstance(several, list) else ())):
        if isinstance(other, dict) and other.get("type") != "null":
            return {**other, **part}
    declared = part.get("type")
    return (
        part | {"type": next((one for one in declared if one != "null"), None)} if isinstance(declared, list) else part
    )
