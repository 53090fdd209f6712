"""Ranks tools by how well they fit a wish (a search query), and decides when none does."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from bridge.search.terms import find_alternatives, is_chinese, read_terms, read_wish

FIELDS = {"name": 3.0, "owner": 3.0, "title": 1.5, "lead": 2.5, "rest": 0.4, "arguments": 0.6}
"""The weight of a word in each field; `lead` is the first sentence of a description."""
LEAD_CHARS, REST_CHARS = 200, 150
"""Characters of a description that are read: of its first sentence, and of what follows."""
K1, B = 1.0, 0.4
"""Parameters of BM25: `K1` limits the gain of repeated words, `B` is the penalty for long fields."""
REPEAT_GAIN = 0.2
"""The share of its score that a second word of the same meaning adds."""
NAME_BONUS = 0.6
"""The bonus of a tool whose whole name is in the wish: it ranks `create_issue` before `create_issue_note`."""
OWNER_BONUS = 0.4
"""The bonus of a tool whose owner is named in the wish: "GitHub" does not mean GitLab."""
MAX_WEIGHT, UNKNOWN, UNKNOWN_PAIR = 3.5, 4.0, 2.8
"""Weights in a wish: of the rarest word (the maximum), of a word that no tool has, and of such a pair of Chinese
characters, which is about half a word."""
THRESHOLD = 1.08
"""The least that the best tool must cover of a wish: the weight of the covered words, divided by the square root of the
wish's whole weight. That is half of a short wish, a smaller share of a long one, and never a single common word. Below
it, no tool fits."""

ASSUMED_TOOLS = 500
"""The least number of tools assumed when the rarity of a word is computed: in a catalogue of two tools, no word would
be rare."""

_SENTENCE_END = re.compile(r"\.\s|\n|。")


@dataclass(frozen=True)
class Entry:
    """A tool, as it is indexed."""

    name: str
    """The model name, which a search returns."""
    owner: str
    plain_name: str
    title: str
    description: str
    arguments: Sequence[str]
    """The names of its arguments."""

    @cached_property
    def terms(self) -> Mapping[str, Sequence[str]]:
        """The terms of each field. Reading them is most of the work of making an index, and can be done beforehand."""
        lead, rest = _split_description(self.description)
        texts = (self.plain_name, self.owner, self.title, lead, rest, " ".join(self.arguments))
        return {field: list(read_terms(text)) for field, text in zip(FIELDS, texts, strict=True)}


class _Hits(NamedTuple):
    """The tools that contain a word of a wish or a synonym of it, by index."""

    scores: Mapping[int, float]
    names: Mapping[int, float]
    """How well a word of each tool's name matches."""
    spread: float
    """The number of these tools; one that has only a synonym counts for less than one."""


