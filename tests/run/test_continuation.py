"""Runs that need the caller: what they say, and the run that takes up its answers."""

import json
from typing import Any

import pytest
from mcp.client.client import ConnectMode

from tests.fakes.bridges import ERAS, open_bridge, text_of
from tests.fakes.items import Json
from tests.fakes.servers import ordered_server
from tests.fakes.upstream import call, message, reasoning, responds

pytestmark = pytest.mark.anyio

LOOK_UP: Json = {"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": False}
DONE = responds(message("done"))
TOOLS = {"tools": ["*", LOOK_UP]}


def look_up(call_id: str = "call_mine") -> Json:
    return call("look_up", {"word": "bridge"}, call_id=call_id)


def output(call_id: str = "call_mine", text: str = "a way across") -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": text}


def kinds(items: list[Json]) -> list[str]:
    return [str(item.get("type", item.get("role"))) for item in items]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_of_the_callers_function_asks_for_its_output_in_both_forms(mode: ConnectMode) -> None:
    made = look_up()
    async with open_bridge(script=[responds(made)], mode=mode) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x", **TOOLS})
    receipt = result.structured_content or {}
    assert (receipt["status"], receipt["incomplete_details"]) == ("needs_input", {"reason": "caller_tools"})
    assert (receipt["pending"], result.is_error) == ([made], False)
    for form in (text_of(result), json.dumps(receipt)):
        assert f"call respond again with run_id {receipt['run_id']}" in form
        assert "call_mine" in form
    assert 'look_up({"word": "bridge"}) [call_mine]' in text_of(result)


async def test_by_run_id_the_run_goes_on_with_all_that_was_and_its_own_arguments() -> None:
    thought, made = reasoning("hm", encrypted="x"), look_up()
    first = {"input": "What is it?", "instructions": "Be brief", "temperature": 0.5, "tool_choice": "required", **TOOLS}
    async with open_bridge(script=[responds(thought, made), DONE]) as bridge:
        earlier = (await bridge.client.call_tool("respond", first)).structured_content or {}
        receipt = await bridge.respond([output()], run_id=earlier["run_id"])
    begun, gone_on = (request.json for request in bridge.requests)
    assert (receipt["status"], receipt["output_text"]) == ("completed", "done")
    assert receipt["run_id"] != earlier["run_id"]
    assert gone_on["input"] == [{"role": "user", "content": "What is it?"}, thought, made, output()]
    assert [gone_on[name] for name in ("instructions", "temperature", "tools")] == [
        *("Be brief", 0.5, begun["tools"]),
    ]
    assert "tool_choice" not in gone_on, "forced again, it would never end"
    assert "run_id" not in gone_on


@pytest.mark.parametrize("way", ["run_id", "previous_response_id", "items"])
async def test_outputs_that_servers_gave_in_the_same_turn_are_sent_too(way: str) -> None:
    ordered = ordered_server()
    ordered.release("a")
    calls = [call("o__answer", {"key": "a"}, call_id="call_theirs"), look_up()]
    async with open_bridge({"o": ordered.server}, script=[responds(*calls), DONE]) as bridge:
        earlier = await bridge.respond(**TOOLS)
        assert [item["call_id"] for item in earlier["pending"]] == ["call_mine"]
        match way:
            case "items":
                history = [{"role": "user", "content": "Hello"}, *earlier["output"]]
                receipt = await bridge.respond([*history, output()], **TOOLS)
            case "run_id":
                receipt = await bridge.respond([output()], run_id=earlier["run_id"])
            case _:
                receipt = await bridge.respond([output()], previous_response_id=earlier["response_id"], **TOOLS)
    sent = bridge.requests[1].json["input"]
    outputs = {item["call_id"]: item["output"] for item in sent if item.get("type") == "function_call_output"}
    assert outputs == {"call_theirs": "a", "call_mine": "a way across"}
    assert (receipt["output_text"], ordered.started) == ("done", ["a"])
    assert kinds(sent) == ["user", "function_call", "function_call", "function_call_output", "function_call_output"]
    assert "previous_response_id" not in bridge.requests[1].json


async def test_several_calls_over_several_turns() -> None:
    script = [responds(look_up("c1"), look_up("c2")), responds(look_up("c3")), DONE]
    async with open_bridge(script=script) as bridge:
        receipt = await bridge.respond(**TOOLS)
        receipt = await bridge.respond([output("c2"), output("c1")], run_id=receipt["run_id"])
        assert [item["call_id"] for item in receipt["pending"]] == ["c3"]
        receipt = await bridge.respond([output("c3")], run_id=receipt["run_id"])
    assert receipt["output_text"] == "done"
    assert kinds(bridge.requests[2].json["input"]) == [
        *("user", "function_call", "function_call", "function_call_output", "function_call_output"),
        *("function_call", "function_call_output"),
    ]


