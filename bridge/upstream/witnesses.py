"""Two witnesses of one response: what its events told, and what its last event says.

The last event counts. What it lacks is taken from the events: arguments, text, and whole items.
"""

import re
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice, zip_longest

from bridge.items import Notice, is_call, read_text
from bridge.json_text import Json, JsonObject

ARGUMENTS = {"function_call": "arguments", "custom_tool_call": "input"}
"""The field with the arguments of each type of call."""
MAX_LOOKED_AT = 200
"""Items that are compared with one, at most: a response may have very many."""
MAX_CONFIRMED = 20
"""Calls that are looked for in all events, at most; with more of them, the events are read."""
_EMPTY = ("", "{}", "null")
_NO_ARGUMENTS = re.compile(r'"(?:arguments|delta)"\s*:\s*"(?:\{\})?"')
_OF_EVENT = ("status", "content")
"""Fields that are not taken over from an earlier event as they are."""


@dataclass(frozen=True)
class Told:
    """An item, put together from all that the events told of it."""

    place: int
    item: JsonObject
    is_done: bool
    """True where an event said that it is finished."""


@dataclass
class Tally:
    """How much the events told, counted as they come."""

    added: list[bool] = field(default_factory=list[bool])
    """The items that began, each True where it is a call."""
    done: list[bool] = field(default_factory=list[bool])
    """The items that ended, in the same way."""

    def count(self, kind: str, data: str) -> None:
        """Count an event about an item."""
        told = self.added if kind == "response.output_item.added" else self.done
        if kind.startswith("response.output_item."):
            told.append('"function_call"' in data or '"custom_tool_call"' in data)

    def is_over(self, output: Sequence[JsonObject], chars: int, events: Sequence[str]) -> bool:
        """Tell whether the events, which have so many characters of text, may have told more than `output` has.

        No event is parsed for it: nearly every stream ends with all that it told.
        """
        calls = [item for item in output if is_call(item)]
        if any(len(told) > len(output) or sum(told) > len(calls) for told in (self.added, self.done)):
            return True
        doubtful = [call for call in calls if not _is_whole(call)]
        if len(doubtful) > MAX_CONFIRMED or not all(_is_confirmed(call, events) for call in doubtful):
            return True
        return chars > 0 and chars > sum(len(read_text([item])) for item in output)


def merge(output: Sequence[JsonObject], told: Sequence[Told], status: Json) -> tuple[list[JsonObject], list[Notice]]:
    """Merge the items of the last event with those that the events told; return them with notices.

    A call that the last event lacks is to be run only if an event has finished it and the response is completed.
    """
    pairs = _pair(output, told)
    merged = [
        fill(item, (one := told[pairs[index]]).item, is_finished=one.is_done) if index in pairs else item
        for index, item in enumerate(output)
    ]
    notices = [_explain("had no text", merged[index]) for index in pairs if _is_mute(output[index], merged[index])]
    places = {n: index for index, n in pairs.items()}
    known = _Candidates([Told(-1, item, is_done=True) for item in merged])
    lacking, behind = dict[int, list[JsonObject]](), -1
    for n, one in enumerate(told):
        behind = places.get(n, behind)
        if n in places or known.take(-1, one.item, _PAIRINGS[1]) is not None:
            continue
        if found := _rescue(one, status):
            item, notice = found
            lacking.setdefault(behind, []).append(item)
            notices += [notice] if notice else []
    kept = list(lacking.get(-1, []))
    for index, item in enumerate(merged):
        kept += [item, *lacking.get(index, [])]
    return kept, notices


def close(told: Iterable[Told], status: Json) -> tuple[list[JsonObject], list[Notice]]:
    """Return the items of a response whose last event has none, with notices.

    Of a completed response all items are completed, except calls that were only announced.
    """
    items, notices = list[JsonObject](), list[Notice]()
    for one in told:
        item = one.item
        if is_call(item) and not one.is_done and is_poor(item.get(ARGUMENTS[str(item["type"])])):
            item |= {"status": "incomplete"}
            notices.append(_explain("had no end and no arguments", item))
        elif status == "completed" and item.get("status") == "in_progress":
            item |= {"status": "completed"}
        items.append(item)
    return items, notices


