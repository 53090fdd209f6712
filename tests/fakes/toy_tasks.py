"""An MCP server with the tools that the conformance suite wants of one with tasks. Its runs are toys; the tasks that
are made of them, and the engine that keeps them, are the bridge's own."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, cast

import anyio
from mcp import MCPError, types
from mcp.server import Server
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.routing import Route

from bridge.app import make_run_id
from bridge.clock import Clock
from bridge.config.settings import Limits
from bridge.errors import ArgumentError
from bridge.events import Notified
from bridge.host.audience import HostAudience, build_elicitation
from bridge.host.principal import HostRequest, find_principal
from bridge.host.silences import Silences
from bridge.host.tasks import DIRECT_S, Tasks, declares_tasks, require_tasks
from bridge.host.waiting import Waiting
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question
from bridge.run.continuation import find_run
from bridge.run.engine import Context
from bridge.run.limits import COMPLETED, Ending
from bridge.run.memory import MemoryEngine
from bridge.run.run import Run
from bridge.telemetry import Redactor
from tests.fakes.service import serving_app

LONGER_S = DIRECT_S + 0.5
"""So long takes what has to become a task."""
FORM: JsonObject = {"type": "object", "properties": {"confirm": {"type": "boolean"}, "name": {"type": "string"}}}
SAID, IS_ERROR, IS_REFUSED = "said", "error", "refused"
"""What a toy says at its end: a result, one that is an error, or an error of the protocol in a result's place."""

Toy = Callable[[Context, JsonObject], Awaitable[tuple[str, str]]]


async def compute(_ctx: Context, arguments: JsonObject) -> tuple[str, str]:
    seconds = float(cast("float", arguments.get("seconds", 0)))
    await anyio.sleep(max(seconds, LONGER_S) if seconds else 0)
    return SAID, f"{arguments.get('label')} took {seconds} s"


async def fail(_ctx: Context, _arguments: JsonObject) -> tuple[str, str]:
    await anyio.sleep(LONGER_S)
    return IS_ERROR, "the job failed"


async def break_protocol(_ctx: Context, _arguments: JsonObject) -> tuple[str, str]:
    await anyio.sleep(LONGER_S)
    return IS_REFUSED, "the job broke"


async def confirm(ctx: Context, arguments: JsonObject) -> tuple[str, str]:
    answer = await ctx.ask(Question("toys", f"Delete {arguments.get('filename')}?", FORM))
    return SAID, f"{answer['action']} {answer['content']}"


async def ask_twice(ctx: Context, _arguments: JsonObject) -> tuple[str, str]:
    answers: list[Answer] = []

    async def ask(message: str) -> None:
        answers.append(await ctx.ask(Question("toys", message, FORM)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, "One?")
        tasks.start_soon(ask, "Two?")
    return SAID, str(answers)


async def greet_later(_ctx: Context, arguments: JsonObject) -> tuple[str, str]:
    await anyio.sleep(LONGER_S)
    return SAID, f"Hello, {arguments['name']}!"


TOYS: Mapping[str, Toy] = {
    "slow_compute": compute,
    "failing_job": fail,
    "protocol_error_job": break_protocol,
    "confirm_delete": confirm,
    "multi_input": ask_twice,
    "test_tool_with_task": greet_later,
}
ONLY_AS_TASKS = ("failing_job", "test_tool_with_task")


class Toys:
    """Runs of toys, as tasks want them."""

    limits = Limits()
    keep_s = 60.0
    redact = Redactor(frozenset())

    def __init__(self) -> None:
        self.clock = Clock()
        self.engine = MemoryEngine(self._play, self.clock, orphan_s=self.limits.orphan_s)
        self.server = Server[dict[str, object]]("toys", version="1", on_list_tools=self._list)
        self.server.add_request_handler("tools/call", types.CallToolRequestParams, self._call)
        self._silences = Silences(self.clock)
        self._tasks = Tasks(self, render, self.clock, self._silences)
        self._tasks.add_to(self.server)

    async def find(self, run_id: str, *, principal: str) -> Run:
        return await find_run(self.engine, run_id, principal=principal)

    async def _play(self, ctx: Context, arguments: JsonObject) -> Ending:
        code, said = await TOYS[str(arguments["tool"])](ctx, arguments)
        ctx.emit(Notified(code=code, message=said))
        return COMPLETED

    async def _list(self, _ctx: HostRequest, _params: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        tools = [types.Tool(name=name, input_schema={"type": "object"}) for name in ("greet", *TOYS)]
        return types.ListToolsResult(tools=tools)

    async def _call(self, ctx: HostRequest, params: types.CallToolRequestParams) -> Any:
        arguments = cast("JsonObject", params.arguments or {})
        if params.name == "greet":
            return tell(f"Hello, {arguments['name']}!")
        if params.name not in TOYS:
            raise ArgumentError(f"there is no tool {params.name}")
        if params.name in ONLY_AS_TASKS:
            require_tasks(ctx)
        if params.name == "test_tool_with_task":
            if not params.input_responses:
                question = Question(
                    "toys", "Your name?", {"type": "object", "properties": {"name": {"type": "string"}}}
                )
                return types.InputRequiredResult(input_requests={"user_name": build_elicitation(question)})
            said = cast("Any", params.input_responses["user_name"])
            arguments = {"name": said.content["name"]}
        return await self._run(ctx, {"tool": params.name, **arguments})

    async def _run(self, ctx: HostRequest, arguments: JsonObject) -> Any:
        """What the server of the bridge does with a call of `respond`."""
        run = await self.engine.start(make_run_id(), arguments, principal=find_principal(ctx))
        audience = HostAudience(ctx, self._silences, self.clock)
        waiting = Waiting(ctx, run, self.engine, audience, self.clock, self.limits.soft_deadline_s, self.redact)
        run = await waiting.wait(DIRECT_S if declares_tasks(ctx) else self.limits.soft_deadline_s, after=-1)
        return self._tasks.hand_out(run) if run.ending is None else render(run)


def render(run: Run) -> types.CallToolResult:
    """What the toy said at its end; nothing where it was stopped."""
    said = run.events[-2] if len(run.events) > 1 else None
    if not isinstance(said, Notified):
        return tell("stopped")
    if said.code == IS_REFUSED:
        raise MCPError(types.INTERNAL_ERROR, said.message)
    return tell(said.message, is_error=said.code == IS_ERROR)


def tell(text: str, *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(content=[types.TextContent(type="text", text=text)], is_error=is_error)


@asynccontextmanager
async def serve_toys() -> AsyncIterator[str]:
    """Serve them; the address for an MCP client."""
    toys = Toys()
    sessions = StreamableHTTPSessionManager(toys.server)
    app = Starlette(routes=[Route("/mcp", endpoint=StreamableHTTPASGIApp(sessions))])
    async with toys.engine, sessions.run(), serving_app(app) as root:
        yield f"{root}/mcp"
