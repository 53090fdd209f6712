"""Reads texts about tools as terms, and knows which terms of English and Chinese mean nearly the same."""

import re
from collections.abc import Container, Iterator, Mapping, Set
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from bridge.search.values import KINDS, compile_kinds

_HAN = "\u3400"
"""The first Chinese character. A token from here on is Chinese, since `_TOKEN` finds no other signs so high."""
_TOKEN = re.compile(
    "[A-Za-z]+[0-9]+[a-z]+|[A-Za-z]{1,2}[0-9]|[0-9][Dd](?![a-z])|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[\u3400-\u9fff]+"
)
_BRAND = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]*)+\b", re.ASCII)
_PROPER = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")
"""A name in the middle of a sentence."""
_VALUE = compile_kinds(KINDS)
_QUOTED = re.compile('\\s*["“「]([^"”」]*)["”」]\\s*')
_FILE_KIND = re.compile(r"\.([a-z][a-z0-9]{1,4})$")
_PLURAL = re.compile("(?:(?<=[a-z]{2}[hxsz])es|(?<=[a-z]{2}[^siu])s)$")
_ENDING = re.compile("(?:(?<=[a-z]{3})ing|(?<=[a-z]{2})ed)$")
_WHOLE = frozenset(
    ("news", "aws", "string", "spring", "thing", "nothing", "morning", "evening", "speed", "feed", "need")
)
"""Words whose last letters only look like an ending."""
_KEPT_E = frozenset(
    ("bare", "care", "come", "done", "guide", "here", "mine", "mode", "none", "note", "paste", "plane", "quite", "rage")
    + ("ride", "state", "theme")
)
"""Words that would be another word without their last letter: `note` is not `not`, and `mode` no update."""
TRANSLATED = 0.9
"""The likeness of a term and its translation."""
_LONGEST = 6
"""Characters of the longest Chinese word."""


class Line(NamedTuple):
    """Terms that mean nearly the same; the first of each language is the plainest."""

    english: tuple[str, ...]
    chinese: tuple[str, ...]


@lru_cache(maxsize=16384)
def stem(word: str) -> str:
    """Cut the ending of `word`, in lower case, so that create, creates, creating and created are one term."""
    word = word.lower()
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    single = word if word in _WHOLE else _PLURAL.sub("", word)
    cut = single if single in _WHOLE else _ENDING.sub("", single)
    if f"{cut}e" in _KEPT_E and word != cut:
        return f"{cut}e"
    is_doubled = cut != single and len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] not in "sle"
    return cut[:-1] if is_doubled or (len(cut) > 3 and cut.endswith("e") and cut not in _KEPT_E) else cut


def read_line(text: str) -> Line:
    """Read a line of the vocabulary: `english, terms; chinese, terms`."""
    english, _, chinese = text.partition(";")
    words = (" ".join(map(stem, re.findall("[a-z0-9]+", word.lower()))) for word in english.split(","))
    return Line(tuple(dict.fromkeys(words)), tuple(filter(None, map(str.strip, chinese.split(",")))))


