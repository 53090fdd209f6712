"""Ranks tools by how well they fit a wish in words; can say that none does."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bridge.json_text import Json
from bridge.search.names import Names
from bridge.search.terms import find_alternatives, is_chinese, read_terms, read_wish

FIELDS = {"name": 3.0, "owner": 3.0, "title": 1.5, "lead": 2.5, "rest": 0.4, "arguments": 0.6, "details": 0.4}
"""How much a word counts by where it stands; `lead` is the first sentence of a description."""
LEAD_CHARS, REST_CHARS = 200, 1000
"""How much of a description is read."""
DETAILS_CHARS = 600
"""How much is read of what is said of a tool's arguments."""
K1, B = 1.0, 0.4
"""BM25: how soon a word said again adds nothing, and how much a long field is held against a tool."""
MORE = 0.2
"""What a second word of the same meaning adds."""
NAME_BONUS = 0.6
"""What a tool gains whose whole name is in the wish: `create_issue` before `create_issue_note`."""
OWNER_BONUS = 0.4
"""What a tool gains whose owner is named: who says GitHub does not mean GitLab."""
HEAVIEST, UNKNOWN, UNKNOWN_PAIR = 3.5, 4.0, 2.8
"""What the rarest word of a wish weighs, one that no tool has, and a pair of Chinese characters, being half a word."""
ENOUGH = 1.08
"""What the best tool must cover of a wish, by weight and over the root of the weight of all of it: half of a short
wish, a smaller share of a long one, never a single common word. Below it none fits."""

NAMED_WITHIN = 5
"""The place by which a tool comes whose name is a plain word of the wish."""
MANY = 500
"""Tools in a catalogue from which the commonness of its words can be told: of two tools one in two has every word."""

_SENTENCE_END = re.compile(r"\.\s|\n|。")


@dataclass(frozen=True)
class Entry:
    """What is known of one tool."""

    name: str
    """The model name: what a search answers with."""
    owner: str
    plain_name: str
    title: str
    description: str
    arguments: Sequence[str]
    """Names of its arguments."""
    details: Sequence[str] = ()
    """What is said of its arguments, and the values that they may have."""

    @cached_property
    def terms(self) -> Mapping[str, Sequence[str]]:
        """By field. Most of the time that an index takes is this, and it can be done before."""
        lead, rest = _split(self.description)
        details = " ".join(self.details)[:DETAILS_CHARS]
        texts = (self.plain_name, self.owner, self.title, lead, rest, " ".join(self.arguments), details)
        return {field: list(read_terms(text)) for field, text in zip(FIELDS, texts, strict=True)}


def list_details(schema: Mapping[str, Json]) -> Iterator[str]:
    """Yield what the schema of a tool's arguments says of them, and the values that they may have."""
    properties = schema.get("properties")
    for each in properties.values() if isinstance(properties, dict) else ():
        if isinstance(each, dict):
            yield from (words for words in (each.get("title"), each.get("description")) if isinstance(words, str))
            values = each.get("enum")
            yield from (value for value in values if isinstance(value, str)) if isinstance(values, list) else ()


class Fit(NamedTuple):
    """How well a tool fits a wish."""

    score: float
    share: float
    """What it covers of the wish, as `ENOUGH` has it."""


class Ranking(NamedTuple):
    """The tools that have to do with a wish."""

    names: list[str]
    """Model names, best first."""
    clear: int
    """How many of them, from the first on, clearly fit; 0: none does."""


class _Hits(NamedTuple):
    """The tools that have a word of a wish, or another word for it, by their places."""

    scores: Mapping[int, float]
    names: Mapping[int, float]
    """How well a part of their names says it."""
    spread: float
    """How many they are, those counting less that have another word for it."""


