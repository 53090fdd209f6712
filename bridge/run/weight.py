"""How much memory a run holds, to bound what is kept."""

from collections.abc import Iterable
from sys import getsizeof

from bridge.run.run import Run


def weigh(run: Run) -> int:
    """Count the bytes that a run holds: its items are there as texts, and in its arguments and events as objects."""
    items = run.transcript.list_items() if run.transcript else []
    return weigh_values([run.arguments, *items, *map(vars, run.events)])


def weigh_values(values: Iterable[object]) -> int:
    """Count the bytes of JSON values in memory, what is there twice once: an empty list is 56 of them, not two."""
    total, left, seen = 0, list(values), set[int]()
    while left:
        part = left.pop()
        if part is None or isinstance(part, bool) or id(part) in seen:
            continue
        seen.add(id(part))
        total += getsizeof(part)
        if isinstance(part, dict):
            left += part
            left += part.values()
        elif isinstance(part, list):
            left += part
    return total
