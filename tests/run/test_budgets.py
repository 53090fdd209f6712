"""What a run may spend: tokens, money, bytes, patience with a model that goes in circles, and the model's window."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer

from tests.fakes.bridges import ask, open_bridge, outputs_of
from tests.fakes.upstream import Reply, Request, api_error, call, message, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))


def used(tokens: int, *items: dict[str, Any], cached: int = 0) -> Reply:
    """A response that took so many input tokens and a tenth of them for its output."""
    usage = {"input_tokens": tokens, "output_tokens": tokens // 10, "total_tokens": tokens + tokens // 10}
    return responds(*items, usage=usage | {"input_tokens_details": {"cached_tokens": cached}})


def reason(receipt: dict[str, Any]) -> str | None:
    return receipt["incomplete_details"] and receipt["incomplete_details"]["reason"]


def counting_server() -> tuple[MCPServer, list[str]]:
    """A server whose tools note that they ran: `same` answers always the same, `next` never."""
    server, ran = MCPServer("s"), list[str]()

    @server.tool()
    def same(key: str = "") -> str:
        ran.append(f"same {key}".strip())
        return f"as ever {key}"

    @server.tool()
    def next() -> str:
        ran.append("next")
        return str(len(ran))

    @server.tool()
    def long(size: int) -> str:
        ran.append("long")
        return f"{len(ran)}" * size

    return server, ran


async def use(
    turns: list[Reply], arguments: dict[str, Any] | None = None, *, repeat: Sequence[str] = (), **options: Any
) -> tuple[dict[str, Any], list[Request], list[str]]:
    server, ran = counting_server()
    entry = {"command": server, "require_approval": "never", "tools": {"repeat": repeat}}
    receipt, requests = await ask(turns, {"s": entry}, arguments or {}, **options)
    return receipt, requests, ran


# Tokens and money


@pytest.mark.rule("L4")
async def test_a_run_whose_next_turn_would_be_over_its_tokens_gives_its_last_answer() -> None:
    turns = [used(1000, call("s__next")), used(2000, call("s__next")), used(3000, message("so far"))]
    receipt, requests, _ = await use(turns, limits={"tokens": 7000})
    assert (receipt["status"], reason(receipt)) == ("incomplete", "budget")
    assert receipt["output_text"] == "so far"
    assert requests[-1].json["tool_choice"] == "none"
    assert receipt["usage"]["total_tokens"] == 6600


async def test_the_cost_is_counted_by_the_prices_with_what_was_cached() -> None:
    prices = {"gpt-4.1": {"input": 2, "cached_input": 0.5, "output": 8}}
    turns = [used(1_000_000, call("s__next")), used(1_000_000, message("done"), cached=400_000)]
    receipt, _, _ = await use(turns, prices=prices, limits={"tokens": 10_000_000})
    assert receipt["usage"]["cost"] == pytest.approx(2 + 0.8 + 1.2 + 0.2 + 0.8)


@pytest.mark.rule("L4")
async def test_a_run_does_not_cost_more_than_it_may() -> None:
    prices = {"gpt-4.1": {"input": 10, "output": 10}}
    turns = [used(10_000, call("s__next")), used(10_000, call("s__next")), used(10_000, message("so far"))]
    receipt, _, _ = await use(turns, prices=prices, limits={"cost": 0.36})
    assert reason(receipt) == "budget"
    assert receipt["usage"]["cost"] <= 0.36


async def test_without_a_price_a_limit_on_the_cost_is_an_error_before_anything_is_sent() -> None:
    receipt, requests, _ = await use(
        [], {"model": "other"}, limits={"cost": 1}, prices={"m": {"input": 1, "output": 1}}
    )
    assert receipt["error"]["message"] == (
        "model: limits.cost is set, and `prices` in the config has no price for 'other'"
    )
    assert not requests


@pytest.mark.rule("L4")
async def test_what_an_upstream_does_not_count_is_estimated() -> None:
    question = {"input": "x" * 40_000}
    receipt, _, _ = await use(
        [responds(call("s__next"), usage={"input_tokens": 0}), DONE], question, limits={"tokens": 25_000}
    )
    assert reason(receipt) == "budget"


# Calls and bytes


@pytest.mark.rule("L2")
async def test_of_one_turn_only_so_many_calls_are_run_and_the_run_goes_on() -> None:
    calls = [call("s__same", {"key": str(n)}) for n in range(4)]
    receipt, _, ran = await use([responds(*calls), DONE], limits={"max_turn_calls": 2})
    assert sorted(ran) == ["same 0", "same 1"]
    assert receipt["status"] == "completed"
    assert [made["is_error"] for made in receipt["tool_calls"]] == [False, False, True, True]


@pytest.mark.rule("S16")
async def test_the_calls_of_a_turn_share_the_bytes_that_it_may_bring() -> None:
    calls = [call("s__long", {"size": 3000}) for _ in range(4)]
    _, requests, _ = await use([responds(*calls), DONE], limits={"turn_bytes": 4000})
    sizes = [len(output) for output in outputs_of(requests[1])]
    assert all(800 < size < 1300 for size in sizes)


@pytest.mark.rule("L6")
async def test_outputs_beyond_what_a_run_may_bring_end_it() -> None:
    turns = [responds(call("s__long", {"size": 3000})) for _ in range(3)]
    receipt, requests, _ = await use([*turns, DONE], limits={"run_bytes": 8000})
    assert reason(receipt) == "output_bytes"
    assert len(requests) == 4


# Circles


@pytest.mark.rule("L5")
async def test_the_third_equal_call_with_an_equal_result_is_not_run_and_the_fifth_ends_the_run() -> None:
    arguments = ['{"key":"a"}', '{ "key" : "a" }', '{"key":"a"}', '{"key":"a"}', '{"key":"a"}']
    turns = [responds(call("s__same", text)) for text in arguments]
    receipt, requests, ran = await use([*turns, DONE])
    assert ran == ["same a", "same a"]
    assert reason(receipt) == "repeated_call"
    assert json.loads(outputs_of(requests[-1])[2])["error"] == "repeated_call"
    assert len(requests) == 6


@pytest.mark.rule("L5")
async def test_two_calls_in_turn_are_a_circle_too() -> None:
    turns = [responds(call("s__same", {"key": key})) for key in "ababab"]
    receipt, _, ran = await use([*turns, DONE])
    assert ran == ["same a", "same b", "same a", "same b"]
    assert reason(receipt) == "repeated_call"


async def test_a_call_that_brings_something_new_is_no_circle() -> None:
    receipt, _, ran = await use([*[responds(call("s__next"))] * 6, DONE])
    assert (receipt["status"], len(ran)) == ("completed", 6)


async def test_what_may_have_changed_since_may_be_asked_again() -> None:
    turns = [responds(call("s__same")), responds(call("s__next"))] * 4
    receipt, _, ran = await use([*turns, DONE])
    assert (receipt["status"], ran.count("same")) == ("completed", 4)


@pytest.mark.rule("L5")
async def test_a_tool_that_polls_may_be_called_again_and_again() -> None:
    receipt, _, ran = await use([*[responds(call("s__same"))] * 7, DONE], repeat=["same"])
    assert (receipt["status"], len(ran)) == ("completed", 7)


@pytest.mark.rule("L9")
async def test_a_model_that_calls_what_is_not_there_is_stopped_too() -> None:
    receipt, _, _ = await use([*[responds(call(f"nothing_{n}")) for n in range(4)], DONE])
    assert reason(receipt) == "repeated_call"


@pytest.mark.parametrize(
    "usage", [{"total_tokens": 900}, {"input_tokens": -10_000, "output_tokens": 900, "total_tokens": -9100}]
)
async def test_tokens_count_however_oddly_an_upstream_counts_them(usage: dict[str, int]) -> None:
    turns = [responds(call("s__next"), usage=usage), responds(message("done"), usage=usage)]
    receipt, _, _ = await use(turns, limits={"tokens": 1000})
    assert reason(receipt) == "budget"


# The window


@pytest.mark.rule("L6")
async def test_near_the_end_of_the_window_the_oldest_outputs_move_out_and_can_be_read_again() -> None:
    turns = [
        used(1000, call("s__long", {"size": 4000})),
        used(2500, call("s__long", {"size": 4000})),
        used(1200, call("read_output", {"id": 1})),
        used(2000, message("done")),
    ]
    receipt, requests, _ = await use(turns, upstream={"context_window": 4000})
    assert receipt["status"] == "completed"
    assert [notice["code"] for notice in receipt["notices"]] == ["context"]
    first, second = outputs_of(requests[2])
    assert first == "[4,000 bytes moved out to make room; read_output with id 1 has all of it]"
    assert second == "2" * 4000
    assert outputs_of(requests[3])[-1].endswith("1" * 4000)


TOO_LONG = "Your input exceeds the context window of this model. The maximum context length is 2,500 tokens."


@pytest.mark.parametrize("code", ["context_length_exceeded", "invalid_prompt", None])
async def test_a_window_that_a_refusal_tells_of_is_kept_to_from_then_on(code: str | None) -> None:
    turns = [
        responds(call("s__long", {"size": 8000})),
        api_error(400, TOO_LONG, code=code),
        responds(message("done")),
    ]
    receipt, requests, ran = await use(turns)
    assert receipt["output_text"] == "done"
    assert len(outputs_of(requests[2])[0]) < 200
    assert ran == ["long"]


async def test_where_no_room_can_be_made_there_is_what_was_done() -> None:
    turns = [responds(call("s__same")), api_error(400, TOO_LONG, code="context_length_exceeded")]
    receipt, _, _ = await use(turns)
    assert (receipt["status"], reason(receipt)) == ("incomplete", "context")
    assert [made["name"] for made in receipt["tool_calls"]] == ["s__same"]
    assert TOO_LONG in receipt["notices"][0]["message"]


async def test_an_upstream_that_makes_room_by_itself_is_asked_to() -> None:
    _, requests, _ = await use([DONE], upstream={"context_window": 100_000, "compaction": True})
    assert requests[0].json["context_management"] == [{"type": "compaction", "compact_threshold": 80_000}]


async def test_what_the_upstream_has_compacted_is_not_sent_again() -> None:
    compaction = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"}
    _, requests, _ = await use([responds(compaction, call("s__next")), DONE])
    kinds = [item.get("type", "message") for item in requests[1].json["input"]]
    assert kinds == ["compaction", "function_call", "function_call_output"]


async def test_what_has_moved_out_is_out_also_of_an_upstream_that_keeps_responses() -> None:
    turns = [
        used(1000, call("s__long", {"size": 4000})),
        used(2500, call("s__long", {"size": 4000})),
        used(1200, call("s__next")),
        DONE,
    ]
    _, requests, _ = await use(turns, upstream={"context_window": 4000, "state": "previous_response_id"})
    assert ["previous_response_id" in request.json for request in requests] == [False, True, False, True]
    assert outputs_of(requests[2])[0].startswith("[4,000 bytes moved out")


async def test_outputs_of_the_conversation_that_is_gone_on_with_move_out_too() -> None:
    server, _ = counting_server()
    script = [responds(call("s__long", {"size": 8000})), DONE, api_error(400, TOO_LONG), DONE]
    async with open_bridge({"s": server}, script=script) as bridge:
        first = await bridge.respond()
        receipt = await bridge.respond("Go on.", previous_response_id=first["response_id"])
    assert receipt["status"] == "completed"
    assert "moved out" in outputs_of(bridge.requests[-1])[0]


# The last answer


async def test_an_upstream_that_knows_no_tool_choice_none_gives_its_last_answer_without_tools() -> None:
    refusal = api_error(400, "tool_choice 'none' is not supported by this model", code="invalid_value")
    turns = [responds(call("s__next")), refusal, DONE]
    receipt, requests, _ = await use(turns, limits={"max_turns": 1})
    assert (receipt["output_text"], reason(receipt)) == ("done", "max_turns")
    assert requests[1].json["tool_choice"] == "none"
    assert not requests[2].json.keys() & {"tool_choice", "tools"}
