"""Responses of shapes that no model has: each ends in an answer or in one clear sentence, in bounded memory.

As orangeboyChen/codebuddy2api#124, agentscope-ai/QwenPaw#7239 and open-webui/open-webui#28817: what is streamed in many
small pieces is kept in pieces, or put together anew with each.
"""

import json
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest
from mcp import Client

from bridge.upstream.output import MAX_ITEMS, distinguish
from bridge.upstream.stream import FOLD_CHARS, MAX_STREAM_CHARS, StreamAccumulator
from tests.fakes.bridges import open_bridge
from tests.fakes.items import Json
from tests.fakes.upstream import Reply, call, message, raw, responds
from tests.fakes.wire import Close, Send, http

pytestmark = pytest.mark.anyio

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
ID = "msg_682f3b9c1e3c8191a9d0c1b2"
MESSAGE: Json = {"type": "message", "id": ID, "role": "assistant", "status": "in_progress", "content": []}
DONE: Json = {"id": "resp_1", "object": "response", "model": "m", "status": "completed"}


def event(kind: str, **fields: Any) -> str:
    return json.dumps({"type": kind, **fields})


def delta(number: int, text: str = "a ", **fields: Any) -> str:
    """A piece of text as the API sends it: a hundred times as long as what it brings."""
    fields = {"item_id": ID, "output_index": 0, "content_index": 0, "delta": text, "logprobs": [], **fields}
    return event("response.output_text.delta", sequence_number=number, obfuscation="x7Kd92mQ", **fields)


def tell(count: int, output: list[Json]) -> Iterator[str]:
    """A stream of so many pieces, which ends with this output."""
    yield event("response.created", response=DONE | {"status": "in_progress", "output": []}, sequence_number=0)
    yield event("response.output_item.added", output_index=0, item=MESSAGE, sequence_number=1)
    for number in range(count):
        yield delta(number + 2)
    yield event("response.completed", response=DONE | {"output": output}, sequence_number=count + 2)


def stream(*events: str) -> Reply:
    """These events over HTTP, many in each piece of the wire."""
    data = HEAD + "".join(f"data: {each}\n\n" for each in events).encode()
    sends = [Send(data[start : start + 65536]) for start in range(0, len(data), 65536)]
    return Reply(lambda _: [*sends, Close()])


def whole(output: Any) -> Reply:
    return raw(http(200, json.dumps(DONE | {"output": output}).encode(), {}), close=False)


def calls(count: int, call_id: str = "call_{n}", **fields: Any) -> list[Json]:
    return [{**call("f", {"n": n}), "call_id": call_id.format(n=n), **fields} for n in range(count)]


async def ask(reply: Reply, **options: Any) -> Json:
    """What one run comes to whose first response is this, and every other an answer; and that the next run works."""
    replies = [reply]

    def script(_: Any) -> Reply:
        return replies.pop() if replies else responds(message("done"))

    async with open_bridge(script=script, upstream={"max_retries": 0}, **options) as bridge:
        receipt = await bridge.respond()
        assert (await bridge.respond("again"))["output_text"] == "done"
    return receipt


@pytest.mark.parametrize("output", [[], [MESSAGE | {"content": [{"type": "output_text", "text": "a " * 15_000}]}]])
def test_many_small_pieces_are_an_answer_in_the_memory_of_what_they_say(output: list[Json]) -> None:
    heard = list[str]()
    accumulator = StreamAccumulator(heard.append)
    events = list(tell(15_000, output))
    sent = sum(map(len, events))
    tracemalloc.start()
    for each in events:
        accumulator.feed(each)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert accumulator.final
    [item] = accumulator.final["output"]
    assert item["content"][0]["text"] == "".join(heard) == "a " * 15_000  # type: ignore[index,call-overload]
    assert sent > 2 * FOLD_CHARS
    assert peak < sent


def test_the_position_of_a_long_stream_is_known_and_what_is_sent_again_is_heard_once() -> None:
    heard = list[str]()
    accumulator = StreamAccumulator(heard.append)
    events = list(tell(10_000, []))
    for each in events[:-1]:
        accumulator.feed(each)
    assert accumulator.find_position() == ("resp_1", 10_001)
    accumulator.resume()
    for each in events[-5:]:
        accumulator.feed(each)
    assert accumulator.final
    assert "".join(heard) == "a " * 10_000


