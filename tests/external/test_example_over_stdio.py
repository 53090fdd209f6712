"""The example request as a host sends it: over stdio, in both eras, streamed and not, to either kind of upstream."""

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from bridge.offline.app import build_app
from tests.fakes.service import serving_app
from tests.fakes.upstream import Reply, ScriptedUpstream, call, message, responds, validate_request

pytestmark = [pytest.mark.anyio, pytest.mark.external]

MODERN = "2026-07-28"
"""Named, for a host that probes gives up on a bridge that a busy machine starts slowly."""
CALLS: dict[str, dict[str, Any]] = {
    "random_generator": {"min": 1, "max": 100, "count": 3},
    "system_info": {},
    "math_calculator": {"operation": "add", "a": 123.5, "b": 456.7},
    "current_time": {},
}
SCRIPT: list[Reply] = [responds(*(call(name, arguments) for name, arguments in CALLS.items())), responds(message("ok"))]


async def ask(folder: Path, body: dict[str, Any], base_url: str, stream: str, mode: str) -> dict[str, Any]:
    """The structured result of `respond`, called by a real client over stdio."""
    config = folder / "config.json"
    config.write_text(json.dumps({"upstream": {"base_url": base_url, "stream": stream}}), encoding="utf-8")
    arguments = ["-m", "bridge", "serve", "--config", str(config)]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
    lines: list[str] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        lines.append(message or "")

    async with Client(stdio_client(server, errlog=sys.__stderr__ or sys.stderr), mode=mode) as client:
        assert (client.protocol_version == MODERN) is (mode == MODERN)
        result = await client.call_tool("respond", {**body, "detail": "full"}, progress_callback=note)
    assert result.structured_content
    assert sum("✓" in line for line in lines) == len(CALLS)
    return result.structured_content


@pytest.mark.parametrize("mode", [MODERN, "legacy"])
@pytest.mark.parametrize("stream", ["always", "never"])
@pytest.mark.parametrize("kind", ["embedded", "scripted"])
async def test_the_example_is_answered(kind: str, stream: str, mode: str, tmp_path: Path, repository: Path) -> None:
    body = json.loads((repository / "bridge" / "example.json").read_text(encoding="utf-8"))
    if kind == "embedded":
        async with serving_app(build_app()) as root:
            result = await ask(tmp_path, body, f"{root}/v1", stream, mode)
        assert "580.2" in result["output_text"]
    else:
        async with ScriptedUpstream(SCRIPT) as upstream:
            result = await ask(tmp_path, body, upstream.base_url, stream, mode)
        assert [request.json.get("stream", False) for request in upstream.requests] == [stream == "always"] * 2
        for request in upstream.requests if stream == "never" else ():
            validate_request(request.json, as_written=CALLS.keys())
    assert result["status"] == "completed"
    assert {made["name"]: json.loads(made["arguments"]) for made in result["tool_calls"]} == CALLS
    assert {made["is_error"] for made in result["tool_calls"]} == {False}
