"""Reads a message as tokens: what can be an argument, and between those the terms that a search for tools reads."""

import re
from collections.abc import Iterator
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import available_timezones

from bridge.search.values import KINDS, compile_kinds
from bridge.search.vocabulary import PLAIN, read_line, stem

_LINES = re.findall("(?m)^([^#]+?): (.+)", files("bridge.offline").joinpath("values.txt").read_text(encoding="utf-8"))
_VALUES = {term: value for value, words in _LINES for terms in read_line(words) for term in terms}
_READER = PLAIN.reader.extend(_VALUES.keys())
_ZONES = {zone.partition("/")[2]: zone for zone in sorted(available_timezones()) if zone.count("/") == 1}
"""By the last part, which names a place: `Lisbon`."""
_KINDS = {
    "code": r"\b[A-Za-z]+-?\d[\w-]*",
    "stop": r"[\n;。!?；！？]+(?:\s*\d{1,2}[.、)）](?!\d))?|\.(?!\S)|\bthen\b|然后",
    "min": r"-?\d+(?:\.\d+)?(?=[-~–]\d|\s*(?:to|and|到|至|和)\s*\d)",
    "max": r"(?:(?<=\d[-~–到至和])|(?<=\d [到至和] )|(?<=\d to )|(?<=\d and ))-?\d+(?:\.\d+)?",
    "number": r"(?<![\w.])-?\d+(?:\.\d+)?",
    "comma": r"[,、，]|\band\b|并且?|和|以及",
    "word": r"\*\*|[+×÷^]| [-*/] ",
    "name": r"(?<=[a-z,:] )[A-Z][\w'-]*(?: [A-Z][\w'-]*)*",
}
"""Besides the values of a search: numbers and names, looser codes, and what ends a part."""
_KIND = compile_kinds(KINDS | _KINDS)


class Token(NamedTuple):
    """A stretch of text: its kind, what is written (without quotes), its term or value, and which one it is."""

    kind: str
    text: str
    term: str
    place: int


def read(text: str) -> list[Token]:
    """All tokens of `text` but the words that mean nothing by themselves."""
    unquoted = re.sub(r"([\"'`])([^\s\"'`]*(?:[/@]|\.[a-z])[^\s\"'`]*)\1", r"\2", text)
    return [Token(*_read(*part), place) for place, part in enumerate(_split(f"{unquoted}\n"))]


@lru_cache(maxsize=4096)
def terms(text: str) -> frozenset[str]:
    """The terms and values in `text`."""
    return frozenset(_VALUES.get(term, term) for term in _READER.read(text))


def _split(text: str) -> Iterator[tuple[str, str]]:
    """Kind and text of all that there is up to the last stop."""
    end = 0
    for match in _KIND.finditer(text):
        yield from (("word", term) for term in _READER.read(text[end : match.start()]))
        yield str(match.lastgroup), match[0]
        end = match.end()


def _read(kind: str, text: str) -> tuple[str, str, str]:
    """Kind, text and term of one part."""
    if kind not in ("word", "name"):
        return "number" if kind in ("min", "max") else kind, text.strip("\"'`“”「」《》"), f"~{kind}"
    stems = " ".join(map(stem, re.findall(r"\w+", text))) if kind == "name" else text.strip()
    term = _ZONES.get(text.replace(" ", "_")) or _VALUES.get(stems, stems)
    kind = "number" if term.isdigit() else "timezone" if "/" in term else kind
    return kind, term if kind == "number" else text, term
