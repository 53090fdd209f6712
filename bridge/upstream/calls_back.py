"""Calls and their outputs as every API takes them back: with legal names, ids of their own and arguments."""

import re
from collections import defaultdict, deque
from collections.abc import Sequence

from bridge.arguments import read_arguments
from bridge.items import CALL_TYPES, LEGAL, is_blank, is_call
from bridge.json_text import JsonObject, decode, encode

_ILLEGAL = re.compile(r"[^A-Za-z0-9_-]+")
MAX_NAME_CHARS = 64
NAMELESS = "unnamed"


def make_calls_legal(items: Sequence[str], tools: Sequence[str]) -> Sequence[str]:
    """Return the items with calls that can be sent back: models make up names, and relays call ids, that the same
    upstream then refuses.

    The name of an offered tool stays. An id changes where it is illegal or another call has it, in the call and in its
    output alike: an output is that of the first call of its id without one.
    """
    renaming = _Renaming(tools)
    return tuple(renaming.change(text) if '"call_id"' in text else text for text in items)


class _Renaming:
    def __init__(self, tools: Sequence[str]) -> None:
        self._tools = tools
        self._taken: set[str] = set()
        self._tries: defaultdict[str, int] = defaultdict(lambda: 1)
        """How often an id was taken, so that many calls with one id do not begin to count anew."""
        self._waiting: defaultdict[str, deque[str]] = defaultdict(deque)
        """The new ids of calls without an output so far, by the old ones."""

    def change(self, text: str) -> str:
        item = decode(text)
        if not isinstance(item, dict) or not isinstance(call_id := item.get("call_id"), str):
            return text
        if is_call(item):
            changed = self._change_call(item, call_id)
        elif item.get("type") in CALL_TYPES.values() and self._waiting[call_id]:
            changed = item | {"call_id": self._waiting[call_id].popleft()}
        else:
            return text
        return text if changed == item else encode(changed)

    def _change_call(self, call: JsonObject, call_id: str) -> JsonObject:
        new_id = self._find_free(call_id if LEGAL.fullmatch(call_id) else _make_legal(call_id))
        self._waiting[call_id].append(new_id)
        changed = call | {"call_id": new_id, "name": self._change_name(str(call.get("name") or ""))}
        if call["type"] == "function_call" and is_blank(call.get("arguments")):
            changed["arguments"] = "{}"
        return changed

    def _find_free(self, wanted: str) -> str:
        found = wanted
        while found in self._taken:
            self._tries[wanted] += 1
            end = f"_{self._tries[wanted]}"
            found = wanted[: MAX_NAME_CHARS - len(end)] + end
        self._taken.add(found)
        return found

    def _change_name(self, name: str) -> str:
        if LEGAL.fullmatch(name) or any(f'"name":{encode(name)}' in tool for tool in self._tools):
            return name
        return _make_legal(name)


def _make_legal(name: str) -> str:
    return _ILLEGAL.sub("_", name)[:MAX_NAME_CHARS] or NAMELESS


def empty_odd_arguments(call: JsonObject) -> JsonObject:
    """Return a call with {} in place of arguments that are no JSON object; any other item as it is."""
    return call | {"arguments": "{}"} if has_odd_arguments(call) else call


def has_odd_arguments(item: JsonObject) -> bool:
    """Tell whether an item is a function call whose arguments are no JSON object."""
    if item.get("type") != "function_call":
        return False
    try:
        read_arguments(item.get("arguments"))
    except ValueError:
        return True
    return False
