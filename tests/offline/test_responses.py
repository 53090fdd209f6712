"""What `/v1/responses` of the embedded upstream says: answers, choices, memory, errors."""

import json
from typing import Any

import anyio
import httpx2
import pytest

from bridge.offline.app import build_app
from tests.fakes.clock import PATIENCE_S
from tests.offline.judged import connect, create, judge_response

pytestmark = pytest.mark.anyio

Json = dict[str, Any]


def function(name: str, description: str, **properties: Json) -> Json:
    schema = {"type": "object", "properties": properties, "required": [*properties]}
    return {"type": "function", "name": name, "description": description, "parameters": schema}


CLOCK = function("tick", "The current time")
WEATHER = function("sky", "Weather forecast for a city", city={"type": "string", "description": "Name of the city"})
ALARM = function("ring", "Set an alarm timer", minutes={"type": "integer", "description": "Length in minutes"})
TOOLS = [CLOCK, WEATHER, ALARM]
THREE = "What time is it, and what is the weather in Paris? Then set an alarm timer of 5 minutes."


def ask(question: str | list[Json], **rest: Any) -> Json:
    return {"model": "m", "input": question, "tools": TOOLS, **rest}


def calls(response: Json) -> list[Json]:
    return [item for item in response["output"] if item["type"] == "function_call"]


def names(response: Json) -> list[str]:
    return [call["name"] for call in calls(response)]


def text(response: Json) -> str:
    (message,) = response["output"]
    return str(message["content"][0]["text"])


def answered(response: Json, output: Any = '{\n  "ok": true\n}') -> list[Json]:
    outputs = [
        {"type": "function_call_output", "call_id": call["call_id"], "output": output} for call in calls(response)
    ]
    return [*response["output"], *outputs]


def user(question: str) -> Json:
    return {"role": "user", "content": question}


async def test_all_calls_come_at_once_and_their_outputs_make_the_answer() -> None:
    async with connect() as client:
        first = await create(client, ask(THREE))
        second = await create(client, ask([user(THREE), *answered(first)]))
    assert names(first) == ["tick", "sky", "ring"]
    assert json.loads(calls(first)[2]["arguments"]) == {"minutes": 5}
    assert len({call["call_id"] for call in calls(first)}) == 3
    assert "not a language model" in text(second)
    assert [line for line in text(second).splitlines() if line.startswith("- ")] == [
        '- tick: { "ok": true }',
        '- sky: { "ok": true }',
        '- ring: { "ok": true }',
    ]


async def test_the_answer_is_in_the_language_of_the_question() -> None:
    async with connect() as client:
        first = await create(client, ask("现在几点了?"))
        second = await create(client, ask([user("现在几点了?"), *answered(first, "12:00")]))
    assert names(first) == ["tick"]
    assert text(second).startswith("我不是语言模型")
    assert "- tick: 12:00" in text(second)


async def test_where_no_tool_fits_none_is_called_and_the_answer_says_so() -> None:
    async with connect() as client:
        response = await create(client, ask("Why is the sea salty?"))
    assert "not a language model" in text(response)
    assert "called none" in text(response)


async def test_content_in_parts_is_read_and_outputs_in_parts_are_shown() -> None:
    question = [{"role": "user", "content": [{"type": "input_text", "text": "What time is it?"}]}]
    output = [{"type": "input_text", "text": "noon"}, {"type": "input_image", "image_url": "data:image/png;base64,"}]
    async with connect() as client:
        first = await create(client, ask(question, instructions="Call nothing."))
        second = await create(client, ask([*question, *answered(first, output)]))
    assert names(first) == ["tick"]
    assert "- tick: noon [input_image]" in text(second)


async def test_only_the_last_user_message_counts() -> None:
    async with connect() as client:
        first = await create(client, ask("What time is it?"))
        history = [user("What time is it?"), *answered(first), user("Why is the sea salty?")]
        second = await create(client, ask(history))
    assert "called none" in text(second)


async def test_an_output_behind_the_last_user_message_may_be_that_of_a_call_before_it() -> None:
    called = {"type": "function_call", "call_id": "c1", "name": "tick", "arguments": "{}"}
    output = {"type": "function_call_output", "call_id": "c1", "output": "noon"}
    async with connect() as client:
        assert "- tick: noon" in text(await create(client, ask([called, user("Thanks!"), output])))


