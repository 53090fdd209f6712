"""What a change does to a host's file, as people see it: with keys and passwords blanked."""

import difflib
import json
import re
from collections.abc import Iterator
from itertools import chain

from bridge.config.faults import Fault
from bridge.config.file import find_leaves, list_children
from bridge.config.secrets import find_in_args, find_in_text, find_named, names_secret
from bridge.hosts.edits import read_value
from bridge.json_text import Json
from bridge.visible import show_line

BLANK = "…"
CONTEXT = 3
"""Lines that are shown around a change."""
SHORTEST = 3
"""Secrets that are shorter are not blanked: they would blank words."""
_HEADERS = frozenset({"headers", "http_headers"})
_RANGES = re.compile(r"([-+])(\d+)")
_REFERENCE = re.compile(r"\$\{[^}]*\}|\{env:\w+\}|\$[A-Z_][A-Z0-9_]*|YOUR_\w+")


def compare(old: str, new: str, name: str, suffix: str = "", *, times: tuple[str, str] = ("now", "then")) -> list[str]:
    """Return the difference of two texts of a host's file as lines for people; no secret of the file is in them."""
    names = tuple(f"{name} ({time})" for time in times)
    lines = _compare_lines(old.splitlines(), new.splitlines(), *names)
    shown = "\n".join(lines)
    secrets = {*_list_secrets(old, suffix, shown), *_list_secrets(new, suffix, shown)}
    return [show_line(blank(line, secrets)) for line in lines]


def _compare_lines(old: list[str], new: list[str], before: str, after: str) -> list[str]:
    """Compare lines where they differ, since files of hosts can be long; what is alike at both ends is passed over."""
    start = _count_alike(old, new)
    end = min(_count_alike(old[::-1], new[::-1]), len(old) - start, len(new) - start)
    first, spare = max(0, start - CONTEXT), max(0, end - CONTEXT)
    parts = old[first : len(old) - spare], new[first : len(new) - spare]
    lines = difflib.unified_diff(*parts, before, after, lineterm="", n=CONTEXT)
    return [_RANGES.sub(lambda match: _shift(match, first), line) if line[:2] == "@@" else line for line in lines]


def _count_alike(some: list[str], others: list[str]) -> int:
    pairs = enumerate(zip(some, others, strict=False))
    return next((number for number, (one, other) in pairs if one != other), min(len(some), len(others)))


def _shift(match: re.Match[str], lines: int) -> str:
    return f"{match[1]}{int(match[2]) + lines}"


def blank(line: str, secrets: set[str]) -> str:
    """Blank the secrets in a line, and whatever else in it looks like one."""
    for secret in sorted({*secrets, *find_in_text(line)}, key=len, reverse=True):
        for written in _write(secret):
            line = line.replace(written, BLANK)
    return line


def _list_args(value: Json, shown: str) -> Iterator[list[str]]:
    """List the arguments of commands: every list that holds texts alone, some of which are shown."""
    if isinstance(value, list) and (texts := [item for item in value if isinstance(item, str)]) == value:
        if any(written in shown for text in texts for written in _write(text)):
            yield texts
        return
    for _, inner in list_children(value):
        yield from _list_args(inner, shown)


def _write(secret: str) -> set[str]:
    """Return the forms in which a text stands in a file."""
    escaped = {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1]}
    return {secret, *escaped, *(text.replace("/", "\\/") for text in escaped)}


def _list_secrets(text: str, suffix: str, shown: str) -> Iterator[str]:
    """List what is secret of that in a host's file which is shown: by its name, its place or its look."""
    try:
        value: Json = read_value(text, suffix)
    except Fault:
        return
    yield from chain.from_iterable(map(find_in_args, _list_args(value, shown)))
    for path, leaf in find_leaves(value):
        if not isinstance(leaf, str) or len(leaf) < SHORTEST or _REFERENCE.fullmatch(leaf):
            continue
        if not any(written in shown for written in _write(leaf)):
            continue
        name = str(path[-1])
        if names_secret(name) or (len(path) > 1 and path[-2] in _HEADERS):
            yield leaf
        yield from find_named(name, leaf)
