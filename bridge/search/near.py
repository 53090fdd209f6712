"""Names like one that nobody has: for who misremembered it, never taken for it."""

import difflib
import heapq
from collections.abc import Collection

MAX_NAME_CHARS, MAX_COMPARED = 128, 200
"""How much of the name is looked at, and with how many it is compared."""


def find_near(name: str, names: Collection[str], count: int, *, at_least: float = 0.4) -> list[str]:
    """Up to `count` of the most similar names, `at_least` so alike. Of very many only those are compared that share the
    most pieces with `name`: to compare ten thousand takes two seconds."""
    name = name[:MAX_NAME_CHARS]
    if len(names) > MAX_COMPARED:
        pieces = {name[place : place + 3] for place in range(len(name))}
        names = heapq.nlargest(MAX_COMPARED, sorted(names), key=lambda other: sum(piece in other for piece in pieces))
    return difflib.get_close_matches(name, names, n=count, cutoff=at_least)
