"""What the loop does with each turn: which calls it runs, how failures reach the model, and what it sends next."""

import json
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp.server.mcpserver import MCPServer

from tests.fakes.bridges import ask, open_bridge, outputs_of
from tests.fakes.clock import PATIENCE_S
from tests.fakes.servers import error_server, image_server, ordered_server, rendezvous_server
from tests.fakes.upstream import api_error, call, message, reasoning, responds, tokens

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))


def counting_server() -> tuple[MCPServer, list[dict[str, Any]]]:
    """Tool `add(a, b=1)`, and the arguments of each of its executions."""
    server, executed = MCPServer("counting"), list[dict[str, Any]]()

    @server.tool()
    async def add(a: int = 0, b: int = 1) -> str:
        executed.append({"a": a, "b": b})
        return str(a + b)

    return server, executed


# The calls of one response


@pytest.mark.rule("R1")
async def test_every_call_of_a_response_has_exactly_one_output_in_call_order_before_the_next_request() -> None:
    calls = [call("meet__meet", {"key": str(n)}) for n in range(8)]
    receipt, (_, again) = await ask([responds(*calls), DONE], {"meet": rendezvous_server(8)})
    items = again.json["input"]
    assert [item["call_id"] for item in items[-8:]] == [made["call_id"] for made in calls]
    assert outputs_of(again) == [str(n) for n in range(8)]
    assert len(receipt["tool_calls"]) == 8


