"""Streams as upstreams and the networks between really send them: every one is an answer or a clear error."""

import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from typing_extensions import override

from bridge.clock import Clock
from bridge.config.settings import UpstreamConfig
from bridge.errors import UpstreamError
from bridge.items import Response, Turn
from bridge.upstream.client import Upstream
from bridge.upstream.stream import StreamAccumulator
from tests.fakes.bridges import ask, open_bridge, outputs_of
from tests.fakes.clock import VirtualClock
from tests.fakes.events import Event, lifecycle
from tests.fakes.items import example_calls
from tests.fakes.upstream import ScriptedUpstream, call, http_error, message, raw, reasoning, responds
from tests.fakes.wire import http, sse

pytestmark = pytest.mark.anyio

TURN = Turn({"model": "m"}, ('{"role":"user","content":"x"}',), ())
ITEMS = [reasoning("I add.", encrypted="gAAAA"), message("一会儿 😀 é"), call("add", {"a": 123.5, "b": "值"})]
SMALL = {"type": "response.completed", "response": {"status": "completed", "output": [message("é😀值")]}}


def finished(items: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": items} | fields


def body_of(events: Iterable[Event], *, crlf: bool = False) -> bytes:
    """An event stream without its HTTP framing."""
    frames = (e if isinstance(e, str) else f"data: {json.dumps(e, ensure_ascii=False)}\n\n" for e in events)
    text = "".join(frames)
    return (text.replace("\n", "\r\n") if crlf else text).encode()


class Cable(httpx2.AsyncBaseTransport):
    """Answers every request with these pieces of a stream, then with the end of the connection or a reset."""

    def __init__(self, pieces: Iterable[bytes] = (), *, reset: bool = False) -> None:
        self.pieces = pieces
        self.reset = reset

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=self._send())

    async def _send(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece
        if self.reset:
            raise httpx2.ReadError("reset by peer")


def connect(cable: Cable) -> Upstream:
    return Upstream(UpstreamConfig(base_url="http://test.invalid/v1", max_retries=0), clock=Clock(), transport=cable)


async def take(upstream: Upstream) -> Response:
    return await upstream.create(TURN, deadline=1e12, on_event=lambda _: None)


async def receive(pieces: Iterable[bytes]) -> Response:
    """What a stream in these pieces comes to."""
    async with connect(Cable(pieces)) as upstream:
        return await take(upstream)


async def items_of(events: Iterable[Event]) -> list[dict[str, Any]]:
    return (await receive([body_of(events)]))["output"]


# The bytes


@pytest.mark.external
async def test_a_stream_may_come_in_pieces_of_any_size() -> None:
    wire = sse([SMALL], {}, crlf=True)
    sizes = range(1, len(wire) + 1)
    script = [responds(events=[SMALL], chunk=size, crlf=True) for size in sizes]
    async with ScriptedUpstream(script) as server:
        config = UpstreamConfig(base_url=server.base_url, max_retries=0)
        async with Upstream(config, clock=Clock()) as upstream:
            for _ in sizes:
                assert (await take(upstream))["output"] == SMALL["response"]["output"]
        assert server.connections == 1, "a stream that was read to its end leaves its connection for the next"


@pytest.mark.rule("R18", "REL26")
@pytest.mark.external
@pytest.mark.parametrize(("crlf", "reset"), [(False, False), (True, True)], ids=["lf and end", "crlf and reset"])
async def test_a_stream_cut_after_any_byte_is_a_complete_answer_or_a_clear_error(
    crlf: bool, reset: bool, repository: Path
) -> None:
    """The stream of the example's first response: its four calls, after a thought and a comment."""
    body = body_of(lifecycle(finished([*ITEMS[:2], *example_calls()])), crlf=crlf)
    whole = (await receive([body]))["output"]
    cable, codes, answers = Cable(reset=reset), list[str](), 0
    async with connect(cable) as upstream:
        for end in range(len(body) + 1):
            cable.pieces = [body[:end]]
            try:
                assert (await take(upstream))["output"] == whole
                answers += 1
            except UpstreamError as error:
                codes.append(error.code)
    assert set(codes) == {"connection_cut" if reset else "stream_cut"}
    assert answers + len(codes) == len(body) + 1
    page = (repository / "docs" / "track-record.md").read_text(encoding="utf-8")
    assert f"{len(body) + 1:,}" in page, "as it says"
    line_ends = 4 if crlf else 2
    assert 1 <= answers <= line_ends + 1, "nothing but line ends may be missing"


@pytest.mark.rule("R19")
@pytest.mark.parametrize("crlf", [False, True])
async def test_several_items_come_whole_through_the_whole_path(crlf: bool) -> None:
    receipt, _ = await ask([responds(*ITEMS[:2], crlf=crlf, chunk=7)], None, {"detail": "full"})
    assert receipt["output"] == ITEMS[:2]
    assert receipt["output_text"] == "一会儿 😀 é"


async def test_an_event_of_three_megabytes_is_read() -> None:
    story = message("word " * 600_000)
    body = body_of([{"type": "response.completed", "response": finished([story])}])
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    assert (await receive(pieces))["output"] == [story]


@pytest.mark.rule("REL26")
async def test_an_event_that_never_ends_is_given_up_before_it_takes_all_memory() -> None:
    with pytest.raises(UpstreamError, match="over 67,108,864 bytes") as caught:
        await receive(itertools.chain([b"data: "], itertools.repeat(b"x" * (1 << 20))))
    assert caught.value.code == "reply_too_large"


@pytest.mark.external
async def test_a_stream_that_never_ends_is_given_up_before_it_takes_all_memory() -> None:
    piece = body_of([{"type": "response.output_text.delta", "output_index": 0, "delta": "x" * (1 << 20)}])

    def endless() -> Iterable[bytes]:
        while True:
            yield piece

    with pytest.raises(UpstreamError, match="over 67,108,864 characters"):
        await receive(endless())


# The events


def without(*kinds: str) -> Callable[[list[Event]], list[Event]]:
    return lambda events: [e for e in events if isinstance(e, str) or not any(kind in e["type"] for kind in kinds)]


STREAMS: dict[str, Callable[[list[Any]], Iterable[Event]]] = {
    "comments": lambda events: [": OPENROUTER PROCESSING\n\n", *(x for e in events for x in (e, ": hi\n"))],
    "keepalive events": lambda events: [x for e in events for x in ({"type": "keepalive", "sequence_number": 0}, e)],
    "a keepalive first": lambda events: [{"type": "keepalive"}, *events],
    "[DONE] after it": lambda events: [*events, "data: [DONE]\n\n"],
    "[DONE] before it": lambda events: [*events[:-1], "data: [DONE]\n\n", events[-1]],
    "unknown types": lambda events: [x for e in events for x in ({"type": "vendor.thing", "error": {"a": 1}}, e)],
    "unknown response types": lambda events: [x for e in events for x in ({"type": "response.new", "x": [1]}, e)],
    "ids and retries": lambda events: ["id: 7\nretry: 10\n\n", *events],
    "no JSON": lambda events: ["data: hello\n\n", "data: [1]\n\n", "data: " + "[" * 100_000 + "\n\n", *events],
    "numbers that are none": lambda events: ['data: {"type": "response.x", "n": NaN}\n\n', *events],
    "data in several lines": lambda events: [
        *(f"data: {json.dumps(e, indent=1)}".replace("\n", "\ndata: ") + "\n\n" for e in events)
    ],
    "keys in another order": lambda events: [dict(sorted(e.items())) for e in events],
    "nothing but the end": lambda events: events[-1:],
    "no created": without("response.created", "in_progress"),
    "the status missing": lambda events: [*events[:-1], _end(events, status=None)],
    "a status that is not final": lambda events: [*events[:-1], _end(events, status="in_progress")],
    "another error inside": lambda events: [{"type": "response.x", "item": {"type": "error", "message": "?"}}, *events],
}


def _end(events: list[Any], **fields: Any) -> Event:
    return events[-1] | {"response": events[-1]["response"] | fields}


@pytest.mark.rule("R19")
@pytest.mark.parametrize("change", STREAMS.values(), ids=STREAMS)
async def test_what_is_not_understood_does_no_harm(change: Callable[[list[Any]], Iterable[Event]]) -> None:
    response = await receive([body_of(change(lifecycle(finished(ITEMS))))])
    assert response["output"] == ITEMS
    assert response["status"] == "completed"


ANNOTATION: dict[str, Any] = {
    "type": "response.output_text.annotation.added",
    **{"item_id": "msg_1", "output_index": 0, "content_index": 0, "annotation_index": 0},
    "annotation": {"type": "url_citation", "url": "https://example.com", "title": "", "start_index": 0, "end_index": 1},
}
UNREADABLE = 'data: {"type": "response.output_text.done", "output_index": NaN}\n\n'
EMPTY_ENDS: dict[str, Callable[[list[Any]], Iterable[Event]]] = {
    "all events": lambda events: events,
    "interleaved items": lambda events: [
        events[0],
        *sorted(events[1:-1], key=lambda e: ("output_item.done" in e["type"], e["sequence_number"] % 7)),
        events[-1],
    ],
    "no events that finish an item": without("output_item.done"),
    "no deltas": without(".delta"),
    "no dones but of items": without("text.done", "arguments.done", "part.done"),
    "only deltas of text and arguments": without("output_item.done", ".done", "content_part"),
    "item ids but no places": lambda events: [{k: v for k, v in e.items() if k != "output_index"} for e in events],
    "an annotation of the text": lambda events: [*events[:-1], ANNOTATION, events[-1]],
    "an event about an item that cannot be read": lambda events: [*events[:-1], UNREADABLE, events[-1]],
}


@pytest.mark.rule("R19")
@pytest.mark.parametrize("change", EMPTY_ENDS.values(), ids=EMPTY_ENDS)
async def test_an_end_without_output_is_filled_from_the_events(change: Callable[[list[Any]], Iterable[Event]]) -> None:
    items = [message("一会儿 😀 for a while"), call("add", {"a": 1}), call("add", {"b": 2})]
    output = await items_of(change(lifecycle(finished(items), empty_final=True)))
    assert [(item["type"], item.get("arguments")) for item in output] == [
        ("message", None),
        ("function_call", '{"a": 1}'),
        ("function_call", '{"b": 2}'),
    ]
    assert output[0]["content"][0]["text"] == "一会儿 😀 for a while"
    assert [item["call_id"] for item in output[1:]] == [item["call_id"] for item in items[1:]]


@pytest.mark.external
def test_deltas_are_gathered_in_linear_time() -> None:
    delta = json.dumps({"type": "response.output_text.delta", "output_index": 0, "delta": "word "})
    end = json.dumps({"type": "response.completed", "response": finished([])})

    def time_for(count: int) -> float:
        stream = StreamAccumulator(lambda _: None)
        began = time.process_time()
        for _ in range(count):
            stream.feed(delta)
        stream.feed(end)
        took = time.process_time() - began
        assert stream.final
        assert len(json.dumps(stream.final["output"])) > count * 5
        return took

    part, whole = (min(time_for(count) for _ in range(3)) for count in (10_000, 80_000))
    assert whole < 24 * part  # linear is 8 times, quadratic 64


async def test_a_reasoning_item_comes_whole_from_its_own_end() -> None:
    assert await items_of(lifecycle(finished(ITEMS), empty_final=True)) == ITEMS


async def test_a_refusal_and_the_input_of_a_custom_tool_are_gathered_too() -> None:
    place = {"output_index": 0}
    other = {"output_index": 1, "item_id": "ctc_1"}
    tool = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "sh", "input": ""}
    output = await items_of(
        [
            {"type": "response.refusal.delta", "delta": "I would ", **place},
            {"type": "response.output_item.added", "item": tool, **other},
            {"type": "response.refusal.delta", "delta": "rather not", **place},
            {"type": "response.custom_tool_call_input.delta", "delta": "ls ", **other},
            {"type": "response.custom_tool_call_input.delta", "delta": "-l", **other},
            {"type": "response.completed", "response": {"status": "completed"}},
        ]
    )
    assert output[0]["content"][0]["refusal"] == "I would rather not"
    assert output[1] == tool | {"input": "ls -l"}


