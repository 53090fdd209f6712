"""Decides by rules which offered tools a message asks for, and fills their arguments from it."""

import re
from collections.abc import Iterable, Iterator
from itertools import groupby

from bridge.json_text import Json, JsonObject
from bridge.offline.wire import Schema, Tool
from bridge.offline.words import Token, read, terms

_THRESHOLD = 0.5
"""The lowest score at which a part of a message is taken as a request for a tool."""

_FAR = 8
"""The distance in tokens from which a word says nothing about a value."""

_TYPED = ("timezone", "email", "url", "date", "time", "path")


def plan(message: str, tools: list[Tool], forced: bool) -> list[tuple[str, JsonObject]]:
    """Return the calls that `message` asks for, in order; none where no tool fits, unless a call is `forced`."""
    # Only the beginning of a message is read: the rules take more than linear time.
    tokens, calls = read(message[:4000]), list[tuple[str, JsonObject]]()
    paths = [token for token in tokens if token.kind == "path"][:1]
    for tool, said in _find_requests(tokens, tools) if tools else ():
        call = (tool.name, _fill(tool.parameters, list(dict.fromkeys(paths + said))))
        if call not in calls and call[1].keys() >= set(tool.parameters.required):
            calls.append(call)
    if forced and tools and not calls:
        tool = max(tools, key=lambda tool: _score(tokens, tool))
        calls.append((tool.name, _fill(tool.parameters, list(tokens))))
    return calls


def _find_requests(tokens: Iterable[Token], tools: list[Tool]) -> Iterator[tuple[Tool, list[Token]]]:
    """Yield each tool that a sentence asks for, with the part of the sentence that does so and the parts after it."""
    for sentence in _split(tokens, "stop"):
        asked: list[tuple[Tool, list[Token]]] = []
        for part in _split(sentence, "comma"):
            score, best = max(((_score(part, tool), tool) for tool in tools), key=lambda pair: pair[0])
            if score >= _THRESHOLD and best not in [tool for tool, _ in asked]:
                asked.append((best, part))
            elif asked:
                asked[-1][1].extend(part)
        yield from asked


def _split(tokens: Iterable[Token], kind: str) -> list[list[Token]]:
    return [list(part) for ends, part in groupby(tokens, lambda token: token.kind == kind) if not ends]


def _score(said: Iterable[Token], tool: Tool) -> float:
    """Score a text for a tool: the share of the text that matches, the share of the tool that is mentioned, and the
    number of arguments that can be filled."""
    words = {token.term for token in said if token.term[0] != "~" and token.kind in ("word", "phrase", "name")}
    described, slots = terms(f"{tool.name} {tool.description}"), tool.parameters.properties
    cues = frozenset[str]().union(*(_cues(name, slot) for name, slot in slots.items())) - described
    hits = len(words & described) + len(words & cues) / 2
    share = hits / max(len(words), 1) + hits / max(len(described), 1) / 4
    return share * (1 + len(_fill(tool.parameters, list(said))) / 4) if share >= _THRESHOLD else share


def _fill(schema: Schema, free: list[Token]) -> JsonObject:
    """Fill the arguments of a tool from the tokens; each token is used once."""
    found = {name: _take(name, slot, free, name in schema.required) for name, slot in schema.properties.items()}
    return {name: value for name, value in found.items() if value not in (None, [], {})}


def _take(name: str, slot: Schema, free: list[Token], required: bool) -> Json:
    """Take the token for an argument out of `free` and return its value: the one nearest to the argument's words."""
    if slot.properties:
        return _fill(slot, free)
    if items := slot.items:
        return list(iter(lambda: _take(f"{name} {slot.description}", items, free, required), None))
    if slot.type == "boolean":
        said = {token.term for token in free}
        return "~no" not in said if required or terms(name) & said else None
    cues = [token.place for token in free if _cues(name, slot) & {token.term, token.kind}]
    gaps = {token: min([_FAR, *(abs(token.place - place - 0.2) for place in cues)]) for token in free}
    fitting = [token for token in free if _value(name, slot, token) is not None and (required or gaps[token] < _FAR)]
    if not fitting:
        default = re.search("Use '([^']+)'", slot.description)
        return default[1] if default and required else None
    token = min(fitting, key=lambda token: gaps[token])
    free.remove(token)
    return _value(name, slot, token)


def _value(name: str, slot: Schema, token: Token) -> Json:
    """Convert a token to the type of the argument; None if it does not fit."""
    if choices := _choices(slot):
        return next((choice for choice in choices if token.term in terms(str(choice))), None)
    if slot.type in ("number", "integer"):
        return (float if "." in token.text else int)(token.text) if token.kind == "number" else None
    kind = next((kind for kind in _TYPED if kind in _cues(name, slot)), "text")
    fits = token.kind not in ("word", "phrase") if kind == "text" else token.kind == kind
    value = token.term if kind == "timezone" and "/" in token.term else token.text
    return value if fits and slot.type == "string" else None


def _cues(name: str, slot: Schema) -> frozenset[str]:
    return terms(f"{name} {slot.format} {re.sub('[(（].*?[)）]|Use .*', ' ', slot.description)} {_choices(slot)}")


def _choices(slot: Schema) -> list[Json]:
    listed = re.search(r"[:：] *(\w+(?:[,，、] *\w+)+)", slot.description)
    return slot.enum or (re.split(r"\W+", listed[1]) if listed and slot.type == "string" else [])
