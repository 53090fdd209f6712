"""Upstreams that misbehave: each fault that was seen somewhere, by name, as replies to a conversation of three turns.

The conversation: two calls of `c__add` at once, then one more, then ANSWER. Every reply of it has the fault.
"""

import gzip
import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from tests.fakes.events import Event
from tests.fakes.items import Json, call, message, reasoning
from tests.fakes.upstream import Reply, api_error, cut, html, http_error, raw, responds
from tests.fakes.wire import HEAD, encode

ANSWER = "三 sums, 😀: 3, 7, 11"
Play = Callable[[list[Json]], Sequence[Reply]]
"""The replies to one turn, whose output ought to be these items."""


@dataclass(frozen=True)
class Fault:
    """What an upstream does, and what comes of it."""

    words: str
    play: Play
    outcome: str = "answered"
    """Or the code of the error, or the reason why the run is incomplete."""
    requests: int = 3
    executed: Sequence[tuple[int, int]] = ((1, 2), (3, 4), (5, 6))
    """The arguments of the tool's executions."""
    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])


def turns() -> list[list[Json]]:
    """What the three replies ought to hold."""
    return [
        [
            reasoning("hm", encrypted="gAAAA"),
            message("Let me see", phase="commentary"),
            call("c__add", {"a": 1, "b": 2}),
            call("c__add", {"a": 3, "b": 4}),
        ],
        [call("c__add", {"a": 5, "b": 6})],
        [message(ANSWER)],
    ]


def script(fault: Fault) -> list[Reply]:
    """The replies, in the order in which they are asked for."""
    return [reply for items in turns() for reply in fault.play(items)][: fault.requests]


# How a fault is made


def streamed(change: Callable[[list[Any]], Iterable[Event]] | None = None, **options: Any) -> Play:
    """Replies whose events are changed, or sent in another way."""
    return lambda items: [responds(*items, events=change, **options)]


def edited(edit: Callable[[Json], Json], **options: Any) -> Play:
    """Replies whose items are changed."""
    return lambda items: [responds(*map(edit, items), **options)]


def once(*bad: Reply | Callable[[Reply], Reply]) -> Play:
    """A bad reply, or a good one spoilt, and then a good one."""
    return lambda items: [*(b if isinstance(b, Reply) else b(responds(*items)) for b in bad), responds(*items)]


def at_first(bad: Reply) -> Play:
    """A bad reply to the first request of all, and good ones from then on."""
    return lambda items: [*([bad] if len(items) == len(turns()[0]) else []), responds(*items)]


def only(reply: Reply) -> Play:
    """The same whatever was asked."""
    return lambda _: [reply]


def ended(change: Callable[[Json], Json]) -> Callable[[list[Any]], Iterable[Event]]:
    """The response in the last event changed."""
    return lambda events: [*events[:-1], events[-1] | {"response": change(events[-1]["response"])}]


def without(*kinds: str) -> Callable[[list[Any]], Iterable[Event]]:
    """No events of these kinds, and an end that is empty."""

    def leave_out(events: list[Any]) -> Iterable[Event]:
        kept = [event for event in events if not any(kind in event["type"] for kind in kinds)]
        return ended(lambda response: response | {"output": []})(kept)

    return leave_out


def frames(write: Callable[[str], str], before: str = "") -> Callable[[list[Any]], Iterable[Event]]:
    """Each event written otherwise, from its JSON text."""
    return lambda events: [
        *([before] if before else []),
        *(write(json.dumps(event, ensure_ascii=False)) for event in events),
    ]


def among(*others: Event) -> Callable[[list[Any]], Iterable[Event]]:
    """These before each event."""
    return lambda events: [each for event in events for each in (*others, event)]


def of_calls(edit: Callable[[Json], Json]) -> Callable[[Json], Json]:
    return lambda item: edit(item) if item["type"] == "function_call" else item


def without_key(value: Json, key: str) -> Json:
    return {name: inner for name, inner in value.items() if name != key}


