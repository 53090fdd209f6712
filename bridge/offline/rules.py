"""Decides which offered tools a message asks for, and with what arguments."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from bridge.items import JsonObject
from bridge.offline.arguments import fill
from bridge.offline.evidence import find, mask
from bridge.offline.schema import vocabulary
from bridge.offline.words import spaced, terms

_ENOUGH = 0.42
"""The score from which a clause is taken to ask for a tool; chosen on the tuned half of tests/data/questions.json."""

_PARTS = 20
"""Parts of a clause past which it is a list of things and not of requests."""

_MARK = r"(?:^|(?<=\s))\d{1,2}[.、)\uff09](?!\d)\s*|^\s*[-*•]\s"
_CLAUSE = re.compile(rf"[\n;。!?\uff1b\uff01\uff1f]+|\.(?:\s+|$)|,?\s*\bthen\b|然后|{_MARK}", re.MULTILINE)
_PART = re.compile(r"[,、\uff0c]|\band\b|并且|并|和|以及|顺便|\balso\b")
_TAKEN_FROM = re.compile(r"\bsubtract (-?[\d.]+) from (-?[\d.]*\d)", re.IGNORECASE)


class Tool(NamedTuple):
    """An offered function: its name, its schema, the terms it is described by and those of its parameters."""

    name: str
    schema: JsonObject
    described: frozenset[str]
    parameters: frozenset[str]


class Call(NamedTuple):
    """A tool to call, its arguments, and how well it fits (from 0 to about 2)."""

    name: str
    arguments: JsonObject
    score: float = 0.0


def plan(message: str, functions: Sequence[JsonObject]) -> list[Call]:
    """The calls that `message` asks for, in its order; none where no tool fits."""
    tools = [_tool(function) for function in functions]
    message = _TAKEN_FROM.sub(r"\2 - \1", message)
    clauses = [message[slice(*span)] for span in _split(_CLAUSE, message)]
    calls = [call for clause in clauses for call in _requests(clause, message, tools)]
    return [call for i, call in enumerate(calls) if call[:2] not in [earlier[:2] for earlier in calls[:i]]]


def best(message: str, functions: Sequence[JsonObject]) -> Call:
    """The one call that fits best, for a caller who insists on a call; arguments that cannot be filled are missing."""
    tools = [_tool(function) for function in functions]
    said = set(terms(mask(message, find(message))))
    tool = max(tools, key=lambda tool: _score(said, tool))
    optional: JsonObject = {**tool.schema, "required": None}
    return Call(tool.name, fill(tool.schema, message, message, tool.described) or fill(optional, message) or {})


def _tool(function: JsonObject) -> Tool:
    name, schema = str(function.get("name")), function.get("parameters")
    schema = schema if isinstance(schema, dict) else {}
    return Tool(name, schema, terms(f"{spaced(name)} {function.get('description') or ''}"), vocabulary(schema))


def _requests(clause: str, message: str, tools: list[Tool]) -> Iterator[Call]:
    """One call for each part of the clause that stands by itself, else one for the clause as a whole."""
    parts, spans = list(_split(_PART, clause)), list[tuple[int, int]]()
    for start, end in parts if len(parts) <= _PARTS else [(0, len(clause))]:
        if spans and not _stand_apart(clause[slice(*spans[-1])], clause[start:end], clause[spans[-1][0] : end], tools):
            spans[-1] = (spans[-1][0], end)
        else:
            spans.append((start, end))
    call = None
    for span in spans:
        call = _choose(clause[slice(*span)], tools, message, call)
        if call:
            yield call


def _stand_apart(first: str, second: str, whole: str, tools: list[Tool]) -> bool:
    """Whether these are two requests: for different tools, or for one tool with different arguments."""
    one = _choose(first, tools)
    two = one and _choose(second, tools, previous=one)
    if not one or not two:
        return False
    if one.name == two.name:
        return any(one.arguments[key] != two.arguments[key] for key in one.arguments.keys() & two.arguments.keys())
    joined = _choose(whole, tools)
    return joined is None or joined.score < 1.1 * (one.score + two.score) / 2


def _choose(text: str, tools: list[Tool], message: str = "", previous: Call | None = None) -> Call | None:
    """The best tool whose required arguments can be filled; or the previous one again, with new arguments."""
    said = {term for term in terms(mask(text, find(text))) if term[0] != "~"}
    calls: list[Call] = []
    for tool in tools:
        score = _score(said, tool)
        arguments = fill(tool.schema, text, message, tool.described) if score >= _ENOUGH else None
        if arguments is not None:
            used = len(arguments) / max(len(arguments), len(find(text)), 1)
            calls.append(Call(tool.name, arguments, score + used / 2))
    if calls:
        return max(calls, key=lambda call: call.score)
    for tool in tools:
        if previous and tool.name == previous.name and (again := fill(tool.schema, text)):
            return Call(tool.name, again, previous.score)
    return None


def _score(said: set[str], tool: Tool) -> float:
    """How much of what is said the tool is about, and how much of the tool is said."""
    hits = len(said & tool.described) + len(said & (tool.parameters - tool.described)) / 2
    return hits / max(len(said), 1) + hits / max(len(tool.described), 1) / 2


def _split(separator: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    """The spans of `text` between separators, which do not count inside evidence (quotes, numbers, addresses)."""
    start = 0
    for match in separator.finditer(mask(text, find(text))):
        if text[start : match.start()].strip():
            yield start, match.start()
        start = match.end()
    if text[start:].strip():
        yield start, len(text)
