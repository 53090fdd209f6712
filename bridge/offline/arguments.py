"""Fills a tool's arguments from a message by the tool's JSON Schema."""

import re
from collections.abc import Iterator
from typing import TypeAlias

from bridge.items import Json, JsonObject
from bridge.offline.evidence import Evidence, find, mask, names
from bridge.offline.schema import Leaf, choices, description, is_nested, item, kind, leaves, properties
from bridge.offline.words import Term, read, spaced, terms

Found: TypeAlias = dict[tuple[str, ...], Json]
Wording: TypeAlias = tuple[Term, ...]

_FAR = 40
"""Characters between a value and a word beyond which the word says nothing about the value."""

_COST = {"quoted": 0, "code": 4, "zone": 6, "name": 8, "phone": 8, "number": 12, "path": 12, "url": 12, "email": 12}
"""What may become a text, the likeliest first. From 12 on only where the message names the argument beside it."""

_DEFAULT = re.compile(r"(?:[Dd]efaults?(?: is| to)?|默认为?|[Uu]se)\s*[:\uff1a=]?\s*['\"“]([\w./-]+)")


def fill(schema: JsonObject, message: str, context: str = "", known: frozenset[str] | None = None) -> JsonObject | None:
    """The arguments that `message` gives for `schema`, or None if a required one is missing.

    A missing path may come from `context`, the whole user message. With `known`, the tool's own terms, the words
    that are left when those are taken away may become a required text. Optional arguments need evidence.
    """
    wanted, wording = leaves(schema), read(mask(message, find(message)))
    found = _assign(wanted, message, wording)
    for leaf in wanted:
        if leaf.required and leaf.path not in found:
            found[leaf.path] = _default(leaf, context) or _remainder(leaf, message, wording, known)
    return _assemble(schema, schema, found)


def _assign(wanted: list[Leaf], message: str, wording: Wording) -> Found:
    """The nearest evidence for each leaf, each used once; lists take what is left, switches take none."""
    pairs = [
        (cost + gap, order, one.start, leaf, one)
        for order, leaf in enumerate(wanted)
        for cost, one in _candidates(leaf, message, wording)
        if (gap := _distance(leaf, one, wording)) < _FAR or (leaf.required and cost < 12)
    ]
    found: Found = {}
    taken: list[Evidence] = []
    for *_, leaf, one in sorted(pairs, key=lambda pair: pair[:3]):
        if leaf.path not in found and _is_free(one, taken):
            found[leaf.path] = one.value
            taken.append(one)
    for leaf in wanted:
        if kind(leaf) == "array" and (several := _list(item(leaf), message, wording, taken)):
            found[leaf.path] = several
        elif kind(leaf) == "boolean" and _is_set(leaf, wording):
            found[leaf.path] = all(term.name != "~no" for term in wording)
    return found


def _candidates(leaf: Leaf, message: str, wording: Wording) -> list[tuple[int, Evidence]]:
    """What could fill the leaf, each with the cost of being of another kind than is wanted."""
    if several := choices(leaf):
        return [(0, one) for choice in several for one in _chosen(leaf, choice, message, wording)]
    wanted, whole = kind(leaf), leaf.schema.get("type") == "integer"
    if wanted != "text":
        same = [one for one in find(message) if wanted in one.kinds]
        return [(0, one) for one in same if not (whole and isinstance(one.value, float))]
    costs = ((min(_COST.get(kind, _FAR) for kind in one.kinds), one) for one in (*find(message), *names(message)))
    return [(cost, one._replace(value=one.text)) for cost, one in costs if cost < _FAR]


def _chosen(leaf: Leaf, choice: Json, message: str, wording: Wording) -> Iterator[Evidence]:
    """Where the message names a choice: literally, by the Chinese word its description gives, or by its concepts."""
    text = str(choice)
    beside = re.compile(rf"(?<![A-Za-z]){re.escape(text)}[\s:=(\uff1a\uff08]+([\u3400-\u9fff]+)").search(
        description(leaf)
    )
    spelled = "|".join(re.escape(one) for one in (text, spaced(text), beside and beside[1]) if one)
    spans = [match.span() for match in re.finditer(rf"(?i)(?<![a-z])(?:{spelled})(?![a-z])", message)]
    said = {name for name in terms(spaced(text)) if name[0] != "~"}
    spans = spans or [(term.start, term.end) for term in wording if term.name in said][:1]
    return (Evidence({"choice"}, choice, text, *span) for span in spans)


def _distance(leaf: Leaf, one: Evidence, wording: Wording) -> int:
    """How far the words that name the leaf are from the evidence; words before it count as nearer."""
    cues = leaf.named | leaf.about
    if one.cue:
        return 0 if one.cue in cues else _FAR
    gaps = (
        (one.start - term.end if term.end <= one.start else term.start - one.end + 2)
        + 3 * (term.name not in leaf.named)
        for term in wording
        if term.name in cues
    )
    return min(_FAR, *gaps, _FAR)


def _is_free(one: Evidence, taken: list[Evidence]) -> bool:
    return all(one.end <= other.start or other.end <= one.start for other in taken)


def _list(leaf: Leaf, message: str, wording: Wording, taken: list[Evidence]) -> list[Json]:
    """All evidence that is left for an array's elements, if the array is required or named."""
    free = [one for cost, one in _candidates(leaf, message, wording) if cost < 8 and _is_free(one, taken)]
    near = leaf.required or any(_distance(leaf, one, wording) < _FAR for one in free)
    return [one.value for one in free] if near else []


def _is_set(leaf: Leaf, wording: Wording) -> bool:
    """Whether the message speaks of a switch: by its name or by half of its description."""
    said = {term.name for term in wording}
    return leaf.required or bool(leaf.named & said) or 0 < len(leaf.about) <= 2 * len(leaf.about & said)


def _default(leaf: Leaf, context: str) -> Json:
    if kind(leaf) == "path":
        return next((one.text for one in find(context) if "path" in one.kinds), None)
    said = _DEFAULT.search(description(leaf)) if leaf.schema.get("type") == "string" else None
    return leaf.schema.get("default", said and said[1])


def _remainder(leaf: Leaf, message: str, wording: Wording, known: frozenset[str] | None) -> Json:
    """The longest run of words that neither the tool nor the glossary knows."""
    if known is None or kind(leaf) != "text" or choices(leaf):
        return None
    runs: list[tuple[int, int]] = []
    for term in sorted(wording, key=lambda term: term.start):
        if term.name[0] in "=~" or term.name in known:
            continue
        joins = runs and term.start - runs[-1][1] <= 1
        start = runs.pop()[0] if joins else term.start
        runs.append((start, term.end))
    start, end = max(runs, key=lambda run: run[1] - run[0], default=(0, 0))
    return message[start:end] or None


def _assemble(schema: JsonObject, root: JsonObject, found: Found, path: tuple[str, ...] = ()) -> JsonObject | None:
    """The nested arguments, or None where a required one is missing; an optional object is whole or absent."""
    arguments: JsonObject = {}
    for name, part, needed in properties(schema, root):
        here = (*path, name)
        value = _assemble(part, root, found, here) if is_nested(part, here) else found.get(here)
        if value is not None and value != {}:
            arguments[name] = value
        elif needed:
            return None
    return arguments
