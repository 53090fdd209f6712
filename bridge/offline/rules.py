"""Decides by rules which offered tools a message asks for, and fills their arguments from it."""

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache, partial
from itertools import groupby, islice

from bridge.json_text import Json, JsonObject
from bridge.offline.wire import Schema, Tool
from bridge.offline.words import Token, read, terms
from bridge.search.ranking import ENOUGH, Entry, Index
from bridge.search.vocabulary import PLAIN, stem

_FAR = 8
"""The distance in tokens from which on a word says nothing about a value."""

_index = lru_cache(maxsize=16)(partial(Index, vocabulary=PLAIN))
"""Makes an index once for the same tools: they do not change from turn to turn."""

_TYPED = ("timezone", "email", "url", "date", "time", "path")


def plan(message: str, tools: list[Tool], forced: bool) -> list[tuple[str, JsonObject]]:
    """Return the calls that `message` asks for, in its order; none where no tool fits, unless one is `forced`."""
    # A message is read up to a length: the rules cost more than linear time.
    tokens, calls, index = read(message[:4000]), list[tuple[str, JsonObject]](), _index(tuple(map(_describe, tools)))
    paths = [token for token in tokens if token.kind == "path"][:1]
    for fitting, said in _find_requests(tokens, tools, index):
        filled = ((tool, _fill(tool.parameters, list(dict.fromkeys(paths + said)))) for tool in fitting)
        whole = [(tool.name, found) for tool, found in filled if found.keys() >= set(tool.parameters.required)]
        calls += [call for call in whole[:1] if call not in calls]
    best = (_rank(tokens, tools, index) or tools)[:1] if forced else []
    return calls or [(tool.name, _fill(tool.parameters, list(tokens))) for tool in best]


def _find_requests(tokens: list[Token], tools: list[Tool], index: Index) -> Iterator[tuple[list[Tool], list[Token]]]:
    """Yield each request: the tools that fit it, best first, and its tokens.

    A part of a sentence for which no new tool fits belongs to the request before it.
    """
    for sentence in _split(tokens, "stop"):
        asked: list[tuple[list[Tool], list[Token]]] = []
        for part in _split(sentence, "comma"):
            fitting = _rank(part, tools, index, ENOUGH)
            if fitting and fitting[0] not in [first for (first, *_), _ in asked]:
                asked.append((fitting, part))
            elif asked:
                asked[-1][1].extend(part)
        yield from asked


def _rank(said: list[Token], tools: list[Tool], index: Index, at_least: float = 0) -> list[Tool]:
    """Return the tools that fit what is said, best first; the more arguments it fills, the better a tool fits."""
    words = dict.fromkeys(t.term for t in said if t.kind == "word" or (t.kind == "name" and index.knows(t.term)))
    fits = index.weigh([term for term in words if term[0] != "~"])
    fitting = [tool for tool in tools if tool.name in fits and fits[tool.name].share >= at_least]
    return sorted(fitting, key=lambda tool: -fits[tool.name].score * (4 + len(_fill(tool.parameters, list(said)))))


def _describe(tool: Tool) -> Entry:
    arguments = (f"{name} {slot.description}" for name, slot in tool.parameters.properties.items())
    return Entry(tool.name, "", tool.name, "", tool.description or "", tuple(arguments), (), PLAIN)


def _split(tokens: Iterable[Token], kind: str) -> list[list[Token]]:
    return [list(part) for ends, part in groupby(tokens, lambda token: token.kind == kind) if not ends]


def _fill(schema: Schema, free: list[Token]) -> JsonObject:
    """Fill arguments from the tokens, each of which is used once."""
    found = {name: _take(name, slot, free, name in schema.required) for name, slot in schema.properties.items()}
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def _take(name: str, slot: Schema, free: list[Token], required: bool) -> Json:
    """Take the value that is nearest to the words for the slot, and remove its token from `free`."""
    if slot.properties:
        return _fill(slot, free) or None
    if items := slot.items:  # one that takes no token would be taken for ever
        return list(islice(iter(lambda: _take(f"{name} {slot.description}", items, free, required), None), len(free)))
    if slot.type == "boolean":
        said = {token.term for token in free}
        return "~no" not in said if required or terms(name) & said else None
    cues = _read_cues(name, slot)
    near = [t.place for t in free if PLAIN.measure_likeness(t.term, cues) or PLAIN.means_same(stem(t.kind), cues)]
    gaps = {token: min([_FAR, *(abs(token.place - place - 0.2) for place in near)]) for token in free}
    close = free if required else [token for token in free if gaps[token] < _FAR]
    fitting = [token for token in close if _read_value(name, slot, token) is not None]
    if not fitting:
        default = re.search("Use '([^']+)'", slot.description)
        return default[1] if default and required else None
    free.remove(nearest := min(fitting, key=lambda token: gaps[token]))
    return _read_value(name, slot, nearest)


def _read_value(name: str, slot: Schema, token: Token) -> Json:
    """Read the token as a value of the slot; None if it cannot be one."""
    if choices := _list_choices(slot):
        nearest = max(choices, key=lambda choice: PLAIN.measure_likeness(token.term, terms(str(choice))))
        return nearest if PLAIN.measure_likeness(token.term, terms(str(nearest))) else None
    if slot.type in ("number", "integer"):
        return (float if "." in token.text else int)(token.text) if token.kind == "number" else None
    cues = _read_cues(name, slot)
    kind = next((kind for kind in _TYPED if PLAIN.means_same(stem(kind), cues)), None)
    fits = token.kind == kind if kind else token.kind != "word"
    value = token.term if kind == "timezone" and "/" in token.term else token.text
    return value if fits and slot.type == "string" else None


def _read_cues(name: str, slot: Schema) -> frozenset[str]:
    """Read the terms that tell the purpose of the slot."""
    return terms(f"{name} {slot.format} {re.sub('[(（].*?[)）]|Use .*', ' ', slot.description)}")


def _list_choices(slot: Schema) -> list[Json]:
    listed = re.search(r"[:：] *(\w+(?:[,，、] *\w+)+)", slot.description) if slot.type == "string" else None
    return slot.enum or (re.split(r"\W+", listed[1]) if listed else [])
