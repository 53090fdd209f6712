"""Reads a text as terms: English stems, pairs of Chinese characters, and concepts that both languages share."""

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

_WORD = re.compile(r"[a-z][a-z']+|[\u3400-\u9fff]+")
_ENDING = re.compile(r"(?<=[a-z]{3})(?:ing|ed|es|s|e)$")
_SIGN = {"-": r"(?<=\d)\s+-\s+(?=\d)", "*": r"(?<=\d)\s*(?<!\*)\*(?!\*)\s*(?=\d)"}


class Term(NamedTuple):
    """One term and where it stands. `=time` is a concept, `~count` one that only helps to find arguments."""

    name: str
    start: int
    end: int


@lru_cache(maxsize=4096)
def read(text: str) -> tuple[Term, ...]:
    """All terms of `text` in no particular order; words that mean nothing by themselves are left out."""
    (_, unread), *concepts = _concepts()
    text = unread.sub(lambda match: " " * len(match.group()), text.lower())
    found = [Term(name, *match.span()) for name, pattern in concepts for match in pattern.finditer(text)]
    rest = list(text)
    for name, start, end in found:
        if name[0] != "~" or text[start:end].isascii():
            rest[start:end] = " " * (end - start)
    return (*found, *_plain("".join(rest)))


def terms(text: str) -> frozenset[str]:
    """The names of all terms of `text`."""
    return frozenset(term.name for term in read(text))


def spaced(name: str) -> str:
    """An identifier as words: `repo_path`, `repo-path` and `repoPath` become `repo path`."""
    return re.sub(r"[_-]+|(?<=[a-z])(?=[A-Z])", " ", name)


def _plain(text: str) -> Iterator[Term]:
    for match in _WORD.finditer(text):
        word, start = match.group(), match.start()
        if word.isascii():
            yield Term(_ENDING.sub("", word), start, match.end())
        else:
            yield from (Term(word[i : i + 2], start + i, start + i + 2) for i in range(len(word) - 1))


@cache
def _concepts() -> list[tuple[str, re.Pattern[str]]]:
    lines = files("bridge.offline").joinpath("glossary.txt").read_text(encoding="utf-8").splitlines()
    pairs = [line.split(": ", 1) for line in lines if not line.startswith("#")]
    patterns = (re.compile("|".join(map(_pattern, words.split(", ")))) for _, words in pairs)
    return [
        (name if name[0] == "~" else f"={name}", pattern) for (name, _), pattern in zip(pairs, patterns, strict=True)
    ]


def _pattern(word: str) -> str:
    if not any(letter.isalpha() for letter in word):
        return _SIGN.get(word, rf"(?<=\d)\s*{re.escape(word)}\s*(?=\d)")
    if not word.isascii():
        return re.escape(word)
    ending = "[a-z]*" if word.endswith("*") else "(?:s|es|d|ed|ing)?"
    return rf"(?<![a-z]){re.escape(word.rstrip('*'))}{ending}(?![a-z])"