def test_a_tool_of_the_upstreams_own_is_remembered_of_a_long_stream() -> None:
    accumulator = StreamAccumulator(lambda _: None)
    accumulator.feed(
        event("response.output_item.added", output_index=1, item={"type": "web_search_call", "id": "ws_1"})
    )
    for each in list(tell(10_000, []))[:-1]:
        accumulator.feed(each)
    assert accumulator.has_hosted()


@pytest.mark.external
async def test_a_million_pieces_are_an_answer() -> None:
    """They failed, as their events have more characters than may be kept."""
    receipt = await ask(stream(*tell(1_000_000, [])), limits={"result_chars": 5_000_000, "soft_deadline_s": 1800})
    assert (receipt["status"], len(receipt["output_text"])) == ("completed", 2_000_000)


@pytest.mark.external
async def test_a_text_without_end_is_a_clear_limit() -> None:
    piece = delta(0, "a" * (MAX_STREAM_CHARS // 60))
    receipt = await ask(stream(*[piece.replace('": 0,', f'": {n},') for n in range(70)]))
    assert (receipt["status"], receipt["error"]["code"]) == ("failed", "reply_too_large")
    assert receipt["error"]["message"] == "The upstream's stream is over 67,108,864 characters"


async def test_as_many_calls_as_may_be_bring_few_lines_of_progress_and_a_last_answer() -> None:
    lines = list[str]()

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        del progress, total
        lines.append(str(message))

    replies = [whole(calls(3000))]

    def script(_: Any) -> Reply:
        return replies.pop() if replies else responds(message("done"))

    async with open_bridge(script=script) as bridge, Client(bridge.server) as client:
        result = await client.call_tool("respond", {"input": "x"}, progress_callback=hear)
    receipt = result.structured_content or {}
    assert (receipt["incomplete_details"]["reason"], receipt["output_text"]) == ("max_tool_calls", "done")
    about_calls = [line for line in lines if "→" in line or "✗" in line]
    left_out = [int(line.split()[1].replace(",", "")) for line in lines if "more lines about calls" in line]
    assert len(about_calls) + sum(left_out) == 6000
    assert len(lines) < 1000


async def test_calls_without_arguments_that_end_well_are_not_looked_for_one_by_one() -> None:
    made = calls(2000, arguments="{}")
    events = [event("response.output_item.done", output_index=n, item=each) for n, each in enumerate(made)]
    receipt = await ask(stream(*events, event("response.completed", response=DONE | {"output": made})))
    assert receipt["status"] == "incomplete"


def test_calls_with_one_id_get_ids_of_their_own_however_many() -> None:
    made = calls(MAX_ITEMS // 10, "call_1")
    assert len({str(item["call_id"]) for item in distinguish(made)}) == len(made)


SCARCE = "The upstream's response has over 20,000 items"
VALUES = "The upstream's reply has over 2,000,000 JSON values"
TOO_LARGE = {
    "a list of too many items": (lambda: whole([{"type": "x"}] * 100_000), SCARCE),
    "a million items": (lambda: whole([{"type": "x"}] * 1_000_000), VALUES),
    "an item of empty lists": (lambda: whole([MESSAGE | {"content": [[]] * 2_500_000}]), VALUES),
    "places that jump": (
        lambda: stream(*(delta(n, item_id=None, output_index=10**9 - n * 7919) for n in range(25_000))),
        SCARCE,
    ),
}


@pytest.mark.external
@pytest.mark.parametrize("shape", TOO_LARGE)
async def test_what_no_model_sends_is_a_clear_limit(shape: str) -> None:
    build, said = TOO_LARGE[shape]
    receipt = await ask(build())
    assert (receipt["status"], receipt["error"]["code"], receipt["error"]["message"]) == (
        "failed",
        "reply_too_large",
        said,
    )


async def test_long_arguments_of_one_call_end_in_an_answer() -> None:
    """What they say is not looked into: the call is of no tool, and they go back as they came."""
    for arguments in (json.dumps({"a": "x" * 5_000_000}), '{"a":[' + "[]," * 1_000_000 + "1]}"):
        receipt = await ask(whole([call("f", {}) | {"arguments": arguments}]), limits={"tokens": 100_000_000})
        assert (receipt["status"], receipt["output_text"]) == ("completed", "done")
