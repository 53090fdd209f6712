"""Finds the tools that a wish names: by their own name or the one that the model sees, alone or among other words."""

import re
from collections.abc import Iterable
from typing import NamedTuple

_NAME = re.compile(r"[A-Za-z0-9](?:[\w./:-]*\w)?", re.ASCII)
_MARKS = str.maketrans("", "", "_-./: ")
_WORD = re.compile(r"[A-Za-z]?[a-z]*|[A-Z]*")
_BEFORE = re.compile(r"__|[:/.]")
_QUOTES = "\"'`“”「」《》"


class Named(NamedTuple):
    """The tools of the names in a text, by model name, in the order of the text."""

    surely: list[str]
    """Those whose name is no plain word (`git_log`, `readFile`), is quoted, or is all that is asked for."""
    maybe: list[str]
    """Those whose name is a word that may mean something else there: `look`."""


class Names:
    """The names of all tools, each with and without its owner, in whatever case and with whatever marks between."""

    def __init__(self, tools: Iterable[tuple[str, str, str]]) -> None:
        """`tools` are model name, owner and plain name of each."""
        self._names: dict[str, dict[str, None]] = {}
        for name, owner, plain in tools:
            for spelling in (name, plain, owner + plain):
                if key := _fold(spelling):
                    self._names.setdefault(key, {})[name] = None

    def find(self, text: str, *, is_name: bool) -> Named:
        """Find the tools whose names are in `text`; `is_name` if it says nothing else."""
        surely, maybe = dict[str, None](), dict[str, None]()
        for word in _NAME.finditer(text):
            if not (names := self.find_exact(word[0])):
                continue
            is_quoted = text[: word.start()][-1:] in _QUOTES and text[word.end() :][:1] in _QUOTES
            (surely if is_name or is_quoted or not _WORD.fullmatch(word[0]) else maybe).update(dict.fromkeys(names))
        return Named(list(surely), [name for name in maybe if name not in surely])

    def find_exact(self, name: str) -> list[str]:
        """Find the tools of this one name; several where servers have it in common.

        What a host or a model puts before a name does not count: `mcp__git__git_log`, `select:git_log`.
        """
        starts = (0, *(mark.end() for mark in _BEFORE.finditer(name)))
        return next((list(names) for start in starts if (names := self._names.get(_fold(name[start:])))), [])


def _fold(name: str) -> str:
    return name.lower().translate(_MARKS)
