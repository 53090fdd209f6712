"""What a real process sends: one trace from the host to every call, and metrics; and what if it cannot be sent."""

import json
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from starlette.applications import Starlette

from tests.fakes.clock import PATIENCE_S
from tests.fakes.collector import Collector
from tests.fakes.service import serving_app
from tests.fakes.upstream import ScriptedUpstream, call, message, responds
from tests.fakes.without import hide_packages

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
        responds(call("telling__tell", {"key": "a"}), call("telling__tell", {"key": "b"}), call("telling__fail")),
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
        *told, failed = outputs(upstream)
        assert "canary" in failed, "the model reads what the server says"
        refused = collector.one("MCP send tools/call fail")
        assert (refused.is_error, refused.words, refused.attributes["error.type"]) == (True, "", "-32000")
        for key, header, baggage in told:
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


async def test_ask_sends_its_run_and_the_metrics_of_it_before_it_ends(tmp_path: Path) -> None:
    async with Collector() as collector, ScriptedUpstream([responds(message("Hi."))]) as upstream:
        config = write_config(tmp_path, upstream.base_url, mcpServers={})
        slow = {"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
        said = await run_bridge("ask", "Hello", "--config", str(config), variables=collector.variables | slow)
        assert said == (0, "Hi.\n", [])
        run = collector.one(RUN)
        assert (run.parent, collector.chain(collector.one("POST"))) == ("", ["POST", "chat gpt-4.1", "turn 1", RUN])
        runs = collector.metrics["mcp_responses_bridge.runs"].points
        assert list(runs.values()) == [1]
        assert dict(next(iter(runs)))["mcp_responses_bridge.run.status"] == "completed"
        assert sum(collector.metrics["gen_ai.client.operation.duration"].points.values()) == 1
        assert collector.metrics["mcp_responses_bridge.runs.places"].points


FAULTS = {
    "closed": "connection refused",
    "silent": "it does not answer in time",
    "refusing": "it answers with status 404",
}


@pytest.mark.parametrize("fault", FAULTS)
async def test_a_collector_that_cannot_be_reached_costs_one_line_and_no_time(fault: str, tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        upstream = await stack.enter_async_context(ScriptedUpstream([responds(message("Hi."))]))
        url = await stack.enter_async_context(broken_collector(fault))
        variables = {
            "OTEL_EXPORTER_OTLP_ENDPOINT": url,
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_TIMEOUT": "3600",
            "OTEL_BSP_SCHEDULE_DELAY": "1",
        }
        config = write_config(tmp_path, upstream.base_url, mcpServers={})
        code, answer, told = await run_bridge("ask", "Hello", "--config", str(config), variables=variables)
    assert (code, answer) == (0, "Hi.\n")
    assert [line.partition("export: ")[2] for line in told] == [
        f"traces cannot be sent to {url}/v1/traces ({FAULTS[fault]}): start a collector there, or set "
        "OTEL_TRACES_EXPORTER=none; runs go on, and what is not sent is lost"
    ]


async def test_without_the_packages_one_line_says_what_to_install(tmp_path: Path) -> None:
    hidden = hide_packages(tmp_path, "opentelemetry.sdk")
    paths = os.pathsep.join([hidden, os.environ["PYTHONPATH"]])
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": paths}
    async with ScriptedUpstream([responds(message("Hi."))]) as upstream:
        config = write_config(tmp_path, upstream.base_url, mcpServers={})
        code, answer, told = await run_bridge("ask", "Hello", "--config", str(config), variables=variables)
    assert (code, answer) == (0, "Hi.\n")
    [line] = told
    assert "ask for traces and metrics" in line
    assert "pip install 'mcp-responses-bridge[otel]'" in line


async def run_bridge(*arguments: str, variables: dict[str, str]) -> tuple[int, str, list[str]]:
    """One command in a process of its own: its exit code, its stdout, and the warnings on its stderr."""
    command = [sys.executable, "-m", "bridge", *arguments]
    with anyio.fail_after(PATIENCE_S):
        done = await anyio.run_process(command, env=os.environ | variables, check=False)
    lines = done.stderr.decode().splitlines()
    return done.returncode, done.stdout.decode(), [line for line in lines if not line.startswith("turn ")]


@asynccontextmanager
async def broken_collector(fault: str) -> AsyncIterator[str]:
    """A collector that is not there, that takes everything and answers nothing, or that knows no traces."""
    if fault == "refusing":
        async with serving_app(Starlette()) as url:
            yield url
        return
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        if fault == "silent":
            listening.listen()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
