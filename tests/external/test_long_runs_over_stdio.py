"""Runs that take longer than a host waits, through the real process on stdio and a real client, in both eras."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client import ClientRequestContext
from mcp.client.client import ConnectMode
from mcp.client.stdio import stdio_client
from mcp.types import ElicitRequestParams, ElicitResult

from bridge.questions import YES
from tests.fakes.bridges import ERAS
from tests.fakes.servers import rogue
from tests.fakes.upstream import ScriptedUpstream, call, gated, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

DONE = responds(message("done"))


@asynccontextmanager
async def serve(folder: Path, upstream: ScriptedUpstream, mode: ConnectMode, **sections: Any) -> AsyncIterator[Client]:
    """A client of `serve` in a process of its own, whose person says yes to everything."""

    async def say_yes(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        assert context.request_id is not None
        assert "with" in params.message
        return ElicitResult(action="accept", content={"answer": YES})

    config = folder / "config.json"
    unit = {"base_url": upstream.base_url, "model": "m"}
    config.write_text(json.dumps({"upstream": unit, "builtin_tools": False, **sections}), encoding="utf-8")
    arguments = ["-m", "bridge", "serve", "--config", str(config)]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
    transport = stdio_client(server, errlog=sys.__stderr__ or sys.stderr)
    async with Client(transport, mode=mode, elicitation_callback=say_yes) as client:
        yield client


async def use(client: Client, tool: str, arguments: dict[str, Any], **options: Any) -> dict[str, Any]:
    receipt = (await client.call_tool(tool, arguments, **options)).structured_content
    assert receipt is not None
    return receipt


@pytest.mark.parametrize("mode", ERAS)
async def test_a_run_over_the_soft_deadline_is_waited_for_with_another_call(mode: ConnectMode, tmp_path: Path) -> None:
    gate = anyio.Event()
    async with (
        ScriptedUpstream([gated(DONE, gate)]) as upstream,
        serve(tmp_path, upstream, mode, limits={"soft_deadline_s": 0.5}) as client,
    ):
        receipt = await use(client, "respond", {"input": "x"})
        assert receipt["status"] == "in_progress"
        gate.set()
        while receipt["status"] == "in_progress":
            receipt = await use(client, "respond_wait", {"run_id": receipt["run_id"]})
        assert receipt["output_text"] == "done"
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_that_the_clients_own_timeout_ends_is_not_lost(mode: ConnectMode, tmp_path: Path) -> None:
    gate = anyio.Event()
    async with ScriptedUpstream([gated(DONE, gate)]) as upstream, serve(tmp_path, upstream, mode) as client:
        with pytest.raises(MCPError, match="timed out"):
            await use(client, "respond", {"input": "x"}, read_timeout_seconds=1)
        gate.set()
        receipt = await use(client, "respond", {"input": "x"})
        assert (receipt["output_text"], [notice["code"] for notice in receipt["notices"]]) == ("done", ["rejoined"])
        assert len(upstream.requests) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_the_person_is_asked_and_the_call_runs(mode: ConnectMode, tmp_path: Path) -> None:
    script = [responds(call("desk__add", {"a": 1, "b": 2})), DONE]
    async with (
        ScriptedUpstream(script) as upstream,
        serve(tmp_path, upstream, mode, mcpServers={"desk": rogue("good")}) as client,
    ):
        receipt = await use(client, "respond", {"input": "x", "detail": "full"})
    [made] = receipt["tool_calls"]
    assert (made["output"], made["is_error"], receipt["status"]) == ("3", False, "completed")
