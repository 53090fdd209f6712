"""The arguments of `respond`: a wrong one is named and nothing is sent; right ones are sent as they are meant."""

import math
from typing import Any, cast, get_type_hints

import pytest
from mcp import MCPError
from mcp.client.client import ConnectMode
from mcp.types import INVALID_PARAMS
from openai.types.responses.response_create_params import ResponseCreateParamsNonStreaming

from bridge.errors import ArgumentError
from bridge.host.schema import ARGUMENTS, OWNED_BY_BRIDGE, clean_arguments
from tests.fakes.bridges import ERAS, ask, open_bridge
from tests.fakes.upstream import call, message, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))
WRONG: list[tuple[dict[str, Any], str]] = [
    ({"input": None}, "input: it is missing"),
    ({"input": ""}, "input: expected a text, or a list"),
    ({"input": []}, "input: expected"),
    ({"input": 5}, "input: expected"),
    ({"input": {"role": "user"}}, "input: expected"),
    ({"input": ["text"]}, "input: expected"),
    ({"input": [{"content": "x"}]}, 'input[0]: an item needs a "type"'),
    ({"input": [{"role": "user", "content": "x"}, {}]}, "input[1]: "),
    ({"model": ""}, "model: "),
    ({"model": 4}, "model: "),
    ({"instructions": ["Be brief"]}, "instructions: "),
    ({"previous_response_id": 1}, "previous_response_id: "),
    ({"tools": "*"}, "tools: "),
    ({"tools": [5]}, "tools[0]: expected a glob"),
    ({"tools": [{"name": "x"}]}, "tools[0]: expected"),
    ({"tools": ["nothing_*"]}, "tools: no tool's name matches 'nothing_*'"),
    ({"tool_choice": "always"}, 'tool_choice: expected "auto"'),
    ({"tool_choice": ["auto"]}, "tool_choice: expected"),
    ({"parallel_tool_calls": "yes"}, "parallel_tool_calls: "),
    ({"max_output_tokens": 0}, "max_output_tokens: "),
    ({"max_output_tokens": 1.5}, "max_output_tokens: "),
    ({"temperature": 2.5}, "temperature: "),
    ({"temperature": "hot"}, "temperature: "),
    ({"reasoning_effort": 3}, "reasoning_effort: "),
    ({"text": "json"}, "text: "),
    ({"metadata": ["a"]}, "metadata: "),
    ({"metadata": {"a": ["b"]}}, "metadata.a: "),
    ({"store": "false"}, "store: "),
    ({"max_turns": 0}, "max_turns: "),
    ({"max_turns": True}, "max_turns: "),
    ({"timeout_s": 0}, "timeout_s: "),
    ({"timeout_s": "60"}, "timeout_s: "),
    ({"detail": "all"}, "detail: "),
    ({"extra": "top_p=1"}, "extra: "),
    ({"extra": {"tools": "web_search"}}, "extra.tools: "),
    ({"extra": {"tools": [{"name": "x"}]}}, "extra.tools[0]: "),
    ({"extra": {"include": "x"}}, "extra.include: "),
    ({"extra": {"reasoning": "high"}}, "extra.reasoning: "),
    *(
        ({"extra": {name: 1}}, f"extra.{name}: ")
        for name in ("input", "model", "stream", "stream_options", "store", "previous_response_id", "tool_choice")
    ),
    ({"extra": {"conversation": "c"}, "previous_response_id": "r"}, "extra.conversation: "),
    ({"max_tokens": 5}, "max_tokens: there is no such argument; did you mean 'max_output_tokens'?"),
    ({"top_p": 1}, "top_p: there is no such argument; other create parameters go into `extra`"),
    ({"Input": "x"}, "Input: there is no such argument; did you mean 'input'?"),
    ({"instructions": "x" * 100_000, "text": "y" * 100_000}, "text: … "),
]


@pytest.mark.rule("R34", "S10b")
@pytest.mark.parametrize(("arguments", "beginning"), WRONG, ids=[f"{n} {b}" for n, (_, b) in enumerate(WRONG)])
async def test_a_wrong_argument_is_named_in_one_sentence_and_nothing_is_sent(
    arguments: dict[str, Any], beginning: str
) -> None:
    async with open_bridge(script=[]) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x"} | arguments)
        assert bridge.requests == []
    assert result.is_error
    receipt = result.structured_content
    assert receipt is not None
    error = receipt["error"]
    assert error["message"].startswith(beginning), error["message"]
    assert "\n" not in error["message"]
    assert len(error["message"]) < 400
    assert (error["code"], error["who"], receipt["run_id"]) in [
        ("invalid_argument", "caller", None),
        ("invalid_argument", "caller", receipt["run_id"] if "tools" in arguments else None),
    ]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_tool_of_another_name_is_a_protocol_error(mode: ConnectMode) -> None:
    async with open_bridge(mode=mode, upstream=None) as bridge:
        with pytest.raises(MCPError, match="Unknown tool: 'reply'") as raised:
            await bridge.client.call_tool("reply", {"input": "x"})
    assert raised.value.code == INVALID_PARAMS


