"""Runs that go in circles: the same calls with the same outputs, again and again."""

import json
from collections import Counter
from dataclasses import dataclass, field

from bridge.arguments import read_arguments
from bridge.items import Call, CallOutput, fail_call
from bridge.json_text import Json, JsonObject, encode

REFUSED_AT, STOPPED_AT = 3, 5
"""The repetition from which on a call is refused, and the one that ends the run."""

_ENCODER = json.JSONEncoder(sort_keys=True)


@dataclass
class Repeats:
    """The calls of a run, their outputs, and how often they are repeated without anything new.

    A turn that brings nothing new is a step in a circle of any length: A-A-A as well as A-B-A-B. After one new output
    every call may be made again, because its result may have changed.
    """

    _seen: set[tuple[str, tuple[str, ...]]] = field(default_factory=set[tuple[str, tuple[str, ...]]])
    """Each call so far with its output."""
    _counts: Counter[str] = field(default_factory=Counter[str])
    """How often each call was made since the last new output, up to the previous turn."""
    _made: list[str] = field(default_factory=list[str])
    """The calls of this turn."""
    _has_news: bool = False
    _stale_turns: int = 0
    """How many turns in a row have brought nothing new."""

    def refuse(self, call: Call) -> CallOutput | None:
        """Return the output of a call that has been made too often, or None where it may be run."""
        times = self._counts[_identify(call)]
        if self._stale_turns == 0 or times < REFUSED_AT - 1:
            return None
        message = f"this call was made {times} times with the same result; use that, or do something else"
        return fail_call("repeated_call", message)

    def note(self, call: Call, output: CallOutput) -> None:
        """Note a call and its output."""
        key, value = _identify(call), output["output"]
        pair = key, (value,) if isinstance(value, str) else tuple(map(_read_part, value))
        self._has_news |= pair not in self._seen
        self._seen.add(pair)
        self._made.append(key)

    def note_news(self) -> None:
        """Note that a call brought something new, even where its output is the same as before."""
        self._has_news = True

    def note_message(self) -> None:
        """Note that somebody has spoken to the run: it may have been asked to do the same again."""
        self._stale_turns, self._counts = 0, Counter({*self._counts})

    @property
    def is_circling(self) -> bool:
        """True once so many turns have brought nothing new that the run ends."""
        return self._stale_turns >= STOPPED_AT - 1

    def end_turn(self) -> None:
        """End a turn whose calls have all been noted."""
        if self._has_news:
            self._stale_turns, self._counts = 0, Counter({*self._counts, *self._made})
        else:
            self._stale_turns += 1
            self._counts.update(set(self._made))
        self._has_news, self._made = False, list[str]()


def _identify(call: Call) -> str:
    """Return a key that calls share if they mean the same: in any order of the arguments, and with 1 for 1.0."""
    try:
        arguments: Json = read_arguments(call.arguments)
    except ValueError:  # not JSON; or an object, which may be nested too deeply to encode
        arguments = call.arguments if isinstance(call.arguments, str) else None
    return _ENCODER.encode([call.name, _normalise(arguments)])


def _read_part(part: JsonObject) -> str:
    """Return the image URL or the text of a content part as it is, which costs nothing, or else the part as JSON."""
    known = part.get("image_url") or part.get("text")
    return known if isinstance(known, str) else encode(part)


def _normalise(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _normalise(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_normalise(inner) for inner in value]
    match value:
        case float():
            return int(value) if value % 1 == 0 else value
        case _:
            return value
