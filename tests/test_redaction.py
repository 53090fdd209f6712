"""No configured secret reaches anything that people or hosts see, in whichever encoding others repeat it.

A tool's own output to the model is none of these places: it has to pass unchanged.
"""

import base64
import html
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from mcp import Client

from bridge.app import Bridge
from bridge.config.load import load
from bridge.hub.transports.stdio import STDERR_LINE_BYTES
from bridge.jsonrpc.lines import KEPT_BYTES
from bridge.telemetry import Redactor, configure_logging
from bridge.upstream.wire import REQUEST_ID_CHARS
from tests.fakes.bridges import open_bridge, respond, text_of
from tests.fakes.commands import run
from tests.fakes.servers import rogue
from tests.fakes.service import serving
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, api_error, call, http_error, message, responds

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
    "argument": "canary-nine",
    "argument that begins like another": "canary-nine-and-more",
    "assignment": "canary ten",
    "header of an argument": "canary-eleven",
    "password in a URL": "canary%2Dtwelve",
    "path of a URL": "c4n4ry13d5e6f7a8b9c0",
    "path of the base URL": "c4n4ry14a9b8c7d6e5f4",
    "line of a private key": "canaryFifteenMIIEvQIBADANBg",
    "short password": "c4n16",
    "variable": "canary-seventeen",
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
    "password in a URL, decoded": "canary-twelve",
    "query in HTML": html.escape(SECRETS["query"]),
    "api key as PHP writes it": "sk-canary\\/one+1",
    "api key in small escapes": "sk-canary%2fone%2b1",
}
SPILL = " ; ".join([*CANARIES.values(), BASIC])
"""What the upstream, a child process and a remote server say."""


ENV = {
    "KEY": SECRETS["environment"],
    "SSH": f"-----BEGIN PRIVATE KEY-----\n{SECRETS['line of a private key']}\n-----END PRIVATE KEY-----\n",
    "DB_PASSWORD": SECRETS["short password"],
}
"""What the child is given."""


def spill(request: Request) -> Reply:
    """Upstream and remote server in one: failures that pass and that do not, and an error for each MCP request."""
    if request.path.startswith("/v1/mcp"):
        error = {"code": -32050, "message": f"refused: {SPILL}"}
        return http_error(200, {"jsonrpc": "2.0", "id": request.json.get("id"), "error": error})
    if request.path.endswith("/models"):
        return http_error(200, {"data": [{"id": SPILL}]})
    said = json.dumps(request.json["input"])
    if request.json["input"] == []:
        return api_error(422, "empty")
    if "function_call_output" in said:
        return responds(message("done"))
    if "tell" in said:
        return responds(call("teller__environment", {"why": SPILL}))
    named = {"x-request-id": f"{'x' * (REQUEST_ID_CHARS - 9)}{SECRETS['api key']}"}
    if "fail" in said:
        error = {"code": SPILL, "message": f"it failed: {SPILL}"}
        return responds(status="failed", error=error, model=SPILL, headers=named)
    return api_error(503, f"not now: {SPILL}", {"retry-after": "0", **named}, code=SPILL)


