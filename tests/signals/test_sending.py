"""One trace, from the host's request over the run, its turns and their requests to every call."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.fakes.collector import Collector
from tests.fakes.upstream import ScriptedUpstream, call, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

MODERN = "2026-07-28"
TELLING = str(Path(__file__).parents[1] / "fakes" / "telling.py")
TRACE, HOST_SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
META: Any = {"traceparent": f"00-{TRACE}-{HOST_SPAN}-01", "baggage": "user=canary"}
RUN = "invoke_agent mcp-responses-bridge"


def write_config(folder: Path, base_url: str, **sections: Any) -> Path:
    file = folder / "config.json"
    entry = {"command": sys.executable, "args": ["-P", TELLING], "require_approval": "never"}
    upstream = {"base_url": base_url, "model": "gpt-4.1", "api_key": "sk-canary-key", "max_retries": 2}
    config = {"upstream": upstream, "mcpServers": {"telling": entry}, "builtin_tools": False, **sections}
    file.write_text(json.dumps(config), encoding="utf-8")
    file.chmod(0o600)
    return file


@asynccontextmanager
async def host_on_stdio(config: Path, variables: dict[str, str], mode: Any = MODERN) -> AsyncIterator[Client]:
    """A host that has started the bridge."""
    arguments = ["-m", "bridge", "serve", "--config", str(config)]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=os.environ | variables)
    async with Client(stdio_client(server, errlog=sys.__stderr__ or sys.stderr), mode=mode) as client:
        yield client


def outputs(upstream: ScriptedUpstream) -> list[list[str]]:
    """What the calls of the first turn came to, in words."""
    items = upstream.requests[-1].json["input"]
    return [item["output"].split() for item in items if item.get("type") == "function_call_output"]


def parent_in(header: str) -> tuple[str, str]:
    """The trace and the span that a header names."""
    _, trace, span, _ = header.split("-")
    return trace, span


@pytest.mark.parametrize("mode", [MODERN, "legacy"])
async def test_one_trace_goes_from_the_host_to_the_upstream_and_to_every_call(mode: str, tmp_path: Path) -> None:
    script = [
        responds(call("telling__tell", {"key": "a"}), call("telling__tell", {"key": "b"})),
        responds(message("canary-answer")),
    ]
    async with Collector() as collector, ScriptedUpstream(script) as upstream:
        config = write_config(tmp_path, upstream.base_url)
        async with host_on_stdio(config, collector.variables, mode) as host:
            result = await host.call_tool("respond", {"input": "canary-prompt"}, meta=META)
        assert result.structured_content
        assert result.structured_content["status"] == "completed"
        await collector.wait_for_spans(RUN, "tools/call respond")
        run = collector.one(RUN)
        assert collector.chain(run) == [RUN, "tools/call respond"]
        assert (run.trace, collector.parent_of(run).parent) == (TRACE, HOST_SPAN)
        assert run.attributes["mcp_responses_bridge.run.id"] == result.structured_content["run_id"]
        assert run.attributes["mcp_responses_bridge.run.status"] == "completed"

        for n, request in enumerate(upstream.requests, 1):
            sent = next(span for span in collector.spans if span.id == parent_in(request.headers["traceparent"])[1])
            assert collector.chain(sent) == ["POST", "chat gpt-4.1", f"turn {n}", RUN, "tools/call respond"]
            assert sent.attributes["http.response.status_code"] == 200
            assert "baggage" not in request.headers
        for key, header, baggage in outputs(upstream):
            trace, span = parent_in(header)
            sent = next(each for each in collector.spans if each.id == span)
            assert (trace, baggage) == (TRACE, "None")
            assert collector.chain(sent)[1:] == [
                "execute_tool telling__tell",
                "turn 1",
                RUN,
                "tools/call respond",
            ], f"the call {key}"
        parents = {collector.parent_of(span).id for span in collector.all("MCP send tools/call tell")}
        assert len(parents) == 2, "each of the calls that went on at once has its own"
        assert {span.trace for span in collector.spans if span.scope == "mcp-responses-bridge"} == {TRACE}
        assert all(b"canary" not in body for body in collector.raw)
        assert {resource["service.name"] for resource in collector.resources} == {"mcp-responses-bridge"}
