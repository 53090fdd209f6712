"""Reads a text as tokens: what can be an argument, and words as the concepts that English and Chinese share."""

import re
from functools import lru_cache
from importlib.resources import files
from typing import NamedTuple
from zoneinfo import available_timezones

_LINES = re.findall("(?m)^([^#]+?): (.+)", files("bridge.offline").joinpath("glossary.txt").read_text(encoding="utf-8"))
_GLOSSARY: dict[str, str] = {word: concept for concept, words in _LINES for word in words.split(", ")}
_PHRASES = sorted((word for word in _GLOSSARY if not re.fullmatch("[a-z]+", word)), key=len, reverse=True)
_ZONES = {zone.partition("/")[2]: zone for zone in sorted(available_timezones()) if zone.count("/") == 1}
"""By the last part, which names a place: `Lisbon`."""
_NUMBER = r"-?\d+(?:\.\d+)?"
_KINDS = {
    "quoted": r"\"[^\"]+\"|`[^`]+`|“[^”]+”|「[^」]+」|《[^》]+》|\B'[^']+'\B",
    "url": r"https?://[^\s\"'<>,。;)，；）]+",
    "email": r"[\w.+-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+",
    "date": r"\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?)?",
    "time": r"\d{1,2}:\d\d",
    "timezone": r"\b[A-Z][a-z]+/[A-Z]\w+|\bUTC\b",
    "path": r"(?:~|\.{1,2}|(?<![\w/]))/[\w./-]*\w|\b\w[\w./-]{0,99}\.[A-Za-z]\w{0,4}\b",
    "stop": r"[\n;。!?；！？]+(?:\s*\d{1,2}[.、)）](?!\d))?|\.(?!\S)|\bthen\b|然后",
    "code": r"\b[A-Za-z]+-?\d[\w-]*",
    "min": rf"{_NUMBER}(?=[-~–]\d|\s*(?:to|and|到|至|和)\s*\d)",
    "max": rf"(?:(?<=\d[-~–到至和])|(?<=\d [到至和] )|(?<=\d to )|(?<=\d and )){_NUMBER}",
    "number": rf"(?<![\w.]){_NUMBER}",
    "comma": r"[,、，]|\band\b|并且?|和|以及",
    "phrase": rf"(?i:{'|'.join(map(re.escape, _PHRASES))})(?![A-Za-z])",
    "name": r"(?<=[a-z,:] )[A-Z][\w'-]*(?: [A-Z][\w'-]*)*",
    "word": r"[A-Za-z]+|[\u3400-\u9fff]",
}
"""What a token can be, the first that fits. A phrase is what the glossary knows and is not one English word."""
_TOKEN = re.compile("(?a)" + "|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))


class Token(NamedTuple):
    """A stretch of text: its kind, what is written (without quotes), its concept or stem, and which one it is."""

    kind: str
    text: str
    term: str
    place: int


def read(text: str) -> tuple[Token, ...]:
    """All tokens of `text` but the words that mean nothing by themselves."""
    unquoted = re.sub(r"([\"'`])([^\s\"'`]*(?:[/@]|\.[a-z])[^\s\"'`]*)\1", r"\2", text)
    tokens = [_token(match, place) for place, match in enumerate(_TOKEN.finditer(unquoted))]
    return tuple(token for token in tokens if token.term != "-")


@lru_cache(maxsize=4096)
def terms(text: str) -> frozenset[str]:
    """The concepts and stems in `text`; an identifier is read as the words it is made of."""
    spaced = re.sub(r"[_-]+|(?<=[a-z])(?=[A-Z])", " ", text)
    return frozenset(token.term for token in read(spaced.lower()) if token.kind != "number")


def _token(match: re.Match[str], place: int) -> Token:
    kind, text = str(match.lastgroup), match.group().strip("\"'`“”「」《》")
    if kind not in ("phrase", "name", "word"):
        return Token("number" if kind in ("min", "max") else kind, text, f"~{kind}", place)
    word = text.lower()
    stem = re.sub("(?<=[a-z]{3})(?:ing|ed|es|s|e)$", "", word)
    term = _GLOSSARY.get(word) or _GLOSSARY.get(re.sub("[sd]$", "", word)) or _GLOSSARY.get(stem, stem)
    term = _ZONES.get(text.replace(" ", "_"), term) if kind == "name" else term
    kind = "number" if term.isdigit() else "timezone" if "/" in term else kind
    return Token(kind, term if kind == "number" else text, term, place)