async def test_a_conversation_that_the_upstream_keeps_gets_only_what_is_new() -> None:
    ordered = ordered_server()
    ordered.release("a")
    calls = [call("o__answer", {"key": "a"}, call_id="call_theirs"), look_up()]
    async with open_bridge({"o": ordered.server}, script=[responds(*calls), DONE]) as bridge:
        earlier = await bridge.respond(extra={"conversation": "conv_1"}, **TOOLS)
        await bridge.respond([output()], run_id=earlier["run_id"])
    sent = bridge.requests[1].json
    assert (kinds(sent["input"]), sent["conversation"]) == (["function_call_output"] * 2, "conv_1")


async def test_a_custom_tool_and_a_hosted_approval_go_on_too() -> None:
    custom = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "shell", "input": "ls"}
    asked = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "pay", "server_label": "shop", "arguments": "{}"}
    said = {"type": "custom_tool_call_output", "call_id": "call_1", "output": "README.md"}
    yes = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    tools = {"tools": [{"type": "custom", "name": "shell"}, {"type": "mcp", "server_label": "shop", "server_url": "x"}]}
    script = [responds(custom), responds(asked), DONE]
    async with open_bridge(script=script) as bridge:
        receipt = await bridge.respond(**tools)
        receipt = await bridge.respond([said], run_id=receipt["run_id"])
        result = await bridge.client.call_tool("respond_wait", {"run_id": receipt["run_id"]})
        assert "[needs input: approval; pending: pay({}) of shop [mcpr_1]]" in text_of(result)
        assert "ask the user, do not decide yourself" in text_of(result)
        receipt = await bridge.respond([yes], run_id=receipt["run_id"])
    assert receipt["status"] == "completed"
    assert bridge.requests[2].json["input"][-2:] == [asked, yes]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            {"input": "I do not know"},
            "input: look_up (call_mine) has no answer; give a function_call_output item for it",
        ),
        ({"input": [output("another")]}, "input: look_up (call_mine) has no answer"),
        ({"input": [output()], "previous_response_id": "resp_1"}, "previous_response_id: give either this or run_id"),
    ],
)
async def test_what_is_missing_is_said_before_anything_is_sent(arguments: Json, words: str) -> None:
    async with open_bridge(script=[responds(look_up())]) as bridge:
        earlier = await bridge.respond(**TOOLS)
        result = await bridge.client.call_tool("respond", {**arguments, "run_id": earlier["run_id"]})
        assert words in (result.structured_content or {})["error"]["message"]
        named = {"input": "x", "previous_response_id": earlier["response_id"]}
        result = await bridge.client.call_tool("respond", named)
        assert "look_up (call_mine) has no answer" in (result.structured_content or {})["error"]["message"]
        assert len(bridge.requests) == 1


async def test_a_run_that_is_unknown_cannot_be_gone_on_from() -> None:
    async with open_bridge(script=[]) as bridge:
        receipt = await bridge.respond("y", run_id="run_2")
    assert receipt["error"]["message"].startswith("run_id: there is no such run")


async def test_a_completed_run_is_gone_on_from_as_a_conversation() -> None:
    async with open_bridge(script=[DONE, responds(message("again"))]) as bridge:
        earlier = await bridge.respond()
        assert (await bridge.respond("And then?", run_id=earlier["run_id"]))["output_text"] == "again"
    assert [item.get("role") for item in bridge.requests[1].json["input"]] == ["user", "assistant", "user"]


async def test_a_result_over_the_hosts_limit_still_says_what_is_pending_and_how_to_go_on() -> None:
    ordered = ordered_server()
    ordered.release("a")
    script: list[Any] = [responds(message("x" * 9000), call("o__answer", {"key": "a"}), look_up()), DONE]
    async with open_bridge({"o": ordered.server}, script=script, limits={"result_chars": 3000}) as bridge:
        earlier = await bridge.respond(**TOOLS)
        assert len(json.dumps(earlier)) < 3300
        assert "output" not in earlier
        assert [item["call_id"] for item in earlier["pending"]] == ["call_mine"]
        assert earlier["run_id"] in earlier["notices"][-1]["message"]
        assert (await bridge.respond([output()], run_id=earlier["run_id"]))["status"] == "completed"
