"""The output items of a response, as the API defines them and each once, whatever shape the upstream gives them."""

from collections.abc import Iterator, Sequence
from itertools import count

from bridge.errors import UpstreamError
from bridge.items import CALL_TYPES, is_call, read_text
from bridge.json_text import Json, JsonObject, decode
from bridge.upstream.statuses import read_status

_PARTS = ("output_text", "refusal")
_OTHER_PARTS = ("text", "input_text")
"""The types that some relays give the text of an answer."""
_ONCE = ("message", "reasoning")
_WITH_STATUS = (*_ONCE, *CALL_TYPES)
_MAX_ID_CHARS = 64
MAX_LOOKED_AT = 20
"""Items of one id that another is compared with, at most."""
MAX_ITEMS = 20_000
"""Items of one response: more can be no answer, and everybody would wait while they are looked through."""


def read_output(data: JsonObject) -> list[JsonObject]:
    """Read the items of a response. A text outside of them (`output_text`) counts where they have none."""
    items = read_items(data.get("output"))
    text = data.get("output_text")
    if isinstance(text, str) and text and not read_text(items):
        items.append(_wrap(text))
    return distinguish(items)


def check_count(items: int) -> None:
    """Raise UpstreamError for a response of too many items."""
    if items > MAX_ITEMS:
        raise UpstreamError(f"The upstream's response has over {MAX_ITEMS:,} items", code="reply_too_large")


def read_items(output: Json) -> list[JsonObject]:
    """Read a list of items; or one item, or a text, in its place. Raises UpstreamError for too many."""
    given = output if isinstance(output, list) else [output]
    check_count(len(given))
    return [repair(item) if isinstance(item, dict) else _wrap(item) for item in given if _is_item(item)]


def repair(item: JsonObject) -> JsonObject:
    """Return an item as the API defines it: the status of messages and calls, and the parts of messages. Any other is
    returned unchanged."""
    kind = item.get("type", "message")
    status = item.get("status") if kind in _WITH_STATUS else None
    if kind in (*_PARTS, *_OTHER_PARTS):
        return _wrap([_repair_part(item)])
    repaired: JsonObject = {}
    if (known := read_status(status)) != status:
        repaired["status"] = known
    if kind == "message" and (content := _repair_content(item)) is not item.get("content"):
        repaired["content"] = content
    return item | repaired if repaired else item


def distinguish(items: Sequence[JsonObject]) -> list[JsonObject]:
    """Return each item once. A call id that is taken is replaced where name or arguments are others: two calls."""
    kept, places, readings = list[JsonObject](), dict[str, list[int]](), dict[int, Json]()
    taken = {_read_id(item) for item in items}
    for item in items:
        ident = _read_id(item)
        same = places.setdefault(ident, []) if ident else []
        reading = _read_arguments(item) if same and is_call(item) else None
        for index in same[:MAX_LOOKED_AT]:
            if is_call(kept[index]) and index not in readings:
                readings[index] = _read_arguments(kept[index])
            if _is_repeated(kept[index], item, readings.get(index), reading):
                kept[index] = _choose(kept[index], item)
                readings.pop(index, None)
                break
        else:
            same.append(len(kept))
            kept.append(item)
    for ident, (_, *others) in places.items():
        names = _list_free(ident, taken)
        for index in others:
            if is_call(kept[index]):
                kept[index] = kept[index] | {"call_id": next(names)}
    return kept


def _read_id(item: JsonObject) -> str:
    """Read what tells an item from others; "" where nothing does, or nobody knows what it is."""
    if is_call(item):
        return str(item.get("call_id") or item.get("id") or "")
    return str(item.get("id") or "") if item.get("type", "message") in _ONCE else ""


def _is_repeated(one: JsonObject, other: JsonObject, *readings: Json) -> bool:
    """Tell whether two items are one; of calls, `readings` are what `_read_arguments` reads of them."""
    if not is_call(one):
        return one == other
    if one.get("type") != other.get("type") or (one.get("name") or "") != (other.get("name") or ""):
        return False
    return None in readings or readings[0] == readings[1]


def _read_arguments(call: JsonObject) -> Json:
    """Read the arguments of a call to compare them; None where it has none yet."""
    value = call.get("input" if call["type"] == "custom_tool_call" else "arguments")
    if not isinstance(value, str) or call["type"] == "custom_tool_call":
        return value
    try:
        return decode(value) if value.strip() else None
    except ValueError:
        return value


def _choose(one: JsonObject, other: JsonObject) -> JsonObject:
    """Choose of two accounts of one item; of a call, the one that has arguments and is finished."""
    if not is_call(one):
        return one
    return max((one, other), key=lambda call: (_read_arguments(call) is not None, call.get("status") != "incomplete"))


def _list_free(call_id: str, taken: set[str]) -> Iterator[str]:
    """List names like a call id that no item has."""
    for n in count(2):
        name = f"{call_id[: _MAX_ID_CHARS - len(str(n)) - 1]}_{n}"
        if name not in taken:
            taken.add(name)
            yield name


def _is_item(item: Json) -> bool:
    return isinstance(item, dict) or (isinstance(item, str) and bool(item.strip()))


def _wrap(content: Json) -> JsonObject:
    """Make a message of a text or of parts; without an id, as the upstream would refuse an invented one."""
    return {"type": "message", "role": "assistant", "content": content}


def _repair_content(item: JsonObject) -> Json:
    """Return the content of a message as a text or a list of parts."""
    content = item.get("content")
    if content is None:
        return text if isinstance(text := item.get("text"), str) and text else content
    parts = content if isinstance(content, list) else [content] if isinstance(content, dict) else None
    if parts is None:
        return content
    repaired = list(map(_repair_part, parts))
    is_changed = parts is not content or any(new is not old for new, old in zip(repaired, parts, strict=True))
    return repaired if is_changed else content


def _repair_part(part: Json) -> Json:
    """Return a part that holds text as one of the API's types. Any other is returned unchanged."""
    if isinstance(part, str):
        return {"type": "output_text", "text": part, "annotations": []}
    if not isinstance(part, dict):
        return part
    text = part.get("text")
    if isinstance(text, dict) and isinstance(text.get("value"), str):
        part = part | {"text": text["value"]}
    kind = part.get("type")
    if kind in _PARTS or (kind is not None and kind not in _OTHER_PARTS):
        return part
    if "text" not in part and "refusal" in part:
        return part | {"type": "refusal"}
    return {"annotations": list[Json]()} | part | {"type": "output_text"} if "text" in part else part