def fill(item: JsonObject, known: JsonObject, *, is_finished: bool = False) -> JsonObject:
    """Return an item with what it lacks of another account of it; the same object, where it lacks nothing.

    A text that is merely shorter lacks something only where the other account is of the finished item.
    """
    if not item or not known:
        return item or known
    lacking: JsonObject = {
        key: value
        for key, value in known.items()
        if item.get(key) in (None, "") and value not in (None, "") and key not in _OF_EVENT
    }
    if key := ARGUMENTS.get(str(item.get("type"))):
        if _lacks(item.get(key), known.get(key), is_finished):
            lacking[key] = known.get(key)
    elif "content" in known and _lacks(read_text([item]), read_text([known]), is_finished):
        lacking["content"] = _fill_content(item.get("content"), known["content"])
    return item | lacking if lacking else item


def is_poor(value: Json) -> bool:
    """Tell whether arguments or a text say nothing."""
    return not value or (isinstance(value, str) and value.strip() in _EMPTY)


def share_id(one: JsonObject, other: JsonObject) -> bool:
    """Tell whether two accounts name the same id; the call id, where both have one."""
    key = "call_id" if one.get("call_id") and other.get("call_id") else "id"
    return bool(one.get(key)) and one.get(key) == other.get(key)


def _lacks(value: Json, known: Json, is_finished: bool) -> bool:
    if is_poor(value) or is_poor(known):
        return is_poor(value) and not is_poor(known)
    return is_finished and _is_beginning(value, known)


def _is_beginning(value: Json, known: Json) -> bool:
    """Tell whether a text is cut short: the other goes on where it ends."""
    if not isinstance(value, str) or not isinstance(known, str):
        return False
    begun = value.rstrip()
    return len(begun) < len(known.rstrip()) and known.startswith(begun)


def _fill_content(content: Json, known: Json) -> Json:
    """Return the parts of a message with the texts that they lack."""
    if not isinstance(content, list) or not isinstance(known, list):
        return known
    return [_fill_part(part, other) for part, other in zip_longest(content, known)]


def _fill_part(part: Json, known: Json) -> Json:
    if not isinstance(part, dict) or not isinstance(known, dict):
        return part or known
    if _read_part(part) and not _is_beginning(_read_part(part), _read_part(known)):
        return part
    return part | known if part.get("type") == known.get("type") else known


def _read_part(part: JsonObject) -> str:
    return str(part.get("text") or part.get("refusal") or "")


def _is_mute(item: JsonObject, merged: JsonObject) -> bool:
    """Tell whether a message was given text that it lacked."""
    return item is not merged and item.get("type") == "message" and item.get("content") != merged.get("content")


def _is_whole(call: JsonObject) -> bool:
    """Tell whether a call has a name, ids and arguments that are not cut short."""
    value = call.get(ARGUMENTS[str(call["type"])])
    is_cut = call["type"] == "function_call" and isinstance(value, str) and not value.rstrip().endswith("}")
    return bool(call.get("name") and call.get("call_id")) and not is_poor(value) and not is_cut


def _is_confirmed(call: JsonObject, events: Sequence[str]) -> bool:
    """Tell whether a call has `{}` as arguments, and the same in all events that name it."""
    ident = call.get("id")
    if call.get("arguments") != "{}" or not call.get("name") or not isinstance(ident, str) or not ident:
        return False
    about = [data for data in events if ident in data]
    return bool(about) and all(map(_NO_ARGUMENTS.search, about))


# Which items are the same


