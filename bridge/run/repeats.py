"""Runs that go round in circles: the same calls with the same outputs, again and again."""

import json
from collections import Counter
from dataclasses import dataclass, field

from bridge.arguments import read_arguments
from bridge.items import Call, CallOutput, fail_call
from bridge.json_text import Json, JsonObject, encode

REFUSED_AT, STOPPED_AT = 3, 5
"""From which time on a call is not run any more, and at which the run ends."""

_ENCODER = json.JSONEncoder(sort_keys=True)


@dataclass
class Repeats:
    """What a run's calls have brought. A turn that brings nothing new is a step of a circle, however long that is:
    A-A-A as well as A-B-A-B. One new output, and everything may be asked again: it may have changed."""

    _seen: set[tuple[str, tuple[str, ...]]] = field(default_factory=set[tuple[str, tuple[str, ...]]])
    """Calls with their outputs."""
    _times: Counter[str] = field(default_factory=Counter[str])
    """How often each call has been made since anything was new, up to the turn before."""
    _made: list[str] = field(default_factory=list[str])
    """The calls of this turn."""
    _has_news: bool = False
    _circles: int = 0
    """Turns without anything new, up to now."""

    def refuse(self, call: Call) -> CallOutput | None:
        """The output of a call that has been made too often, or None."""
        times = self._times[_identify(call)]
        if self._circles == 0 or times < REFUSED_AT - 1:
            return None
        message = f"this call was made {times} times with the same result; use that, or do something else"
        return fail_call("repeated_call", message)

    def note(self, call: Call, output: CallOutput) -> None:
        """A call has come to this."""
        key, value = _identify(call), output["output"]
        pair = key, (value,) if isinstance(value, str) else tuple(map(_read_part, value))
        self._has_news |= pair not in self._seen
        self._seen.add(pair)
        self._made.append(key)

    def note_news(self) -> None:
        """A call has come to what is new, whatever came before."""
        self._has_news = True

    @property
    def is_circling(self) -> bool:
        """Whether the run goes round and round."""
        return self._circles >= STOPPED_AT - 1

    def end_turn(self) -> None:
        """All calls of a turn are noted."""
        if self._has_news:
            self._circles, self._times = 0, Counter({*self._times, *self._made})
        else:
            self._circles += 1
            self._times.update(set(self._made))
        self._has_news, self._made = False, list[str]()


def _identify(call: Call) -> str:
    """The same for calls that mean the same: whatever the order of the arguments, 1 like 1.0."""
    try:
        arguments: Json = read_arguments(call.arguments)
    except ValueError:  # of any depth, where it is no text
        arguments = call.arguments if isinstance(call.arguments, str) else None
    return _ENCODER.encode([call.name, _level(arguments)])


def _read_part(part: JsonObject) -> str:
    """All that a content part says; a picture is not written out for it."""
    known = part.get("image_url") or part.get("text")
    return known if isinstance(known, str) else encode(part)


def _level(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _level(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_level(inner) for inner in value]
    match value:
        case float():
            return int(value) if value % 1 == 0 else value
        case _:
            return value
