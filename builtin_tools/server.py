"""The four built-in tools as one MCP server: their declarations, and the texts of their failures."""

import inspect
import logging
from collections.abc import Callable
from typing import Annotated, TypeAlias

import anyio.to_thread
from mcp import types
from mcp.server import Server, ServerRequestContext
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, TextContent, ToolAnnotations
from pydantic import (
    AllowInfNan,
    BaseModel,
    BeforeValidator,
    Field,
    StrictFloat,
    StrictInt,
    ValidationError,
    WithJsonSchema,
)

from builtin_tools.calculator import SAFE_INTEGER, Calculation, Operation, calculate
from builtin_tools.clock import CurrentTime, tell_time
from builtin_tools.randomness import RandomNumbers, draw_numbers
from builtin_tools.system import SystemInfo, read_system

logger = logging.getLogger(__name__)

RequestContext: TypeAlias = ServerRequestContext[dict[str, object]]

VERSION = "1.0.0"
"""The version of what the four tools declare and return."""

HARMLESS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def _whole(value: object) -> object:
    """Turn 1.0 into 1: an integer in JSON Schema, but not in pydantic's strict mode."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[StrictInt | Annotated[StrictFloat, AllowInfNan(False)], WithJsonSchema({"type": "number"})]
"""A number whose ints stay ints, since a float would lose digits; true, "3" and infinity are refused."""

Bound = Annotated[StrictInt, Field(ge=-SAFE_INTEGER, le=SAFE_INTEGER), BeforeValidator(_whole)]
Count = Annotated[StrictInt, Field(ge=1, le=10), BeforeValidator(_whole)]


async def random_generator(
    min: Annotated[Bound, Field(description="Smallest number that may be drawn. 最小值(默认1)")] = 1,
    max: Annotated[Bound, Field(description="Largest number that may be drawn. 最大值(默认100)")] = 100,
    count: Annotated[Count, Field(description="How many numbers. 生成数量(默认1,最大10)")] = 1,
) -> Annotated[CallToolResult, RandomNumbers]:
    """Draw random integers from a range, both ends included, up to 10 at once. 生成指定范围内的随机数,支持批量生成"""
    return _answer(draw_numbers(min, max, count))


async def system_info() -> Annotated[CallToolResult, SystemInfo]:
    """Describe the machine this runs on: operating system, Python version, CPU, memory and disk.
    获取当前系统的基本信息,包括操作系统、Python版本、内存使用情况等"""
    return _answer(await anyio.to_thread.run_sync(read_system))


async def math_calculator(
    operation: Annotated[
        Operation,
        Field(description="What to do with a and b. 运算类型: add, subtract, multiply, divide, power"),
    ],
    a: Annotated[Number, Field(description="First number. 第一个数字")],
    b: Annotated[Number, Field(description="Second number. 第二个数字")],
) -> Annotated[CallToolResult, Calculation]:
    """Add, subtract, multiply or divide two numbers, or raise a to the power b. Integers stay exact.
    执行基本数学运算,支持加减乘除和幂运算"""
    return _answer(calculate(operation, a, b))


async def current_time(
    timezone: Annotated[
        str | None,
        Field(description="IANA time zone such as Asia/Shanghai; left out, the machine's own. 时区名称(默认本机时区)"),
    ] = None,
) -> Annotated[CallToolResult, CurrentTime]:
    """Tell the date and time now, here or in any time zone. 获取当前系统时间"""
    # In a thread, because the list of zones is read from disk at first use.
    return _answer(tell_time() if timezone is None else await anyio.to_thread.run_sync(tell_time, timezone))


TOOLS: dict[str, Callable[..., object]] = {
    "Random numbers": random_generator,
    "System information": system_info,
    "Calculator": math_calculator,
    "Current time": current_time,
}
"""The tools by title, in the order in which they are listed."""


def build_server() -> "BuiltinServer":
    """Build the built-in server, ready for `mcp.Client(build_server())`."""
    server = BuiltinServer()
    for title, tool in TOOLS.items():
        server.add_tool(tool, title=title)
    return server


class BuiltinServer(Server[dict[str, object]]):
    """An MCP server of functions: a failed call is one sentence for the model, and no tool can end the server.

    It is not the SDK's own `MCPServer` (mcp 2.3), because that imports a terminal library and a cipher, and passes
    every call through both.
    """

    def __init__(self) -> None:
        super().__init__(
            "builtin-tools",
            title="Built-in tools",
            instructions="Four small tools without side effects: random numbers, this machine, arithmetic, the time.",
            version=VERSION,
            on_list_tools=self._list,
            on_call_tool=lambda _, params: self.answer(params),
        )
        self._tools: dict[str, Tool] = {}

    def add_tool(self, function: Callable[..., object], *, title: str | None = None) -> None:
        """Add `function` as a tool; its signature and docstring become the declaration."""
        tool = Tool.from_function(function, title=title, description=inspect.getdoc(function), annotations=HARMLESS)
        self._tools[tool.name] = tool

    def list_tools(self) -> list[types.Tool]:
        """List the tools as they are declared, in the order in which they were added."""
        return [
            types.Tool(
                name=tool.name,
                title=tool.title,
                description=tool.description,
                input_schema=tool.parameters,
                output_schema=tool.output_schema,
                annotations=tool.annotations,
            )
            for tool in self._tools.values()
        ]

    async def call_tool(self, name: str, arguments: dict[str, object]) -> CallToolResult | types.InputRequiredResult:
        """Call a tool. Raises ToolError with the tool's own message; for a crash, with its name only."""
        tool = self._tools.get(name)
        if tool is None:
            raise ToolError(f"Unknown tool: {name}")
        try:
            valid = tool.fn_metadata.validate_arguments(arguments)
        except ValidationError as problem:
            raise ToolError(_explain(problem)) from problem
        try:
            result = await tool.fn_metadata.call_fn(tool.fn, tool.is_async, valid)
            return tool.fn_metadata.convert_result(result)
        except ToolError:
            raise
        except (Exception, SystemExit) as crash:  # boundary: whatever a tool does, the server goes on
            raise UnexpectedToolError(f"Error executing tool {name}") from crash

    async def _list(self, _ctx: RequestContext, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=self.list_tools())

    async def answer(self, params: types.CallToolRequestParams) -> CallToolResult | types.InputRequiredResult:
        """Call a tool and return its result; a failure is a result too."""
        try:
            return await self.call_tool(params.name, params.arguments or {})
        except ToolError as error:
            if isinstance(error, UnexpectedToolError):
                logger.exception("%s broke", params.name)
            return CallToolResult(content=[TextContent(type="text", text=str(error))], is_error=True)


def _answer(result: BaseModel) -> CallToolResult:
    """Return the result as a line of text and as structured content: a host may show its model only one of them."""
    return CallToolResult(
        content=[TextContent(type="text", text=str(result))],
        structured_content=result.model_dump(mode="json"),
    )


def _explain(problem: ValidationError) -> str:
    """Say in one sentence which arguments are wrong and what they should be; never the values, which may be large.

    Of several errors in one argument the last is told: for a number, it is the one that does not say "integer".
    """
    complaints = {error["loc"][0]: error["msg"] for error in problem.errors(include_url=False, include_input=False)}
    # pydantic says "Input should be ..." and "Field required".
    said = {"Field required": "is required"}
    return "; ".join(f"{name} {said.get(text, text.removeprefix('Input '))}" for name, text in complaints.items()) + "."