def plain(item: Json) -> Json:
    return item | {"content": item["content"][0]["text"]} if item["type"] == "message" else item


def by_item(events: list[Any]) -> list[list[Any]]:
    """The events of each item."""
    inner = [event for event in events if "output_index" in event]
    return [list(group) for _, group in itertools.groupby(inner, key=lambda event: event["output_index"])]


def interleaved(events: list[Any]) -> Iterable[Event]:
    """An event of each item in turn."""
    mixed = itertools.chain(*itertools.zip_longest(*by_item(events)))
    return without()([*events[:2], *(event for event in mixed if event), events[-1]])


def backwards(events: list[Any]) -> Iterable[Event]:
    """The last item first."""
    return without()([*events[:2], *itertools.chain(*reversed(by_item(events))), events[-1]])


def garbled(events: list[Any]) -> Iterable[Event]:
    """The last event ends in the middle, as if a relay could not bear its length."""
    return [*events[:-1], f"data: {json.dumps(events[-1])[:200]}\n\n"]


def placeless(events: list[Any]) -> Iterable[Event]:
    """Items that are told apart by their ids alone."""
    return without()([without_key(event, "output_index") for event in events])


def bare(body: bytes, kind: str = "application/json") -> Reply:
    """A body that ends with its connection, as HTTP/1.0 has it."""
    return raw(b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-type: %b\r\n\r\n%b" % (kind.encode(), body))


def named_stream(body: bytes) -> Reply:
    """A body under the name of a stream."""
    return bare(body, "text/event-stream")


def told(error: Json) -> Reply:
    """A response that begins, and then an error event."""
    return responds(events=lambda events: [*events[:2], {"type": "error", **error}], as_sse=True)


def untyped(events: list[Any]) -> Iterable[Event]:
    """The types of the events only on their `event:` lines."""
    return [f"event: {event['type']}\ndata: {json.dumps(without_key(event, 'type'))}\n\n" for event in events]


def compressed(body: bytes) -> Reply:
    packed = gzip.compress(body, mtime=0)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ncontent-encoding: gzip\r\ncontent-length: %d\r\n\r\n"
    return raw(head % len(packed) + packed, close=False)


def interim(body: bytes) -> Reply:
    """Another status before the one that counts."""
    head = (
        b"HTTP/1.1 103 Early Hints\r\nlink: </style.css>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
    )
    return raw(head + b"content-length: %d\r\n\r\n" % len(body) + body, close=False)


def chunks(items: list[Json]) -> Sequence[Reply]:
    """A chat completion, which is streamed as such when a stream was asked for."""
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
    streams = [responds(events=[chunk, "data: [DONE]\n\n"])] if len(items) == len(turns()[0]) else []
    return [*streams, as_chat(items)]


def as_event_text(items: list[Json]) -> bytes:
    response = {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": items}
    return b"data: " + encode({"type": "response.completed", "response": response})


def as_json(items: list[Json]) -> bytes:
    return encode({"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": items})


def as_chat(items: list[Json]) -> Reply:
    """The same said as a chat completion."""
    texts = [item["content"][0]["text"] for item in items if item["type"] == "message"]
    calls = [
        {"id": item["call_id"], "type": "function", "function": {"name": item["name"], "arguments": item["arguments"]}}
        for item in items
        if item["type"] == "function_call"
    ]
    said = {"role": "assistant", "content": "".join(texts) or None, **({"tool_calls": calls} if calls else {})}
    choice = {"index": 0, "message": said, "finish_reason": "tool_calls" if calls else "stop"}
    return http_error(200, {"id": "chatcmpl-1", "object": "chat.completion", "model": "m", "choices": [choice]})


FLAT = {"type": "error", "code": "bad", "message": "The model is tired", "param": None, "sequence_number": 2}
NESTED = {"type": "error", "error": {"type": "invalid_request_error", "code": "bad", "message": "The model is tired"}}
OVERLOADED: Json = {"code": "server_is_overloaded", "message": "Not now"}
TIRED = encode({"error": {"code": "bad", "message": "The model is tired"}})
PASSING = encode({"error": OVERLOADED})
RAW = encode({"error": {"message": "Streaming is not supported", "type": "invalid_request_error"}}).decode()
BEHIND: Json = {"message": "Provider returned error", "code": 400, "metadata": {"raw": RAW}}
SEARCH = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "x"}}
VENDOR = {"type": "vendor:thing", "id": "v_1", "payload": {"big": 2**60}}

