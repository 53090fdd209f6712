"""Every way a run can end, and what `respond` returns then."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import anyio
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, ImageContent

from tests.fakes.bridges import open_bridge, open_without_host
from tests.fakes.clock import VirtualClock
from tests.fakes.servers import PIXEL, ordered_server
from tests.fakes.upstream import Reply, ScriptedUpstream, api_error, call, message, reasoning, responds

TIME = responds(call("current_time"))
DONE = responds(message("done"))
SCHEMA = {"format": {"type": "json_schema", "name": "sum", "schema": {"type": "object"}, "strict": False}}
APPROVAL = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "x", "server_label": "s", "arguments": "{}"}


def paint() -> MCPServer:
    server = MCPServer("paint")
    image = ImageContent(type="image", data=PIXEL, mime_type="image/png")
    server.tool(name="draw")(lambda: CallToolResult(content=[image]))
    return server


@dataclass
class Ending:
    """How a run is brought to an end, and the status that it has then."""

    status: str
    script: Sequence[Reply] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    sections: dict[str, Any] = field(default_factory=dict)


ENDINGS = {
    "an answer": Ending("completed", [TIME, DONE]),
    "with pictures and a picture that is none": Ending("completed", [responds(call("paint__draw")), DONE]),
    "with every item": Ending("completed", [responds(reasoning("a"), call("current_time")), DONE], {"detail": "full"}),
    "with a picture in every item": Ending("completed", [responds(call("paint__draw")), DONE], {"detail": "full"}),
    "an answer that is JSON": Ending("completed", [responds(message('{"a": 1}'))], {"text": SCHEMA}),
    "a name that nobody owns, and arguments that are an object": Ending(
        "completed", [responds(call("nobody") | {"arguments": {"a": 1}}), DONE], {"detail": "full"}
    ),
    "no id, model or usage": Ending("completed", [responds(message("x"), usage=None, model=None, id=None)]),
    "a price": Ending("completed", [DONE], {"model": "m"}, {"prices": {"m": {"input": 1, "output": 1}}}),
    "cut to its limit": Ending(
        "completed",
        [responds(*[call("current_time", call_id="i" * 900) for _ in range(9)]), DONE],
        {"detail": "full"},
        {"limits": {"result_chars": 3000}},
    ),
    "too many turns": Ending("incomplete", [TIME, DONE], {"max_turns": 1}),
    "cut short by the upstream": Ending("incomplete", [responds(message("x"), status="incomplete")]),
    "refused by the upstream": Ending("failed", [api_error(400, "Bad")]),
    "arguments that are wrong": Ending("failed", [], {"max_turns": 0}),
    "no upstream": Ending("failed", [], {}, {"upstream": None}),
    "the caller's own function": Ending(
        "needs_input", [responds(call("mine"))], {"tools": [{"type": "function", "name": "mine"}]}
    ),
    "an approval": Ending("needs_input", [responds(APPROVAL)]),
}


async def reach(ending: Ending, mode: ConnectMode = "auto") -> dict[str, Any]:
    """The result of a run with this ending, which the SDK's client has accepted."""
    sections: dict[str, Any] = {"builtin_tools": True, **ending.sections}
    if "upstream" in sections:
        async with open_without_host(None, **sections) as bridge, Client(bridge.server, mode=mode) as client:
            return await read(client, "respond", input="x", **ending.arguments)
    async with open_bridge({"paint": paint()}, script=ending.script, mode=mode, **sections) as bridge:
        return await read(bridge.client, "respond", input="x", **ending.arguments)


async def read(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    receipt = (await client.call_tool(tool, arguments)).structured_content
    assert receipt is not None
    return receipt


async def go_on_and_stop(mode: ConnectMode = "auto") -> list[dict[str, Any]]:
    """A run that goes on past the soft deadline, looked at, and then stopped."""
    clock, tool, results = VirtualClock(), ordered_server(), list[dict[str, Any]]()
    async with (
        ScriptedUpstream([responds(call("o__answer", {"key": "a"})), DONE]) as upstream,
        open_without_host(upstream, {"o": tool.server}, clock=clock) as bridge,
        Client(bridge.server, mode=mode) as client,
    ):

        async def begin() -> None:
            results.append(await read(client, "respond", input="x"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
            await tool.reached("a")
            await clock.advance(45)
        run_id = results[0]["run_id"]
        results.append(await read(client, "respond_wait", run_id=run_id, wait_s=0))
        results.append(await read(client, "respond_cancel", run_id=run_id))
        results.append(await read(client, "respond_wait", run_id="unknown"))
    return results
