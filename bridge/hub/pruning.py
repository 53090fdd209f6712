"""What the SDK refuses of an answer, taken out of it: the oddity goes, the rest stays."""

from collections.abc import Callable, Sequence

from pydantic import ValidationError

from bridge.json_text import Json, JsonObject

MAX_ROUNDS = 20
"""How often the rest is judged again; each time, everything that is refused is taken out."""
MAX_NAMED = 5
Path = tuple[str | int, ...]


def prune(answer: JsonObject, judge: Callable[[JsonObject], object]) -> list[str]:
    """Take out of `answer`, in place, what `judge` refuses by a ValidationError; return where that was.

    A field that is missing costs the object that it is missing in; the answer itself stays, refused as it is.
    """
    gone: list[str] = []
    for _ in range(MAX_ROUNDS):
        try:
            judge(answer)
        except ValidationError as error:
            gone += _drop_all(answer, [fault["loc"] for fault in error.errors(include_url=False, include_input=False)])
        else:
            break
    return gone


def sum_up(places: Sequence[str]) -> str:
    """Name places, of many the first."""
    named = ", ".join(place[:100] for place in places[:MAX_NAMED])
    return named if len(places) <= MAX_NAMED else f"{named} and {len(places) - MAX_NAMED:,} more"


def _drop_all(answer: JsonObject, places: Sequence[Path]) -> list[str]:
    """Drop the value at each place, the last first: what is dropped from a list moves what is behind it."""
    paths = dict.fromkeys(path for place in reversed(places) if (path := _find_path(answer, place)))
    dropped = [path for path in paths if not any(path[:length] in paths for length in range(1, len(path)))]
    for path in dropped:
        _drop(answer, path)
    return [".".join(map(str, path)) for path in reversed(dropped)]


def _find_path(answer: JsonObject, place: Path) -> Path:
    """Find the innermost value on the way to `place`: behind it are names that pydantic adds, or what is missing."""
    holder: Json = answer
    for length, step in enumerate(place):
        if isinstance(holder, dict) and step in holder:
            holder = holder[str(step)]
        elif isinstance(holder, list) and isinstance(step, int) and step < len(holder):
            holder = holder[step]
        else:
            return place[:length]
    return place


def _drop(answer: JsonObject, path: Path) -> None:
    holder: Json = answer
    for step in path[:-1]:
        holder = holder[step]  # type: ignore[index]
    del holder[path[-1]]  # type: ignore[union-attr,arg-type]
