"""What a refusal says: its words, and the items of the request that it names."""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple, TypeAlias

from bridge.errors import UpstreamError
from bridge.items import Turn
from bridge.json_text import Json, JsonObject, decode

Change: TypeAlias = tuple[str, object]
"""A field of the profile, and its new value."""


def compile_words(text: str) -> re.Pattern[str]:
    """Compile a pattern for the words of a refusal."""
    return re.compile(text, re.IGNORECASE | re.DOTALL)


_NAME = r"[\"'`]?(?<![a-z_.])([a-z_][a-z_.]*+)[\"'`]?"  # possessive, so that a hostile text takes linear time
_NO_PARAMETER = (
    compile_words(
        r"(?:unsupported|unknown|unrecogni[sz]ed|unexpected|extra)(?: request)?"
        rf" (?:parameter|argument|field|key|property)s?(?:\(s\))?(?: supplied| in \w+)?\s*:?\s*{_NAME}"
    ),
    compile_words(rf"{_NAME}(?: parameter)? (?:is|are) (?:not|only) (?:supported|allowed|permitted|accepted)"),
    compile_words(r'"loc":\s*\["body",\s*"([a-z_]+)"\][^}]*(?:extra|not permitted)'),
    compile_words(rf"{_NAME}: extra inputs are not permitted"),
    compile_words(rf"\({_NAME} (?:was|were) unexpected\)"),
    compile_words(rf"\bpropert(?:y|ies) {_NAME} should not exist"),
)
"""A refused parameter, as OpenAI, the Codex backend, Go and zod servers, pydantic (vLLM, LiteLLM) and
validators of JSON Schema word it."""

_PATH = compile_words(r"\binput((?:\[[\"']?\w{1,64}[\"']?\]|[./]\w{1,64})+)")
"""`input[2].status`, `input.2.status`, `/input/2/status`."""
_LOCATION = compile_words(r"[\"']input\\?[\"']((?:\s*,\s*(?:\d{1,6}|\\?[\"'][^\"']{0,200}[\"']))+)")
"""`["body", "input", 2, "OutputMessage", "status"]`, as pydantic has it."""


class Named(NamedTuple):
    """An item that a refusal names, and the keys that lead to the field of it that it names."""

    item: JsonObject
    path: Sequence[str]


def says(error: UpstreamError, pattern: re.Pattern[str]) -> bool:
    """Tell whether the code or the words of a refusal match."""
    return bool(pattern.search(f"{error.code}: {error.message}"))


def find_parameters(error: UpstreamError) -> Iterator[str]:
    """Yield the names that a refusal calls unknown, or not supported."""
    return (match[1].rstrip(".") for pattern in _NO_PARAMETER for match in pattern.finditer(error.message))


def find_items(turn: Turn, word: str) -> Iterator[JsonObject]:
    """Yield the items that contain this word as a key or a value; the others are not decoded."""
    for text in turn.items:
        if f'"{word}"' in text and isinstance(item := decode(text), dict):
            yield item


def find_named(error: UpstreamError, turn: Turn) -> Named | None:
    """Find the item that a refusal names, by its place in the input or by its id."""
    for match in (*_PATH.finditer(error.message), *_LOCATION.finditer(error.message)):
        steps = re.findall(r"\w+", match[1])
        place = next((at for at, step in enumerate(steps) if step.isdecimal()), None)
        if place is not None and int(steps[place]) < len(turn.items):
            item = decode(turn.items[int(steps[place])])
            return Named(item, _follow(item, steps[place + 1 :])) if isinstance(item, dict) else None
    with_ids = (item for item in find_items(turn, "id") if isinstance(item.get("id"), str))
    ids = set(re.findall(r"[\w-]{3,}", error.message))
    return next((Named(item, ()) for item in with_ids if item["id"] in ids), None)


def _follow(item: Json, steps: Sequence[str]) -> Sequence[str]:
    """Return the keys on the way to a field; none where it is not there. What is no key is the name of a type."""
    keys: list[str] = []
    for step in steps:
        if isinstance(item, list):
            item = item[int(step)] if step.isdecimal() and int(step) < len(item) else None
        elif isinstance(item, dict) and step in item:
            keys.append(step)
            item = item[step]
    return keys if keys and keys[-1] == steps[-1] else ()
