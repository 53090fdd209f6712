"""Ranks tools by how well they fit a wish in words; can say that none does."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from bridge.words import find_alternatives, is_chinese, read_terms, read_wish

FIELDS = {"name": 3.0, "owner": 3.0, "title": 1.5, "lead": 2.0, "rest": 0.3, "arguments": 0.6}
"""How much a word counts by where it stands; `lead` is the first sentence of a description."""
LEAD_CHARS, REST_CHARS = 300, 300
K1, B = 1.2, 0.5
"""BM25: how soon a word said again adds nothing, and how much a long field is held against a tool."""
MORE = 0.3
"""What a second word of the same meaning adds."""
NAME_BONUS = 0.6
"""What a tool gains whose whole name is in the wish: `create_issue` before `create_issue_note`."""
HEAVIEST, UNKNOWN, UNKNOWN_PAIR = 3.5, 4.0, 2.8
"""What the rarest word of a wish weighs, one that no tool has, and a pair of Chinese characters, being half a word."""
ENOUGH = 0.3
"""The share of a wish, by weight, that the best tool must cover; below it none fits."""


class Entry(NamedTuple):
    """What is known of one tool."""

    name: str
    """The model name: what a search answers with."""
    owner: str
    plain_name: str
    title: str
    description: str
    arguments: Sequence[str]
    """Names of its arguments."""


class Match(NamedTuple):
    """How well one tool fits."""

    name: str
    score: float


class Index:
    """Tools that can be ranked: BM25 over weighted fields and groups of words that mean the same.

    Made once for a catalogue; it depends on nothing else.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        brands = _find_brands(entries)
        self._names = [entry.name for entry in entries]
        self._said: list[frozenset[str]] = []
        self._postings: dict[str, dict[int, float]] = defaultdict(dict)
        fields = [self._read(entry, brands[entry.owner]) for entry in entries]
        average = {name: sum(len(each[name]) for each in fields) / max(len(fields), 1) or 1 for name in FIELDS}
        for place, each in enumerate(fields):
            counts: dict[str, float] = defaultdict(float)
            for name, weight in FIELDS.items():
                share = weight / (1 - B + B * len(each[name]) / average[name])
                for term in each[name]:
                    counts[term] += share
            for term, count in counts.items():
                self._postings[term][place] = count / (K1 + count)

    def _read(self, entry: Entry, brands: frozenset[str]) -> dict[str, list[str]]:
        name = list(read_terms(entry.plain_name))
        owner = [*read_terms(entry.owner), *(name[:1] if name and name[0] in brands else [])]
        name = [term for term in name if term not in owner]
        parts = {word for term in name if " " in term for word in term.split()}
        self._said.append(frozenset(name) - parts)
        lead, _, rest = entry.description[: LEAD_CHARS + REST_CHARS].partition(". ")
        return {
            "name": name,
            "owner": owner,
            "title": list(read_terms(entry.title)),
            "lead": list(read_terms(lead)),
            "rest": list(read_terms(rest)),
            "arguments": list(read_terms(" ".join(entry.arguments))),
        }

    def rank(self, wish: str) -> list[str]:
        """The names of the tools that fit, best first; none where no tool covers enough of the wish."""
        scores: dict[int, float] = defaultdict(float)
        covered: dict[int, float] = defaultdict(float)
        named: dict[int, float] = defaultdict(float)
        whole = 0.0
        for term in read_wish(wish, self._postings):
            hits, names = self._find(term)
            idf = math.log(1 + (len(self._names) - len(hits) + 0.5) / (len(hits) + 0.5))
            weight = min(idf, HEAVIEST) if hits else UNKNOWN_PAIR if is_chinese(term) else UNKNOWN
            whole += weight
            for place, hit in hits.items():
                scores[place] += idf * hit
                covered[place] += weight * hit
            for place, share in names.items():
                named[place] += share
        for place, share in named.items():
            scores[place] *= 1 + NAME_BONUS * min(1, share / len(self._said[place]))
        ranked = sorted(scores, key=lambda place: (-scores[place], self._names[place]))
        return [self._names[place] for place in ranked] if ranked and covered[ranked[0]] >= ENOUGH * whole else []

    def _find(self, term: str) -> tuple[dict[int, float], dict[int, float]]:
        hits: dict[int, float] = {}
        names: dict[int, float] = {}
        for other, weight in find_alternatives(term).items():
            for place, count in self._postings.get(other, {}).items():
                hit, before = weight * count, hits.get(place, 0.0)
                hits[place] = max(hit, before) + MORE * min(hit, before)
                if other in self._said[place]:
                    names[place] = max(weight, names.get(place, 0.0))
        return hits, names


def _find_brands(entries: Iterable[Entry]) -> Mapping[str, frozenset[str]]:
    """Words that many names of one owner begin with and no other owner's do, such as `jira`: they name the owner."""
    firsts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        firsts[entry.owner].update(list(read_terms(entry.plain_name))[:1])
    owners = Counter(term for counts in firsts.values() for term in counts)
    return {
        owner: frozenset(t for t, n in counts.items() if n >= max(4, counts.total() / 5) and owners[t] <= 2)
        for owner, counts in firsts.items()
    }