async def test_without_an_upstream_the_error_says_what_to_set() -> None:
    async with open_bridge(upstream=None) as bridge:
        receipt = await bridge.respond()
        tool, *_ = (await bridge.client.list_tools()).tools
    assert (receipt["error"]["code"], receipt["error"]["who"]) == ("no_upstream", "operator")
    assert "OPENAI_API_KEY" in receipt["error"]["message"]
    assert "OPENAI_API_KEY" in (tool.description or "")


async def test_without_a_model_the_error_says_what_to_set_and_naming_one_helps() -> None:
    async with open_bridge(script=[DONE], upstream={"model": None}) as bridge:
        for receipt in (await bridge.respond(), await bridge.respond(model=None)):
            error = receipt["error"]
            assert error["message"].startswith("model: none is configured")
            assert "OPENAI_MODEL" in error["message"]
        assert (await bridge.respond(model="o3-pro"))["status"] == "completed"
    assert bridge.requests[0].json["model"] == "o3-pro"


@pytest.mark.parametrize(
    "value", [math.nan, [-math.inf], {"a": object()}], ids=["nan", "infinity in a list", "an object"]
)
def test_what_is_no_json_is_refused_by_name(value: object) -> None:
    """No host can send it over a wire; a caller in this process can."""
    with pytest.raises(ArgumentError, match=r"^extra: "):
        clean_arguments({"input": "x", "extra": {"top_p": value}})


# What is sent


async def test_a_text_is_one_user_message_and_items_are_sent_as_they_are() -> None:
    items = [{"role": "user", "content": "你好 😀", "x": [None, 1.5]}, {"type": "item_reference", "id": "msg_1"}]
    async with open_bridge(script=[DONE, DONE]) as bridge:
        await bridge.respond("Hello")
        await bridge.respond(items)
    assert bridge.requests[0].json["input"] == [{"role": "user", "content": "Hello"}]
    assert bridge.requests[1].json["input"] == items


async def test_only_what_was_given_is_sent() -> None:
    _, (asked,) = await ask([DONE], upstream={"stream": "never"})
    assert asked.json == {"model": "gpt-4.1", "input": [{"role": "user", "content": "Hello"}]}


@pytest.mark.rule("R34")
async def test_every_argument_reaches_the_upstream() -> None:
    given = {
        "model": "gpt-5",
        "instructions": "Be brief",
        "previous_response_id": "resp_1",
        "tool_choice": "none",
        "parallel_tool_calls": False,
        "max_output_tokens": 100,
        "temperature": 0,
        "text": {"verbosity": "low"},
        "store": True,
        "metadata": {"a": "b"},
    }
    _, (asked,) = await ask(
        [DONE], None, given | {"extra": {"top_p": 0.5, "vendor": {"x": [1]}}}, upstream={"stream": "never"}
    )
    sent = asked.json
    assert {name: sent[name] for name in given} == given
    assert (sent["top_p"], sent["vendor"]) == (0.5, {"x": [1]})


@pytest.mark.rule("R10")
async def test_no_null_is_ever_sent_and_null_means_not_given() -> None:
    names = ["model", "instructions", "tools", "temperature", "metadata", "extra", "store", "max_turns", "timeout_s"]
    nulls: dict[str, Any] = dict.fromkeys(names)
    script = [responds(call("current_time")), DONE] * 2
    async with open_bridge(
        script=script, builtin_tools=True, upstream={"defaults": {"top_p": None, "user": "u"}}
    ) as bridge:
        await bridge.respond(**nulls)
        await bridge.respond(extra={"truncation": None, "user": None, "service_tier": "flex"})
    for request in bridge.requests:
        assert None not in request.json.values()
        assert all(None not in tool.values() for tool in request.json["tools"])
    assert [request.json.get("user") for request in bridge.requests] == ["u", "u", None, None], "null drops a default"


@pytest.mark.rule("R31")
async def test_metadata_values_become_texts_and_are_sent_every_turn() -> None:
    given = {"metadata": {"id": 32, "ratio": 0.5, "yes": True, "name": "值"}}
    _, requests = await ask([responds(call("current_time")), DONE], None, given, builtin_tools=True)
    expected = {"id": "32", "ratio": "0.5", "yes": "true", "name": "值"}
    assert [request.json["metadata"] for request in requests] == [expected, expected]


async def test_what_the_caller_gives_wins_over_extra_and_extra_over_the_defaults() -> None:
    defaults = {"temperature": 0.1, "top_p": 0.1, "user": "d", "metadata": {"a": "d"}, "store": False}
    given = {"temperature": 0.3, "extra": {"temperature": 0.2, "top_p": 0.2}, "store": True}
    _, (asked,) = await ask([DONE], None, given, upstream={"defaults": defaults})
    sent = asked.json
    assert (sent["temperature"], sent["top_p"], sent["user"], sent["store"]) == (0.3, 0.2, "d", True)
    assert sent["metadata"] == {"a": "d"}


