"""Reads texts about tools as terms: English words without their endings, known phrases, and Chinese words."""

import re
from collections.abc import Iterator, Set
from functools import lru_cache
from typing import NamedTuple

_HAN = "\u3400"
"""The first Chinese character. A token from here on is read as Chinese is: Chinese, and Korean, whose words have
endings that no list knows."""
_ENGLISH = "[A-Za-z]+[0-9]+[a-z]+|[A-Za-z]{1,2}[0-9]|[0-9][Dd](?![a-z])|[A-Z]?[a-z]+|[A-Z]+(?![a-z])"
_TOKEN = re.compile(_ENGLISH)
_OTHER = r"[^\W\d_\u3400-\u9fff\uac00-\ud7a3]"
_ANY_TOKEN = re.compile(rf"[\u3400-\u9fff\uac00-\ud7a3]+|{_OTHER}*(?:(?![A-Za-z]){_OTHER}){_OTHER}*|{_ENGLISH}")
"""Also words of other languages: those with a letter that English has not (NousResearch/hermes-agent#110776)."""
_PLAIN_TOKEN = re.compile("[a-z]+")
_PLURAL = re.compile("(?:(?<=[a-z]{2}[hxsz])es|(?<=[a-z]{2}[^siu])s)$")
_ENDING = re.compile("(?:(?<=[a-z]{3})ing|(?<=[a-z]{2})ed)$")
_WHOLE = frozenset(
    ("news", "aws", "string", "spring", "thing", "nothing", "morning", "evening", "speed", "feed", "need")
)
"""Words whose last letters only look like an ending."""
_KEPT_E = frozenset(
    re.findall("[a-z]+", "bare care come done guide here mine mode none note paste plane quite rage ride state theme")
)
"""Words that would be another word without their last letter: `note` is not `not`, and `mode` no update."""
MOST_WORDS = 16_384
"""Words that are remembered with their terms."""
_LONGEST = 6
"""Characters of the longest Chinese word."""


@lru_cache(maxsize=MOST_WORDS)
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


def is_chinese(term: str) -> bool:
    """Tell if a term is Chinese."""
    return term >= _HAN


class _Word(NamedTuple):
    """What a reader knows of an English word."""

    term: str
    is_read: bool
    """False for noise."""
    is_first: bool
    """True if a known phrase begins with it."""


class _Words(dict[str, _Word]):
    """The English words that a reader has met."""

    def __init__(self, noise: Set[str], firsts: Set[str]) -> None:
        super().__init__()
        self._noise = noise
        self._firsts = firsts

    def __missing__(self, token: str) -> _Word:
        term = stem(token)
        word = _Word(term, len(term) > 1 and term not in self._noise, term in self._firsts)
        if len(self) < MOST_WORDS:
            self[token] = word
        return word


class Reader:
    """A reader of texts as terms: the words and phrases that it knows, and all other words but noise."""

    def __init__(self, known: Set[str], noise: Set[str]) -> None:
        self._known = known
        self._noise = noise
        phrases = [term.split() for term in known if " " in term]
        self._pairs = frozenset(" ".join(words[:2]) for words in phrases)
        self._words = _Words(noise, frozenset(words[0] for words in phrases))

    def extend(self, terms: Set[str]) -> "Reader":
        """Return a reader that knows these terms too; none of them is noise to it."""
        return Reader(self._known | terms, self._noise - terms)

    def read(self, text: str) -> list[str]:
        """List the terms of `text` in order: stems, known phrases, known Chinese words, and of other Chinese each pair
        of characters."""
        terms, before, pair = list[str](), "", ""
        for token in (_TOKEN if text.isascii() else _ANY_TOKEN).findall(text):
            if token >= _HAN:
                terms += self._read_chinese(token)
                before = pair = ""
                continue
            term, is_read, is_first = self._words[token]
            if pair and (triple := f"{pair} {term}") in self._known:
                terms.append(triple)
            pair = f"{before} {term}" if before else ""
            if pair and pair not in self._pairs:
                pair = ""
            elif pair in self._known:
                terms.append(pair)
            if is_read:
                terms.append(term)
            before = term if is_first else ""
        return terms

    def skim(self, text: str) -> list[str]:
        """List the terms of prose without its English phrases and odd spellings, in less time."""
        if not text.isascii():
            return self.read(text)
        words = map(self._words.__getitem__, _PLAIN_TOKEN.findall(text.lower()))
        return [word.term for word in words if word.is_read]

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