@pytest.fixture
async def config(tmp_path: Path) -> AsyncIterator[Path]:
    """A config that holds every secret, in front of servers that repeat them."""
    async with ScriptedUpstream(spill) as upstream:
        base = {"base_url": f"{upstream.base_url}/{SECRETS['path of the base URL']}", "model": "m"}
        base |= {"api_key": SECRETS["api key"], "max_retries": 1}
        headers = {"X-Org": SECRETS["upstream header"], "X-Other": SECRETS["upstream bearer"]}
        url = f"{upstream.base_url}/mcp/{SECRETS['path of a URL']}/${{SHOP_KEY}}?key={SECRETS['url query']}"
        child = rogue(f"exit_at_start=I was given {SPILL}", env=ENV)
        child["args"] += ["--token", SECRETS["argument"], f"--api-key={SECRETS['assignment']}"]
        child["args"] += ["--more-token", SECRETS["argument that begins like another"]]
        child["args"] += ["--header", f"Authorization: Bearer {SECRETS['header of an argument']}"]
        child["args"] += [f"postgres://bridge:{SECRETS['password in a URL']}@db.example.com/shop"]
        sections: dict[str, Any] = {
            "upstream": {**base, "headers": headers, "query": {"sig": SECRETS["query"]}},
            "mcpServers": {
                "child": child,
                "late": {**child, "args": [*rogue("silent")["args"], *child["args"][4:]], "connect_timeout_s": 1},
                "teller": {**rogue("env", env={"TOLD": SPILL}), "require_approval": "never"},
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
    config: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    record_testsuite_property: Any,
) -> None:
    monkeypatch.setenv("SHOP_KEY", SECRETS["variable"])
    sinks = await respond_to_a_host(config)
    log, recording = tmp_path / "log", tmp_path / "run.jsonl"
    for name, args in {
        "ask": ("ask", "fail", "--log-level", "debug"),
        "ask --json": ("ask", "fail", "--json", "--log-level", "debug", "--log-file", str(log)),
        "ask about a tool": ("ask", "tell", "--log-level", "debug", "--record", str(recording)),
        "tools": ("tools", "--log-level", "debug"),
        "tools --json": ("tools", "--json", "--log-level", "debug"),
        "check": ("check", "--log-level", "debug"),
        "check --json": ("check", "--json", "--log-level", "debug"),
    }.items():
        done = await run(capfd, *args, "--config", str(config))
        sinks |= {f"{name}, stdout": done.stdout, f"{name}, stderr": done.stderr}
    sinks["log file"] = log.read_text(encoding="utf-8")
    sinks["recording"] = recording.read_text(encoding="utf-8")

    silent = {sink for sink, text in sinks.items() if "***" not in text}
    assert silent == {"ask, stdout", "ask about a tool, stdout"}, "every other place has shown what was blanked"
    found = [(name, sink) for name, canary in CANARIES.items() for sink, text in sinks.items() if canary[:-2] in text]
    figure = f"{len(found)} of {len(CANARIES)} canaries in {len(sinks)} places"
    record_testsuite_property("leaked secrets", figure)
    assert len(CANARIES) == 26
    assert len(sinks) >= 20
    assert found == [], figure


async def respond_to_a_host(config: Path) -> dict[str, str]:
    """What a host gets of a run that is tried again and then given up, and of one that fails."""
    heard: list[str] = []

    async def hear(progress: float, total: float | None, message: str | None) -> None:
        heard.append(f"{progress} {total} {message}")

    environ = {"SHOP_KEY": SECRETS["variable"]}
    async with Bridge(load(config, environ=environ), environ=os.environ) as bridge, Client(bridge.server) as client:
        refused = await client.call_tool("respond", {"input": "now"}, progress_callback=hear)
        failed = await respond(client, "fail", detail="full")
        await client.call_tool("respond", {"input": "tell"}, progress_callback=hear)
        async with serving(bridge) as served:
            health = await served.send("GET", "/healthz", served.right)
    return {
        "healthz": health.body,
        "text": text_of(refused),
        "structured content": json.dumps(refused.structured_content, ensure_ascii=False),
        "structured content, escaped": json.dumps(refused.structured_content),
        "structured content of a failed response": json.dumps(failed, ensure_ascii=False),
        "progress": "\n".join(heard),
    }


WRITES = """
import os, sys
for piece in sys.argv[1:]:
    os.write(2, piece.encode().decode("unicode_escape").encode())
sys.exit(3)
"""


@pytest.mark.parametrize(
    ("pieces", "said"),
    [
        (["fatal: ", *"canary-token", " is wrong\\n"], "fatal: *** is wrong"),
        (["fatal: no canary", "-tok", "en"], "fatal: no ***"),
        (["fatal: not ", "canary-token-2\\n"], "fatal: not ***"),
        (["x" * (KEPT_BYTES - 9), "canary-token", "y" * STDERR_LINE_BYTES, "\\n"], "***…"),
    ],
    ids=["byte by byte", "without an end of line", "that begins like another", "cut with its line"],
)
async def test_a_dying_child_s_secret_is_blanked_however_it_is_written(
    pieces: list[str], said: str, tmp_path: Path
) -> None:
    configure_logging("debug", tmp_path / "log", Redactor(["canary-token", "canary-token-2"]))
    child = {"command": sys.executable, "args": ["-S", "-E", "-c", WRITES, *pieces]}
    tokens = {"ONE_TOKEN": "canary-token", "TWO_TOKEN": "canary-token-2"}
    async with open_bridge({"s": {**child, "env": tokens}}, script=[responds(message("fine"))]) as bridge:
        receipt = await bridge.respond("Hello")
    told = json.dumps(receipt["notices"]) + (tmp_path / "log").read_text(encoding="utf-8")
    assert "***" in told
    assert "canary" not in told
    assert said in told


async def test_what_a_tool_returns_reaches_the_model_as_it_is(config: Path) -> None:
    environ = {"SHOP_KEY": SECRETS["variable"]}
    sent: list[str] = []
    async with ScriptedUpstream(spill) as upstream:
        loaded = load(config, environ=environ)
        assert loaded.upstream
        moved = loaded.model_copy(
            update={"upstream": loaded.upstream.model_copy(update={"base_url": upstream.base_url})}
        )
        async with Bridge(moved, environ=os.environ) as bridge, Client(bridge.server) as client:
            await client.call_tool("respond", {"input": "tell"})
        sent = [request.body.decode() for request in upstream.requests if "function_call_output" in str(request.json)]
    output = json.loads(json.loads(sent[0])["input"][-1]["output"])
    assert output["TOLD"] == SPILL
