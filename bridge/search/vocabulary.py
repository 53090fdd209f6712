"""The vocabularies: which terms of English and Chinese mean nearly the same, and which mean nothing."""

import re
from collections.abc import Container, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import NamedTuple

from bridge.search.reader import Reader, is_chinese
from bridge.search.reader import stem as stem  # what is looked up here is a stem

TRANSLATED = 0.9
"""The likeness of a term and its translation."""


class Line(NamedTuple):
    """Terms that mean nearly the same; the first of each language is the plainest."""

    english: tuple[str, ...]
    chinese: tuple[str, ...]


def read_line(text: str) -> Line:
    """Read a line of a vocabulary: `english, terms; chinese, terms`."""
    english, _, chinese = text.partition(";")
    words = (" ".join(map(stem, re.findall("[a-z0-9]+", word.lower()))) for word in english.split(","))
    return Line(tuple(dict.fromkeys(words)), tuple(filter(None, map(str.strip, chinese.split(",")))))


class Vocabulary:
    """Lines of terms that mean nearly the same, and a reader that knows them."""

    def __init__(self, *files: str) -> None:
        """`files` are names of files beside this one; the first line of each is noise."""
        noise = set[str]()
        self._lines: dict[str, list[Line]] = {}
        for file in files:
            text = Path(__file__).with_name(file).read_text(encoding="utf-8")
            first, *lines = map(read_line, re.findall(r"(?m)^[^#\n].*", text))
            noise.update(first.english, first.chinese)
            for line in lines:
                for term in (*line.english, *line.chinese):
                    self._lines.setdefault(term, []).append(line)
        self.reader = Reader(self._lines.keys(), noise)
        self.find_alternatives = lru_cache(maxsize=4096)(self._find_alternatives)
        """Finds the terms that may mean the same as one, each with its likeness: 1 for the term itself."""

    def _find_alternatives(self, term: str) -> Mapping[str, float]:
        near = {term: 1.0}
        for line in self._lines.get(term, ()):
            plain, other = (TRANSLATED, 0.7) if is_chinese(term) else (0.7, 0.55)
            if term == line.english[0]:
                other = plain
            weights = dict.fromkeys(line.english, other) | {line.english[0]: plain}
            weights |= dict.fromkeys(line.chinese, 0.6 if is_chinese(term) else TRANSLATED)
            near |= {word: max(weight, near.get(word, 0)) for word, weight in weights.items()}
        return near

    def means_same(self, term: str, words: Container[str]) -> bool:
        """Tell if one of `words` is `term` or its translation."""
        return self.measure_likeness(term, words) >= TRANSLATED

    def measure_likeness(self, term: str, words: Container[str]) -> float:
        """Measure how alike `term` and the nearest of `words` are: 1 for the same term, 0 where none is alike."""
        return max((weight for other, weight in self.find_alternatives(term).items() if other in words), default=0.0)


PLAIN = Vocabulary("vocabulary.txt")
"""What tools are called, in plain words."""


@cache
def load_everyday() -> Vocabulary:
    """Load the plain vocabulary and how people say it, with what they say around it."""
    return Vocabulary("vocabulary.txt", "sayings.txt")