@pytest.mark.rule("R2", "L10")
async def test_one_slow_call_keeps_no_other_from_being_answered() -> None:
    ordered = ordered_server()
    calls = [call("o__answer", {"key": key}) for key in ("slow", "quick")]
    async with (
        open_bridge({"o": ordered.server}, script=[responds(*calls), DONE]) as bridge,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(bridge.respond)
        await ordered.reached("slow", "quick")
        ordered.release("quick")
        with anyio.fail_after(PATIENCE_S):
            while ordered.answered != ["quick"]:
                await anyio.lowlevel.checkpoint()
        ordered.release("slow")
    assert outputs_of(bridge.requests[1]) == ["slow", "quick"]


@pytest.mark.rule("R3", "R17")
async def test_every_failure_of_a_call_is_an_output_that_describes_it_and_the_run_goes_on() -> None:
    calls = [
        call("error__refuse"),
        call("error__crash"),
        call("error__break_protocol"),
        call("nobody__knows"),
        call("error__refuse", "{not json"),
        call("error__refuse", status="incomplete"),
        call("error__refuse", "[1]"),
    ]
    receipt, (_, again) = await ask([responds(*calls), DONE], {"error": error_server()})
    codes = [json.loads(output)["error"] for output in outputs_of(again)]
    assert codes == [
        "tool_error",
        "tool_error",
        "protocol_error",
        "unknown_tool",
        "invalid_arguments",
        "incomplete_call",
        "invalid_arguments",
    ]
    assert "out of paper" in outputs_of(again)[0]
    assert "a secret of the server" not in again.body.decode()
    assert receipt["status"] == "completed"
    assert all(made["is_error"] for made in receipt["tool_calls"])


@pytest.mark.rule("R4")
@pytest.mark.parametrize("arguments", ["", None, {}, " \n", "null"])
async def test_missing_arguments_are_an_empty_object(arguments: object) -> None:
    server, executed = counting_server()
    await ask([responds(call("c__add") | {"arguments": arguments}), DONE], {"c": server})
    assert executed == [{"a": 0, "b": 1}]


@pytest.mark.rule("R4", "S32", "L7")
@pytest.mark.parametrize("arguments", ["[]", "7", '"a"', '{"a":1,"a":2}', '{"a":NaN}', '{"a":', "[" * 100_000])
async def test_arguments_that_are_no_json_object_are_refused_and_not_repaired(arguments: str) -> None:
    server, executed = counting_server()
    _, (_, again) = await ask([responds(call("c__add", arguments)), DONE], {"c": server}, upstream={"stream": "never"})
    assert executed == []
    assert json.loads(outputs_of(again)[0])["error"] == "invalid_arguments"


async def test_arguments_that_a_server_sends_as_an_object_are_used_and_sent_back_as_text() -> None:
    server, executed = counting_server()
    item = call("c__add") | {"arguments": {"a": 5}}
    _, (_, again) = await ask([responds(item), DONE], {"c": server}, upstream={"stream": "never"})
    assert executed == [{"a": 5, "b": 1}]
    assert again.json["input"][1]["arguments"] == '{"a":5}'


@pytest.mark.rule("REL27")
async def test_a_call_without_a_call_id_gets_one_that_its_output_shares() -> None:
    server, _ = counting_server()
    item = {key: value for key, value in call("c__add").items() if key not in ("id", "call_id")}
    _, (_, again) = await ask([responds(item, item), DONE], {"c": server})
    made, other, *answers = again.json["input"][1:]
    assert made["call_id"] != other["call_id"]
    assert [answer["call_id"] for answer in answers] == [made["call_id"], other["call_id"]]


@pytest.mark.rule("REL27")
async def test_call_ids_that_repeat_between_turns_and_within_one_do_no_harm() -> None:
    twice = [call("c__add", {"a": 1}, call_id="call_0"), call("c__add", {"a": 2}, call_id="call_0")]
    server, executed = counting_server()
    receipt, requests = await ask([responds(*twice), responds(*twice), DONE], {"c": server})
    assert len(executed) == 4
    assert outputs_of(requests[2]) == ["2", "3", "2", "3"]
    assert [(made["turn"], made["call_id"]) for made in receipt["tool_calls"]] == [
        (1, "call_0"),
        (1, "call_0_2"),
        (2, "call_0"),
        (2, "call_0_2"),
    ]


@pytest.mark.rule("R40", "L9")
async def test_an_unknown_name_is_never_guessed_and_the_model_is_told_near_ones() -> None:
    server, executed = counting_server()
    names = ["c__ad", "add", "C__add", "c__add "]
    _, (_, again) = await ask([responds(*map(call, names)), DONE], {"c": server})
    assert executed == []
    for name, output in zip(names, map(json.loads, outputs_of(again)), strict=True):
        assert (output["error"], output["near_names"]) == ("unknown_tool", ["c__add"]), name


async def test_a_tool_that_was_not_offered_is_not_run() -> None:
    server, executed = counting_server()
    arguments = {"tools": ["current_time"]}
    _, (asked, again) = await ask([responds(call("c__add")), DONE], {"c": server}, arguments, builtin_tools=True)
    assert [tool["name"] for tool in asked.json["tools"]] == ["current_time"]
    assert executed == []
    assert "unknown_tool" in outputs_of(again)[0]


@pytest.mark.rule("R35")
async def test_respond_itself_is_never_offered_to_the_model_nor_run_for_it() -> None:
    _, (asked, again) = await ask([responds(call("respond", {"input": "x"})), DONE], builtin_tools=True)
    assert "respond" not in [tool["name"] for tool in asked.json["tools"]]
    assert "unknown_tool" in outputs_of(again)[0]


@pytest.mark.rule("R17")
@pytest.mark.parametrize("status", ["incomplete", "failed", "cancelled"])
async def test_calls_of_a_response_that_did_not_complete_are_not_run(status: str) -> None:
    server, executed = counting_server()
    receipt, _ = await ask([responds(call("c__add"), status=status)], {"c": server}, upstream={"max_retries": 0})
    assert executed == []
    assert receipt["status"] == ("incomplete" if status == "incomplete" else "failed")
    assert [(done["server"], done["is_error"]) for done in receipt["tool_calls"]] == [(None, True)]


async def test_an_image_reaches_the_model_as_a_content_part() -> None:
    _, (_, again) = await ask([responds(call("image__draw")), DONE], {"image": image_server()})
    text, image, size = outputs_of(again)[0]
    assert text == {"type": "input_text", "text": "one pixel"}
    assert size == {"type": "input_text", "text": '{"width":1,"height":1}'}
    assert image["image_url"].startswith("data:image/png;base64,")


# What is sent


@pytest.mark.rule("R5")
async def test_the_stateless_next_input_is_the_last_one_plus_output_plus_outputs() -> None:
    first, second = [reasoning("a", encrypted="x"), call("c__add", {"a": 1})], [call("c__add", {"a": 2})]
    server, _ = counting_server()
    _, (one, two, three) = await ask([responds(*first), responds(*second), DONE], {"c": server})
    inputs = [request.json["input"] for request in (one, two, three)]
    assert inputs[1][: len(inputs[0]) + 2] == [*inputs[0], *first]
    assert inputs[2][: len(inputs[1]) + 1] == [*inputs[1], *second]
    assert [len(items) for items in inputs] == [1, 4, 6]


@pytest.mark.rule("R6")
async def test_reasoning_is_never_reordered_edited_or_dropped() -> None:
    thoughts = [reasoning(f"thought {n}", encrypted=f"gAAAA{n}", content=[{"type": "x"}]) for n in range(3)]
    output = [thoughts[0], call("c__add"), thoughts[1], message("hm"), thoughts[2], call("c__add")]
    _, (_, again) = await ask([responds(*output), DONE], {"c": counting_server()[0]})
    assert again.json["input"][1:7] == output


@pytest.mark.rule("R7")
async def test_fields_that_nobody_knows_survive_the_round_trip() -> None:
    item = call("c__add", namespace="n", caller={"type": "program", "caller_id": "p"}, x_new=[{"deep": None}, 1.5])
    vendor = {"type": "vendor:thing", "payload": {"ünïcode": "😀", "big": 2**60}}
    _, (_, again) = await ask([responds(vendor, item), DONE], {"c": counting_server()[0]})
    assert again.json["input"][1:3] == [vendor, item]
    assert again.json["input"][3]["caller"] == {"type": "program", "caller_id": "p"}


@pytest.mark.rule("R8")
async def test_after_a_previous_response_the_history_since_then_is_sent_with_its_id_and_all_parameters() -> None:
    arguments = {"previous_response_id": "resp_0", "instructions": "Be brief", "reasoning_effort": "low"}
    _, requests = await ask([responds(call("c__add")), DONE], {"c": counting_server()[0]}, arguments)
    for request in requests:
        assert request.json["previous_response_id"] == "resp_0"
        assert request.json["instructions"] == "Be brief"
        assert request.json["reasoning"] == {"effort": "low"}
        assert request.json["tools"]
    assert len(requests[1].json["input"]) == 3


@pytest.mark.rule("R9")
async def test_in_a_conversation_that_the_upstream_keeps_only_new_items_are_sent() -> None:
    made = call("c__add")
    arguments = {"extra": {"conversation": "conv_1"}}
    _, (asked, again) = await ask([responds(made), DONE], {"c": counting_server()[0]}, arguments)
    assert asked.json["conversation"] == again.json["conversation"] == "conv_1"
    assert [item["call_id"] for item in again.json["input"]] == [made["call_id"]]


@pytest.mark.rule("R9")
async def test_a_default_conversation_gives_way_to_a_previous_response() -> None:
    arguments = {"previous_response_id": "resp_0"}
    _, (asked,) = await ask([DONE], None, arguments, upstream={"defaults": {"conversation": "conv_1"}})
    assert "conversation" not in asked.json


@pytest.mark.rule("R10")
async def test_functions_are_sent_as_not_strict_with_an_object_schema_and_legal_names() -> None:
    server = MCPServer("odd")
    names = ["dotted.name", "spaces and ünïcode", "x" * 80, "plain"]
    for name in names:
        server.tool(name=name, description="长" * 2000)(lambda: "ok")
    _, (asked,) = await ask([DONE], {"odd": server}, builtin_tools=True)
    sent = asked.json["tools"]
    assert len({tool["name"] for tool in sent}) == len(sent) == 9
    for tool in sent:
        assert tool["strict"] is False
        assert set(tool["parameters"]) >= {"type", "properties"}
        assert tool["name"].isascii()
        assert len(tool["name"]) <= 64
        assert len(tool["description"]) <= 1024
        assert None not in tool.values()
    assert sent[-2]["description"] == "长" * 1023 + "…"


@pytest.mark.rule("R15")
@pytest.mark.parametrize(
    ("choice", "later"),
    [
        ("required", "auto"),
        ({"type": "function", "name": "current_time"}, "auto"),
        (
            {"type": "allowed_tools", "mode": "required", "tools": []},
            {"type": "allowed_tools", "mode": "auto", "tools": []},
        ),
        ("none", "none"),
        ("auto", "auto"),
    ],
    ids=str,
)
async def test_a_forced_tool_choice_holds_for_the_first_turn_only(choice: object, later: object) -> None:
    arguments = {"tool_choice": choice}
    made = responds(call("current_time"))
    _, requests = await ask([made, made, DONE], None, arguments, builtin_tools=True)
    assert [request.json["tool_choice"] for request in requests] == [choice, later, later]


@pytest.mark.rule("R24", "REL25")
async def test_a_retry_of_the_upstream_never_runs_a_tool_again() -> None:
    server, executed = counting_server()
    busy = api_error(503, "busy", headers={"retry-after": "0"})
    script = [responds(call("c__add")), busy, busy, DONE]
    receipt, requests = await ask(script, {"c": server})
    assert len(executed) == 1
    assert requests[1].body == requests[2].body == requests[3].body
    assert receipt["output_text"] == "done"


# Parallel runs


@pytest.mark.rule("R38", "S5")
async def test_parallel_respond_calls_share_nothing_even_with_equal_call_ids() -> None:
    ordered = ordered_server()

    def answer(request: Any) -> Any:
        asked = request.json["input"][0]["content"]
        if len(request.json["input"]) == 1:
            return responds(call("o__answer", {"key": asked}, call_id="call_0"), usage=tokens(1, 1))
        return responds(message(f"{asked} got {outputs_of(request)[0]}"), usage=tokens(1, 1))

    receipts: dict[str, Any] = {}
    async with open_bridge({"o": ordered.server}, script=answer) as bridge:

        async def run(key: str) -> None:
            receipts[key] = await bridge.respond(key)

        async with anyio.create_task_group() as tasks:
            for key in ("left", "right"):
                tasks.start_soon(run, key)
            await ordered.reached("left", "right")
            ordered.release("right", "left")
    assert {key: receipt["output_text"] for key, receipt in receipts.items()} == {
        "left": "left got left",
        "right": "right got right",
    }
    assert receipts["left"]["run_id"] != receipts["right"]["run_id"]
    assert [receipt["usage"]["total_tokens"] for receipt in receipts.values()] == [4, 4]


async def test_a_call_whose_input_is_nested_beyond_reading_is_answered_in_words() -> None:
    deep: Any = 1
    for _ in range(600):
        deep = [deep]
    item = {"type": "custom_tool_call", "call_id": "call_1", "name": "c__add", "input": deep}
    server, executed = counting_server()
    receipt, (_, again) = await ask([responds(item), DONE], {"c": server}, upstream={"stream": "never"})
    assert (receipt["status"], executed) == ("completed", [])
    assert "levels deep" in outputs_of(again)[0]


async def test_near_names_are_found_among_very_many() -> None:
    server = MCPServer("many")
    for n in range(300):
        server.add_tool(lambda: "", name=f"tool_{n}")
    server.add_tool(lambda: "", name="calculator")
    _, (_, again) = await ask([responds(call("m__calculater")), DONE], {"m": server})
    assert json.loads(outputs_of(again)[0])["near_names"][0] == "m__calculator"
