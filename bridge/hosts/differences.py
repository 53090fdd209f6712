"""What a change does to a host's file, as people see it: with keys and passwords blanked."""

import difflib
import json
import re
from collections.abc import Iterator

from bridge.config.faults import Fault
from bridge.config.file import find_leaves
from bridge.config.secrets import find_in_text, find_named, names_secret
from bridge.hosts.edits import read_value
from bridge.json_text import Json
from bridge.visible import show_line

BLANK = "…"
SHORTEST = 3
"""Secrets that are shorter are not blanked: they would blank words."""
_HEADERS = frozenset({"headers", "http_headers"})
_REFERENCE = re.compile(r"\$\{[^}]*\}|\{env:\w+\}|\$\w+|YOUR_\w+")


def compare(old: str, new: str, name: str, suffix: str = "") -> list[str]:
    """Return the difference of two texts of a host's file as lines for people; no secret of the file is in them."""
    secrets = {*_list_secrets(old, suffix), *_list_secrets(new, suffix)}
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), f"{name} (now)", f"{name} (then)", lineterm="")
    return [show_line(blank(line, secrets)) for line in lines]


def blank(line: str, secrets: set[str]) -> str:
    """Blank the secrets in a line, and whatever else in it looks like one."""
    for secret in sorted({*secrets, *find_in_text(line)}, key=len, reverse=True):
        for written in {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], secret}:
            line = line.replace(written, BLANK)
    return line


def _list_secrets(text: str, suffix: str) -> Iterator[str]:
    """List what in a host's file is secret: by its name, its place or its look."""
    try:
        value: Json = read_value(text, suffix)
    except Fault:
        return
    for path, leaf in find_leaves(value):
        if not isinstance(leaf, str) or len(leaf) < SHORTEST or _REFERENCE.fullmatch(leaf):
            continue
        name = str(path[-1])
        if names_secret(name) or (len(path) > 1 and path[-2] in _HEADERS):
            yield leaf
        yield from find_named(name, leaf)
