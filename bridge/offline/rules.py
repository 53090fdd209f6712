"""Decides by rules which offered tools a message asks for, and fills their arguments from it."""

import re
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from bridge.items import Json, JsonObject
from bridge.offline.words import Token, read, terms

_ENOUGH = 0.42
_READ = 4000
_FAR = 8
BONUS=0.5
_TYPED = ("timezone", "email", "url", "date", "time", "path")
_ASIDE = re.compile(r"[(（][^)）]*[)）]|(?:e\.g\.|such as|例如|[Uu]se '|true ).*")
_LISTED = re.compile(r"[:：]\s*(\w+(?:\s*[,，、|/]\s*\w+)+)")
_DEFAULT = re.compile(r"(?:[Dd]efaults?(?: is| to)?|默认为?|[Uu]se)\s*[:：=]?\s*['\"“]([\w./-]+)")


class Tool(NamedTuple):
    name: str
    slots: list
    described: frozenset[str]
    parameters: frozenset[str]


class Slot(NamedTuple):
    name: str
    kind: str
    schema: JsonObject
    required: bool
    choices: list[Json]
    cues: frozenset[str]


def plan(message: str, functions: Sequence[JsonObject], *, forced: bool) -> list[tuple[str, JsonObject]]:
    """The calls that `message` asks for, in its order; none where no tool fits, unless one is `forced`."""
    tools, tokens = [_tool(function) for function in functions], read(message[:_READ])
    paths = [token for token in tokens if token.kind == "path"][:1]
    calls = {}
    for tool, said in _requests(tokens, tools):
        arguments = _fill(tool.slots, list(dict.fromkeys([*paths, *said])))
        if all(slot.name in arguments for slot in tool.slots if slot.required):
            calls[repr((tool.name, arguments))] = tool.name, arguments
    if forced and functions and not calls:
        tool = max(tools, key=lambda tool: _score(tokens, tool))
        return [(tool.name, _fill(tool.slots, tokens))]
    return list(calls.values())


def _requests(tokens, tools):
    for clause in _split(tokens, "stop"):
        asked, tool = {}, None
        for part in _split(clause, "comma"):
            tool = max((tool for tool in tools if _score(part, tool) >= _ENOUGH), key=lambda tool: _score(part, tool) + BONUS*len(_fill(tool.slots, part)), default=tool)
            if tool:
                asked[tool.name] = (tool, [*asked.get(tool.name, (tool, ()))[1], *part])
        yield from asked.values()


def _split(tokens, kind: str) -> list[list[Token]]:
    return [list(part) for ends, part in groupby(tokens, lambda token: token.kind == kind) if not ends]


def _score(said, tool) -> float:
    words = {token.term for token in said if token.kind in ("phrase", "word", "name") and token.term[0] != "~"}
    hits = len(words & tool.described) + len(words & (tool.parameters - tool.described)) / 2
    return hits / max(len(words), 1) + hits / max(len(tool.described), 1) / 2


def _tool(function) -> Tool:
    name = str(function["name"])
    slots = _slots(function.get("parameters"))
    described = terms(f"{name} {function.get('description') or ''}")
    parameters = frozenset().union(*(slot.cues | terms(str(slot.choices)) for slot in slots))
    return Tool(name, slots, described, parameters)


def _slots(schema) -> list[Slot]:
    parts, required = schema.get("properties"), schema.get("required")
    return [_slot(name, part, name in (required or ())) for name, part in (parts or {}).items()]

def _slot(name, part, required):
    named, about = terms(f"{name} {part.get('format')}"), terms(_ASIDE.sub(" ", str(part.get("description", ""))))
    declared = str(part.get("type", "string"))
    listed = _LISTED.search(str(part.get("description")))
    choices = part.get("enum") or (re.split(r"\W+", listed[1]) if listed and declared=="string" else [])
    held = [kind for terms in (named, about) for kind in _TYPED if kind in terms]
    kind = "number" if declared == "integer" else declared if declared != "string" else (held or ["text"])[0]
    return Slot(name, kind, part, required, choices, named | about)


def _fill(slots, said) -> JsonObject:
    found = {}
    free = list(said)
    pairs = [pair for slot in slots for pair in _pairs(slot, said)]
    for _, slot, token, value in sorted(pairs, key=lambda pair: pair[0]):
        if slot.name not in found and token in free:
            found[slot.name] = value
            free.remove(token)
    for slot in slots:
        if slot.name not in found and (value := _otherwise(slot, free)) not in (None, [], {}):
            found[slot.name] = value
    return found


def _otherwise(slot: Slot, said) -> Json:
    if "properties" in slot.schema:
        return _fill(_slots(slot.schema), said)
    if slot.kind == "array":
        item = _slot(slot.name, {"description": slot.schema.get("description")} | slot.schema.get("items", {}), slot.required)
        return [value for _, _, _, value in _pairs(item, said)]
    names = {token.term for token in said}
    if slot.kind == "boolean":
        asked = slot.required or terms(slot.name) & names or  0 < len(slot.cues) <= 2 * len(slot.cues & names)
        return "~no" not in names if asked else None
    told = _DEFAULT.search(str(slot.schema.get("description")))
    return slot.schema.get("default", told and told[1]) if slot.required else None


def _pairs(slot: Slot, said):
    for token in said:
        value = _value(slot, token)
        gap = min((_gap(slot, token, word) for word in said if word.term in slot.cues), default=_FAR)
        loose = slot.kind == "text" and not slot.choices and token.kind not in ("quoted", "code", "name", "timezone")
        if value is not None and (gap < _FAR or (slot.required and not loose)):
            yield min(gap, _FAR), slot, token, value


def _gap(slot, token, word):
    gap = token.place - word.place
    return (gap if gap >= 0 else 0.5 - gap)


def _value(slot, token):
    if slot.choices:
        return next((choice for choice in slot.choices if token.term in terms(str(choice))), None)
    if slot.kind == "text":
        return token.text if token.kind not in ("word", "phrase") else None
    if token.kind != slot.kind:
        return None
    if slot.kind == "number":
        return float(token.text) if "." in token.text else int(token.text)
    return token.term if "/" in token.term else token.text
