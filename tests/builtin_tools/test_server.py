"""The built-in tools as a client meets them: in both protocol eras, and as a program of their own."""

import json
import random
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, TypedDict

import pytest
from jsonschema import Draft202012Validator
from mcp import Client, StdioServerParameters
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, TextContent, Tool

from builtin_tools.calculator import calculate
from builtin_tools.server import build_server

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
EXAMPLE = Path(__file__).with_name("example_tools.json")
SERVER = build_server()
NAMES = ["random_generator", "system_info", "math_calculator", "current_time"]

Era = Literal["legacy", "auto"]
both_eras = pytest.mark.parametrize("era", ["legacy", "auto"])


class Declared(TypedDict):
    """A tool of the example request."""

    name: str
    description: str
    parameters: dict[str, dict[str, dict[str, object]] | list[str] | str]


def text_of(result: CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, TextContent)
    return block.text


async def call(name: str, arguments: Mapping[str, object], era: Era = "auto") -> CallToolResult:
    async with Client(SERVER, mode=era) as client:
        return await client.call_tool(name, dict(arguments))


async def refusal(name: str, arguments: Mapping[str, object]) -> str:
    result = await call(name, arguments)
    assert result.is_error
    assert result.structured_content is None
    return text_of(result)


async def list_tools(era: Era = "auto") -> list[Tool]:
    async with Client(SERVER, mode=era) as client:
        return (await client.list_tools()).tools


@both_eras
async def test_the_four_tools_are_listed_in_the_order_of_the_example(era: Era) -> None:
    assert [tool.name for tool in await list_tools(era)] == NAMES


@pytest.mark.rule("B10")
@both_eras
async def test_every_tool_is_harmless_and_says_what_it_returns(era: Era) -> None:
    for tool in await list_tools(era):
        assert tool.title
        assert tool.annotations
        assert tool.annotations.model_dump(exclude_none=True) == {
            "read_only_hint": True,
            "destructive_hint": False,
            "idempotent_hint": True,
            "open_world_hint": False,
        }
        assert tool.output_schema
        assert tool.output_schema["additionalProperties"] is False


async def test_whatever_the_example_declares_is_declared() -> None:
    example: list[Declared] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
    ours = {tool.name: tool for tool in await list_tools()}
    assert list(ours) == [tool["name"] for tool in example]
    for tool in example:
        schema = ours[tool["name"]].input_schema
        declared = tool["parameters"]["properties"]
        assert isinstance(declared, dict)
        for name, wanted in declared.items():
            assert schema["properties"][name]["type"] == wanted["type"]
            assert str(wanted["description"]) in schema["properties"][name]["description"]
        assert schema["type"] == tool["parameters"]["type"]
        assert schema.get("required", []) == tool["parameters"].get("required", [])
        assert tool["description"].replace("Java", "Python") in (ours[tool["name"]].description or "")


@pytest.mark.rule("B4", "B7")
async def test_what_may_be_asked_for_is_in_the_schema() -> None:
    schemas = {tool.name: tool.input_schema["properties"] for tool in await list_tools()}
    assert schemas["math_calculator"]["operation"]["enum"] == ["add", "subtract", "multiply", "divide", "power"]
    count = schemas["random_generator"]["count"]
    assert (count["minimum"], count["maximum"], count["default"]) == (1, 10, 1)
    assert [schemas["random_generator"][end]["default"] for end in ("min", "max")] == [1, 100]
    assert list(schemas["current_time"]) == ["timezone"]
    assert schemas["system_info"] == {}


@both_eras
async def test_the_calls_of_the_example_are_answered_in_a_line_and_as_data(era: Era) -> None:
    asked: dict[str, dict[str, object]] = {
        "current_time": {},
        "system_info": {},
        "math_calculator": {"operation": "add", "a": 123.5, "b": 456.7},
        "random_generator": {"min": 1, "max": 100, "count": 3},
    }
    async with Client(SERVER, mode=era) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        answers = {name: await client.call_tool(name, arguments) for name, arguments in asked.items()}
    for name, answer in answers.items():
        assert not answer.is_error
        assert "\n" not in text_of(answer)
        assert Draft202012Validator(tools[name].output_schema or {}).is_valid(answer.structured_content)
    assert text_of(answers["math_calculator"]) == "580.2"
    assert answers["math_calculator"].structured_content == {"result": 580.2, "exact": None}
    drawn = (answers["random_generator"].structured_content or {})["numbers"]
    assert text_of(answers["random_generator"]) == ", ".join(str(number) for number in drawn)
    assert len(drawn) == 3


@both_eras
async def test_the_server_calculates_as_the_calculator_does(era: Era) -> None:
    source = random.Random("front door")
    async with Client(SERVER, mode=era) as client:
        for _ in range(25):
            a, b = source.randint(-(10**30), 10**30), source.uniform(-1e6, 1e6)
            result = await client.call_tool("math_calculator", {"operation": "multiply", "a": a, "b": b})
            assert result.structured_content == calculate("multiply", a, b).model_dump()


