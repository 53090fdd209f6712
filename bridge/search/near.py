"""Similar names to suggest for a name that does not exist. They are only suggested, never used in its place."""

import difflib
import heapq
from collections.abc import Collection

MAX_NAME_CHARS, MAX_COMPARED = 128, 200
"""Characters of the name that are read, and names that it is compared with."""


def find_near(name: str, names: Collection[str], count: int, *, at_least: float = 0.4) -> list[str]:
    """Find up to `count` of the most similar names, with a similarity of `at_least` (0 to 1).

    Of more than MAX_COMPARED names, only those that share the most three-character pieces with `name` are compared:
    comparing ten thousand takes two seconds.
    """
    name = name[:MAX_NAME_CHARS]
    if len(names) > MAX_COMPARED:
        pieces = {name[start : start + 3] for start in range(len(name))}
        names = heapq.nlargest(MAX_COMPARED, sorted(names), key=lambda other: sum(piece in other for piece in pieces))
    return difflib.get_close_matches(name, names, n=count, cutoff=at_least)
