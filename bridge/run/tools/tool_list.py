"""Names all tools that a model can reach, by server, in as few words as that takes; or else says what is where."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

from bridge.texts import estimate_tokens

Owned: TypeAlias = tuple[tuple[str, tuple[str, ...]], ...]
"""Owners, each with the names of its tools."""

SHOWN_OWNERS = 40
SHOWN_TOPICS = 4
MANY_NAMES = 2000
"""More names than any budget would take are not even joined."""

_PARTS = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}(?![a-z])|[^\W\d_A-Za-z]{2,}")


@lru_cache(maxsize=8)
def describe_all(owned: Owned, tokens: int) -> str:
    """Name all tools by their owner in up to `tokens`, or else the owners with what their tools are about."""
    if (listed := list_names(owned, tokens)) is not None:
        return f"All of them: {listed}."
    return f"They are of these servers: {list_owners(owned, with_topics=True)}."


def list_names(owned: Owned, tokens: int) -> str | None:
    """List the names of all tools by their owner, such as `git: git_log, git_diff; time: …`; None where the list would
    cost more than `tokens`."""
    if sum(len(names) for _, names in owned) > min(tokens, MANY_NAMES):  # a name costs at least a token
        return None
    text = "; ".join(f"{owner}: {', '.join(names)}" for owner, names in owned)
    return text if estimate_tokens(text) <= tokens else None


def list_owners(owned: Owned, *, with_topics: bool) -> str:
    """List the owners with the number of their tools, and what these are about: `git (28: branch, commit, tag)`."""
    shown = ", ".join(_describe(owner, names, with_topics) for owner, names in owned[:SHOWN_OWNERS])
    return f"{shown} and {len(owned) - SHOWN_OWNERS} more servers" if len(owned) > SHOWN_OWNERS else shown


def _describe(owner: str, names: Sequence[str], with_topics: bool) -> str:
    topics = _find_topics(owner, names) if with_topics else []
    return f"{owner} ({len(names)}: {', '.join(topics)})" if topics else f"{owner} ({len(names)})"


def _find_topics(owner: str, names: Iterable[str]) -> list[str]:
    """Find the words that the most names have behind their first, which says what is done."""
    counts = Counter[str]()
    for name in names:
        _, *words = dict.fromkeys(word.lower() for word in _PARTS.findall(name)) or [""]
        counts.update(_cut_plural(word) for word in words)
    return [word for word, _ in counts.most_common() if word not in owner.lower()][:SHOWN_TOPICS]


def _cut_plural(word: str) -> str:
    return word[:-1] if len(word) > 4 and word.endswith("s") and not word.endswith("ss") else word
