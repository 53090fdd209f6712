"""How much memory a run holds, to bound what is kept."""

from collections.abc import Iterable, Iterator
from sys import getsizeof

from bridge.events import AnswerParsed, CallEnded, CallStarted, CutOff, Event, Notified, Said, TurnEnded
from bridge.run.run import Run

EVENT_BYTES = 800
"""About what an event takes beside what can be long in it."""


def weigh(run: Run) -> int:
    """Count the bytes that a run holds: its items are there as texts, and in its arguments and events as objects."""
    items = run.transcript.list_items() if run.transcript else []
    parts = [part for event in run.events for part in _find_long(event)]
    return EVENT_BYTES * len(run.events) + weigh_values([run.arguments, *items, *parts])


def _find_long(event: Event) -> Iterator[object]:
    """Find the parts of an event that can be long."""
    match event:
        case TurnEnded():
            yield from (event.output, event.usage)
        case CallStarted():
            yield event.arguments
        case CallEnded():
            yield from (event.arguments, event.item)
        case Said():
            yield event.items
        case Notified():
            yield event.message
        case CutOff():
            yield event.text
        case AnswerParsed():
            yield event.value
        case _:
            pass


def weigh_values(values: Iterable[object]) -> int:
    """Count the bytes of JSON values in memory, what is there twice once: an empty list is 56 of them, not two."""
    total, left, seen = 0, list(values), set[int]()
    while left:
        part = left.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))
        total += getsizeof(part)
        kind = type(part)
        if kind is dict:
            left += part  # type: ignore[arg-type]
            left += part.values()  # type: ignore[attr-defined]
        elif kind is list:
            left += part  # type: ignore[arg-type]
    return total