@pytest.mark.rule("B1")
@both_eras
@pytest.mark.parametrize("integer", [2**53 + 1, 10**30])
async def test_integers_arrive_and_leave_with_every_digit(era: Era, integer: int) -> None:
    result = await call("math_calculator", {"operation": "subtract", "a": integer, "b": 1}, era)
    assert result.structured_content == {"result": integer - 1, "exact": str(integer - 1)}


@pytest.mark.rule("B3", "B4")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"operation": "mod", "a": 1, "b": 2}, ["operation", "add", "subtract", "multiply", "divide", "power"]),
        ({"operation": "add", "a": 1}, ["b is required"]),
        ({}, ["operation is required", "a is required", "b is required"]),
        ({"operation": "add", "a": "3", "b": 2}, ["a should be a valid number"]),
        ({"operation": "add", "a": 1, "b": True}, ["b should be a valid number"]),
        ({"operation": "add", "a": None, "b": 2}, ["a should be a valid number"]),
        ({"operation": "add", "a": [1], "b": "[2]"}, ["a should be a valid number", "b should be a valid number"]),
        ({"operation": "divide", "a": 1, "b": 0}, ["Division by zero: b should not be 0."]),
        ({"operation": "power", "a": 10, "b": 10**9}, ["The result is too large."]),
        ({"operation": "power", "a": -8, "b": 1 / 3}, ["not a real number"]),
    ],
)
async def test_a_wrong_calculation_is_refused_in_words(arguments: dict[str, object], words: list[str]) -> None:
    text = await refusal("math_calculator", arguments)
    assert all(word in text for word in words)
    assert not any(leak in text.lower() for leak in ("http", "pydantic", "traceback", "error executing", "\n"))


@pytest.mark.rule("B1")
@pytest.mark.parametrize("number", [float("inf"), float("-inf"), float("nan")])
async def test_what_only_python_calls_a_number_is_refused(number: float) -> None:
    # Straight to the server: on its way through a client such a value becomes null.
    with pytest.raises(ToolError, match=r"^a should be a finite number\.$"):
        await SERVER.call_tool("math_calculator", {"operation": "add", "a": number, "b": 2})
    with pytest.raises(ToolError, match=r"^min should be a valid integer\.$"):
        await SERVER.call_tool("random_generator", {"min": number})


@pytest.mark.rule("B6")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"count": 0}, "count should be greater than or equal to 1"),
        ({"count": 11}, "count should be less than or equal to 10"),
        ({"count": -1}, "count should be greater than or equal to 1"),
        ({"count": 10**30}, "count should be less than or equal to 10"),
        ({"count": 1.5}, "count should be a valid integer"),
        ({"count": True}, "count should be a valid integer"),
        ({"count": "3"}, "count should be a valid integer"),
        ({"max": 10**30}, "max should be less than or equal to 9007199254740991"),
        ({"min": 200}, "min should not be greater than max: min is 200 and max is 100."),
    ],
)
async def test_a_wrong_draw_is_refused_in_words(arguments: dict[str, object], words: str) -> None:
    assert words in await refusal("random_generator", arguments)


@pytest.mark.parametrize(("arguments", "count"), [({}, 1), ({"count": 10}, 10), ({"count": 2.0}, 2)])
async def test_as_many_numbers_are_drawn_as_were_asked_for(arguments: dict[str, object], count: int) -> None:
    numbers = ((await call("random_generator", arguments)).structured_content or {})["numbers"]
    assert len(numbers) == count
    assert all(1 <= number <= 100 for number in numbers)


async def test_an_unknown_zone_is_answered_with_near_ones() -> None:
    assert "Asia/Tokyo" in await refusal("current_time", {"timezone": "tokyo"})
    assert (await call("current_time", {"timezone": None})).structured_content


@pytest.mark.rule("B10")
@both_eras
@pytest.mark.parametrize("crash", [SystemExit(3), RuntimeError("canary"), ExceptionGroup("canary", [OSError()])])
async def test_a_crash_says_nothing_and_leaves_the_server_running(era: Era, crash: BaseException) -> None:
    async def crashing() -> str:
        raise crash

    def crashing_in_a_thread() -> str:
        raise crash

    server = build_server()
    server.add_tool(crashing)
    server.add_tool(crashing_in_a_thread)
    async with Client(server, mode=era) as client:
        for name in ("crashing", "crashing_in_a_thread"):
            result = await client.call_tool(name, {})
            assert result.is_error
            assert text_of(result) == f"Error executing tool {name}"
        assert not (await client.call_tool("current_time", {})).is_error


async def test_an_unknown_tool_is_refused_by_name() -> None:
    assert await refusal("no_such_tool", {}) == "Unknown tool: no_such_tool"


@pytest.mark.external
async def test_it_runs_as_a_stdio_server_of_its_own() -> None:
    command = StdioServerParameters(command=sys.executable, args=["-m", "builtin_tools"], cwd=ROOT)
    async with Client(command) as client:
        assert [tool.name for tool in (await client.list_tools()).tools] == NAMES
        result = await client.call_tool("math_calculator", {"operation": "add", "a": 123.5, "b": 456.7})
        refused = await client.call_tool("current_time", {"timezone": "nowhere"})
    assert text_of(result) == "580.2"
    assert refused.is_error