@pytest.mark.parametrize(
    "event",
    [
        {"type": "response.output_text.delta", "output_index": 0, "content_index": 5000, "delta": "hi"},
        {"type": "response.output_text.delta", "output_index": 0, "content_index": -3, "delta": "hi"},
        {"type": "response.output_text.delta", "output_index": -1, "content_index": None, "delta": "hi"},
        {"type": "response.output_text.delta", "output_index": "x", "content_index": "y", "delta": "hi"},
        {"type": "response.output_text.delta", "delta": "hi"},
        {"type": "response.content_part.done", "output_index": 0, "part": {"type": "output_text", "text": "hi"}},
        {"type": "response.output_text.done", "output_index": 0, "content_index": 2, "text": "hi"},
    ],
    ids=str,
)
async def test_events_with_odd_places_lose_no_text(event: Event) -> None:
    odd = [
        {"type": "response.output_item.added", "output_index": 7, "item": {"type": "message", "content": "text"}},
        {"type": "response.output_text.delta", "output_index": 7, "delta": None},
        {"type": "response.function_call_arguments.delta", "output_index": 9, "delta": "{}"},
        {"type": "response.output_item.done", "output_index": 8, "item": None},
    ]
    output = await items_of([*odd, event, {"type": "response.completed", "response": {"output": []}}])
    assert "hi" in json.dumps(output)
    assert all("type" in item for item in output), "what was never named cannot be sent back"


