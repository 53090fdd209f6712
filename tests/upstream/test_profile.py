"""Upstreams that bear less than OpenAI's: what is known beforehand, what is learned, what a caller hears of it."""

import re
from dataclasses import fields
from typing import Any, get_args

import pytest

from bridge.config.settings import ProfileName, UpstreamConfig
from bridge.errors import ConfigError
from bridge.upstream.profile import PRESETS, Profile, choose_profile
from tests.fakes.bridges import ask, configure, open_bridge, open_without_host, outputs_of
from tests.fakes.servers import image_server
from tests.fakes.upstream import (
    Reply,
    Request,
    ScriptedUpstream,
    api_error,
    call,
    http_error,
    message,
    reasoning,
    responds,
)

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
DONE = responds(message("done"))
TIME = responds(reasoning("hm", encrypted="gAAAA"), call("current_time"))


def notices_of(receipt: Json) -> list[str]:
    return [notice["message"] for notice in receipt["notices"]]


# Parameters


def says(words: str, **error: Any) -> Reply:
    return api_error(400, words, **error)


REFUSED: dict[str, tuple[Reply, Json, list[str]]] = {
    "the Codex backend": (
        http_error(400, {"detail": "Unsupported parameter: max_output_tokens"}),
        {"max_output_tokens": 100},
        ["max_output_tokens"],
    ),
    "OpenAI": (
        says("Unsupported parameter: 'temperature' is not supported with this model.", code="unsupported_parameter"),
        {"temperature": 0.5},
        ["temperature"],
    ),
    "an unknown one": (says("Unknown parameter: 'vendor_x'."), {"extra": {"vendor_x": 1}}, ["vendor_x"]),
    "pydantic": (
        http_error(
            422,
            {
                "detail": [
                    {"type": "extra_forbidden", "loc": ["body", "metadata"], "msg": "Extra inputs are not permitted"}
                ]
            },
        ),
        {"metadata": {"a": "b"}},
        ["metadata"],
    ),
    "Go": (says('json: unknown field "parallel_tool_calls"'), {"parallel_tool_calls": True}, ["parallel_tool_calls"]),
    "zod": (
        says("Unrecognized key(s) in object: 'service_tier'"),
        {"extra": {"service_tier": "flex"}},
        ["service_tier"],
    ),
    "in backticks": (says("`truncation` is not supported"), {"extra": {"truncation": "auto"}}, ["truncation"]),
    "without a store": (
        says("The 'metadata' parameter is only allowed when 'store' is enabled."),
        {"metadata": {"a": "b"}},
        ["metadata"],
    ),
    "a tool choice that asks for nothing": (
        says("Unknown parameter: 'tool_choice'."),
        {"tool_choice": "auto"},
        ["tool_choice"],
    ),
    "by a status of the relay's own": (
        api_error(500, "Unsupported parameter: max_output_tokens", {"x-should-retry": "false"}),
        {"max_output_tokens": 100},
        ["max_output_tokens"],
    ),
    "in a response that failed": (
        responds(status="failed", error={"code": "invalid_prompt", "message": "Unsupported parameter: temperature"}),
        {"temperature": 0.5},
        ["temperature"],
    ),
    "in a stream": (
        responds(events=[{"type": "error", "code": None, "message": "Unsupported parameter: temperature"}]),
        {"temperature": 0.5},
        ["temperature"],
    ),
}


@pytest.mark.parametrize(("refusal", "arguments", "left_out"), REFUSED.values(), ids=REFUSED)
async def test_a_parameter_that_is_refused_is_left_out_and_the_caller_hears_of_it(
    refusal: Reply, arguments: Json, left_out: list[str]
) -> None:
    receipt, (first, second) = await ask([refusal, DONE], None, arguments)
    assert receipt["output_text"] == "done"
    assert first.json.keys() - second.json.keys() == set(left_out)
    (notice,) = notices_of(receipt)
    assert notice.startswith(f"{left_out[0]} was left out, as this upstream does not take it (")
    assert left_out[0] in notice.partition("(")[2], "in the upstream's own words"


