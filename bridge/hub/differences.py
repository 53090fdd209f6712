"""Changed definitions in words for people: nothing in them hides, moves or imitates a part of the text."""

import json
import re
import shlex
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

from bridge.config.own_entry import PROGRAM
from bridge.hub.pins import Change
from bridge.json_text import Json, JsonObject
from bridge.visible import show_exactly

MAX_CHARS = 4000
"""Characters of a difference in a question."""
MAX_COMPARED_CHARS = 400_000
"""Characters of what a tool claims, before and now, that are compared for a question: runs go on meanwhile."""
CONTEXT_CHARS = 40
"""Characters that are shown before and behind what has changed in a text."""
MAX_NAMED = 5
HINTLESS: JsonObject = {"annotations": {}}
"""So that each hint is named by itself."""
SPACES = re.compile(" {4,}")
ALIKE = ("ARMENIAN", "CHEROKEE", "COPTIC", "CYRILLIC", "FULLWIDTH", "GREEK", "LISU", "MATHEMATICAL", "MODIFIER")
"""How Unicode's names of characters begin that can look like Latin ones."""


@dataclass(frozen=True)
class Difference:
    """What a server claims and nobody has approved."""

    server: str
    changes: tuple[Change, ...]
    target: str
    """The command or URL that it is reached with."""
    former_target: str | None = None
    """The one that it was reached with when its tools were approved, if that was another."""
    fault: str | None = None
    """Why it is not known what was approved."""

    @property
    def cause(self) -> str:
        """Say why a call needs a yes, within a sentence."""
        if self.former_target is not None:
            return f"the config reaches {self.server} elsewhere than when its tools were approved"
        return f"what {self.server} claims of its tools has changed since it was approved"

    @property
    def remedy(self) -> str:
        """Say how a person accepts it where no question can be shown."""
        return f"To see and accept the changes: {quote_accept(self.server)}"

    def identify(self, shown: Sequence[Change]) -> str:
        """Identify a part of the difference."""
        parts = [self.server, self.target, *sorted(change.fingerprint for change in shown)]
        return sha256("\n".join(parts).encode("utf-8", "replace")).hexdigest()[:32]


class Shown(NamedTuple):
    """A difference as a person sees it."""

    text: str
    changes: tuple[Change, ...]
    """Those that are shown whole. Nobody can approve what they cannot see."""


def show(difference: Difference, *, can_accept: bool = True) -> Shown:
    """Show a difference in a question, as much of it as goes in whole; `can_accept` says that a yes accepts it."""
    lines, shown = list[str](), list[Change]()
    room = MAX_CHARS
    for change in difference.changes:
        if _count_chars(change) > MAX_COMPARED_CHARS:
            break
        described = describe_change(change)
        room -= sum(map(len, described)) + len(described)
        if room < 0:
            break
        lines += described
        shown.append(change)
    end = _end(difference, len(shown), len(difference.changes) - len(shown), can_accept=can_accept)
    return Shown("\n".join([describe_cause(difference), *lines, end]), tuple(shown))


def _count_chars(change: Change) -> int:
    return len(change.now.text) + (len(change.before.text) if change.before else 0)


def _end(difference: Difference, shown: int, hidden: int, *, can_accept: bool) -> str:
    if not can_accept:
        return f"A yes is for this call alone. Who runs the service accepts it with: {quote_accept(difference.server)}"
    if not hidden:
        return "A yes also accepts this from now on."
    what = f"{hidden:,} more changed tools are" if shown else "What has changed is too long to be shown here, and is"
    return f"{what} not accepted by a yes. To see and accept all: {quote_accept(difference.server)}"


def quote_accept(server: str) -> str:
    """Quote the command that accepts the changes of a server."""
    return f"{PROGRAM} tools accept {shlex.quote(server)}"


def describe_cause(difference: Difference) -> str:
    """Say why a difference is shown."""
    server = quote(difference.server)
    if difference.fault:
        return f"It is not known what was approved of {server} ({difference.fault}). This is what it claims now:"
    if difference.former_target is not None:
        before, now = quote(difference.former_target), quote(difference.target)
        return f"{server} was approved when its entry said {before}; now it says {now}."
    return f"What {server} claims has changed since it was approved:"


def describe_change(change: Change) -> list[str]:
    """Describe what has changed of one tool, line by line; nothing has where its server leads elsewhere alone."""
    name, now = quote(change.name), HINTLESS | change.now.read()
    if change.before is None:
        said: JsonObject = {key: value for key, value in now.items() if key != "name" and value}
        return [f"  {name} is new{_name_alike('', change.name)}: {quote(said)}"]
    return [f"  {name}: {line}" for line in _compare("", HINTLESS | change.before.read(), now)]


def sum_up(change: Change) -> str:
    """Describe a change on one line."""
    return " ".join(" ".join(describe_change(change)).split())


def quote(value: Json) -> str:
    """Quote a value as JSON in which everything shows; runs of spaces are counted."""
    text = show_exactly(json.dumps(value, ensure_ascii=False))
    return SPACES.sub(lambda found: f" [{len(found[0])} spaces] ", text)


def _compare(path: str, before: Json, now: Json) -> Iterator[str]:
    """Compare two values; the same ones say nothing."""
    if before == now and type(before) is type(now):
        return
    if isinstance(before, dict) and isinstance(now, dict):
        for key in dict.fromkeys([*before, *now]):
            yield from _compare_member(f"{path}.{key}" if path else key, key, before, now)
    elif isinstance(before, str) and isinstance(now, str):
        was, is_now = _trim(before, now)
        yield f"{_show_path(path)} was {was}, is {is_now}{_name_alike(before, now)}"
    else:
        yield f"{_show_path(path)} was {quote(before)}, is {quote(now)}"


def _compare_member(path: str, key: str, before: JsonObject, now: JsonObject) -> Iterator[str]:
    if key not in now:
        yield f"{_show_path(path)} is gone; it was {quote(before[key])}"
    elif key not in before:
        yield f"{_show_path(path)} is new: {quote(now[key])}"
    else:
        yield from _compare(path, before[key], now[key])


def _show_path(path: str) -> str:
    return quote(path)[1:-1]


def _trim(before: str, now: str) -> tuple[str, str]:
    """Quote both texts without what they begin and end with alike, but for a few characters."""
    start = _count_alike(before, now)
    end = _count_alike(before[start:][::-1], now[start:][::-1])
    first, last = max(0, start - CONTEXT_CHARS), max(0, end - CONTEXT_CHARS)
    return _cut(before, first, last), _cut(now, first, last)


def _count_alike(one: Sequence[str], other: Sequence[str]) -> int:
    pairs = zip(one, other, strict=False)
    return next((count for count, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def _cut(text: str, first: int, last: int) -> str:
    cut = text[first : len(text) - last]
    return f"{'…' if first else ''}{quote(cut)}{'…' if last else ''}"


def _name_alike(before: str, now: str) -> str:
    """Name new characters that look like others."""
    known = set(before)
    new = dict.fromkeys(c for c in now if not c.isascii() and c not in known)
    names = [f"U+{ord(c):04X} {unicodedata.name(c)}" for c in new if unicodedata.name(c, "").startswith(ALIKE)]
    return f" (with {', '.join(names[:MAX_NAMED])})" if names else ""