async def test_without_parallel_calls_they_come_one_a_turn() -> None:
    history: list[Json] = [user(THREE)]
    seen: list[str] = []
    async with connect() as client:
        for _ in range(3):
            response = await create(client, ask(history, parallel_tool_calls=False))
            seen += names(response)
            history += answered(response)
        last = await create(client, ask(history, parallel_tool_calls=False))
    assert seen == ["tick", "sky", "ring"]
    assert text(last).count("- ") == 3


FORCED = {"type": "function", "name": "sky"}
ALLOWED = {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "ring"}]}


@pytest.mark.parametrize(
    ("choice", "question", "wanted"),
    [
        pytest.param("none", THREE, [], id="none"),
        pytest.param("auto", "Why is the sea salty?", [], id="auto"),
        pytest.param("required", "What time is it?", ["tick"], id="required and fitting"),
        pytest.param("required", "Hm.", ["tick"], id="required and nothing fits"),
        pytest.param(FORCED, THREE, ["sky"], id="a function"),
        pytest.param(FORCED, "Hm.", ["sky"], id="a function that does not fit"),
        pytest.param(ALLOWED, THREE, ["ring"], id="allowed tools"),
        pytest.param(ALLOWED, "Hm.", [], id="allowed tools that do not fit"),
        pytest.param({**ALLOWED, "mode": "required"}, "Hm.", ["ring"], id="allowed tools, required"),
    ],
)
async def test_tool_choice_is_honoured(choice: Any, question: str, wanted: list[str]) -> None:
    async with connect() as client:
        response = await create(client, ask(question, tool_choice=choice))
    assert names(response) == wanted
    assert response["tool_choice"] == choice


async def test_a_response_repeats_the_request_and_estimates_its_usage() -> None:
    async with connect() as client:
        response = await create(client, ask("Hello", instructions="Be kind.", metadata={"model_id": "32"}, top_p=0.5))
        longer = await create(client, ask("Hello " * 400))
    assert (response["model"], response["instructions"], response["metadata"]) == ("m", "Be kind.", {"model_id": "32"})
    assert (response["top_p"], response["temperature"], response["status"]) == (0.5, 1.0, "completed")
    usage = response["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert longer["usage"]["input_tokens"] - usage["input_tokens"] == pytest.approx(550, abs=5)
    assert usage["input_tokens_details"].keys() == {"cached_tokens", "cache_write_tokens"}
    assert usage["output_tokens_details"] == {"reasoning_tokens": 0}


async def test_a_previous_response_brings_its_history() -> None:
    async with connect() as client:
        first = await create(client, ask("What time is it?"))
        outputs = answered(first, "noon")[1:]
        second = await create(client, ask(outputs, previous_response_id=first["id"]))
    assert "- tick: noon" in text(second)
    assert second["previous_response_id"] == first["id"]


@pytest.mark.parametrize("store", [None, False])
async def test_a_response_that_was_not_stored_or_is_too_old_is_not_found(store: bool | None) -> None:
    async with connect() as client:
        first = await create(client, ask("Hello", store=store))
        for _ in range(100 if store is None else 0):
            newest = await create(client, ask("Hello"))
            await create(client, ask("Hello", store=False))
            assert newest["store"] is True
        reply = await client.post("/responses", json=ask("Again", previous_response_id=first["id"]))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "previous_response_not_found")


async def test_the_hundredth_last_response_is_still_known_and_only_to_its_own_app() -> None:
    async with connect() as client, connect() as other:
        first = await create(client, ask("Hello"))
        for _ in range(99):
            await create(client, ask("Hello"))
        await create(client, ask("Again", previous_response_id=first["id"], store=False))
        reply = await other.post("/responses", json=ask("Again", previous_response_id=first["id"]))
    assert reply.status_code == 400