async def test_a_part_of_a_parameter_is_left_out_alone() -> None:
    refusal = says("Unsupported parameter: 'reasoning.summary' is not supported with this model.")
    arguments = {"reasoning_effort": "low", "extra": {"reasoning": {"summary": "auto"}}}
    _, (_, second) = await ask([refusal, DONE], None, arguments)
    assert second.json["reasoning"] == {"effort": "low"}


async def test_several_refusals_are_learned_from_one_after_another() -> None:
    refusals = [says(f"Unsupported parameter: {name}") for name in ("temperature", "max_output_tokens")]
    store = http_error(400, {"detail": "Store must be set to false"})
    receipt, requests = await ask([*refusals, store, DONE], None, {"temperature": 0, "max_output_tokens": 50})
    assert receipt["status"] == "completed"
    assert requests[-1].json.keys() == {"model", "input", "stream", "store", "include"}
    assert requests[-1].json["store"] is False
    assert len(receipt["notices"]) == 2, "nobody had asked for a store"


@pytest.mark.parametrize(
    ("words", "arguments"),
    [
        ("Unsupported parameter: 'text'", {"text": {"format": {"type": "json_object"}}}),
        ("Unsupported parameter: 'text.format'", {"text": {"format": {"type": "json_object"}}}),
        ("Unsupported parameter: instructions", {"instructions": "Be brief"}),
        ("Unknown parameter: 'tool_choice'.", {"tool_choice": "none"}),
        ("Unsupported value: 'temperature' does not support 0.2 with this model.", {"temperature": 0.2}),
        ("Unknown parameter: 'input[0].odd'.", {}),
        ("Unsupported parameter: moderation", {"extra": {"moderation": {"model": "m"}}}),
        ("Unsupported parameter: top_p", {}),
        ("Model x is not supported", {}),
    ],
)
async def test_what_an_answer_needs_is_never_left_out(words: str, arguments: Json) -> None:
    receipt, requests = await ask([says(words)], None, arguments)
    assert len(requests) == 1
    assert words in receipt["error"]["message"]


async def test_refusals_without_end_are_not_followed_without_end() -> None:
    def refuse(request: Request) -> Reply:
        name = next(name for name in request.json if name.startswith("x_"))
        return says(f"Unknown parameter: '{name}'")

    extra = {f"x_{chr(97 + n)}": n for n in range(20)}
    receipt, requests = await ask(refuse, None, {"extra": extra})
    assert receipt["status"] == "failed"
    assert len(requests) == 9


async def test_what_is_added_for_an_upstream_can_be_refused_too() -> None:
    refusal = says("Unsupported parameter: include")
    receipt, (first, second) = await ask([refusal, DONE], upstream={"profile": "openrouter"})
    assert first.json.keys() - second.json.keys() == {"include"}
    assert receipt["status"] == "completed"


async def test_a_refused_compaction_is_not_asked_for_again() -> None:
    refusal = says("Unknown parameter: 'context_management'.")
    settings: Json = {"compaction": True, "context_window": 100_000}
    receipt, (first, second) = await ask([refusal, DONE], upstream=settings)
    assert first.json.keys() - second.json.keys() == {"context_management"}
    assert receipt["status"] == "completed"


async def test_what_is_too_long_is_not_taken_for_something_else() -> None:
    words = "Requested output and input exceed the model's maximum context length of 4096 tokens; send text as a list"
    _, requests = await ask([responds(call("image__draw")), says(words)], {"image": image_server()}, {"max_turns": 2})
    assert len(requests) == 2


# Items