class _Candidates:
    """The items that the events told and that have no pair yet, by what they may be known by."""

    def __init__(self, told: Sequence[Told]) -> None:
        self._told = told
        self._by_key: dict[Hashable, dict[int, None]] = {}
        for n, one in enumerate(told):
            for key in (*_list_keys(one.item), one.place):
                self._by_key.setdefault(key, {})[n] = None

    def take(self, index: int, item: JsonObject, is_one: "_IsOne") -> int | None:
        """Take the first that is one with an item of the last event; None where there is none."""
        for key in (*_list_keys(item), index):
            for n in islice(self._by_key.get(key, ()), MAX_LOOKED_AT):
                one = self._told[n]
                if one.item.get("type") == item.get("type") and is_one(one.item, item, one.place == index):
                    for known in (*_list_keys(one.item), one.place):
                        del self._by_key[known][n]
                    return n
        return None


def _list_keys(item: JsonObject) -> list[Hashable]:
    """List what an item may be known by: its ids, and its type with a name."""
    ids = {(key, str(item[key])) for key in ("id", "call_id") if item.get(key)}
    return [*ids, (str(item.get("type")), str(item.get("name") or ""))]


def _pair(output: Sequence[JsonObject], told: Sequence[Told]) -> dict[int, int]:
    """Find for each item of the last event the one that the events told of it; the surest pairs first."""
    pairs, candidates = dict[int, int](), _Candidates(told)
    for is_one in _PAIRINGS:
        for index, item in enumerate(output):
            if index not in pairs and (n := candidates.take(index, item, is_one)) is not None:
                pairs[index] = n
    return pairs


def _share(one: JsonObject, other: JsonObject) -> bool:
    return one.get("type") == other.get("type") and share_id(one, other)


def _agree(one: JsonObject, other: JsonObject) -> bool:
    """Tell whether two accounts can be of the same item: neither says what the other contradicts."""
    if key := ARGUMENTS.get(str(one.get("type"))):
        has_names = one.get("name") and other.get("name")
        return not (has_names and one["name"] != other["name"]) and _fit(one.get(key), other.get(key))
    if "content" in one or "content" in other:
        return _fit(read_text([one]), read_text([other]))
    return True


def _fit(one: Json, other: Json) -> bool:
    if is_poor(one) or is_poor(other) or one == other:
        return True
    return _is_beginning(one, other) or _is_beginning(other, one)


def _is_message(item: JsonObject) -> bool:
    return item.get("type") == "message"


_IsOne = Callable[[JsonObject, JsonObject, bool], bool]
_PAIRINGS: tuple[_IsOne, ...] = (
    lambda one, item, is_near: is_near and _share(one, item) and _agree(one, item),
    lambda one, item, _: _share(one, item) and _agree(one, item),
    lambda one, item, _: _share(one, item),
    lambda one, item, is_near: is_near and (_is_message(one) or _agree(one, item)),
    lambda one, item, _: _agree(one, item),
    lambda one, _, __: _is_message(one),
)
"""The ways to tell that two accounts, of one type, are of one item. Where messages differ, the last event is right."""


# What the last event lacks


def _rescue(one: Told, status: Json) -> tuple[JsonObject, Notice | None] | None:
    """Return an item that only the events told of, as it is to be kept, with a notice; None for what cannot be."""
    item = one.item
    if is_call(item):
        if not item.get("name"):
            return None
        if one.is_done and status == "completed":
            return item | {"status": "completed"} if item.get("status") == "in_progress" else item, None
        return item | {"status": "incomplete"}, _explain("was not finished, and the end lacked it", item)
    if _is_message(item):
        return (item, _explain("was lacking at the end", item)) if read_text([item]) else None
    return (item, None) if one.is_done else None


def _explain(fault: str, item: JsonObject) -> Notice:
    what = f"the call of {item.get('name')}" if is_call(item) else "a message"
    outcome = "it was not run" if is_call(item) else "its text is that of the stream"
    return Notice(code="stream_differs", message=f"The upstream's stream and its end differ: {what} {fault}; {outcome}")
