"""Ranks tools by how well they fit a wish in words; can say that none does."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from bridge.json_text import Json
from bridge.search.names import Names
from bridge.search.reader import is_chinese
from bridge.search.vocabulary import Vocabulary, load_everyday
from bridge.search.wishes import read_wish

FIELDS = {"name": 3.0, "owner": 3.0, "title": 1.5, "lead": 2.5, "rest": 0.4, "arguments": 0.6, "details": 0.4}
"""How much a word counts by where it stands; `lead` is the first sentence of a description."""
LEAD_CHARS, REST_CHARS = 200, 600
"""How much of a description is read."""
DETAILS_CHARS = 200
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
"""What the best tool must cover of a wish, by weight and over the root of the weight of all of it: a single common word
is too little."""
CLEAR = 0.5
"""The share of a wish, by weight, that the best tool must cover to fit it clearly. A lower one would offer tools for
wishes that none fulfils; a tool that does not clearly fit is named, and costs the model another step."""

REMEMBERED = 256
"""Terms of wishes whose tools an index remembers."""
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
    vocabulary: Vocabulary | None = field(default=None, repr=False, compare=False)
    """The one that it is read with; by default the everyday one."""

    @cached_property
    def terms(self) -> Mapping[str, Sequence[str]]:
        """By field. Most of the time that an index takes is this, and it can be done before."""
        reader = (self.vocabulary or load_everyday()).reader
        lead, rest = _split(self.description)
        arguments, details = " ".join(self.arguments), " ".join(self.details)[:DETAILS_CHARS]
        texts = {
            "name": self.plain_name,
            "owner": self.owner,
            "title": self.title,
            "lead": lead,
            "arguments": arguments,
        }
        read = {name: reader.read(text) for name, text in texts.items()}
        return read | {"rest": reader.skim(rest), "details": reader.skim(details)}


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
    part: float
    """The share of the wish that it covers."""

    @property
    def is_clear(self) -> bool:
        """True if it covers so much that others hardly mean the same thing."""
        return self.share >= ENOUGH and self.part >= CLEAR


class Ranking(NamedTuple):
    """The tools that have to do with a wish."""

    names: list[str]
    """Model names, best first."""
    clear: int
    """How many of them, from the first on, clearly fit; 0: none does."""
    named: int
    """How many of them, from the first on, are surely named in the wish."""


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

    def __init__(self, entries: Iterable[Entry], vocabulary: Vocabulary | None = None) -> None:
        self._vocabulary = vocabulary or load_everyday()
        entries = sorted(entries, key=lambda entry: entry.name)
        brands = _find_brands(entries)
        fields = [_read_fields(entry, brands[entry.owner]) for entry in entries]
        self._entries = [entry.name for entry in entries]
        self._names = Names((entry.name, entry.owner, entry.plain_name) for entry in entries)
        self._said = [_find_parts(each["name"]) for each in fields]
        self._owned = _list_owned(fields)
        self._postings = _count(fields)
        self._found: dict[str, _Hits] = {}

    def search(self, wish: str) -> Ranking:
        """Rank the tools for a wish. One that it names surely comes first; one that it may name is among the first."""
        terms = read_wish(wish, self._postings, self._vocabulary.reader)
        weighed = self._weigh(terms)
        places = weighed.rank()
        surely, maybe = self._names.find(wish, is_name=len(terms) <= 1)
        is_clear = bool(places) and weighed.fit(places[0]).is_clear
        names = list(dict.fromkeys([*surely, *(self._entries[place] for place in places)]))
        late = next((name for name in maybe if name not in names[: NAMED_WITHIN - 1]), None)
        if late:
            names = [name for name in names if name != late]
            names.insert(NAMED_WITHIN - 1, late)
        return Ranking(names, len(names) if is_clear else len(surely), len(surely))

    def find_named(self, name: str) -> list[str]:
        """The tools of exactly this name."""
        return self._names.find_exact(name)

    def knows(self, term: str) -> bool:
        """Whether it is said of a tool."""
        return term in self._postings

    def weigh(self, terms: Sequence[str]) -> dict[str, Fit]:
        """The tools that have to do with a wish of these terms, by name, best first."""
        weighed = self._weigh(terms)
        return {self._entries[place]: weighed.fit(place) for place in weighed.rank()}

    def _weigh(self, terms: Sequence[str]) -> "_Weighed":
        scores: dict[int, float] = defaultdict(float)
        covered: dict[int, float] = defaultdict(float)
        named: dict[int, float] = defaultdict(float)
        whole, count = 0.0, max(len(self._entries), MANY)
        for term in terms:
            hits = self._find(term)
            idf = math.log(1 + (count - hits.spread + 0.5) / (hits.spread + 0.5))
            weight = min(idf, HEAVIEST) if hits.scores else UNKNOWN_PAIR if is_chinese(term) else UNKNOWN
            whole += weight
            for place, score in hits.scores.items():
                scores[place] += idf * score
                covered[place] += weight * score
            for place, share in hits.names.items():
                named[place] += share
        shares = {place: min(1, total / max(1, len(self._said[place]))) for place, total in named.items()}
        for place, share in shares.items():
            scores[place] *= 1 + NAME_BONUS * share
        for place in {place for term in terms for place in self._owned.get(term, ())} & scores.keys():
            scores[place] *= 1 + OWNER_BONUS
        return _Weighed(scores, covered, shares, whole)

    def _find(self, term: str) -> _Hits:
        """The tools that have a term; remembered, since all wishes begin with the same few verbs."""
        if (hits := self._found.get(term)) is None:
            if len(self._found) == REMEMBERED:
                self._found.clear()
            hits = self._found[term] = self._look_up(term)
        return hits

    def _look_up(self, term: str) -> _Hits:
        scores: dict[int, float] = {}
        names: dict[int, float] = {}
        nearest: dict[int, float] = {}
        for other, weight in self._vocabulary.find_alternatives(term).items():
            for place, count in self._postings.get(other, {}).items():
                score = weight * count
                if place in scores:
                    before = scores[place]
                    scores[place] = max(score, before) + MORE * min(score, before)
                    nearest[place] = max(weight, nearest[place])
                else:
                    scores[place], nearest[place] = score, weight
                if other in self._said[place]:
                    names[place] = max(weight, names.get(place, 0.0))
        return _Hits(scores, names, sum(nearest.values()))


class _Weighed(NamedTuple):
    """The tools that have a word of a wish, by their places: those of equal scores are in the order of their names."""

    scores: Mapping[int, float]
    covered: Mapping[int, float]
    """What they cover of the wish, by weight."""
    named: Mapping[int, float]
    """The share of a tool's name that the wish says."""
    whole: float
    """The weight of the wish."""

    def rank(self) -> list[int]:
        return sorted(sorted(self.scores), key=self.scores.__getitem__, reverse=True)

    def fit(self, place: int) -> Fit:
        covered = self.covered[place]
        share = covered * (1 + NAME_BONUS / 2 * self.named.get(place, 0)) / math.sqrt(self.whole)
        return Fit(self.scores[place], share, covered / self.whole)


def _list_owned(tools: Sequence[Mapping[str, Sequence[str]]]) -> Mapping[str, Sequence[int]]:
    """By a term that names their owner, the places of its tools."""
    owned: dict[str, list[int]] = defaultdict(list)
    for place, tool in enumerate(tools):
        for term in set(tool["owner"]):
            owned[term].append(place)
    return owned


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
    lengths = {name: sum(len(tool[name]) for tool in tools) / max(1, len(tools)) or 1 for name in FIELDS}
    postings: dict[str, dict[int, float]] = defaultdict(dict)
    for place, tool in enumerate(tools):
        counts: dict[str, float] = defaultdict(float)
        for name, weight in FIELDS.items():
            if terms := tool[name]:
                share = weight / (1 - B + B * len(terms) / lengths[name])
                for term in terms:
                    counts[term] += share
        for term, count in counts.items():
            postings[term][place] = count / (K1 + count)
    return dict(postings)