@pytest.mark.rule("R22")
@pytest.mark.parametrize(
    "refusal",
    [
        says("The encrypted content for item rs_1 could not be verified.", code="invalid_encrypted_content"),
        says("Encrypted content was not issued to this caller"),
        api_error(404, "Item with id 'rs_1' not found. Items are not persisted when `store` is set to false."),
        responds(status="failed", error={"code": "invalid_encrypted_content", "message": "No."}),
    ],
)
async def test_where_encrypted_reasoning_is_refused_the_request_is_repeated_once_without_any(refusal: Reply) -> None:
    receipt, (_, refused, again) = await ask([TIME, refusal, DONE], builtin_tools=True)
    assert [item.get("type") for item in refused.json["input"]] == [
        None,
        *("reasoning", "function_call", "function_call_output"),
    ]
    assert again.json["input"] == [item for item in refused.json["input"] if item.get("type") != "reasoning"]
    assert receipt["output_text"] == "done"
    assert notices_of(receipt)[0].startswith("Reasoning was not sent back, as this upstream does not take it (")


@pytest.mark.rule("R22")
async def test_a_request_that_is_refused_without_reasoning_too_fails() -> None:
    refusal = says("No.", code="invalid_encrypted_content")
    receipt, requests = await ask([TIME, refusal, refusal], builtin_tools=True)
    assert (receipt["status"], receipt["error"]["code"], len(requests)) == ("failed", "invalid_encrypted_content", 3)


@pytest.mark.parametrize(
    "words",
    [
        "Invalid 'input[2].id': 'call_1'. Expected an ID that begins with 'fc'.",
        "Item 'fc_1' of type 'function_call' was provided without its required 'reasoning' item: 'rs_1'.",
    ],
)
async def test_ids_that_are_refused_are_left_out_but_those_that_pair_calls_and_outputs(words: str) -> None:
    first = responds(message("Let me see", phase="commentary"), call("current_time", call_id="call_1"))
    receipt, (_, refused, again) = await ask([first, says(words), DONE], builtin_tools=True)
    assert "id" in refused.json["input"][1]
    comment, made, output = again.json["input"][1:]
    assert comment == {"type": "message", "role": "assistant", "content": "Let me see", "phase": "commentary"}
    assert ("id" in made, made["call_id"], output["call_id"]) == (False, "call_1", "call_1")
    assert notices_of(receipt)[0].startswith("Items were sent back without ids")


@pytest.mark.rule("R36")
@pytest.mark.parametrize(
    ("words", "text", "kinds"),
    [
        ("Invalid type for 'input[2].output': expected a string, but got an array instead.", True, None),
        ("input.2.output: Input should be a valid string", True, None),
        (
            "image input is not supported - hint: you may need an mmproj",
            False,
            ["input_text", "input_text", "input_text"],
        ),
        ("At most 0 image(s) may be provided in one request.", False, ["input_text", "input_text", "input_text"]),
    ],
)
async def test_outputs_are_sent_as_the_upstream_takes_them(words: str, text: bool, kinds: list[str] | None) -> None:
    script = [responds(call("image__draw")), says(words), DONE]
    receipt, (_, refused, again) = await ask(script, {"image": image_server()})
    assert isinstance(outputs_of(refused)[0], list)
    (output,) = outputs_of(again)
    said = 'one pixel\n[image, image/png, 68 bytes, 1x1 pixels: not shown]\n{"width":1,"height":1}'
    assert output == said if text else [part["type"] for part in output] == kinds
    assert notices_of(receipt)[0].startswith("Tool outputs were sent as text")


SYSTEM, DEVELOPER, USER = ({"role": role, "content": f"I am the {role}"} for role in ("system", "developer", "user"))


