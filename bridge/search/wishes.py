"""Reads a wish, which has values and names in it that no tool's description has."""

import re
from collections.abc import Container

from bridge.search.reader import Reader, stem
from bridge.search.values import KINDS, compile_kinds

_BRAND = re.compile(r"\b[A-Z][a-z]+(?:[A-Z][a-z]*)+\b", re.ASCII)
_PROPER = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+\b")
"""A name in the middle of a sentence."""
_CHINESE_TIME = r"[零一二两三四五六七八九十\d]+(?:点半|点钟|点|号|月|日|年|分钟|分|小时|天|周|个月)"
_VALUE = compile_kinds(KINDS | {"chinese_time": _CHINESE_TIME})
_QUOTED = re.compile('\\s*["“「]([^"”」]*)["”」]\\s*')
_FILE_KIND = re.compile(r"\.([a-z][a-z0-9]{1,4})$")


def read_wish(text: str, known: Container[str], reader: Reader) -> list[str]:
    """Read a wish as terms, each once.

    A name such as GitHub is one term where it is `known`. A wish in quotation marks is read without them.
    """
    text = quoted[1] if (quoted := _QUOTED.fullmatch(text)) else text
    text = _BRAND.sub(lambda match: match[0].lower() if stem(match[0]) in known else match[0], text)
    text = _PROPER.sub(lambda match: match[0] if stem(match[0]) in known else " ", text)
    text = _VALUE.sub(_name_value, text)
    return list(dict.fromkeys(reader.read(text)))


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