# How it ends


@pytest.mark.rule("R19")
@pytest.mark.parametrize(
    "event",
    [
        {"type": "error", "code": "bad", "message": "The model is tired", "param": None, "sequence_number": 3},
        {"type": "error", "error": {"type": "x", "code": "bad", "message": "The model is tired"}, "status": 400},
        {"type": "error", "error": {"type": "bad", "code": None, "message": "The model is tired"}},
        {"error": {"code": "bad", "message": "The model is tired"}},
    ],
    ids=["flat", "nested", "nested without a code", "bare"],
)
@pytest.mark.parametrize("followed", [True, False])
async def test_an_error_event_of_either_shape_ends_the_run_with_its_words(event: Event, followed: bool) -> None:
    failed = {"type": "response.failed", "response": {"status": "failed", "error": {"code": "x", "message": "y"}}}
    receipt, requests = await ask([responds(events=lambda events: [*events[:2], event, *([failed] * followed)])])
    assert receipt["error"]["code"] == "bad"
    assert receipt["error"]["message"] == "The upstream broke off its stream: The model is tired"
    assert len(requests) == 1


async def test_a_failed_response_is_told_with_its_code_its_words_and_its_text() -> None:
    error = {"code": "bio_policy", "message": "Not this."}
    receipt, _ = await ask([responds(message("I am"), status="failed", error=error)])
    assert (receipt["status"], receipt["output_text"]) == ("failed", "I am")
    assert (receipt["error"]["code"], receipt["error"]["message"]) == ("bio_policy", "Not this.")


