"""The items of a response, gathered from the events of its stream.

No later event wipes what an earlier one has told: some relays finish an item with empty text or empty arguments.
"""

from dataclasses import dataclass, field

from bridge.json_text import Json, JsonObject, encode, join_halves
from bridge.upstream.output import check_count, repair
from bridge.upstream.witnesses import ARGUMENTS, MAX_LOOKED_AT, Told, fill, is_poor, share_id

_GROWING = {
    "function_call_arguments": "arguments",
    "custom_tool_call_input": "input",
    "output_text": "text",
    "refusal": "refusal",
}
"""The kinds of content that arrive in deltas, and the field that the deltas add up to."""
_TEXTS = ("text", "refusal")
_ABOUT_ITEMS = tuple(f"response.{subject}." for subject in ("output_item", "content_part", *_GROWING))
_IDENTITY = ("type", "id", "call_id", "name")
_MAX_PARTS = 1000
MAX_PIECES = 4096
"""A piece of text takes fifty bytes beside its characters: so many are joined."""
MAX_REMEMBERED = 100_000
"""How many events are remembered at most, to know one that is sent again."""


@dataclass
class Streamed:
    """One item, as the events have told it."""

    place: int
    """Its index in the output."""
    grown: JsonObject = field(default_factory=dict[str, Json])
    """As it was announced, with all that was added to it."""
    ended: JsonObject = field(default_factory=dict[str, Json])
    """As the event that finished it has it."""

    @property
    def is_done(self) -> bool:
        """Tell whether an event has finished the item."""
        return bool(self.ended)


def is_about_items(kind: str) -> bool:
    """Tell whether events of this type tell of items."""
    return kind.startswith(_ABOUT_ITEMS)


class Gathering:
    """The items that the events so far have told of."""

    def __init__(self) -> None:
        self._items: dict[int, list[Streamed]] = {}
        """By their places; some relays give every item the same."""
        self._in_order: list[Streamed] = []
        self._last = -1
        """The last place that an item has."""
        self._taken, self._taken_before = set[int](), set[int]()
        """The latest events that have a number, as hashes, and those before them: some relays repeat what they sent."""

    def take(self, kind: str, data: str, event: JsonObject) -> int:
        """Take in an event of this type, and return about how many characters of it are kept. Raises UpstreamError
        where there are too many items."""
        if not is_about_items(kind) or self._is_repeated(data):
            return 0
        self._apply(event)
        delta = event.get("delta")
        return len(delta) if isinstance(delta, str) and kind.endswith(".delta") else len(data)

    def list_types(self) -> list[Json]:
        """List the types of the items so far."""
        return [streamed.grown.get("type") for streamed in self._in_order]

    def _is_repeated(self, data: str) -> bool:
        if "sequence_number" not in data:
            return False
        if (known := hash(data)) in self._taken or known in self._taken_before:
            return True
        self._taken.add(known)
        if len(self._taken) > MAX_REMEMBERED // 2:
            self._taken, self._taken_before = set(), self._taken
        return False

    def _apply(self, event: JsonObject) -> None:
        subject, _, change = str(event.get("type")).removeprefix("response.").rpartition(".")
        if subject == "output_item":
            if isinstance(item := event.get("item"), dict):
                self._tell_item(event, item, is_done=change == "done")
            return
        if subject != "content_part" and subject not in _GROWING:
            return  # an annotation of a text; or what could not be read
        streamed = self._find_grown(event, subject)
        if subject == "content_part":
            if isinstance(part := event.get("part"), dict):
                known = _find_part(streamed.grown, event)
                known.update({key: value for key, value in part.items() if value or key not in _TEXTS})
        elif change == "delta":
            _grow(streamed.grown, event, _GROWING[subject])
        else:
            key = _GROWING[subject]
            grown, value = _find_part(streamed.grown, event) if key in _TEXTS else streamed.grown, event.get(key)
            if value and not (is_poor(value) and grown.get(key)):
                grown[key] = value

    def finish(self) -> list[Told]:
        """Return the items whose type is known, with their texts in one piece."""
        found = [streamed for place in sorted(self._items) for streamed in self._items[place]]
        told = [Told(one.place, repair(fill(one.ended, _join_pieces(one.grown))), one.is_done) for one in found]
        return [one for one in told if "type" in one.item]

    def _tell_item(self, event: JsonObject, item: JsonObject, *, is_done: bool) -> None:
        near = self._list_near(event)
        same = (known for known in near if _is_same(known, item))
        unfinished = (known for known in near if is_done and not known.is_done and _is_alike(known.grown, item))
        streamed = (
            next(same, None) or next(unfinished, None) or (is_done and self._find_moved(item, near)) or self._add(event)
        )
        if is_done:
            streamed.ended = fill(item, streamed.ended)
            item = {key: item[key] for key in _IDENTITY if key in item}
        streamed.grown = item | streamed.grown

    def _find_moved(self, item: JsonObject, near: list[Streamed]) -> Streamed | None:
        """Return the call that was announced at another place, with the same call id, and is not finished there."""
        if near or not (call_id := item.get("call_id")):
            return None
        known = (streamed for streamed in self._list_near({}) if not streamed.is_done)
        return next((streamed for streamed in known if streamed.grown.get("call_id") == call_id), None)

    def _find_grown(self, event: JsonObject, subject: str) -> Streamed:
        """Return the item that an event adds to: the one it names, else the last of its type that is not finished."""
        near, item_id = self._list_near(event), event.get("item_id")
        if named := next((known for known in near if item_id and known.grown.get("id") == item_id), None):
            return named
        types = [kind for kind, key in ARGUMENTS.items() if key == _GROWING.get(subject)] or ["message"]
        is_open = (known for known in near if not known.is_done and known.grown.get("type") in types)
        at_place = near[0] if near and isinstance(event.get("output_index"), int) else None
        return next(is_open, at_place) or self._add(event)

    def _list_near(self, event: JsonObject) -> list[Streamed]:
        """List the last items at the event's place, or of all where it names none; the last one first."""
        index = event.get("output_index")
        near = self._items.get(index, []) if isinstance(index, int) else self._in_order
        return near[: -MAX_LOOKED_AT - 1 : -1]

    def _add(self, event: JsonObject) -> Streamed:
        check_count(len(self._in_order) + 1)
        index = event.get("output_index")
        place = index if isinstance(index, int) else self._last + 1
        self._last = max(self._last, place)
        streamed = Streamed(place)
        self._items.setdefault(place, []).append(streamed)
        self._in_order.append(streamed)
        return streamed