class Index:
    """Tools that can be ranked: BM25 over weighted fields, where words that mean the same count as one.

    Made once for a catalogue and from it alone, so that a search is the same everywhere.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        brands = _find_brands(entries)
        fields = [_read_fields(entry, brands[entry.owner]) for entry in entries]
        self._all_names = [entry.name for entry in entries]
        self._names = Names((entry.name, entry.owner, entry.plain_name) for entry in entries)
        self._said = [_find_parts(each["name"]) for each in fields]
        self._owners = [frozenset(each["owner"]) for each in fields]
        self._postings = _count(fields)

    def search(self, wish: str) -> Ranking:
        """Rank the tools for a wish. One that it names surely comes first; one that it may name is among the first."""
        terms = read_wish(wish, self._postings)
        fits = self.weigh(terms)
        surely, maybe = self._names.find(wish, is_name=len(terms) <= 1)
        is_clear = bool(fits) and next(iter(fits.values())).share >= ENOUGH
        ranked = [*surely, *(name for name in fits if name not in surely)]
        clear = len(ranked) if is_clear else len(surely)
        late = [name for name in maybe if name not in ranked[: NAMED_WITHIN - 1]][:1]
        ranked = [name for name in ranked if name not in late]
        place = min(NAMED_WITHIN - 1, len(ranked))
        return Ranking([*ranked[:place], *late, *ranked[place:]], clear + len(late) * is_clear)

    def rank(self, wish: str) -> list[str]:
        """The names of the tools that clearly fit, best first; none where no tool covers enough of the wish."""
        names, clear = self.search(wish)
        return names[:clear]

    def find_named(self, name: str) -> list[str]:
        """The tools of exactly this name."""
        return self._names.find_exact(name)

    def knows(self, term: str) -> bool:
        """Whether it is said of a tool."""
        return term in self._postings

    def weigh(self, terms: Sequence[str]) -> dict[str, Fit]:
        """The tools that have to do with a wish of these terms, by name, best first."""
        scores: dict[int, float] = defaultdict(float)
        covered: dict[int, float] = defaultdict(float)
        named: dict[int, float] = defaultdict(float)
        whole = 0.0
        for term in terms:
            hits = self._find(term)
            idf = math.log(1 + (max(len(self._all_names), MANY) - hits.spread + 0.5) / (hits.spread + 0.5))
            weight = min(idf, HEAVIEST) if hits.scores else UNKNOWN_PAIR if is_chinese(term) else UNKNOWN
            whole += weight
            for place, score in hits.scores.items():
                scores[place] += idf * score
                covered[place] += weight * score
            for place, share in hits.names.items():
                named[place] += share
        for place in scores:
            share = min(1, named[place] / max(1, len(self._said[place])))
            covered[place] *= 1 + NAME_BONUS / 2 * share
            scores[place] *= (1 + NAME_BONUS * share) * (1 + OWNER_BONUS * self._is_owned(place, terms))
        ranked = sorted(scores, key=lambda place: (-scores[place], self._all_names[place]))
        return {self._all_names[place]: Fit(scores[place], covered[place] / math.sqrt(whole)) for place in ranked}

    def _is_owned(self, place: int, terms: Iterable[str]) -> bool:
        return not self._owners[place].isdisjoint(terms)

    def _find(self, term: str) -> _Hits:
        scores: dict[int, float] = {}
        names: dict[int, float] = {}
        nearest: dict[int, float] = {}
        for other, weight in find_alternatives(term).items():
            for place, count in self._postings.get(other, {}).items():
                score, before = weight * count, scores.get(place, 0.0)
                scores[place] = max(score, before) + MORE * min(score, before)
                nearest[place] = max(weight, nearest.get(place, 0.0))
                if other in self._said[place]:
                    names[place] = max(weight, names.get(place, 0.0))
        return _Hits(scores, names, sum(nearest.values()))


def _find_brands(entries: Iterable[Entry]) -> Mapping[str, frozenset[str]]:
    """By owner, the words that many of its names begin with and hardly another's do: `jira` names the owner."""
    firsts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        firsts[entry.owner].update(entry.terms["name"][:1])
    owners = Counter(term for counts in firsts.values() for term in counts)

    def is_brand(term: str, counts: Counter[str]) -> bool:
        return counts[term] >= max(4, counts.total() / 5) and owners[term] <= 2

    return {owner: frozenset(t for t in counts if is_brand(t, counts)) for owner, counts in firsts.items()}


def _read_fields(entry: Entry, brands: frozenset[str]) -> Mapping[str, Sequence[str]]:
    """The terms of a tool, what names the owner counted as such."""
    name = entry.terms["name"]
    owner = [*entry.terms["owner"], *(name[:1] if brands.intersection(name[:1]) else [])]
    return {**entry.terms, "name": [term for term in name if term not in owner], "owner": owner}


def _split(description: str) -> tuple[str, str]:
    """The first sentence, and what follows."""
    text = description.strip()
    end = _SENTENCE_END.search(text, 0, LEAD_CHARS)
    cut = end.start() if end else LEAD_CHARS
    return text[:cut], text[cut : cut + REST_CHARS]


def _find_parts(name: Sequence[str]) -> frozenset[str]:
    """What a name says: its words, a phrase such as `pull request` being one."""
    return frozenset(name) - {word for term in name if " " in term for word in term.split()}


def _count(tools: Sequence[Mapping[str, Sequence[str]]]) -> Mapping[str, Mapping[int, float]]:
    """By term, each tool that has it with how much: between 0 and 1, as BM25 has it."""
    lengths = {field: sum(len(tool[field]) for tool in tools) / max(1, len(tools)) or 1 for field in FIELDS}
    postings: dict[str, dict[int, float]] = {}
    for place, tool in enumerate(tools):
        counts: dict[str, float] = {}
        for field, weight in FIELDS.items():
            share = weight / (1 - B + B * len(tool[field]) / lengths[field])
            for term in tool[field]:
                counts[term] = counts.get(term, 0.0) + share
        for term, count in counts.items():
            postings.setdefault(term, {})[place] = count / (K1 + count)
    return postings