class Reader:
    """A reader of texts as terms: the words and phrases that it knows, and all other words but noise."""

    def __init__(self, known: Set[str], noise: Set[str]) -> None:
        self._known = known
        self._noise = noise
        self._pairs = frozenset(" ".join(term.split()[:2]) for term in known if " " in term)

    def extend(self, terms: Set[str]) -> "Reader":
        """Return a reader that knows these terms too; none of them is noise to it."""
        return Reader(self._known | terms, self._noise - terms)

    def read(self, text: str) -> Iterator[str]:
        """Yield the terms of `text` in order: stems, known phrases, known Chinese words, and of other Chinese each pair
        of characters."""
        before, pair = "", ""
        for token in _TOKEN.findall(text):
            if token >= _HAN:
                yield from self._read_chinese(token)
                before, pair = "", ""
                continue
            term = stem(token)
            if pair and (triple := f"{pair} {term}") in self._known:
                yield triple
            pair = f"{before} {term}"
            if pair not in self._pairs:
                pair = ""
            elif pair in self._known:
                yield pair
            if len(term) > 1 and term not in self._noise:
                yield term
            before = term

    def _read_chinese(self, run: str) -> Iterator[str]:
        """Yield the longest known words that are no noise, from the left, and pairs of the characters between them."""
        unknown, start = "", 0
        while start < len(run):
            word = self._find_longest(run, start)
            if word:
                yield from _split_in_pairs(unknown)
                yield from [word] if word in self._known else []
                unknown = ""
            else:
                unknown += run[start]
            start += len(word) or 1
        yield from _split_in_pairs(unknown)

    def _find_longest(self, run: str, start: int) -> str:
        """Find the longest word at `start` that is known or noise; none is the empty text."""
        lengths = range(min(_LONGEST, len(run) - start), 0, -1)
        words = (run[start : start + length] for length in lengths)
        return next((word for word in words if word in self._known or word in self._noise), "")


def _split_in_pairs(run: str) -> list[str]:
    return [run[n : n + 2] for n in range(len(run) - 1)] if len(run) > 2 else [run] * bool(run)


_VOCABULARY = Path(__file__).with_name("vocabulary.txt").read_text(encoding="utf-8")
_NOISE, *_LINES = map(read_line, re.findall(r"(?m)^[^#\n].*", _VOCABULARY))
_KNOWN: dict[str, list[Line]] = {}
for _line in _LINES:
    for _term in (*_line.english, *_line.chinese):
        _KNOWN.setdefault(_term, []).append(_line)
READER = Reader(_KNOWN.keys(), frozenset((*_NOISE.english, *_NOISE.chinese)))
"""The reader that knows the vocabulary."""
read_terms = READER.read


def read_wish(text: str, known: Container[str]) -> list[str]:
    """Read a wish as terms, each once.

    A name such as GitHub is one term where it is `known`. A wish in quotation marks is read without them.
    """
    text = quoted[1] if (quoted := _QUOTED.fullmatch(text)) else text
    text = _BRAND.sub(lambda match: match[0].lower() if stem(match[0]) in known else match[0], text)
    text = _PROPER.sub(lambda match: match[0] if stem(match[0]) in known else " ", text)
    text = _VALUE.sub(_name_value, text)
    return list(dict.fromkeys(read_terms(text)))


def _name_value(match: re.Match[str]) -> str:
    """Return the words in place of a value: `url` for an address, the kind of a file, and none for most others."""
    match match.lastgroup:
        case "quoted" if match[0][0] in "`'《":  # a command, or a title
            return match[0]
        case "url":
            return " url "
        case "path":
            return f" file {ending[1]} " if (ending := _FILE_KIND.search(match[0])) else " "
        case _:
            return " "


def is_chinese(term: str) -> bool:
    return term >= _HAN


@lru_cache(maxsize=4096)
def find_alternatives(term: str) -> Mapping[str, float]:
    """Find the terms that may mean the same as `term`, each with its likeness: 1 for `term` itself."""
    near = {term: 1.0}
    for line in _KNOWN.get(term, ()):
        plain, other = (TRANSLATED, 0.7) if is_chinese(term) else (0.7, 0.55)
        if term == line.english[0]:
            other = plain
        weights = dict.fromkeys(line.english, other) | {line.english[0]: plain}
        weights |= dict.fromkeys(line.chinese, 0.6 if is_chinese(term) else TRANSLATED)
        near |= {word: max(weight, near.get(word, 0)) for word, weight in weights.items()}
    return near


def means_same(term: str, words: Container[str]) -> bool:
    """Tell if one of `words` is `term` or its translation."""
    return measure_likeness(term, words) >= TRANSLATED


def measure_likeness(term: str, words: Container[str]) -> float:
    """Measure how alike `term` and the nearest of `words` are: 1 for the same term, 0 where none is alike."""
    return max((weight for other, weight in find_alternatives(term).items() if other in words), default=0.0)
