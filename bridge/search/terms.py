"""Splits texts about tools into search terms, with synonyms in English and Chinese."""

import re
from collections.abc import Container, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

_HAN = "\u3400"
"""The first Chinese character; every term that sorts after it is Chinese."""
_TOKEN = re.compile(
    "[A-Za-z]+[0-9]+[a-z]+|[A-Za-z]{1,2}[0-9]|[0-9][Dd](?![a-z])|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[\u3400-\u9fff]+"
)
_BRAND = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]*)+\b", re.ASCII)
_PROPER = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")
"""A capitalised word in the middle of a sentence: a proper name."""
_VALUE = re.compile(
    r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+|\b[A-Z]+-\d+\b|\"[^\"\n]{1,200}\"|“[^”\n]{1,200}”|「[^」\n]{1,200}」"
)
"""Values (addresses, keys of tickets, quotations), which do not say what is to be done."""
_QUOTED = re.compile('\\s*["“「]([^"”」]*)["”」]\\s*')
_URL = re.compile(r"https?://[^\s\"'<>,。;，；]+|\b[\w-]+(?:\.[\w-]+)*\.(?:com|org|net|io|dev|cn)\b", re.ASCII)
_FILE = re.compile(r"\b[\w-]+\.([a-z][a-z0-9]{1,4})\b", re.ASCII)
_PLURAL = re.compile("(?:(?<=[a-z]{2}[hxsz])es|(?<=[a-z]{2}[^siu])s)$")
_ENDING = re.compile("(?:(?<=[a-z]{3})ing|(?<=[a-z]{2})ed)$")
_UNINFLECTED = frozenset(
    ("news", "aws", "string", "spring", "thing", "nothing", "morning", "evening", "speed", "feed", "need")
)
"""Words that only look as if they had an ending."""
_LONGEST_CHINESE = 6
"""Characters of the longest Chinese word in the vocabulary."""


class _Synonyms(NamedTuple):
    """Terms of nearly the same meaning; the first of each language is the plainest."""

    english: tuple[str, ...]
    chinese: tuple[str, ...]


@lru_cache(maxsize=16384)
def stem(word: str) -> str:
    """Return `word` in lower case without its ending: create, creates, creating and created become one."""
    word = word.lower()
    if len(word) > 4 and word.endswith("ies"):
        return f"{word[:-3]}y"
    single = word if word in _UNINFLECTED else _PLURAL.sub("", word)
    cut = single if single in _UNINFLECTED else _ENDING.sub("", single)
    is_doubled = cut != single and len(cut) > 3 and cut[-1] == cut[-2] and cut[-1] not in "sle"
    return cut[:-1] if is_doubled or (len(cut) > 3 and cut.endswith("e")) else cut


def _read_vocabulary() -> Iterator[_Synonyms]:
    for line in Path(__file__).with_name("vocabulary.txt").read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            english, _, chinese = line.partition(";")
            words = (" ".join(map(stem, re.findall("[a-z0-9]+", word.lower()))) for word in english.split(","))
            yield _Synonyms(tuple(dict.fromkeys(words)), tuple(filter(None, map(str.strip, chinese.split(",")))))


_STOP_WORDS, *_LINES = _read_vocabulary()
_IGNORED = frozenset((*_STOP_WORDS.english, *_STOP_WORDS.chinese))
"""Stop words: they say nothing about a tool."""
_KNOWN: dict[str, list[_Synonyms]] = {}
for _line in _LINES:
    for _term in (*_line.english, *_line.chinese):
        _KNOWN.setdefault(_term, []).append(_line)
_PAIRS = frozenset(" ".join(term.split()[:2]) for term in _KNOWN if " " in term)


def read_terms(text: str) -> Iterator[str]:
    """Yield the terms of `text` in order: stems, phrases of the vocabulary, Chinese words, and pairs of characters
    where the vocabulary has no word."""
    before, pair = "", ""
    for token in _TOKEN.findall(text):
        if token >= _HAN:
            yield from _read_chinese(token)
            before, pair = "", ""
            continue
        term = stem(token)
        if pair and (triple := f"{pair} {term}") in _KNOWN:
            yield triple
        pair = f"{before} {term}"
        if pair not in _PAIRS:
            pair = ""
        elif pair in _KNOWN:
            yield pair
        if len(term) > 1 and term not in _IGNORED:
            yield term
        before = term


def _read_chinese(run: str) -> Iterator[str]:
    """Yield the longest known words, from the left, and pairs of characters between them."""
    unknown, start = "", 0
    while start < len(run):
        lengths = range(min(_LONGEST_CHINESE, len(run) - start), 0, -1)
        word = next((run[start : start + n] for n in lengths if run[start : start + n] in _KNOWN), "")
        if word or run[start] in _IGNORED:
            yield from _split_into_pairs(unknown)
            yield from [word] if word else []
            unknown = ""
        else:
            unknown += run[start]
        start += len(word) or 1
    yield from _split_into_pairs(unknown)


def _split_into_pairs(run: str) -> list[str]:
    return [run[n : n + 2] for n in range(len(run) - 1)] if len(run) > 2 else [run] * bool(run)


def read_wish(text: str, known: Container[str]) -> list[str]:
    """Return the terms of a wish, without repeats. A name such as GitHub is one term where it is `known`; the quotation
    marks around a whole wish are ignored."""
    text = quoted[1] if (quoted := _QUOTED.fullmatch(text)) else text
    text = _BRAND.sub(lambda match: match[0].lower() if stem(match[0]) in known else match[0], text)
    text = _PROPER.sub(lambda match: match[0] if stem(match[0]) in known else " ", text)
    text = _FILE.sub(r" file \1 ", _URL.sub(" url ", _VALUE.sub(" ", text)))
    return list(dict.fromkeys(read_terms(text)))


def is_chinese(term: str) -> bool:
    return term >= _HAN


@lru_cache(maxsize=4096)
def find_alternatives(term: str) -> Mapping[str, float]:
    """Return the synonyms of `term`, each with a weight of up to 1, which is that of the term itself."""
    near = {term: 1.0}
    for line in _KNOWN.get(term, ()):
        plain, other = (0.9, 0.7) if is_chinese(term) else (0.7, 0.55)
        if term == line.english[0]:
            other = plain
        weights = dict.fromkeys(line.english, other) | {line.english[0]: plain}
        weights |= dict.fromkeys(line.chinese, 0.6 if is_chinese(term) else 0.9)
        near |= {word: max(weight, near.get(word, 0)) for word, weight in weights.items()}
    return near
