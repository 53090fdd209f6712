"""Collects the events of a streamed response until it is complete.

Only text deltas and the terminal event are parsed on arrival. All other events are stored unparsed, and read only if
the terminal event has no output: some relays leave that empty.
"""

import re
from collections.abc import Callable

from bridge.errors import UpstreamError
from bridge.items import Response
from bridge.json_text import Json, JsonObject, encode
from bridge.upstream.errors import build_event_error
from bridge.upstream.parse import parse, parse_terminal_event
from bridge.upstream.replies import read_response
from bridge.upstream.retries import has_hosted

MAX_STREAM_CHARS = 64 << 20
"""Characters of one stream that are stored: a response that never ends must not use up the memory."""

_TYPE_FIRST = re.compile(r'\s*\{\s*"type"\s*:\s*"([^"\\]*)"')
_FINAL_STATUSES = ("completed", "incomplete", "failed", "cancelled")
_TERMINAL = {f"response.{status}": status for status in _FINAL_STATUSES}
_ERRORS = ("error", "response.error")
_TEXT_DELTAS = ("response.output_text.delta", "response.refusal.delta")
_GROWING = {
    "function_call_arguments": "arguments",
    "custom_tool_call_input": "input",
    "output_text": "text",
    "refusal": "refusal",
}
"""The kinds of content that arrive in deltas, and the field that the deltas add up to."""
_MAX_PARTS = 1000
UNREADABLE_END = "unreadable_end"
"""The code of the error for a terminal event that cannot be read: relays truncate long lines."""
MAX_OPENING_EVENTS = 3
"""How many of the first events are searched for the id of the response."""