@pytest.mark.parametrize(
    ("words", "given", "sent", "instructions"),
    [
        ("Invalid value: 'developer'. Supported values are: 'system'", [DEVELOPER, USER], ["system", "user"], None),
        ("Unexpected message role.", [DEVELOPER, USER], ["system", "user"], None),
        ("System message must be at the beginning.", [USER, SYSTEM], ["user"], "I am the system"),
        ("System message must be at the beginning.", [USER, DEVELOPER], ["user"], "Be brief\n\nI am the developer"),
    ],
)
async def test_a_developers_messages_are_sent_in_the_role_that_the_upstream_knows(
    words: str, given: list[Json], sent: list[str], instructions: str | None
) -> None:
    arguments = {"instructions": "Be brief"} if instructions and instructions.startswith("Be brief") else {}
    async with open_bridge(script=[says(words), DONE]) as bridge:
        receipt = await bridge.respond(given, **arguments)
    again = bridge.requests[1].json
    assert [item["role"] for item in again["input"]] == sent
    assert again.get("instructions") == instructions
    assert len(receipt["notices"]) == 1


# State


@pytest.mark.rule("R8")
async def test_where_responses_are_kept_only_what_is_new_is_sent() -> None:
    script = [responds(call("current_time"), id="resp_1"), responds(call("current_time"), id="resp_2"), DONE]
    arguments = {"instructions": "Be brief", "reasoning_effort": "low"}
    receipt, (first, *others) = await ask(
        script, None, arguments, builtin_tools=True, upstream={"state": "previous_response_id"}
    )
    assert "previous_response_id" not in first.json
    assert [request.json["previous_response_id"] for request in others] == ["resp_1", "resp_2"]
    for request in others:
        assert [item["type"] for item in request.json["input"]] == ["function_call_output"]
        assert (request.json["instructions"], request.json["tools"]) == ("Be brief", first.json["tools"])
    assert receipt["notices"] == []


async def test_without_a_store_the_whole_history_is_sent_though_responses_could_be_kept() -> None:
    arguments = {"store": False}
    _, (_, again) = await ask(
        [TIME, DONE], None, arguments, builtin_tools=True, upstream={"state": "previous_response_id"}
    )
    assert "previous_response_id" not in again.json
    assert len(again.json["input"]) == 4


@pytest.mark.parametrize(
    "refusal",
    [
        api_error(404, "Previous response with id 'resp_1' not found.", code="previous_response_not_found"),
        http_error(400, {"detail": "Unsupported parameter: previous_response_id"}),
        says("instructions cannot be combined with previous_response_id"),
    ],
)
async def test_an_upstream_that_has_forgotten_gets_the_whole_history_from_then_on(refusal: Reply) -> None:
    script = [TIME, refusal, TIME, DONE]
    receipt, requests = await ask(script, builtin_tools=True, upstream={"state": "previous_response_id"})
    sent = [request.json for request in requests]
    assert [("previous_response_id" in body, len(body["input"])) for body in sent] == [
        *((False, 1), (True, 1), (False, 4), (False, 7)),
    ]
    (notice,) = notices_of(receipt)
    assert notice.startswith("The upstream now gets the whole history with every request: The upstream answered with")


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"previous_response_id": "resp_0"}, "there is no such response"),
        ({"extra": {"conversation": "conv_1"}}, "this upstream keeps no responses"),
    ],
    ids=str,
)
async def test_an_upstream_that_keeps_nothing_is_not_asked_to_go_on_from_a_response(given: Json, words: str) -> None:
    receipt, requests = await ask([], None, given, upstream={"state": "stateless"})
    assert requests == []
    assert receipt["error"]["who"] == "caller"
    assert words in receipt["error"]["message"]


async def test_an_id_that_the_upstream_does_not_know_is_an_error_in_its_own_words() -> None:
    refusal = api_error(404, "Previous response with id 'resp_0' not found.", code="previous_response_not_found")
    receipt, requests = await ask([refusal], None, {"previous_response_id": "resp_0"})
    assert (receipt["error"]["code"], len(requests)) == ("previous_response_not_found", 1)


# Streams


