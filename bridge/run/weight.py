"""About how much a run holds, to bound what is kept."""

from bridge.events import AnswerParsed, CutOff, Event, Notified
from bridge.json_text import Json
from bridge.run.run import Run


def weigh(run: Run) -> int:
    """Count about how many characters of text a run holds: its items are there as text and as objects."""
    chars = 2 * sum(map(len, run.transcript.list_items())) if run.transcript else 0
    left: list[Json] = [run.arguments, *(_find_long(event) for event in run.events)]
    while left:
        part = left.pop()
        if isinstance(part, str):
            chars += len(part)
        elif isinstance(part, dict):
            left += part.values()
        elif isinstance(part, list):
            left += part
        else:
            chars += 1
    return chars


def _find_long(event: Event) -> Json:
    """Find the part of an event that can be long and is no item."""
    match event:
        case Notified():
            return event.message
        case CutOff():
            return event.text
        case AnswerParsed():
            return event.value
        case _:
            return None
