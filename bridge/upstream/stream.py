"""The events of one streamed response, gathered until they make a whole.

Only deltas of text and the terminal event are parsed. Everything between is kept as it came and read only if the
terminal event lacks its output, which some relays send empty.
"""

import json
import re
from collections.abc import Callable

from bridge.errors import UpstreamError
from bridge.items import Json, JsonObject, Response
from bridge.upstream.replies import read_error, read_response

_TYPE = re.compile(r'"type"\s*:\s*"((?:response\.[a-z_.]+)|error|keepalive)"')
_TERMINAL = ("response.completed", "response.incomplete", "response.failed", "response.cancelled")
_TEXT_DELTAS = ("response.output_text.delta", "response.refusal.delta")


class StreamAccumulator:
    """Feed it each event's data; `final` is the response once the terminal event has come."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._kept: list[str] = []
        self.final: Response | None = None

    def feed(self, data: str) -> None:
        """Take one event. Raises UpstreamError for an error event, or for events of another API."""
        found = _TYPE.search(data)
        kind = found[1] if found else None
        if kind in _TERMINAL:
            self._finish(data)
        elif kind == "error":
            raise self._build_error(_parse(data))
        elif kind is None:
            self._look_at_stranger(data)
        elif kind != "keepalive":
            self._kept.append(data)
            if kind in _TEXT_DELTAS and isinstance(delta := _parse(data).get("delta"), str):
                self._on_text(delta)

    def _finish(self, data: str) -> None:
        response = _parse(data).get("response")
        final = read_response(response if isinstance(response, dict) else {})
        final["output"] = final["output"] or self.gather_items()
        self.final = final

    def _build_error(self, event: JsonObject) -> UpstreamError:
        """Two shapes exist: flat (OpenAI) and nested under `error` (Open Responses)."""
        error = read_error(event.get("error") or {key: event.get(key) for key in ("code", "message")})
        message = f"The upstream broke off its stream: {error['message']}"
        return UpstreamError(message, code=error["code"], who="upstream")

    def _look_at_stranger(self, data: str) -> None:
        event = _parse(data)
        if event.get("object") == "chat.completion.chunk":
            raise UpstreamError(
                'The upstream streams chat completions, not responses; set "stream": "never" for it.',
                code="chat_stream",
                who="operator",
            )
        if event.get("error"):
            raise self._build_error(event)

    def gather_items(self) -> list[JsonObject]:
        """The items as the events so far describe them, in their order in the output."""
        items: dict[int, JsonObject] = {}
        for event in map(_parse, self._kept):
            index = event.get("output_index")
            if isinstance(index, int):
                _apply(items, index, event)
        return [items[index] for index in sorted(items) if items[index]]


def _apply(items: dict[int, JsonObject], index: int, event: JsonObject) -> None:
    """One event's change to the item at `index`; a `done` replaces whatever the deltas before it made."""
    item, kind = items.setdefault(index, {}), str(event["type"])
    match kind.removeprefix("response."):
        case "output_item.added" | "output_item.done" if isinstance(whole := event.get("item"), dict):
            items[index] = whole
        case "function_call_arguments.delta":
            item["arguments"] = str(item.get("arguments") or "") + str(event.get("delta") or "")
        case "function_call_arguments.done":
            item["arguments"] = event.get("arguments")
        case "custom_tool_call_input.delta":
            item["input"] = str(item.get("input") or "") + str(event.get("delta") or "")
        case "custom_tool_call_input.done":
            item["input"] = event.get("input")
        case "content_part.added" | "content_part.done":
            _find_part(item, event).update(part if isinstance(part := event.get("part"), dict) else {})
        case "output_text.delta" | "refusal.delta":
            part, field = _find_part(item, event), "text" if "text" in kind else "refusal"
            part[field] = str(part.get(field) or "") + str(event.get("delta") or "")
        case "output_text.done" | "refusal.done":
            field = "text" if "text" in kind else "refusal"
            _find_part(item, event)[field] = event.get(field)
        case _:
            pass


def _find_part(item: JsonObject, event: JsonObject) -> JsonObject:
    """The content part that an event is about, made if no event announced it."""
    item.setdefault("type", "message")
    item.setdefault("role", "assistant")
    content = item.setdefault("content", [])
    assert isinstance(content, list)
    index = event.get("content_index")
    while len(content) <= (index if isinstance(index, int) and index < 1000 else 0):
        content.append({"type": "refusal" if "refusal" in str(event["type"]) else "output_text", "annotations": []})
    part = content[index if isinstance(index, int) else 0]
    assert isinstance(part, dict)
    return part


def _parse(data: str) -> JsonObject:
    try:
        event: Json = json.loads(data)
    except (ValueError, RecursionError):
        return {}
    return event if isinstance(event, dict) else {}