def _is_same(known: Streamed, item: JsonObject) -> bool:
    """Tell whether an event's item is the one that is known: by its ids, or where one of both has none."""
    if "type" not in known.grown:
        return True
    if known.grown["type"] != item.get("type"):
        return False
    if share_id(known.grown, item):
        return True
    has_ids = all(one.get("id") or one.get("call_id") for one in (known.grown, item))
    return not has_ids and (not known.is_done or known.ended == item)


def _is_alike(known: JsonObject, item: JsonObject) -> bool:
    """Tell whether an item can be the one that is known, finished under another id than it was announced."""
    return known.get("type") == item.get("type") and known.get("name") == item.get("name")


def _grow(item: JsonObject, event: JsonObject, key: str) -> None:
    """Add a delta. Pieces are collected in lists, so that long texts take linear time."""
    grown, delta = _find_part(item, event) if key in _TEXTS else item, event.get("delta")
    if not isinstance(pieces := grown.get(key), list):
        is_again = key == "arguments" and str(pieces).endswith("}")  # whole, so the deltas say the same once more
        grown[key] = pieces = list[Json]([pieces if isinstance(pieces, str) and not is_again else ""])
    pieces.append(delta if isinstance(delta, str) else "" if delta is None else encode(delta))
    if len(pieces) > MAX_PIECES:
        pieces[:] = ["".join(map(str, pieces))]


def _join_pieces(item: JsonObject) -> JsonObject:
    """Join the deltas of each field of an item to one text."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    for grown in [item, *(part for part in parts if isinstance(part, dict))]:
        for key in _GROWING.values():
            if isinstance(pieces := grown.get(key), list):
                grown[key] = join_halves("".join(map(str, pieces)))
    return item


def _find_part(item: JsonObject, event: JsonObject) -> JsonObject:
    """Return the event's content part; create it where no event announced it."""
    item.setdefault("type", "message")
    item.setdefault("role", "assistant")
    if not isinstance(content := item.get("content"), list):
        item["content"] = content = list[Json]()
    number = event.get("content_index")
    index = number if isinstance(number, int) and 0 <= number < _MAX_PARTS else 0
    kind = "refusal" if "refusal" in str(event["type"]) else "output_text"
    while len(content) <= index:
        content.append({"type": kind, "annotations": []})
    part = content[index]
    if not isinstance(part, dict):
        content[index] = part = dict[str, Json]()
    return part
