"""The four built-in tools as one MCP server: what each of them declares, and how a failure reads."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
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
from typing_extensions import override

from builtin_tools.calculator import SAFE_INTEGER, Calculation, Operation, calculate
from builtin_tools.clock import CurrentTime, tell_time
from builtin_tools.randomness import RandomNumbers, draw_numbers
from builtin_tools.system import SystemInfo, read_system

VERSION = "1.0.0"
"""Of what the four tools declare and return."""

HARMLESS = ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)


def _whole(value: object) -> object:
    """JSON Schema counts 1.0 among the integers, pydantic's strict mode does not."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Number = Annotated[StrictInt | Annotated[StrictFloat, AllowInfNan(False)], WithJsonSchema({"type": "number"})]
"""An int stays an int, since a float would lose digits; true, "3" and infinity are refused."""

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
    return _answer(read_system())


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


def current_time(
    timezone: Annotated[
        str | None,
        Field(description="IANA time zone such as Asia/Shanghai; left out, the machine's own. 时区名称(默认本机时区)"),
    ] = None,
) -> Annotated[CallToolResult, CurrentTime]:
    """Tell the date and time now, here or in any time zone. 获取当前系统时间"""
    # Not async, so that the SDK runs it in a thread: the list of zones is read from disk at first use.
    return _answer(tell_time(timezone))


TOOLS: dict[str, Callable[..., object]] = {
    "Random numbers": random_generator,
    "System information": system_info,
    "Calculator": math_calculator,
    "Current time": current_time,
}
"""By title, in the order in which they are listed."""


def build_server() -> MCPServer:
    """The built-in server, ready for `mcp.Client(build_server())` or `build_server().run("stdio")`."""
    server = PlainSpokenServer(
        "builtin-tools",
        title="Built-in tools",
        instructions="Four small tools without side effects: random numbers, this machine, arithmetic, the time.",
        version=VERSION,
        log_level="WARNING",
    )
    for title, tool in TOOLS.items():
        server.add_tool(tool, title=title, description=inspect.getdoc(tool), annotations=HARMLESS)
    return server


class PlainSpokenServer(MCPServer):
    """An MCPServer whose failures are one sentence for the model, and which no tool can end."""

    @override
    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Any, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        """As the base class does. ToolError has the tool's own words; a crash has none but the tool's name."""
        try:
            return await super().call_tool(name, arguments, context)
        except UnexpectedToolError:
            raise
        except ToolError as error:
            match error.__cause__:
                case ValidationError() as problem:
                    raise ToolError(_in_words(problem)) from problem
                case ToolError() as foreseen:
                    raise foreseen from None
                case _:
                    raise
        except SystemExit as exit:
            # The base class stops at Exception, and this one would end the process.
            raise UnexpectedToolError(f"Error executing tool {name}") from exit


def _answer(result: BaseModel) -> CallToolResult:
    """The result twice, since a host shows its model one of the two: as a line of text and as structured content."""
    return CallToolResult(
        content=[TextContent(type="text", text=str(result))],
        structured_content=result.model_dump(mode="json"),
    )


def _in_words(problem: ValidationError) -> str:
    """One sentence with every wrong argument and what it should be; never the value, which may be of any size.

    Of several complaints about one argument the last counts: for a number, it is the one that does not say "integer".
    """
    complaints = {error["loc"][0]: error["msg"] for error in problem.errors(include_url=False, include_input=False)}
    # pydantic says "Input should be ..." and "Field required".
    said = {"Field required": "is required"}
    return "; ".join(f"{name} {said.get(text, text.removeprefix('Input '))}" for name, text in complaints.items()) + "."
