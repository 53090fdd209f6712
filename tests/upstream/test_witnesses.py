"""What the events of a stream told, and what its end says: nothing is lost, nothing runs twice, and what is sent back
is legal. The variants, one by one, are in tests/fakes/witnesses.py."""

import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, cast

import pytest
from mcp.server.mcpserver import MCPServer

from bridge.errors import UpstreamError
from bridge.json_text import encode as write_json
from bridge.upstream.stream import StreamAccumulator
from tests.fakes.bridges import ask, outputs_of
from tests.fakes.events import Event, lifecycle
from tests.fakes.items import Json
from tests.fakes.upstream import Reply, call, message, raw, reasoning, responds
from tests.fakes.validation import validate_request
from tests.fakes.wire import encode, http
from tests.fakes.witnesses import (
    BLANK,
    DONES,
    EMPTY_END,
    blank_item,
    both,
    dropped,
    each,
    is_call,
    of_messages,
    only,
    renamed,
)

pytestmark = pytest.mark.anyio

FACE = "\N{GRINNING FACE}"
HALVES = "\ud83d", "\ude00"


class Echo:
    """A server whose tool gives back a text, and the texts it was called with."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.server = MCPServer("c")

        @self.server.tool()
        async def say(text: str = "") -> str:
            self.said.append(text)
            return text

    async def run(self, *script: Reply) -> tuple[Json, list[Any]]:
        """One run of these replies: its result, and its requests, each of them legal."""
        receipt, requests = await ask(list(script), {"c": self.server}, {"detail": "full"})
        for request in requests[1:]:
            validate_request(request.json)
        return receipt, requests


def say(text: str, **fields: Any) -> Json:
    return call("c__say", {"text": text}, **fields)


def codes_of(receipt: Json) -> list[str]:
    return [notice["code"] for notice in receipt["notices"]]


# What the end lacks


@pytest.mark.rule("R17")
async def test_a_finished_call_that_the_end_lacks_is_run_without_a_word() -> None:
    echo, thought = Echo(), reasoning("hm")
    receipt, (_, again) = await echo.run(
        responds(thought, say("a"), say("b"), events=only(lambda item: not is_call(item))), responds(message("done"))
    )
    assert sorted(echo.said) == ["a", "b"]
    assert outputs_of(again) == ["a", "b"]
    assert (receipt["output_text"], codes_of(receipt)) == ("done", [])


@pytest.mark.rule("R17")
async def test_a_call_that_was_never_finished_and_that_the_end_lacks_is_kept_and_not_run() -> None:
    echo = Echo()
    change = both(dropped("item.done", "arguments.done"), only(lambda item: not is_call(item)))
    receipt, (_, again) = await echo.run(responds(message("So"), say("a"), events=change), responds(message("done")))
    assert echo.said == []
    assert len(outputs_of(again)) == 1
    assert codes_of(receipt) == ["stream_differs"]
    assert "it was not run" in receipt["notices"][0]["message"]


async def test_a_call_that_was_only_announced_is_not_run() -> None:
    echo = Echo()
    change = both(lambda events: [e for e in events if "arguments" not in e["type"]], dropped("item.done"), EMPTY_END)
    receipt, _ = await echo.run(responds(say("a"), events=change), responds(message("done")))
    assert echo.said == []
    assert codes_of(receipt) == ["stream_differs"]


@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.parametrize("change", [each(of_messages(blank_item)), only(is_call)], ids=["empty", "lacking"])
async def test_text_that_the_end_lacks_is_kept_with_a_notice(change: Callable[..., Any], turn: int) -> None:
    echo = Echo()
    first = [responds(say("a"))] if turn == 2 else []
    spoilt = responds(message("Let me see"), say("b"), events=change)
    receipt, requests = await echo.run(*first, spoilt, responds(message("", content=[]), message("done")))
    assert codes_of(receipt) == ["stream_differs"]
    assert "Let me see" in str(requests[-1].json["input"])
    assert outputs_of(requests[-1]) == ["a", "b"][2 - turn :]


async def test_a_call_without_arguments_in_either_account_has_none() -> None:
    echo = Echo()
    made = call("c__say", "")
    receipt, _ = await echo.run(
        responds(made), responds(made | {"id": "fc_2"}, as_json=True), responds(message("done"))
    )
    assert echo.said == ["", ""]
    assert codes_of(receipt) == ["upstream_does_not_stream"]


async def test_the_end_counts_where_both_say_something_else() -> None:
    echo = Echo()
    swap = both(each(lambda item: item | {"arguments": '{"text":"z"}'} if is_call(item) else item))
    await echo.run(responds(say("a"), call("c__say", "{}"), events=swap), responds(message("done")))
    assert echo.said == ["z", "z"]


@pytest.mark.rule("R5")
async def test_items_that_were_only_streamed_are_at_their_places() -> None:
    echo, items = Echo(), [reasoning("hm", encrypted="gAAAA"), message("So"), say("a"), say("b")]
    for left in items:
        receipt, _ = await echo.run(
            responds(*items, events=only(lambda item, left=left: item["id"] == left["id"])), responds(message("done"))
        )
        assert receipt["output"][:4] == items


# Calls that are said twice


@pytest.mark.rule("R17")
@pytest.mark.parametrize("form", [{}, {"empty_final": True}, {"as_json": True}], ids=str)
async def test_two_calls_with_one_call_id_are_two_calls_with_two_ids(form: Json) -> None:
    echo, taken = Echo(), say("c", call_id="call_0_2")
    made = [say("a", call_id="call_0"), say("b", call_id="call_0"), taken, say("a", call_id="call_0")]
    receipt, (_, again) = await echo.run(responds(*made, **form), responds(message("done"), **form))
    assert sorted(echo.said) == ["a", "b", "c"]
    items = again.json["input"][1:]
    assert [item["call_id"] for item in items] == ["call_0", "call_0_3", "call_0_2"] * 2
    assert outputs_of(again) == ["a", "b", "c"]
    assert [made["call_id"] for made in receipt["tool_calls"]] == ["call_0", "call_0_3", "call_0_2"]


# Characters that were split


def split_at_halves(events: list[Any]) -> Iterator[Json]:
    """Each emoji in two deltas."""
    for event in events:
        if isinstance(delta := event.get("delta"), str) and FACE in delta:
            first, *others = delta.split(FACE)
            yield event | {"delta": first + HALVES[0]}
            for other in others[:-1]:
                yield event | {"delta": HALVES[1] + other + HALVES[0]}
            yield event | {"delta": HALVES[1] + others[-1]}
        else:
            yield event


TEXTS = [FACE, f"a{FACE}b", f"{FACE}{FACE}{FACE}", f"值{FACE}值", f"{FACE} and \\ud83d"]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("change", [EMPTY_END, BLANK, both(dropped(*DONES), EMPTY_END)], ids=["end", "blank", "dones"])
async def test_an_emoji_that_is_split_reaches_the_tool_and_the_answer_whole(
    text: str, change: Callable[..., Any]
) -> None:
    echo = Echo()

    def spoil(events: list[Any]) -> Iterable[Event]:
        return change([event | {"sequence_number": n} for n, event in enumerate(split_at_halves(events))])

    receipt, (_, again) = await echo.run(
        responds(say(text), events=spoil), responds(message(f"It is {text}"), events=spoil)
    )
    assert echo.said == [text]
    assert outputs_of(again) == [text]
    assert receipt["output_text"] == f"It is {text}"


def feed(*deltas: str) -> tuple[list[str], Json]:
    """What is told of these deltas while they come, and the response they make."""
    told, place = list[str](), {"output_index": 0, "content_index": 0}
    stream = StreamAccumulator(told.append)
    events: list[Json] = [{"type": "response.output_text.delta", "delta": delta, **place} for delta in deltas]
    for event in [*events, {"type": "response.completed", "response": {"status": "completed"}}]:
        stream.feed(encode(event).decode("utf-8", "surrogateescape"))
    assert stream.final
    return told, dict(stream.final)


@pytest.mark.parametrize(
    ("deltas", "told"),
    [
        (["a" + HALVES[0], HALVES[1] + "b"], ["a", f"{FACE}b"]),
        ([HALVES[0], HALVES[1]], [FACE]),
        ([HALVES[0], "", HALVES[1]], [FACE]),
        ([HALVES[0], HALVES[1] + HALVES[0], HALVES[1]], [FACE, FACE]),
        ([FACE, "b"], [FACE, "b"]),
        (["a" + HALVES[0], "b"], ["a", "\ufffdb"]),
        (["a" + HALVES[0]], ["a", "\ufffd"]),
    ],
    ids=ascii,
)
def test_half_a_character_is_held_back_until_the_other_half_is_there(deltas: list[str], told: list[str]) -> None:
    heard, response = feed(*deltas)
    assert "".join(heard).encode() == "".join(told).encode()
    text = response["output"][0]["content"][0]["text"]
    assert text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") == "".join(told)


@pytest.mark.parametrize("text", [FACE, "值", "é", f"a{FACE}值é"])
async def test_the_bytes_of_a_character_may_be_in_several_events(text: str) -> None:
    answer = f"It is {text}!"
    frames = b"".join(
        b'data: {"type":"response.output_text.delta","output_index":0,"content_index":0,"delta":"%b"}\n\n'
        % bytes([byte])
        for byte in answer.encode()
    )
    end = b'data: {"type":"response.completed","response":{"status":"completed","output":[]}}\n\n'
    reply = raw(http(200, frames + end, {"content-type": "text/event-stream"}), close=False)
    receipt, _ = await ask([reply])
    assert receipt["output_text"] == answer


async def test_parts_that_are_no_part_cost_no_other() -> None:
    receipt, _ = await ask([responds(message("", content=[None, "x", 7, {"type": "text", "text": "y"}]), as_json=True)])
    assert (receipt["status"], receipt["output_text"]) == ("completed", "xy")


# Answers that are there, and answers that are not


SOMETHING: dict[str, list[Json]] = {
    "an image": [{"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": "iVBORw0KGgo="}],
    "a refusal": [message("", content=[{"type": "refusal", "refusal": "No."}])],
    "a part of another type": [message("", content=[{"type": "output_image", "image_url": "data:image/png;base64,"}])],
    "an item of another type": [{"type": "vendor:thing", "id": "v_1"}],
    "a comment": [message("Let me see", phase="commentary")],
}


@pytest.mark.parametrize("items", SOMETHING.values(), ids=SOMETHING)
async def test_what_is_no_text_is_something(items: list[Json]) -> None:
    receipt, requests = await ask([responds(*items, as_json=True)])
    assert (receipt["status"], len(requests)) == ("completed", 1)


@pytest.mark.rule("R5")
async def test_an_empty_answer_is_asked_for_once_more_and_leaves_nothing_in_the_conversation() -> None:
    echo, empty = Echo(), responds(reasoning("hm", encrypted="gAAAA"), message(""))
    receipt, requests = await echo.run(empty, responds(say("a")), empty, responds(message("done")))
    assert (receipt["output_text"], receipt["turns"], echo.said) == ("done", 4, ["a"])
    assert requests[0].json == requests[1].json
    assert requests[2].json == requests[3].json
    assert "hm" not in str(requests[-1].json["input"])
    assert [item["type"] for item in receipt["output"]] == ["function_call", "function_call_output", "message"]


@pytest.mark.rule("R18")
async def test_a_run_whose_answer_is_empty_twice_fails_in_one_clear_sentence() -> None:
    echo, empty = Echo(), responds()
    receipt, _ = await echo.run(responds(message("Let me see"), say("a")), empty, empty)
    assert (receipt["status"], receipt["error"]["code"], receipt["error"]["who"]) == (
        "failed",
        "empty_answer",
        "upstream",
    )
    assert receipt["error"]["message"].startswith("The upstream's answer is empty, twice")
    assert (receipt["output_text"], echo.said) == ("Let me see", ["a"])


async def test_a_last_answer_that_is_empty_twice_leaves_the_limit_as_the_reason() -> None:
    echo, empty = Echo(), responds()
    script = [responds(say("a")), empty, empty]
    receipt, _ = await ask(script, {"c": echo.server}, {"max_turns": 1})
    assert (receipt["status"], receipt["incomplete_details"]) == ("incomplete", {"reason": "max_turns"})
    assert codes_of(receipt)[:1] == ["no_last_answer"]


# Whatever comes

ODD: list[Any] = [None, "", 0, -1, [], {}, [1], {"a": 1}, "function_call", "message", True, "{}", ["x"], "\ud83d"]


def spoil_at_random(value: Any, dice: random.Random) -> Any:
    if dice.random() < 0.04:
        return dice.choice(ODD)
    if isinstance(value, dict):
        return {key: spoil_at_random(inner, dice) for key, inner in value.items() if dice.random() > 0.02}
    return [spoil_at_random(inner, dice) for inner in value] if isinstance(value, list) else value


@pytest.mark.parametrize("seed", range(10))
def test_events_that_are_spoilt_at_random_are_read_or_told_in_an_error(seed: int) -> None:
    dice = random.Random(seed)
    items = [message(f"Hi {FACE}"), say("a"), reasoning("hm"), call("c__say", "{}")]
    true = lifecycle({"status": "completed", "output": items})
    for _ in range(100):
        stream = StreamAccumulator(lambda _: None)
        spoilt = [spoil_at_random(event, dice) for event in dice.sample(true[:-1], len(true) - 1)]
        with suppress(UpstreamError):
            for event in cast("list[Any]", [*spoilt, spoil_at_random(true[-1], dice), true[-1]]):
                if not stream.final:
                    stream.feed(encode(event).decode())
            assert stream.final
            json.loads(write_json(cast("Any", stream.final)))


def test_a_response_of_very_many_calls_is_merged_in_linear_time() -> None:
    def time_for(count: int) -> float:
        items = [say(str(n)) for n in range(count)]
        *events, end = lifecycle({"status": "completed", "output": items})
        other = [renamed(item) | {"arguments": "", "call_id": "x" + item["call_id"]} for item in items]
        stream, began = StreamAccumulator(lambda _: None), time.process_time()
        for event in [*events, cast("Json", end) | {"response": {"output": other}}]:
            stream.feed(encode(cast("Json", event)).decode())
        assert stream.final
        assert [item["arguments"] for item in stream.final["output"]] == [item["arguments"] for item in items]
        return time.process_time() - began

    assert time_for(2000) < 24 * time_for(250)  # linear is 8 times, quadratic 64
