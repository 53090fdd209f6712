"""What `respond` returns: complete in its structure and in its text, true about what was done, and never too long."""

import itertools
import json
from functools import partial
from typing import Any

import jsonschema
import pytest
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import MCPServer

from tests.fakes.bridges import ERAS, ask, open_bridge, text_of
from tests.fakes.servers import error_server
from tests.fakes.upstream import Event, Reply, api_error, call, message, reasoning, responds, tokens

pytestmark = pytest.mark.anyio

TIME = responds(call("current_time"))
DONE = responds(message("done"))
LIMIT = 4000


def message_of(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return message("", content=list(parts), **fields)


# Shape


@pytest.mark.rule("L14")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize(
    "script",
    [
        [TIME, DONE],
        [responds(message("x"), status="incomplete")],
        [api_error(400, "Bad")],
        [responds(call("mine"))],
        [responds(message("x"), usage={}, model=None, id=None)],
        [responds(usage={}, model=None, id=None)] * 2,
    ],
    ids=["completed", "incomplete", "failed", "the caller's own", "text alone", "nothing"],
)
async def test_every_result_is_as_the_declared_schema_says(mode: ConnectMode, script: list[Reply]) -> None:
    async with open_bridge(script=script, builtin_tools=True, mode=mode) as bridge:
        tool, *_ = (await bridge.client.list_tools()).tools
        result = await bridge.client.call_tool(
            "respond", {"input": "x", "tools": ["*", {"type": "function", "name": "mine"}], "detail": "full"}
        )
    assert tool.output_schema is not None
    jsonschema.validate(result.structured_content, tool.output_schema)
    assert result.structured_content is not None
    assert result.structured_content.keys() - {"pending"} == {
        *("status", "output_text", "run_id", "response_id", "model", "turns", "tool_calls", "usage"),
        *("incomplete_details", "error", "notices", "output"),
    }


async def test_a_summary_has_no_arguments_outputs_or_items() -> None:
    receipt, _ = await ask([TIME, DONE], builtin_tools=True)
    assert "output" not in receipt
    (made,) = receipt["tool_calls"]
    assert made.keys() == {"turn", "call_id", "name", "server", "tool", "is_error", "duration_ms"}
    assert made["duration_ms"] > 0


@pytest.mark.rule("S29")
async def test_the_full_result_has_every_item_in_order_and_each_calls_arguments_and_output() -> None:
    first = [reasoning("a", encrypted="x"), call("current_time"), call("math_calculator", {"a": 1})]
    script = [responds(*first), responds(message("almost"), call("current_time")), DONE]
    receipt, _ = await ask(script, None, {"detail": "full"}, builtin_tools=True)
    assert [item["type"] for item in receipt["output"]] == [
        *("reasoning", "function_call", "function_call", "function_call_output", "function_call_output"),
        *("message", "function_call", "function_call_output"),
        "message",
    ]
    assert receipt["output"][:3] == first
    assert [(made["turn"], made["arguments"]) for made in receipt["tool_calls"]] == [
        (1, "{}"),
        (1, '{"a": 1}'),
        (2, "{}"),
    ]
    assert [made["output"] for made in receipt["tool_calls"]] == [
        item["output"] for item in receipt["output"] if item["type"] == "function_call_output"
    ]


# The text alone suffices


async def test_the_text_is_the_answer_and_nothing_else_when_all_went_well() -> None:
    async with open_bridge(script=[TIME, DONE], builtin_tools=True) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x"})
    assert text_of(result) == "done"
    assert result.structured_content is not None
    assert text_of(result, 1) == f"[response_id: {result.structured_content['response_id']}]"


@pytest.mark.rule("L14")
async def test_the_text_says_why_there_is_no_answer_and_what_was_done() -> None:
    made = [call("error__refuse"), call("current_time")]
    async with open_bridge(
        {"error": error_server()}, script=[responds(*made), responds(message("so far"))], builtin_tools=True
    ) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x", "max_turns": 1})
    assert not result.is_error
    assert text_of(result).splitlines() == [
        "so far",
        "[incomplete: max_turns, after 2 turns]",
        "[done so far: error__refuse (failed), current_time]",
    ]


async def test_notices_are_in_the_text_too() -> None:
    async with open_bridge(script=[responds(message("x"), as_json=True)]) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x", "max_turns": 99})
    assert [line[:12] for line in text_of(result).splitlines()] == ["x", "[max_turns 9", "[The upstrea"]


# Text of the answer


@pytest.mark.rule("R29")
@pytest.mark.parametrize(
    ("items", "text"),
    [
        ([message("one "), message("two")], "one two"),
        ([message("thinking", phase="commentary"), message("answer", phase="final_answer")], "answer"),
        ([message("thinking", phase="commentary"), message("answer")], "answer"),
        ([message("thinking", phase="commentary")], "thinking"),
        ([message_of({"type": "refusal", "refusal": "I would rather not."})], "I would rather not."),
        ([message_of({"type": "output_text", "text": None}, {"type": "output_text"}, {"type": "x", "text": "y"})], ""),
        ([message("", content="plain")], "plain"),
        ([reasoning("not this"), message("this")], "this"),
    ],
)
async def test_the_text_of_the_answer_is_that_of_its_messages(items: list[dict[str, Any]], text: str) -> None:
    receipt, _ = await ask([responds(*items)], None, {"detail": "full"}, upstream={"stream": "never"})
    assert (receipt["status"], receipt["output_text"]) == ("completed", text)
    assert receipt["output"] == items


async def test_the_answer_is_the_last_turns_text_and_not_the_commentary_before_it() -> None:
    script = [responds(message("Let me see"), call("current_time")), responds(message("Noon"))]
    receipt, _ = await ask(script, builtin_tools=True)
    assert receipt["output_text"] == "Noon"


async def test_the_last_words_of_a_run_that_came_to_none_are_its_text() -> None:
    script = [responds(message("Let me see"), call("current_time")), api_error(400, "Bad")]
    receipt, _ = await ask(script, builtin_tools=True)
    assert (receipt["status"], receipt["output_text"]) == ("failed", "Let me see")


def nest(levels: int) -> Any:
    value: Any = "core"
    for _ in range(levels):
        value = {"in": value}
    return value


@pytest.mark.parametrize("detail", ["summary", "full"])
async def test_nothing_an_upstream_nests_takes_the_receipt_away(detail: str) -> None:
    odd = {"type": "provider:odd", "deep": nest(300)}
    used = {**tokens(1, 2), "deep": nest(300)}
    async with open_bridge(script=[responds(odd, message("x"), usage=used)]) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x", "detail": detail})
    assert result.structured_content is not None
    assert result.structured_content["output_text"] == "x"
    assert result.structured_content["usage"]["total_tokens"] == 3
    if detail == "full":
        assert "core" in result.structured_content["output"][0]["json"]


async def test_an_item_whose_type_is_no_text_and_a_long_id_are_taken_as_they_come() -> None:
    script = [responds({"type": ["function_call"]}, message("x"), id="r" * 1_000_000, model="m" * 100_000)]
    async with open_bridge(script=script) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x"})
    assert result.structured_content is not None
    assert result.structured_content["status"] == "completed"
    assert len(json.dumps(result.structured_content)) < 40_000


@pytest.mark.rule("REL1")
async def test_half_an_emoji_breaks_nothing() -> None:
    made = call("echo__echo", {"text": "\ud83d"}, call_id="call_\ude00")
    server = MCPServer("echo")
    server.tool(name="echo")(lambda: "fine")
    script = [responds(made, model="m\ud83d", id="resp_\ud83d"), responds(message("half \ud83d"), x="\udc00")]
    for mode, stream in itertools.product(ERAS, ("auto", "never")):
        async with open_bridge({"echo": server}, script=script, mode=mode, upstream={"stream": stream}) as bridge:
            result = await bridge.client.call_tool(
                "respond", {"input": "in \udc00", "detail": "full", "instructions": "\ud800"}
            )
        assert result.structured_content is not None
        assert result.structured_content["output_text"] == "half \ufffd"
        json.dumps(result.structured_content, ensure_ascii=False).encode()
        assert text_of(result) == "half \ufffd"
        assert bridge.requests[0].json["input"][0]["content"] == "in \ufffd"


# Usage


def spending(used: object, events: list[Any]) -> list[Event]:
    """These events, with this usage at their end."""
    return [*events[:-1], events[-1] | {"response": events[-1]["response"] | {"usage": used}}]


@pytest.mark.rule("R30")
@pytest.mark.parametrize(
    ("spent", "totals"),
    [
        ([tokens(10, 5), tokens(20, 7)], (30, 12, 42)),
        ([None, tokens(20, 7)], (20, 7, 27)),
        ([{}, {"input_tokens": None, "output_tokens": 3}], (0, 3, 3)),
        ([{"prompt_tokens": 4, "completion_tokens": 2, "total_tokens": 6}, tokens(1, 1)], (5, 3, 8)),
        (["lots", {"input_tokens": "many", "output_tokens": 1.0, "total_tokens": True}], (0, 1, 1)),
    ],
    ids=str,
)
async def test_usage_is_summed_over_turns_whatever_shape_it_has(spent: list[Any], totals: tuple[int, ...]) -> None:
    first, second = (partial(spending, used) for used in spent)
    script = [responds(call("current_time"), events=first), responds(message("x"), events=second)]
    receipt, _ = await ask(script, builtin_tools=True)
    usage = receipt["usage"]
    assert (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"]) == totals
    assert usage["per_turn"] == [used if isinstance(used, dict) else None for used in spent]


# Length


TEXTS = {
    "plain": "word ",
    "new lines": "\n",
    "quotes": '"\\',
    "control characters": "\x01",
    "Chinese": "值",
    "emoji": "😀",
}


@pytest.mark.parametrize("detail", ["summary", "full"])
@pytest.mark.parametrize("piece", TEXTS.values(), ids=TEXTS)
async def test_a_long_answer_is_cut_in_the_middle_to_what_the_host_bears(piece: str, detail: str) -> None:
    text = "Beginning. " + piece * (30_000 // len(piece)) + " The end."
    async with open_bridge(
        script=[responds(message(text))], limits={"result_chars": LIMIT}, upstream={"stream": "never"}
    ) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x", "detail": detail})
    receipt = result.structured_content
    assert receipt is not None
    size = len(json.dumps(receipt, ensure_ascii=False, separators=(",", ":")))
    assert LIMIT * 0.8 < size <= LIMIT, "no more is cut than must be"
    assert len(text_of(result)) <= LIMIT
    assert receipt["output_text"].startswith("Beginning. ")
    assert receipt["output_text"].endswith(" The end.")
    assert "characters left out" in receipt["output_text"]
    assert receipt["notices"][-1]["code"] == "result_cut"


async def test_items_go_first_then_parts_of_the_calls_and_the_answer_stays() -> None:
    server = MCPServer("s")
    server.tool(name="dump")(lambda: "x" * 20_000)
    script = [responds(call("s__dump", {"text": "y" * 20_000})), DONE]
    receipt, _ = await ask(script, {"s": server}, {"detail": "full"}, limits={"result_chars": LIMIT})
    assert receipt["output_text"] == "done"
    assert "output" not in receipt
    (made,) = receipt["tool_calls"]
    assert len(made["output"]) < 500
    assert len(made["arguments"]) < 500
    assert "the items, parts of the calls left out" in receipt["notices"][-1]["message"]


async def test_only_the_items_go_where_that_is_enough() -> None:
    script = [responds(call("current_time"), reasoning("x" * 5000)), DONE]
    receipt, _ = await ask(script, None, {"detail": "full"}, builtin_tools=True, limits={"result_chars": LIMIT})
    assert receipt["notices"][-1]["message"].endswith(": the items left out")
    assert "time" in receipt["tool_calls"][0]["output"] or receipt["tool_calls"][0]["output"]


async def test_a_result_within_the_limit_is_left_alone() -> None:
    receipt, _ = await ask([responds(message("x" * 3000))], limits={"result_chars": LIMIT})
    assert len(receipt["output_text"]) == 3000
    assert receipt["notices"] == []


async def test_even_absurdly_long_names_stay_within_the_limit() -> None:
    calls = [call("n" * 3000, call_id="i" * 3000) for _ in range(3)]
    receipt, _ = await ask([responds(*calls), DONE], limits={"result_chars": LIMIT})
    assert len(json.dumps(receipt, ensure_ascii=False, separators=(",", ":"))) <= LIMIT
    assert receipt["output_text"] == "done"
