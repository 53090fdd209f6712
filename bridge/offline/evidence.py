"""Finds in a message what can become an argument: quoted text, addresses, paths, dates, time zones, numbers."""

import re
from collections.abc import Iterable
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import available_timezones

from bridge.items import Json

_AREAS = "Africa|America|Asia|Atlantic|Australia|Europe|Indian|Pacific"
_PATTERN = re.compile(
    rf"""(?P<quoted>"[^"]+"|`[^`]+`|“[^”]+”|「[^」]+」|『[^』]+』|《[^》]+》|(?<!\w)'[^']+'(?!\w))
    |(?P<url>https?://[^\s"'<>,。;)\uff0c\uff1b\uff09]+)
    |(?P<email>(?<![\w.+-])[\w.+-]{{1,64}}@[\w-]{{1,64}}(?:\.[\w-]{{1,64}})+)
    |(?P<date>\d{{4}}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:Z|[+-]\d\d:\d\d)?)?)
    |(?P<time>(?<![\w:])\d{{1,2}}:\d\d(?::\d\d)?(?![\w:]))
    |(?P<zone>\b(?:{_AREAS})/\w+(?:/\w+)?|\bUTC\b|\bGMT\b)
    |(?P<path>(?:~|\.{{1,2}}|(?<![\w/]))/[\w./-]*\w|\b[A-Z]:\\[\w.\\-]+|\b\w[\w.-]{{0,99}}(?:/[\w.-]{{1,99}}){{0,20}}\.[A-Za-z]\w{{0,4}}\b)
    |(?P<phone>\+\d[\d ]{{6,}}\d)
    |(?P<code>\b[A-Za-z]+-?\d[\w-]*|\b(?=\d*[a-f])[0-9a-f]{{7,40}}\b)
    |(?P<number>(?<![\w.])-?\d+(?:\.\d+)?|(?<=\d-)\d+(?:\.\d+)?)""",
    re.VERBOSE | re.ASCII,
)
_NAME = re.compile(r"(?<=[a-z,:] )[A-Z][\w'-]*(?: [A-Z][\w'-]*)*", re.ASCII)
_JOINT = re.compile(r"-|\s*(?:[–~\uff5e到至]|to|and|和)\s*")


class Evidence(NamedTuple):
    """A stretch of the message that can become a value. `cue` names the role a range gives it: `~min` or `~max`."""

    kinds: set[str]
    value: Json
    text: str
    start: int
    end: int
    cue: str = ""


@lru_cache(maxsize=256)
def find(message: str) -> tuple[Evidence, ...]:
    """Everything in `message` that can become an argument, in order, without overlaps."""
    found = [_evidence(match) for match in _PATTERN.finditer(message)]
    values, pattern = _known()
    for match in pattern.finditer(mask(message, found)):
        value, text = values[match.group()], match.group()
        found.append(Evidence({"zone" if "/" in value else "number"}, _typed(value), text, *match.span()))
    return tuple(_with_ranges(message, sorted(found, key=lambda one: one.start)))


def names(message: str) -> list[Evidence]:
    """Capitalised words inside a sentence: weak evidence, for texts only."""
    return [Evidence({"name"}, match.group(), match.group(), *match.span()) for match in _NAME.finditer(message)]


def mask(message: str, found: Iterable[Evidence]) -> str:
    """`message` with its evidence blanked (a number by zeros, so that signs between numbers keep their meaning)."""
    letters = list(message)
    for one in found:
        letters[one.start : one.end] = ("0" if "number" in one.kinds else "\0") * (one.end - one.start)
    return "".join(letters)


def _evidence(match: re.Match[str]) -> Evidence:
    kind, text = str(match.lastgroup), match.group()
    if kind == "quoted":
        text = text[1:-1]
        inner = _PATTERN.fullmatch(text)
        return Evidence({kind, str(inner.lastgroup) if inner else kind}, text, text, *match.span())
    return Evidence({kind}, _typed(text), text, *match.span())


def _typed(text: str) -> str | int | float:
    if re.fullmatch(r"-?\d+(\.\d+)?", text):
        return float(text) if "." in text else int(text)
    return text


def _with_ranges(message: str, found: list[Evidence]) -> list[Evidence]:
    for i, (low, high) in enumerate(pairwise(list(found))):
        joint, before = message[low.end : high.start], message[: low.start].lower()
        listed = joint.strip() in {"and", "和"} and not re.search(r"between|介于|在\s*$", before)
        if low.kinds == high.kinds == {"number"} and _JOINT.fullmatch(joint) and not listed:
            found[i : i + 2] = low._replace(cue="~min"), high._replace(cue="~max")
    return found


@cache
def _known() -> tuple[dict[str, str], re.Pattern[str]]:
    zones = (zone for zone in sorted(available_timezones()) if re.fullmatch(rf"(?:{_AREAS})/\w+", zone))
    known = {zone.split("/")[1].replace("_", " "): zone for zone in zones}
    for line in files("bridge.offline").joinpath("values.txt").read_text(encoding="utf-8").splitlines()[1:]:
        value, words = line.split(": ", 1)
        known |= dict.fromkeys(words.split(", "), value)
    counted = {
        word: "(?=[个条次张份天位分秒小月])" for word, value in known.items() if value.isdigit() and not word.isascii()
    }
    words = "|".join(re.escape(word) + counted.get(word, "") for word in sorted(known, key=len, reverse=True))
    return known, re.compile(rf"(?<![A-Za-z])(?:{words})(?![A-Za-z])")