async def test_reasoning_effort_joins_what_else_is_said_about_reasoning() -> None:
    defaults = {"reasoning": {"summary": "auto", "effort": "low"}}
    async with open_bridge(script=[DONE] * 3, upstream={"defaults": defaults}) as bridge:
        await bridge.respond()
        await bridge.respond(reasoning_effort="xhigh")
        await bridge.respond(reasoning_effort="high", extra={"reasoning": {"context": "auto"}})
    assert [request.json["reasoning"] for request in bridge.requests] == [
        {"summary": "auto", "effort": "low"},
        {"summary": "auto", "effort": "xhigh"},
        {"context": "auto", "effort": "high"},
    ]


@pytest.mark.parametrize("given", [{"store": False}, {}], ids=["by the caller", "by default"])
async def test_without_a_store_reasoning_is_asked_for_sealed(given: dict[str, Any]) -> None:
    include = ["message.output_text.logprobs", "reasoning.encrypted_content"]
    arguments = given | {"extra": {"include": include}}
    _, (asked,) = await ask([DONE], None, arguments, upstream={"defaults": {"store": False, "include": ["x"]}})
    assert asked.json["include"] == ["reasoning.encrypted_content", "x", "message.output_text.logprobs"]


async def test_with_a_store_nothing_is_included_unasked() -> None:
    _, (asked,) = await ask([DONE], None, {"store": True})
    assert "include" not in asked.json


async def test_extra_tools_are_added_to_ours() -> None:
    search = {"type": "web_search"}
    defaults = {"tools": [{"type": "code_interpreter"}]}
    async with open_bridge(script=[DONE] * 3, builtin_tools=True, upstream={"defaults": defaults}) as bridge:
        await bridge.respond(extra={"tools": [search]})
        await bridge.respond(tools=["current_time"], extra={"tools": [search]})
        await bridge.respond(tools=[])
    _, requests = await ask([DONE], None, {"extra": {"tools": [search]}})
    bodies = [request.json for request in [*bridge.requests, *requests]]
    sent = [[tool.get("name", tool["type"]) for tool in body["tools"]] for body in bodies]
    builtin = ["random_generator", "system_info", "math_calculator", "current_time"]
    assert sent == [
        [*builtin, "code_interpreter", "web_search"],
        ["current_time", "code_interpreter", "web_search"],
        ["code_interpreter"],
        ["web_search"],
    ]


async def test_a_function_that_an_owner_has_is_sent_as_the_caller_wrote_it_and_routed_to_the_owner() -> None:
    mine = {"type": "function", "name": "current_time", "description": "获取当前系统时间", "x": None, "strict": True}
    script = [responds(call("current_time")), DONE]
    receipt, (asked, _) = await ask(script, None, {"tools": ["*", mine]}, builtin_tools=True)
    assert asked.json["tools"][-1] == mine
    assert len(asked.json["tools"]) == 4
    assert receipt["tool_calls"][0]["server"] == "builtin_tools"


async def test_defaults_that_are_parts_of_the_body_make_no_second_one() -> None:
    _, (asked,) = await ask([DONE], upstream={"defaults": {"input": "no", "stream": False}, "stream": "never"})
    assert asked.body.count(b'"input"') == 1
    assert b'"stream"' not in asked.body


SAMPLES: dict[str, Any] = {
    "access_programs": {},
    "background_options": {},
    "context_management": [{"type": "compaction", "compact_threshold": 1000}],
    "conversation": "conv_1",
    "image": {},
    "include": ["message.output_text.logprobs"],
    "max_tool_calls": 3,
    "moderation": {},
    "prompt": {"id": "pmpt_1"},
    "prompt_cache_key": "k",
    "prompt_cache_options": {},
    "prompt_cache_retention": "24h",
    "reasoning": {"effort": "low"},
    "safety_identifier": "u",
    "service_tier": "flex",
    "top_logprobs": 2,
    "top_p": 0.5,
    "truncation": "auto",
    "user": "u",
}
"""A value for each create parameter that has no argument of its own."""


async def test_every_create_parameter_can_be_given_or_is_refused_with_a_reason() -> None:
    known = {*get_type_hints(ResponseCreateParamsNonStreaming), "stream"}
    own = set(cast("dict[str, Any]", ARGUMENTS["properties"]))
    through_extra = known - own - {*OWNED_BY_BRIDGE, "background"}
    assert through_extra == SAMPLES.keys()
    _, (request,) = await ask([DONE], None, {"extra": SAMPLES})
    sent = request.json
    assert {name: sent.get(name) for name in SAMPLES} == SAMPLES
    for name in OWNED_BY_BRIDGE:
        receipt, requests = await ask([], None, {"extra": {name: "x"}})
        assert receipt["error"]["message"].startswith(f"extra.{name}: {name} ")
        assert not requests