CALL = {"type": "function_call", "call_id": "call_1", "name": "tick", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "noon"}


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        pytest.param({"model": "m"}, "input", "Field required", id="no input"),
        pytest.param(
            ask([user("Hi"), CALL]), "input", "No tool output found for function call call_1.", id="no output"
        ),
        pytest.param(
            ask([user("Hi"), OUTPUT]),
            "input",
            "No tool call found for function call output with call_id call_1.",
            id="no call",
        ),
        pytest.param({"input": 5}, "input.str", "Invalid 'input.str'", id="input is a number"),
        pytest.param({"input": "Hi", "tools": {}}, "tools", "Invalid 'tools'", id="tools are no list"),
        pytest.param(
            {"input": "Hi", "tools": [CLOCK, function("a.b", "")]}, "tools.1.name", "should match pattern", id="name"
        ),
        pytest.param(
            {"input": "Hi", "tools": [function("a" * 65, "")]}, "tools.0.name", "should match pattern", id="long name"
        ),
        pytest.param({"input": "Hi", "tools": [CLOCK] * 129}, "tools", "at most 128 items", id="too many tools"),
        pytest.param(ask("Hi", tool_choice={"type": "function", "name": "x"}), "tool_choice", "not found", id="choice"),
    ],
)
async def test_a_bad_request_is_refused_in_the_words_of_the_api(body: Json, param: str, message: str) -> None:
    async with connect() as client:
        reply = await client.post("/responses", json=body)
    error = reply.json()["error"]
    assert (reply.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert message in error["message"]
    assert error.keys() == {"message", "type", "param", "code"}


@pytest.mark.parametrize("content", [b"{", b"[]", b"", b"\xff", b'{"input": NaN}', b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_refused(content: bytes) -> None:
    async with connect() as client:
        reply = await client.post("/responses", content=content, headers={"content-type": "application/json"})
    assert (reply.status_code, reply.json()["error"]["type"]) == (400, "invalid_request_error")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("POST", "/v1/models", 404), ("GET", "/v1/responses/resp_1", 404), ("GET", "/v1/responses", 405)],
)
async def test_over_http_only_a_post_of_responses_is_answered(method: str, path: str, status: int) -> None:
    transport = httpx2.ASGITransport(app=build_app())
    async with httpx2.AsyncClient(transport=transport, base_url="http://offline") as client:
        reply = await client.request(method, path, content=b'{"input": "Hi"}')
        right = await client.post("/v1/responses", json={"input": "Hi"})
    assert reply.status_code == status
    assert ("allow" in reply.headers) is (status == 405)
    assert judge_response(right.json())["status"] == "completed"


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        {},
        {"properties": {"x": True}},
        {"properties": {"x": {"type": ["null", "string"], "enum": 5}}},
        {"properties": {"x": {"$ref": "#/$defs/x"}}, "required": ["x"]},
        {"properties": {"x": {"$ref": "#/$defs/x"}}, "$defs": {"x": {"properties": {"y": {"$ref": "#/$defs/x"}}}}},
    ],
)
async def test_an_odd_schema_harms_nobody(parameters: Json | None) -> None:
    odd = {"type": "function", "name": "odd", "description": None, "parameters": parameters}
    async with connect() as client:
        response = await create(client, ask("What time is it? Call odd x y.", tools=[odd, CLOCK]))
    assert "tick" in names(response)


async def test_a_schema_that_is_none_is_refused() -> None:
    odd = {"type": "function", "name": "odd", "parameters": {"type": "object", "required": 5}}
    async with connect() as client:
        reply = await client.post("/responses", json=ask("Hi", tools=[odd]))
    assert (reply.status_code, reply.json()["error"]["param"]) == (400, "tools.0.parameters.required")


async def test_nulls_say_the_same_as_nothing() -> None:
    nulls = dict.fromkeys(("tool_choice", "parallel_tool_calls", "previous_response_id", "store", "stream", "metadata"))
    async with connect() as client:
        response = await create(client, ask("What time is it?", **nulls))
    assert names(response) == ["tick"]
    assert (response["parallel_tool_calls"], response["tool_choice"], response["store"]) == (True, "auto", True)


@pytest.mark.parametrize("required", [[], ["is_new"]])
async def test_a_tool_that_takes_a_list_of_objects_is_answered_too(required: list[str]) -> None:
    item: Json = {"type": "object", "properties": {"text": {"type": "string"}, "is_new": {"type": "boolean"}}}
    item["required"] = required
    edits: Json = {"type": "array", "items": item}
    tool = function("edit_file", "Edits a file", path={"type": "string"}, edits=edits)
    with anyio.fail_after(PATIENCE_S):
        async with connect() as client:
            await create(client, ask("edit the file notes.txt with 'hello'", tools=[tool]))


async def test_many_tools_and_a_long_message_are_answered_soon() -> None:
    tools = [function(f"tool_{n}", f"Searches place {n}", query={"type": "string"}) for n in range(64)]
    with anyio.fail_after(PATIENCE_S):
        async with connect() as client:
            await create(client, ask("Search, and look, and find 1-2 a.b/c@d, " * 100, tools=tools))
