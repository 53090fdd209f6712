"""Collects the events of a streamed response until it is complete.

Only text deltas and the terminal event are parsed on arrival. All other events are stored unparsed, and read only if
they may have told more than the terminal event: some relays leave its output empty, or parts of it.
"""

import re
from collections.abc import Callable

from bridge.errors import UpstreamError
from bridge.items import Notice, Response
from bridge.json_text import Json, JsonObject, encode, scrub, split_half
from bridge.upstream.errors import build_event_error
from bridge.upstream.gathering import Gathering, is_about_items
from bridge.upstream.output import read_items
from bridge.upstream.parse import parse, parse_terminal_event
from bridge.upstream.replies import read_response
from bridge.upstream.retries import has_hosted
from bridge.upstream.statuses import is_final, read_status
from bridge.upstream.witnesses import Tally, Told, close, merge

MAX_STREAM_CHARS = 64 << 20
"""Characters of one stream that are stored: a response that never ends must not use up the memory."""
FOLD_CHARS = 1 << 20
"""Characters of events that are stored as they came; of more than that, only the items that they told of are kept. An
event is a hundred times as long as the word that it brings."""

_TYPE_FIRST = re.compile(r'\s*\{\s*"type"\s*:\s*"([^"\\]*)"')
_TERMINAL = {f"response.{status}": status for status in ("completed", "incomplete", "failed", "cancelled")}
_TERMINAL |= dict.fromkeys(("response.done", "response.complete", "response.finished"), "")
"""The types of the events that end a response, and the status that each names."""
_ERRORS = ("error", "response.error")
_TEXT_DELTAS = ("response.output_text.delta", "response.refusal.delta")
UNREADABLE_END = "unreadable_end"
"""The code of the error for a terminal event that cannot be read: relays truncate long lines."""
MAX_KINDS = 1000
MAX_OPENING_EVENTS = 3
"""How many of the first events are searched for the id of the response."""