FAULTS: tuple[Fault, ...] = (
    # The bytes
    Fault("cut before the first byte", once(partial(cut, 0)), requests=6),
    Fault("cut in the headers", once(partial(cut, 20)), requests=6),
    Fault("cut behind the headers", once(partial(cut, HEAD)), requests=6),
    Fault("cut in the middle of an event", once(partial(cut, 1500)), requests=6),
    Fault("cut behind an item", once(partial(cut, "output_item.done")), requests=6),
    Fault("reset in the middle", once(partial(cut, 1500, reset=True)), requests=6),
    Fault("cut in the middle of JSON", once(bare(b'{"object":"response","out')), requests=6),
    Fault("no blank line behind the last event", lambda items: [bare(as_event_text(items), "text/event-stream")]),
    Fault("a few bytes at a time, so that characters are split", streamed(chunk=7)),
    Fault("CR LF line ends", streamed(crlf=True)),
    Fault("CR line ends", streamed(frames(lambda text: f"data: {text}\r\r"))),
    Fault("a byte order mark first", streamed(frames(lambda text: f"data: {text}\n\n", "\ufeff"))),
    Fault("no `event:` lines", streamed(frames(lambda text: f"data: {text}\n\n"))),
    Fault("`event:` lines that say something else", streamed(frames(lambda text: f"event: message\ndata: {text}\n\n"))),
    Fault("no space behind `data:`", streamed(frames(lambda text: f"data:{text}\n\n"))),
    Fault("data in several lines", streamed(frames(lambda text: f"data: {text[0]}\ndata: {text[1:]}\n\n"))),
    Fault("`id:` and `retry:` lines", streamed(frames(lambda text: f"id: 7\nretry: 10\ndata: {text}\n\n"))),
    Fault("compressed", lambda items: [compressed(as_event_text(items) + b"\n\n")]),
    Fault("an interim reply first", lambda items: [interim(as_json(items))]),
    Fault("a body without a length", lambda items: [bare(as_json(items))]),
    # Between the events
    Fault(
        "comments before the first event", streamed(frames(lambda text: f"data: {text}\n\n", ": PROCESSING\n\n" * 9))
    ),
    Fault("comments between the lines of an event", streamed(frames(lambda text: f": hi\ndata: {text}\n: hi\n\n"))),
    Fault("keep-alive events before the first event", streamed(lambda events: [{"type": "keepalive"}, *events])),
    Fault("keep-alive events between all events", streamed(among({"type": "keepalive", "sequence_number": 1}))),
    Fault("events of unknown types", streamed(among({"type": "response.new", "x": [1]}, {"type": "vendor:ping"}))),
    Fault("events that are no JSON", streamed(among("data: hello\n\n", "data: [1\n\n"))),
    Fault("[DONE] behind the end", streamed(lambda events: [*events, "data: [DONE]\n\n"])),
    Fault("[DONE] before the end", streamed(lambda events: [*events[:-1], "data: [DONE]\n\n", events[-1]])),
    # The events
    Fault("every event twice", streamed(lambda events: [each for event in events for each in (event, event)])),
    Fault("no sequence numbers", streamed(lambda events: [without_key(event, "sequence_number") for event in events])),
    Fault("no first events", streamed(lambda events: events[2:])),
    Fault("nothing but the last event", streamed(lambda events: events[-1:])),
    Fault("an empty end", streamed(without())),
    Fault("an end without output", streamed(ended(lambda response: without_key(response, "output")))),
    Fault("an empty end and no deltas", streamed(without(".delta"))),
    Fault("an empty end and no finished items", streamed(without("output_item.done"))),
    Fault(
        "an empty end and only deltas", streamed(without("output_item.done", "_text.done", "arguments.done", "part"))
    ),
    Fault("an empty end and items that interleave", streamed(interleaved)),
    Fault("an empty end and items without places", streamed(placeless)),
    Fault("an empty end and items in reverse", streamed(backwards)),
    Fault("a second response behind the end", streamed(lambda events: [*events, *events])),
    Fault("a status that is not final", streamed(ended(lambda response: response | {"status": "in_progress"}))),
    Fault("usage missing", streamed(ended(lambda response: without_key(response, "usage")))),
    Fault("usage of a chat completion", streamed(ended(lambda response: response | {"usage": {"prompt_tokens": 7}}))),
    Fault("an end of two megabytes", streamed(ended(lambda response: response | {"x": "值" * 700_000}))),
    # What ends a stream otherwise
    Fault("an `error` event, flat", only(responds(events=[FLAT])), "bad", 1, ()),
    Fault("an `error` event, nested", only(responds(events=[NESTED])), "bad", 1, ()),
    Fault("an `error` event that passes", once(responds(events=[FLAT | {"code": "server_error"}])), requests=6),
    Fault("a response that failed and passes", once(responds(status="failed")), requests=6),
    *(
        Fault(f"`{code}` in an `error` event ({report})", once(told({"code": code, "message": "Not now"})), requests=6)
        for code, report in (
            ("server_is_overloaded", "router-for-me/CLIProxyAPI#2712"),
            ("overloaded_error", "Soju06/codex-lb#1313"),
            ("rate_limit_error", "lsdefine/GenericAgent#753"),
            ("too_many_requests", "lsdefine/GenericAgent#753"),
            ("upstream_error", "Wei-Shaw/sub2api#1471"),
            ("internal_server_error", "justrach/codegraff#748"),
            (429, "open-webui/computer#293"),
            ("503", "open-webui/computer#293"),
        )
    ),
    Fault(
        "a response that failed behind its calls, and passes (tailcallhq/forgecode#3040)",
        lambda items: [responds(*items, status="failed", error=OVERLOADED), responds(*items)],
        requests=6,
    ),
    Fault("JSON of an error that passes", once(http_error(200, {"error": OVERLOADED})), requests=6),
    Fault(
        "a pause told in words (openai/codex#2131)",
        once(told({"code": "rate_limit_exceeded", "message": "Please try again in 1.5s."})),
        requests=6,
    ),
    Fault(
        "an error that passes behind a search of the upstream's own",
        only(responds(SEARCH, events=lambda events: [*events[:-1], {"type": "error", **OVERLOADED}])),
        "server_is_overloaded",
        1,
        (),
    ),
    Fault(
        "a plan's limit, with the time of its end (earendil-works/pi#4172)",
        only(told({"code": "usage_limit_reached", "message": "No more", "resets_in_seconds": 9568})),
        "usage_limit_reached",
        1,
        (),
    ),
    Fault("an error as JSON under the name of a stream", only(named_stream(TIRED)), "bad", 1, ()),
    Fault("the same behind a comment", only(named_stream(b": hi\n\n" + TIRED)), "bad", 1, ()),
    Fault("an `error:` field (justrach/codegraff#748)", only(named_stream(b"error: " + TIRED)), "bad", 1, ()),
    Fault("an `error` event without a type", only(named_stream(b"event: error\ndata: " + TIRED)), "bad", 1, ()),
    Fault("an `error` event of words", only(named_stream(b"event: error\ndata: No")), "unnamed_error", 1, ()),
    Fault("a detail in place of an event", only(named_stream(b'data: {"detail":"No"}')), "http_200", 1, ()),
    Fault("`response.error`", only(named_stream(b'data: {"type":"response.error",' + TIRED[1:])), "bad", 1, ()),
    Fault(
        "an error within an event that had not ended (Wei-Shaw/sub2api#1471)",
        once(named_stream(b'data: {"type":"response.completed","resp\ndata: {"type":"error",' + PASSING[1:])),
        requests=6,
    ),
    Fault("a response as JSON under the name of a stream", lambda items: [named_stream(as_json(items))]),
    Fault("types on the `event:` lines alone", streamed(untyped)),
    Fault(
        "a reason in `metadata.raw` (diegosouzapw/OmniRoute#3044)",
        at_first(http_error(400, {"error": BEHIND})),
        requests=4,
    ),
    Fault(
        "the same in a stream, where it lasts (open-webui/computer#293)",
        only(told({"error": BEHIND})),
        "invalid_request_error",
        1,
        (),
    ),
    Fault("usage that is NaN", lambda items: [bare(as_json(items)[:-1] + b',"usage":{"input_tokens":NaN}}')]),
    Fault("a redirect", only(http_error(308, "", {"location": "/v2/responses"})), "http_308", 1, ()),
    Fault("a last event that is cut short", once(responds(events=garbled)), requests=6),
    Fault("no end at all", once(responds(events=lambda events: events[:-1])), requests=6),
    Fault("a response cut short in a call", streamed(status="incomplete"), "max_output_tokens", 1, ()),
    Fault("chunks of a chat completion", chunks, requests=4),
    # Another form than was asked for
    Fault("JSON instead of a stream", streamed(as_json=True)),
    Fault("a stream instead of JSON", streamed(as_sse=True), settings={"stream": "never"}),
    Fault("a stream under the name of JSON", lambda items: [bare(as_event_text(items) + b"\n\n")]),
    Fault("a chat completion", lambda items: [as_chat(items)]),
    Fault("200 with an error", only(http_error(200, {"error": {"message": "No", "code": "bad"}})), "bad", 1, ()),
    Fault("200 with an error that is a text", only(http_error(200, {"error": "No"})), "http_200", 1, ()),
    Fault("200 with a page", only(html(200)), "unreadable_reply", 1, ()),
    Fault("200 with nothing", only(http_error(200, "")), "unreadable_reply", 1, ()),
    Fault("a page of a proxy that passes", once(html(502)), requests=6),
    Fault("a status of its own that passes", once(api_error(529, "overloaded")), requests=6),
    Fault("a refusal to stream", at_first(http_error(400, {"detail": "Streaming is disabled"})), requests=4),
    Fault(
        "a refusal of what is not a stream",
        at_first(http_error(400, {"detail": "Stream must be set to true"})),
        requests=4,
        settings={"stream": "never"},
    ),
    Fault(
        "no credit left",
        only(api_error(429, "You have run out", {"x-should-retry": "true"}, type="insufficient_quota")),
        "insufficient_quota",
        1,
        (),
    ),
    Fault("no such endpoint", only(http_error(404)), "http_404", 1, ()),
    # The items
    Fault("items of unknown types", lambda items: [responds(VENDOR, *items, VENDOR)]),
    Fault("arguments as an object", edited(of_calls(lambda item: item | {"arguments": json.loads(item["arguments"])}))),
    Fault("calls without ids", edited(of_calls(lambda item: without_key(item, "id")))),
    Fault("calls without call ids", edited(of_calls(lambda item: without_key(item, "call_id")))),
    Fault("call ids that repeat across turns", edited(of_calls(lambda item: item | {"call_id": "call_0"}))),
    Fault("ids of 900 characters", edited(lambda item: item | {"id": item["id"] + "x" * 900})),
    Fault("calls that are still in progress", edited(of_calls(lambda item: item | {"status": "in_progress"}))),
    Fault("calls without a status", edited(of_calls(lambda item: without_key(item, "status")))),
    Fault("text as a text and not as parts", edited(plain)),
    Fault("fields that nobody knows", edited(lambda item: item | {"x_new": {"deep": [None, 1.5]}})),
    Fault(
        "calls that are incomplete",
        edited(of_calls(lambda item: item | {"status": "incomplete", "arguments": item["arguments"][:4]})),
        executed=(),
    ),
)