async def test_an_upstream_that_only_streams_is_asked_for_streams() -> None:
    refusal = http_error(400, {"detail": "Stream must be set to true"})
    receipt, requests = await ask([refusal, responds(message("done"), as_sse=True)], upstream={"stream": "never"})
    assert [request.json.get("stream") for request in requests] == [None, True]
    assert (receipt["output_text"], len(receipt["notices"])) == ("done", 1)


# What is kept


async def test_what_was_learned_is_kept_for_the_model_and_told_in_every_result_that_it_changes() -> None:
    refusal = says("Unsupported parameter: 'temperature' is not supported with this model.")
    async with open_bridge(script=[refusal, DONE, DONE, DONE, DONE]) as bridge:
        receipts = [
            await bridge.respond(temperature=0.5),
            await bridge.respond(temperature=0.5),
            await bridge.respond(),
            await bridge.respond(temperature=0.5, model="another"),
        ]
        bridge.upstream.assert_complete()
    assert [request.json.get("temperature") for request in bridge.requests] == [0.5, None, None, None, 0.5]
    assert [len(receipt["notices"]) for receipt in receipts] == [1, 1, 0, 0]
    assert receipts[0]["notices"] == receipts[1]["notices"]


async def test_a_run_of_several_turns_tells_of_each_change_once() -> None:
    refusal = says("Unsupported parameter: temperature")
    receipt, requests = await ask([refusal, TIME, TIME, DONE], None, {"temperature": 0}, builtin_tools=True)
    assert len(requests) == 4
    assert len(receipt["notices"]) == 1


async def test_what_did_not_help_is_not_kept() -> None:
    refusal = says("Unsupported parameter: temperature")
    script = [refusal, says("Something else"), DONE]
    async with open_bridge(script=script) as bridge:
        assert (await bridge.respond(temperature=0.5))["status"] == "failed"
        await bridge.respond(temperature=0.5)
    assert [request.json.get("temperature") for request in bridge.requests] == [0.5, None, 0.5]


@pytest.mark.parametrize("status", [401, 403, 429])
async def test_a_refusal_of_the_account_teaches_nothing_about_the_request(status: int) -> None:
    refusal = api_error(status, "Unsupported parameter: temperature", {"x-should-retry": "false"})
    receipt, requests = await ask([refusal], None, {"temperature": 0})
    assert (receipt["status"], len(requests)) == ("failed", 1)


async def test_what_is_known_beforehand_needs_no_refusal() -> None:
    arguments = {"max_output_tokens": 100, "store": True}
    reply = responds(message("done"), as_sse=True)
    receipt, (asked,) = await ask([reply], None, arguments, upstream={"profile": "codex"})
    sent = asked.json
    assert (sent["stream"], sent["store"], sent["include"]) == (True, False, ["reasoning.encrypted_content"])
    assert "max_output_tokens" not in sent
    assert notices_of(receipt) == [
        "store is false, as this upstream takes nothing else",
        'instructions are "You are a helpful assistant.", as this upstream takes no request without',
        "max_output_tokens was left out, as this upstream does not take it",
    ]


# Presets and settings


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure"),
        ("https://mine.services.ai.azure.com/openai/v1", "azure"),
        ("https://openrouter.ai/api/v1", "openrouter"),
        ("https://bedrock-mantle.us-east-1.api.aws/v1", None),
        ("https://bedrock-runtime.us-east-1.amazonaws.com/openai/v1", "bedrock"),
        ("https://chatgpt.com/backend-api/codex", "codex"),
        ("https://dashscope-intl.aliyuncs.com/compatible-mode/v1", "dashscope"),
        ("https://api.x.ai/v1", "xai"),
        ("http://127.0.0.1:11434/v1", "ollama"),
        ("http://localhost:1234/v1", "lmstudio"),
        ("http://127.0.0.1:8000/v1", None),
        ("https://new.relay.example/v1", None),
        ("https://api.openai.com.evil.example/v1", None),
        ("https://notopenrouter.ai/v1", None),
    ],
)
def test_an_upstream_is_known_by_its_address_where_that_is_sure(url: str, name: ProfileName | None) -> None:
    assert choose_profile(UpstreamConfig(base_url=url)) == (PRESETS[name] if name else Profile())