class Index:
    """A search index over tools: BM25 over weighted fields, with synonyms.

    Made once for a catalogue, and from nothing else, so that a search gives the same result everywhere.
    """

    def __init__(self, entries: Iterable[Entry]) -> None:
        entries = list(entries)
        brands = _find_brands(entries)
        fields = [_read_fields(entry, brands[entry.owner]) for entry in entries]
        self._names = [entry.name for entry in entries]
        self._name_terms = [_join_phrases(each["name"]) for each in fields]
        self._owners = [frozenset(each["owner"]) for each in fields]
        self._postings = _build_postings(fields)

    def rank(self, wish: str) -> list[str]:
        """Return the names of the tools that fit, best first; none where no tool covers enough of the wish."""
        terms = read_wish(wish, self._postings)
        scores: dict[int, float] = defaultdict(float)
        covered: dict[int, float] = defaultdict(float)
        named: dict[int, float] = defaultdict(float)
        whole = 0.0
        for term in terms:
            hits = self._find(term)
            idf = math.log(1 + (max(len(self._names), ASSUMED_TOOLS) - hits.spread + 0.5) / (hits.spread + 0.5))
            weight = min(idf, MAX_WEIGHT) if hits.scores else UNKNOWN_PAIR if is_chinese(term) else UNKNOWN
            whole += weight
            for index, score in hits.scores.items():
                scores[index] += idf * score
                covered[index] += weight * score
            for index, share in hits.names.items():
                named[index] += share
        for index in scores:
            share = min(1, named[index] / max(1, len(self._name_terms[index])))
            covered[index] *= 1 + NAME_BONUS / 2 * share
            scores[index] *= (1 + NAME_BONUS * share) * (1 + OWNER_BONUS * self._is_owned(index, terms))
        ranked = sorted(scores, key=lambda index: (-scores[index], self._names[index]))
        fits = bool(ranked) and covered[ranked[0]] >= THRESHOLD * math.sqrt(whole)
        return [self._names[index] for index in ranked] if fits else []

    def _is_owned(self, index: int, terms: Iterable[str]) -> bool:
        return not self._owners[index].isdisjoint(terms)

    def _find(self, term: str) -> _Hits:
        scores: dict[int, float] = {}
        names: dict[int, float] = {}
        nearest: dict[int, float] = {}
        for other, weight in find_alternatives(term).items():
            for index, count in self._postings.get(other, {}).items():
                score, before = weight * count, scores.get(index, 0.0)
                scores[index] = max(score, before) + REPEAT_GAIN * min(score, before)
                nearest[index] = max(weight, nearest.get(index, 0.0))
                if other in self._name_terms[index]:
                    names[index] = max(weight, names.get(index, 0.0))
        return _Hits(scores, names, sum(nearest.values()))


def _find_brands(entries: Iterable[Entry]) -> Mapping[str, frozenset[str]]:
    """Find the words that name an owner, such as `jira`: many of its tools' names begin with them, few others do."""
    firsts: dict[str, Counter[str]] = defaultdict(Counter)
    for entry in entries:
        firsts[entry.owner].update(entry.terms["name"][:1])
    owners = Counter(term for counts in firsts.values() for term in counts)

    def is_brand(term: str, counts: Counter[str]) -> bool:
        return counts[term] >= max(4, counts.total() / 5) and owners[term] <= 2

    return {owner: frozenset(t for t in counts if is_brand(t, counts)) for owner, counts in firsts.items()}


def _read_fields(entry: Entry, brands: frozenset[str]) -> Mapping[str, Sequence[str]]:
    """Return the terms of a tool by field, with a brand at the beginning of its name moved to `owner`."""
    name = entry.terms["name"]
    owner = [*entry.terms["owner"], *(name[:1] if brands.intersection(name[:1]) else [])]
    return {**entry.terms, "name": [term for term in name if term not in owner], "owner": owner}


def _split_description(description: str) -> tuple[str, str]:
    """Split off the first sentence of a description."""
    text = description.strip()
    end = _SENTENCE_END.search(text, 0, LEAD_CHARS)
    cut = end.start() if end else LEAD_CHARS
    return text[:cut], text[cut : cut + REST_CHARS]


def _join_phrases(name: Sequence[str]) -> frozenset[str]:
    """Return the words of a name; a phrase such as `pull request` counts as one word."""
    return frozenset(name) - {word for term in name if " " in term for word in term.split()}


def _build_postings(tools: Sequence[Mapping[str, Sequence[str]]]) -> Mapping[str, Mapping[int, float]]:
    """Build the BM25 score, between 0 and 1, of each tool for each term."""
    lengths = {field: sum(len(tool[field]) for tool in tools) / max(1, len(tools)) or 1 for field in FIELDS}
    postings: dict[str, dict[int, float]] = {}
    for index, tool in enumerate(tools):
        counts: dict[str, float] = {}
        for field, weight in FIELDS.items():
            share = weight / (1 - B + B * len(tool[field]) / lengths[field])
            for term in tool[field]:
                counts[term] = counts.get(term, 0.0) + share
        for term, count in counts.items():
            postings.setdefault(term, {})[index] = count / (K1 + count)
    return postings