async def test_an_incomplete_response_is_told_with_its_text() -> None:
    receipt, _ = await ask([responds(message("Once upon"), status="incomplete")])
    assert (receipt["status"], receipt["output_text"]) == ("incomplete", "Once upon")


@pytest.mark.parametrize("response", [None, "done", ["x"]])
async def test_an_end_without_a_response_is_an_error(response: object) -> None:
    with pytest.raises(UpstreamError, match="without a readable response"):
        await receive([body_of([{"type": "response.completed", "response": response}])])


async def test_a_stream_of_chat_completion_chunks_is_a_clear_error_and_no_empty_answer() -> None:
    chunk = {"id": "c", "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "hi"}}]}
    receipt, requests = await ask([responds(events=[chunk, "data: [DONE]\n\n"])], upstream={"stream": "always"})
    assert (receipt["error"]["code"], receipt["error"]["who"]) == ("chat_stream", "operator")
    assert '"stream": "never"' in receipt["error"]["message"]
    assert len(requests) == 1


@pytest.mark.rule("R18")
async def test_a_cut_stream_is_asked_for_again() -> None:
    cut_off = raw(http(200, body_of(lifecycle(finished(ITEMS))[:-1]), {"content-type": "text/event-stream"}))
    receipt, requests = await ask([cut_off, responds(message("done"))], clock=VirtualClock(autojump=True))
    assert receipt["output_text"] == "done"
    assert len(requests) == 2


# Streams and JSON


@pytest.mark.rule("R20")
async def test_json_instead_of_a_stream_is_read_with_a_notice_and_no_stream_is_asked_for_again() -> None:
    answer = responds(message("done"), as_json=True)
    async with open_bridge(script=[answer] * 2) as bridge:
        first, second = await bridge.respond(), await bridge.respond()
    assert [request.json.get("stream") for request in bridge.requests] == [True, None]
    assert [notice["code"] for notice in first["notices"]] == ["upstream_does_not_stream"]
    assert second["notices"] == []
    assert first["output_text"] == second["output_text"] == "done"


async def test_json_instead_of_a_stream_that_is_always_wanted_is_read_and_the_next_is_asked_for() -> None:
    answer = responds(call("x"), as_json=True)
    _, requests = await ask([answer, responds(message("done"))], upstream={"stream": "always"})
    assert [request.json.get("stream") for request in requests] == [True, True]


@pytest.mark.rule("R20")
async def test_a_stream_instead_of_json_is_read() -> None:
    receipt, (asked,) = await ask([responds(message("done"), as_sse=True)], upstream={"stream": "never"})
    assert "stream" not in asked.json
    assert (receipt["output_text"], receipt["notices"]) == ("done", [])


@pytest.mark.parametrize(
    "refusal",
    [
        {"error": {"message": "stream is not supported", "code": None}},
        {"detail": "Unsupported parameter: stream"},
        {"error": "Streaming is disabled for this model"},
    ],
    ids=str,
)
@pytest.mark.parametrize("status", [400, 422])
async def test_an_upstream_that_refuses_to_stream_is_asked_without(refusal: dict[str, Any], status: int) -> None:
    script = [http_error(status, refusal), responds(call("x")), responds(message("done"))]
    receipt, requests = await ask(script)
    assert [request.json.get("stream") for request in requests] == [True, None, None]
    assert [notice["code"] for notice in receipt["notices"]] == ["upstream_does_not_stream"]


async def test_a_refusal_that_speaks_of_an_upstream_is_not_about_streams() -> None:
    refusal = {"error": {"message": "upstream error: no such model"}}
    receipt, requests = await ask([http_error(400, refusal)])
    assert (receipt["status"], len(requests)) == ("failed", 1)


async def test_an_upstream_that_refuses_in_either_form_is_asked_for_streams_again() -> None:
    refusal = {"error": {"message": "the stream of consciousness is not allowed"}}
    script = [http_error(400, refusal), http_error(400, refusal), responds(message("done"))]
    async with open_bridge(script=script) as bridge:
        assert (await bridge.respond())["status"] == "failed"
        assert (await bridge.respond())["status"] == "completed"
    assert [request.json.get("stream") for request in bridge.requests] == [True, None, True]


# Chat completions in place of a response

CHAT = {"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"}


def chat(message: dict[str, Any], finish_reason: str = "stop", **fields: Any) -> Any:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish_reason}
    return http_error(200, CHAT | {"choices": [choice]} | fields)