class StreamAccumulator:
    """One streamed response. Feed it each event's data; after the terminal event, `final` is the response."""

    def __init__(self, on_text: Callable[[str], None]) -> None:
        self._on_text = on_text
        self._kept: list[str] = []
        self._kept_chars = self._unread_chars = 0
        self._gathering: Gathering | None = None
        """What the events told, once there are too many to keep."""
        self._opening: list[str] = []
        self._kinds = set[str]()
        self._tally = Tally()
        self._chars = 0
        self._half = ""
        """The beginning of a character that was split over two deltas."""
        self.final: Response | None = None
        self.has_output = False
        """True once the upstream has begun to send output."""
        self._odd: list[str] = []
        self._strays: list[str] = []
        self._resumed_after: int | None = None
        self.on_opened: Callable[[str], None] | None = None
        """Called once, with the id of the response as soon as that is known."""

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
            if self.on_opened:
                self._note_opened(self.on_opened)
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
        self._count(len(text))
        self._strays.append(text)

    def list_rest(self) -> list[str]:
        """Return what was not understood: events of no known type, JSON in the place of events, and JSON that was put
        behind an event that had not ended (sub2api#1471)."""
        last = self._kept[-1].rpartition("\n")[2] if self._kept and "\n" in self._kept[-1] else ""
        return [text for text in (*self._odd, last if parse(last) else "", "\n".join(self._strays)) if text]

    def has_hosted(self) -> bool:
        """Tell whether the upstream has begun to run a tool of its own."""
        items = (event.get("item") for event in map(parse, self._kept))
        types = [item.get("type") for item in items if isinstance(item, dict)]
        types += self._gathering.list_types() if self._gathering else []
        kinds = {*self._kinds, *map(_find_type, self._kept)}
        return has_hosted([*(kind.split(".")[1] for kind in kinds), *types])

    def find_position(self) -> tuple[str | None, int | None]:
        """Return the id of the response and the number of the last event, which are needed to resume a cut stream."""
        opening = self._opening or self._kept[:MAX_OPENING_EVENTS]
        events = [parse(data) for data in (*opening, *self._kept[-1:])]
        responses = (event.get("response") for event in events)
        ids = (response.get("id") for response in responses if isinstance(response, dict))
        number = events[-1].get("sequence_number") if events else None
        response_id = next((ident for ident in ids if isinstance(ident, str)), None)
        return response_id, number if isinstance(number, int) else None

    def _note_opened(self, tell: Callable[[str], None]) -> None:
        response_id, _ = self.find_position()
        if response_id:
            self.on_opened = None
            tell(response_id)

    def resume(self) -> "StreamAccumulator":
        """Return itself, prepared for the remaining events; repeated ones are ignored."""
        self._resumed_after = self.find_position()[1]
        return self

    def _is_repeated(self, data: str) -> bool:
        number = parse(data).get("sequence_number")
        return isinstance(number, int) and self._resumed_after is not None and number <= self._resumed_after

    def _keep(self, kind: str, data: str) -> None:
        event = parse(data) if self._gathering or kind in _TEXT_DELTAS else None
        if self._gathering and event is not None:
            self._fold(kind, data, event)
        else:
            self._kept.append(data)
            self._unread_chars += len(data)
        if self._unread_chars > FOLD_CHARS:
            self._fold_all()
        if kind in _TEXT_DELTAS:
            self.has_output = True
            if event and isinstance(delta := event.get("delta"), str):
                self._chars += len(delta)
                if self._half or "\ud800" <= delta[-1:] <= "\udfff":
                    delta, self._half = split_half(self._half + delta)  # half a character waits for its other half
                self._on_text(delta)
        elif kind.startswith("response.output_"):
            self.has_output = True
            self._tally.count(kind, data)

    def _fold_all(self) -> None:
        """Take in what the events have told, and from now on what each tells as it comes; only the last one is kept."""
        kept, self._gathering = self._kept, Gathering()
        self._opening, self._unread_chars = kept[:MAX_OPENING_EVENTS], 0
        for data in kept:
            self._fold(_find_type(data), data, parse(data))

    def _fold(self, kind: str, data: str, event: JsonObject) -> None:
        assert self._gathering
        self._kept = [data]
        if len(self._kinds) < MAX_KINDS:
            self._kinds.add(kind)
        self._count(self._gathering.take(kind, data, event))

    def _gather(self) -> list[Told]:
        """Return the items that all events together told of."""
        gathering = self._gathering or Gathering()
        for data in [] if self._gathering else self._kept:
            if is_about_items(kind := _find_type(data)):
                gathering.take(kind, data, parse(data))
        return gathering.finish()

    def _count(self, chars: int) -> None:
        self._kept_chars += chars
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
            return self.feed(encode({"type": name} | event | {"type": name}))
        if event.get("object") == "chat.completion.chunk":
            message = 'The upstream streams chat completions, not responses; set "stream": "never" for it'
            raise UpstreamError(message, code="chat_stream", who="operator")
        if kind == "" and event.get("error") and "object" not in event:
            raise build_event_error(event)
        self._count(len(data))
        return self._odd.append(data)

    def _finish(self, event_status: str, data: str) -> None:
        """Set `final`. Its status is the response's own, or else the one in the event's name."""
        event = parse_terminal_event(data) if event_status != "failed" else parse(data)
        event = event or parse(data.rpartition("\n")[2])
        is_bare = not event_status and self.has_output and "response" not in event and "type" in event
        response: Json = {} if is_bare else event.get("response")
        if not isinstance(response, dict) and event.get("error"):
            raise build_event_error(event)
        if not isinstance(response, dict):
            raise UpstreamError("The upstream ended its stream without a readable response", code=UNREADABLE_END)
        said = read_status(response.get("status"))
        status = said if is_final(said) else event_status or _infer_status(response)
        if self._half:
            self._on_text(scrub(self._half))
        output, notices = self._complete(response.get("output"), status)
        self.final = read_response(response | {"status": status, "output": output})
        if notices:
            self.final["notices"] = notices

    def _complete(self, output: Json, status: Json) -> tuple[Json, list[Notice]]:
        """Return the items of the terminal event, with what only the other events told; and notices."""
        said = [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []
        if said and not self._gathering and not self._tally.is_over(said, self._chars, self._kept):
            return output, []
        told = self._gather()
        items, notices = merge(said, told, status) if (said := read_items(output)) else close(told, status)
        return list[Json](items), notices


def _infer_status(response: JsonObject) -> str:
    """Tell the status of a response that ended, and does not say how."""
    return "failed" if response.get("error") else "incomplete" if response.get("incomplete_details") else "completed"


def _find_type(data: str) -> str:
    """Return the event's `type`, "" if it has none. Parsed only where it is not the first key, which is rare."""
    first = _TYPE_FIRST.match(data)
    return first[1] if first else str(parse(data).get("type") or "")


def _read_words(text: str) -> Json:
    return parse(text) or text
