"""No configured secret reaches anything that people or hosts see, in whichever encoding others repeat it.

A tool's own output to the model is none of these places: it has to pass unchanged.
"""

import base64
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mcp import Client

from bridge.app import Bridge
from bridge.config.load import load
from tests.fakes.bridges import respond, text_of
from tests.fakes.commands import run
from tests.fakes.servers import rogue
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, api_error, http_error, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

SECRETS = {
    "api key": "sk-canary/one+1",
    "upstream header": "canary-two",
    "upstream bearer": "Bearer canary-three",
    "query": 'canary "four" & more',
    "environment": 'cänary\\five"5',
    "server header": "canary-six/6",
    "url query": "canary-seven",
    "token": "canary-eight",
}
BASIC = base64.b64encode(b"user:sk-canary/one+1").decode()
"""As in `Authorization: Basic`; the characters from 7 to 26 are the key's alone."""
CANARIES = {
    **SECRETS,
    "upstream bearer": "canary-three",
    "api key in base64": BASIC[7:26],
    "query in a URL": quote(SECRETS["query"]),
    "environment in JSON": json.dumps(SECRETS["environment"])[1:-1],
    "server header in base64": base64.urlsafe_b64encode(b"canary-six/6").decode(),
}
SPILL = " ; ".join([*CANARIES.values(), BASIC])
"""What the upstream, a child process and a remote server say."""


def spill(request: Request) -> Reply:
    """Upstream and remote server in one: failures that pass and that do not, and an error for each MCP request."""
    if request.path.startswith("/v1/mcp"):
        error = {"code": -32050, "message": f"refused: {SPILL}"}
        return http_error(200, {"jsonrpc": "2.0", "id": request.json.get("id"), "error": error})
    if request.path.startswith("/v1/models"):
        return http_error(200, {"data": [{"id": SPILL}]})
    match request.json["input"]:
        case []:
            return api_error(422, "empty")
        case [{"content": "fail"}] | "fail":
            return responds(status="failed", error={"code": SPILL, "message": f"it failed: {SPILL}"})
        case _:
            return api_error(503, f"not now: {SPILL}", {"retry-after": "0"}, code=SPILL)


@pytest.fixture
async def config(tmp_path: Path) -> AsyncIterator[Path]:
    """A config that holds every secret, in front of servers that repeat them."""
    async with ScriptedUpstream(spill) as upstream:
        base = {"base_url": upstream.base_url, "model": "m", "api_key": SECRETS["api key"], "max_retries": 1}
        headers = {"X-Org": SECRETS["upstream header"], "X-Other": SECRETS["upstream bearer"]}
        url = f"{upstream.base_url}/mcp?key={SECRETS['url query']}"
        sections: dict[str, Any] = {
            "upstream": {**base, "headers": headers, "query": {"sig": SECRETS["query"]}},
            "mcpServers": {
                "child": rogue(f"exit_at_start=I was given {SPILL}", env={"KEY": SECRETS["environment"]}),
                "remote": {"type": "http", "url": url, "headers": {"X-Key": SECRETS["server header"]}},
            },
            "serve": {"token": SECRETS["token"]},
        }
        file = tmp_path / "config.json"
        file.write_text(json.dumps(sections), encoding="utf-8")
        file.chmod(0o600)
        yield file


@pytest.mark.rule("R27", "S13")
async def test_no_canary_reaches_any_sink(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], record_testsuite_property: Any
) -> None:
    sinks = await respond_to_a_host(config)
    log = tmp_path / "log"
    for name, args in {
        "ask": ("ask", "fail", "--log-level", "debug"),
        "ask --json": ("ask", "fail", "--json", "--log-level", "debug", "--log-file", str(log)),
        "tools": ("tools", "--log-level", "debug"),
        "tools --json": ("tools", "--json", "--log-level", "debug"),
        "check": ("check", "--log-level", "debug"),
        "check --json": ("check", "--json", "--log-level", "debug"),
    }.items():
        done = await run(capfd, *args, "--config", str(config))
        sinks |= {f"{name}, stdout": done.stdout, f"{name}, stderr": done.stderr}
    sinks["log file"] = log.read_text(encoding="utf-8")

    silent = {sink for sink, text in sinks.items() if "***" not in text}
    assert silent == {"ask, stdout"}, "every other place has shown what was blanked"
    found = [(name, sink) for name, canary in CANARIES.items() for sink, text in sinks.items() if canary in text]
    figure = f"{len(found)} of {len(CANARIES)} canaries in {len(sinks)} places"
    record_testsuite_property("leaked secrets", figure)
    assert len(CANARIES) == 12
    assert found == [], figure


async def respond_to_a_host(config: Path) -> dict[str, str]:
    """What a host gets of a run that is tried again and then given up, and of one that fails."""
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(f"{progress} {total} {message}")

    async with Bridge(load(config, environ={}), environ=os.environ) as bridge, Client(bridge.server) as client:
        refused = await client.call_tool("respond", {"input": "now"}, progress_callback=hear)
        failed = await respond(client, "fail", detail="full")
    return {
        "text": text_of(refused),
        "structured content": json.dumps(refused.structured_content, ensure_ascii=False),
        "structured content, escaped": json.dumps(refused.structured_content),
        "structured content of a failed response": json.dumps(failed, ensure_ascii=False),
        "progress": "\n".join(heard),
    }