@pytest.mark.rule("R21")
@pytest.mark.parametrize("stream", ["auto", "never"])
async def test_a_chat_completion_is_an_answer(stream: str) -> None:
    usage = {"prompt_tokens": 12, "completion_tokens": 3, "total_tokens": 15}
    receipt, _ = await ask([chat({"content": "你好"}, usage=usage)], upstream={"stream": stream})
    assert (receipt["status"], receipt["output_text"], receipt["response_id"]) == ("completed", "你好", "chatcmpl-1")
    assert receipt["usage"]["input_tokens"] == 12
    assert receipt["usage"]["output_tokens"] == 3


@pytest.mark.parametrize(
    "fields",
    [
        {"tool_calls": [{"id": "call_1", "function": {"name": "current_time", "arguments": "{}"}}]},
        {"tool_calls": [{"function": {"name": "current_time", "arguments": {}}}]},
        {"function_call": {"name": "current_time", "arguments": ""}},
    ],
    ids=["tool calls", "arguments as an object and no id", "the legacy form"],
)
async def test_calls_of_a_chat_completion_are_run_and_sent_back_as_items_that_the_api_describes(
    fields: dict[str, Any],
) -> None:
    from tests.fakes.validation import validate_request

    script = [chat({"content": "One moment", **fields}, "tool_calls"), chat({"content": "It is late"})]
    receipt, (_, again) = await ask(script, builtin_tools=True, upstream={"stream": "never"})
    validate_request(again.json)
    assert len(outputs_of(again)) == 1
    assert receipt["output_text"] == "It is late"
    assert not receipt["tool_calls"][0]["is_error"]


@pytest.mark.parametrize(
    ("fields", "finish", "status", "reason", "text"),
    [
        ({"content": "Once"}, "length", "incomplete", "max_output_tokens", "Once"),
        ({"content": None}, "content_filter", "incomplete", "content_filter", ""),
        ({"content": None, "refusal": "No."}, "stop", "completed", None, "No."),
        ({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "stop", "completed", None, "ab"),
        ({"content": "", "refusal": ""}, "length", "incomplete", "max_output_tokens", ""),
    ],
)
async def test_what_a_chat_completion_says_of_its_end_is_kept(
    fields: dict[str, Any], finish: str, status: str, reason: str | None, text: str
) -> None:
    receipt, _ = await ask([chat(fields, finish, usage=None)])
    assert (receipt["status"], receipt["output_text"]) == (status, text)
    assert (receipt["incomplete_details"] or {}).get("reason") == reason