class StreamAccumulator:
    """One streamed response. Feed it each event's data; after the terminal event, `final` is the response."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._kept: list[str] = []
        self._kept_chars = 0
        self.final: Response | None = None
        self._odd: list[str] = []
        self._strays: list[str] = []
        self._resumed_after: int | None = None

    def feed(self, data: str, name: str = "") -> None:
        """Add one event; `name` is that of its `event:` line. Raises UpstreamError for an error event, or for events
        of another API."""
        kind = _find_type(data)
        if self._resumed_after is not None and self._is_repeated(data):
            return
        if kind in _TERMINAL:
            self._finish(_TERMINAL[kind], data)
        elif kind in _ERRORS:
            raise build_event_error(parse(data))
        elif kind.startswith("response."):
            self._keep(kind, data)
        else:
            self._feed_odd(kind, data, name)

    def feed_last(self, data: str, name: str = "") -> None:
        """Add the event that the stream ended in, if it is complete."""
        if parse(data) or name == "error":
            self.feed(data, name)

    def feed_stray(self, line: bytes) -> None:
        """Keep a line that belongs to no event. Raises UpstreamError for an `error:` field."""
        text = line.decode("utf-8", "replace")
        if text.startswith("error:"):
            raise build_event_error(_read_words(text.removeprefix("error:")))
        self._count(text)
        self._strays.append(text)

    def list_rest(self) -> list[str]:
        """Return what was not understood: events of no known type, JSON in the place of events, and JSON that was put
        behind an event that had not ended (sub2api#1471)."""
        last = self._kept[-1].rpartition("\n")[2] if self._kept and "\n" in self._kept[-1] else ""
        return [text for text in (*self._odd, last if parse(last) else "", "\n".join(self._strays)) if text]

    def has_hosted(self) -> bool:
        """Tell whether the upstream has begun to run a tool of its own."""
        items = (event.get("item") for event in map(parse, self._kept))
        subjects = (_find_type(data).split(".")[1] for data in self._kept)
        return has_hosted([*subjects, *(item.get("type") for item in items if isinstance(item, dict))])

    def find_position(self) -> tuple[str | None, int | None]:
        """Return the id of the response and the number of the last event, which are needed to resume a cut stream."""
        events = [parse(data) for data in (*self._kept[:MAX_OPENING_EVENTS], *self._kept[-1:])]
        responses = (event.get("response") for event in events)
        ids = (response.get("id") for response in responses if isinstance(response, dict))
        number = events[-1].get("sequence_number") if events else None
        response_id = next((ident for ident in ids if isinstance(ident, str)), None)
        return response_id, number if isinstance(number, int) else None

    def resume(self) -> "StreamAccumulator":
        """Return itself, prepared for the remaining events; repeated ones are ignored."""
        self._resumed_after = self.find_position()[1]
        return self

    def _is_repeated(self, data: str) -> bool:
        number = parse(data).get("sequence_number")
        return isinstance(number, int) and self._resumed_after is not None and number <= self._resumed_after

    def _keep(self, kind: str, data: str) -> None:
        self._kept.append(data)
        self._count(data)
        if kind in _TEXT_DELTAS and isinstance(delta := parse(data).get("delta"), str):
            self._on_text(delta)

    def _count(self, data: str) -> None:
        self._kept_chars += len(data)
        if self._kept_chars > MAX_STREAM_CHARS:
            raise UpstreamError(
                f"The upstream's stream is over {MAX_STREAM_CHARS:,} characters", code="reply_too_large"
            )

    def _feed_odd(self, kind: str, data: str, name: str) -> None:
        """Add an event whose type is unknown, or stands only on its `event:` line."""
        event = parse(data)
        if name == "error":
            raise build_event_error(_read_words(data))
        if kind == "" and name.startswith("response."):
            return self.feed(encode({"type": name} | event))
        if event.get("object") == "chat.completion.chunk":
            message = 'The upstream streams chat completions, not responses; set "stream": "never" for it'
            raise UpstreamError(message, code="chat_stream", who="operator")
        if kind == "" and event.get("error") and "object" not in event:
            raise build_event_error(event)
        self._count(data)
        return self._odd.append(data)

    def _finish(self, event_status: str, data: str) -> None:
        """Set `final`. Its status is the response's own, or else the one in the event's name."""
        event = parse_terminal_event(data) if event_status != "failed" else parse(data)
        response = event.get("response")
        event = event or parse(data.rpartition("\n")[2])
        if not isinstance(response, dict) and event.get("error"):
            raise build_event_error(event)
        if not isinstance(response, dict):
            raise UpstreamError("The upstream ended its stream without a readable response", code=UNREADABLE_END)
        status = said if (said := response.get("status")) in _FINAL_STATUSES else event_status
        self.final = read_response(
            response | {"status": status, "output": response.get("output") or self._gather(status)}
        )

    def _gather(self, status: Json) -> list[Json]:
        """Build the output items from the stored events, in order; a completed response has only completed items."""
        items: dict[int, JsonObject] = {}
        for event in map(parse, self._kept):
            _apply(items, event)
        gathered = [_join_pieces(items[index]) for index in sorted(items) if "type" in items[index]]
        open_ended = [item for item in gathered if item.get("status") == "in_progress"]
        for item in open_ended if status == "completed" else ():
            item["status"] = "completed"
        return list(gathered)


def _find_type(data: str) -> str:
    """Return the event's `type`, "" if it has none. Parsed only where it is not the first key, which is rare."""
    first = _TYPE_FIRST.match(data)
    return first[1] if first else str(parse(data).get("type") or "")


def _read_words(text: str) -> Json:
    return parse(text) or text


def _apply(items: dict[int, JsonObject], event: JsonObject) -> None:
    """Apply one event to its item; a `done` event replaces what the deltas before it built."""
    subject, _, change = str(event.get("type")).removeprefix("response.").rpartition(".")
    index = _find_index(items, event)
    if subject == "output_item" and isinstance(item := event.get("item"), dict):
        items[index] = item
    elif subject == "content_part" and isinstance(part := event.get("part"), dict):
        _find_part(items.setdefault(index, {}), event).update(part)
    elif field := _GROWING.get(subject):
        item = items.setdefault(index, {})
        grown = _find_part(item, event) if field in ("text", "refusal") else item
        if change == "delta":
            pieces = grown.get(field)
            grown[field] = pieces = pieces if isinstance(pieces, list) else [pieces or ""]
            pieces.append(event.get("delta") or "")
        elif field in event:
            grown[field] = event[field]


def _join_pieces(item: JsonObject) -> JsonObject:
    """Join the deltas of each field to one text. They are collected in lists, so that long texts take linear time."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    for grown in [item, *(part for part in parts if isinstance(part, dict))]:
        for field in _GROWING.values():
            if isinstance(pieces := grown.get(field), list):
                grown[field] = "".join(map(str, pieces))
    return item


def _find_index(items: dict[int, JsonObject], event: JsonObject) -> int:
    """Return the index of the event's item, by `output_index` or by id; a new index where neither is known."""
    if isinstance(index := event.get("output_index"), int):
        return index
    item_id = item.get("id") if isinstance(item := event.get("item"), dict) else event.get("item_id")
    return next((index for index, item in items.items() if item_id and item.get("id") == item_id), len(items))


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