def test_every_preset_can_be_named_and_every_field_can_be_set() -> None:
    assert {"auto", *PRESETS} == set(get_args(ProfileName))
    assert {part.name for part in fields(Profile)} - {"reasons"} <= UpstreamConfig.model_fields.keys()
    config = UpstreamConfig(base_url="https://openrouter.ai/api/v1", state="auto", images=False, drop=("user",))
    profile = choose_profile(config)
    assert (profile.state, profile.images, profile.drop, profile.store) == ("auto", False, ("user",), False)
    assert choose_profile(UpstreamConfig(profile="azure")).auth == "api-key"


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ({"profile": "olama"}, 'upstream.profile: "olama" is not known; did you mean "ollama"?'),
        ({"profile": "mine"}, 'upstream.profile: expected "auto", "azure", '),
        ({"auth": "a b"}, "upstream.auth: 'a b' is not a header name"),
        ({"state": "kept"}, 'upstream.state: expected "auto", "stateless" or "previous_response_id", not "kept"'),
        ({"drop": "user"}, "upstream.drop: expected a list, not a string"),
        ({"developer": "keep"}, 'upstream.developer: unknown key; the nearest known one is "developer_role"'),
    ],
    ids=str,
)
def test_a_wrong_setting_is_named_with_what_would_be_right(setting: Json, words: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(words)):
        configure({}, upstream=setting)


@pytest.mark.parametrize(
    ("settings", "header", "value"),
    [
        ({}, "authorization", "Bearer sk-1"),
        ({"auth": "api-key"}, "api-key", "sk-1"),
        ({"auth": "X-Api-Key"}, "x-api-key", "sk-1"),
        ({"auth": "none"}, "authorization", None),
        ({"profile": "azure"}, "api-key", "sk-1"),
        ({"profile": "azure", "auth": "bearer"}, "authorization", "Bearer sk-1"),
    ],
)
async def test_the_key_is_sent_as_the_upstream_reads_it(settings: Json, header: str, value: str | None) -> None:
    _, (asked,) = await ask([DONE], upstream={"api_key": "sk-1", **settings})
    assert asked.headers.get(header) == value
    assert sum("sk-1" in sent for sent in asked.headers.values()) == (1 if value else 0)


# What is too long


@pytest.mark.parametrize(
    "refusal",
    [
        "Invalid 'input[0].call_id': string too long. Expected a string with maximum length 64, but got 900.",
        "Invalid 'input[2].content': array too long. Expected an array with maximum length 2048.",
    ],
)
async def test_a_part_of_the_request_that_is_too_long_is_not_taken_for_the_window(refusal: str) -> None:
    receipt, _ = await ask([api_error(400, refusal, code="string_above_max_length")])
    assert (receipt["status"], receipt["error"]["code"]) == ("failed", "string_above_max_length")


async def test_a_window_that_a_response_was_over_is_forgotten() -> None:
    refusal = api_error(400, "The context window is too small (ticket 2024).")
    proof = responds(message("done"), usage={"input_tokens": 3000, "output_tokens": 1, "total_tokens": 3001})
    async with ScriptedUpstream([refusal, proof]) as upstream, open_without_host(upstream) as bridge:
        assert bridge.upstream is not None
        windows: list[int | None] = []
        for _ in range(2):
            await bridge.run({"input": "Hello"})
            windows.append(bridge.upstream.find_window("gpt-4.1"))
    assert windows == [2024, None]


async def test_a_code_of_a_megabyte_is_cut_before_anything_is_looked_for_in_it() -> None:
    receipt, _ = await ask([api_error(400, "No.", code="encrypted" * 120_000)])
    assert len(receipt["error"]["code"]) == 256
