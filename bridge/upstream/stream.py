"""The events of one streamed response, gathered until they make a whole.

Only deltas of text and the terminal event are parsed. Everything between is kept as it came and read only if the
terminal event lacks its output, which some relays send empty.
"""

import re
from collections.abc import Callable

from bridge.errors import UpstreamError
from bridge.items import Response
from bridge.json_text import Json, JsonObject
from bridge.upstream.parse import parse, parse_ending
from bridge.upstream.replies import read_error, read_response

MAX_STREAM_CHARS = 64 << 20
"""How much of one stream is kept: a response that never ends must not take all memory."""

_TYPE_FIRST = re.compile(r'\s*\{\s*"type"\s*:\s*"([^"\\]*)"')
_ENDINGS = ("completed", "incomplete", "failed", "cancelled")
_TERMINAL = {f"response.{ending}": ending for ending in _ENDINGS}
_TEXT_DELTAS = ("response.output_text.delta", "response.refusal.delta")
_GROWING = {
    "function_call_arguments": "arguments",
    "custom_tool_call_input": "input",
    "output_text": "text",
    "refusal": "refusal",
}
"""What comes in deltas, and the field that they add up to."""
_MAX_PARTS = 1000
UNREADABLE_END = "unreadable_end"
"""The code of the error for a last event that says nothing: relays cut long lines short."""
MAX_OPENING_EVENTS = 3
"""Among how many the first event stands that names the response."""


class StreamAccumulator:
    """Feed it each event's data; `final` is the response once the terminal event has come."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._kept: list[str] = []
        self._kept_chars = 0
        self.final: Response | None = None
        self.has_output = False
        """Whether the upstream has begun to answer."""
        self._resumed_after: int | None = None

    def feed(self, data: str) -> None:
        """Take one event. Raises UpstreamError for an error event, or for events of another API."""
        kind = _find_type(data)
        if self._resumed_after is not None and self._has_come(data):
            return
        if kind in _TERMINAL:
            self._finish(_TERMINAL[kind], parse_ending(data).get("response"))
        elif kind == "error":
            raise _build_error(parse(data))
        elif kind == "":
            _refuse_stranger(parse(data))
        elif kind.startswith("response."):
            self._keep(kind, data)

    def feed_last(self, data: str) -> None:
        """Take an event behind which the stream ended, if it is whole."""
        if parse(data):
            self.feed(data)

    def find_place(self) -> tuple[str | None, int | None]:
        """The id of the response, and the number of the last event: what it takes to go on after a cut."""
        events = [parse(data) for data in (*self._kept[:MAX_OPENING_EVENTS], *self._kept[-1:])]
        responses = (event.get("response") for event in events)
        ids = (response.get("id") for response in responses if isinstance(response, dict))
        number = events[-1].get("sequence_number") if events else None
        response_id = next((ident for ident in ids if isinstance(ident, str)), None)
        return response_id, number if isinstance(number, int) else None

    def resume(self) -> "StreamAccumulator":
        """Itself, ready for the rest of its events; those that come a second time are left out."""
        self._resumed_after = self.find_place()[1]
        return self

    def _has_come(self, data: str) -> bool:
        number = parse(data).get("sequence_number")
        return isinstance(number, int) and self._resumed_after is not None and number <= self._resumed_after

    def _keep(self, kind: str, data: str) -> None:
        self._kept.append(data)
        self._kept_chars += len(data)
        if self._kept_chars > MAX_STREAM_CHARS:
            raise UpstreamError(
                f"The upstream's stream is over {MAX_STREAM_CHARS:,} characters", code="reply_too_large"
            )
        self.has_output |= kind.startswith("response.output_")
        if kind in _TEXT_DELTAS and isinstance(delta := parse(data).get("delta"), str):
            self._on_text(delta)

    def _finish(self, ending: str, response: Json) -> None:
        """The event's name tells how it ended where the response in it does not."""
        if not isinstance(response, dict):
            raise UpstreamError("The upstream ended its stream without a readable response", code=UNREADABLE_END)
        status = said if (said := response.get("status")) in _ENDINGS else ending
        self.final = read_response(
            response | {"status": status, "output": response.get("output") or self._gather(status)}
        )

    def _gather(self, status: Json) -> list[Json]:
        """The items as the events so far describe them, in their order in the output; complete with the response."""
        items: dict[int, JsonObject] = {}
        for event in map(parse, self._kept):
            _apply(items, event)
        gathered = [_join_pieces(items[index]) for index in sorted(items) if "type" in items[index]]
        open_ended = [item for item in gathered if item.get("status") == "in_progress"]
        for item in open_ended if status == "completed" else ():
            item["status"] = "completed"
        return list(gathered)


def _find_type(data: str) -> str:
    """The event's `type`, without parsing where it is the first key, as it nearly always is; "" if there is none."""
    first = _TYPE_FIRST.match(data)
    return first[1] if first else str(parse(data).get("type") or "")


def _build_error(event: JsonObject) -> UpstreamError:
    """Two shapes exist: flat (OpenAI) and nested under `error` (Open Responses)."""
    error = read_error(event.get("error") or {key: event.get(key) for key in ("code", "message")})
    return UpstreamError(f"The upstream broke off its stream: {error['message']}", code=error["code"])


def _refuse_stranger(event: JsonObject) -> None:
    """Raise for what has no type but a meaning: an error, or the chunks of another API."""
    if event.get("object") == "chat.completion.chunk":
        message = 'The upstream streams chat completions, not responses; set "stream": "never" for it'
        raise UpstreamError(message, code="chat_stream", who="operator")
    if event.get("error"):
        raise _build_error(event)


def _apply(items: dict[int, JsonObject], event: JsonObject) -> None:
    """One event's change to its item; a `done` replaces whatever the deltas before it made."""
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
    """An item whose growing fields are texts: they were gathered as lists, so that a long one takes linear time."""
    content = item.get("content")
    parts = content if isinstance(content, list) else []
    for grown in [item, *(part for part in parts if isinstance(part, dict))]:
        for field in _GROWING.values():
            if isinstance(pieces := grown.get(field), list):
                grown[field] = "".join(map(str, pieces))
    return item


def _find_index(items: dict[int, JsonObject], event: JsonObject) -> int:
    """Which item an event is about, by its place or its id; a new one if neither is known."""
    if isinstance(index := event.get("output_index"), int):
        return index
    item_id = item.get("id") if isinstance(item := event.get("item"), dict) else event.get("item_id")
    return next((place for place, item in items.items() if item_id and item.get("id") == item_id), len(items))


def _find_part(item: JsonObject, event: JsonObject) -> JsonObject:
    """The content part that an event is about, made if no event announced it."""
    item.setdefault("type", "message")
    item.setdefault("role", "assistant")
    if not isinstance(content := item.get("content"), list):
        item["content"] = content = list[Json]()
    index = event.get("content_index")
    place = index if isinstance(index, int) and 0 <= index < _MAX_PARTS else 0
    kind = "refusal" if "refusal" in str(event["type"]) else "output_text"
    while len(content) <= place:
        content.append({"type": kind, "annotations": []})
    part = content[place]
    if not isinstance(part, dict):
        content[place] = part = dict[str, Json]()
    return part
