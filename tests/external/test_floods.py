"""Servers that send without end and read nothing: they cost neither memory nor their neighbours, nor a prompt end."""

import itertools
import json
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import psutil
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from tests.fakes.bridges import open_bridge
from tests.fakes.clock import PATIENCE_S
from tests.fakes.http import HttpServer
from tests.fakes.rogue import FLOODS, INFO, Rogue
from tests.fakes.servers import rogue, survivors
from tests.fakes.upstream import call

pytestmark = [pytest.mark.anyio, pytest.mark.external]

REQUESTS = ("ping", "roots/list", "sampling/createMessage", "elicitation/create")
NOTIFICATIONS = ("notifications/message", "notifications/progress", "notifications/tools/list_changed", "noise")
GROWTH_MB = 40
WATCHED_S = 3
AT_END_S = 4
"""The promise is 2; machines are busy."""
LINES = 20_000
GIVEN_UP = "had no answer yet"
"""What is said of a server that is given up, which takes longer on a busy machine."""


@contextmanager
def serve(folder: Path, servers: dict[str, Any]) -> Iterator[subprocess.Popen[bytes]]:
    """`serve` in a process of its own, whose host has shaken hands. What it logs is in the file `log`."""
    config = folder / "config.json"
    config.write_text(json.dumps({"builtin_tools": False, "mcpServers": servers}), encoding="utf-8")
    config.chmod(0o600)
    command = [sys.executable, "-m", "bridge", "serve", "--config", str(config), "--log-file", str(folder / "log")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        hello: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": INFO}
        ask(process, {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello})
        try:
            yield process
        finally:
            process.kill()


def ask(process: "subprocess.Popen[bytes]", request: dict[str, Any]) -> float:
    """Send a request and return how long its answer took."""
    assert process.stdin
    assert process.stdout
    began = time.monotonic()
    process.stdin.write(json.dumps(request).encode() + b"\n")
    process.stdin.flush()
    while json.loads(process.stdout.readline()).get("id") != request["id"]:
        pass
    return time.monotonic() - began


def read_log(folder: Path) -> str:
    return (folder / "log").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("method", "era"),
    [*((method, "legacy") for method in (*REQUESTS, *NOTIFICATIONS)), ("ping", "modern"), ("no/such/method", "modern")],
)
def test_a_process_that_floods_and_reads_nothing_costs_little_memory_and_no_time_at_the_end(
    method: str, era: str, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    pids = tmp_path / "pids"
    pids.mkdir()
    with serve(tmp_path, {"flood": rogue(f"floods={method}", era, pids=pids), "good": rogue("good")}) as process:
        watched, first, peak, slowest = psutil.Process(process.pid), 0, 0, 0.0
        until = time.monotonic() + WATCHED_S
        for number in itertools.count():
            slowest = max(slowest, ask(process, {"jsonrpc": "2.0", "id": number + 2, "method": "ping"}))
            peak = max(peak, watched.memory_info().rss)
            first = first or peak
            time.sleep(0.1)
            is_told = method in NOTIFICATIONS or GIVEN_UP in read_log(tmp_path)
            if time.monotonic() > until and (is_told or time.monotonic() > until + PATIENCE_S):
                break
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE_S)
        took = time.monotonic() - began
    lines = read_log(tmp_path).splitlines()
    words = f"flood of {method} ({era})"
    record_testsuite_property(f"{words}: memory, MB", round(peak / 1e6))
    record_testsuite_property(f"{words}: SIGTERM, s", round(took, 2))
    record_testsuite_property(f"{words}: slowest answer to the host, ms", round(slowest * 1000))
    record_testsuite_property(f"{words}: lines of log", len(lines))
    assert peak - first < GROWTH_MB * 1e6
    assert took < AT_END_S
    assert len(lines) < 10
    assert any(GIVEN_UP in line for line in lines) == (method not in NOTIFICATIONS)
    assert survivors(pids) == []


@pytest.mark.rule("REL8")
async def test_thousands_of_lines_of_noise_are_one_warning_and_a_count(
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    """A log on stdout (plmbr/notebook-intelligence#449: two lines of log for each)."""
    monkeypatch.setattr("bridge.jsonrpc.noise.FIRST_COUNT", LINES)
    patient = {"soft_deadline_s": 1000, "connect_timeout_s": 100, "call_timeout_s": 1000}
    async with open_bridge({"loud": rogue(f"floods=noise:{LINES}")}, limits=patient) as bridge:
        loud = await bridge.use(call("loud__read"))
        assert loud.outputs == ["nothing has changed"]
    lines = [record.getMessage() for record in caplog.records if record.name == "bridge.jsonrpc.noise"]
    record_testsuite_property(f"lines of log per {LINES:,} lines of noise", len(lines))
    assert [line.partition(" message: ")[0] for line in lines] == [
        "loud: skipped a line that is not a",
        f"loud: skipped {LINES:,} lines that are not messages",
    ]


def build_flood(method: str, wire: Literal["http", "sse"]) -> Starlette:
    """A server that floods on the stream that was opened with GET, and never answers the POST of a reply."""
    server = Rogue({"legacy": ""})
    answers: list[dict[str, Any]] = []

    async def flood() -> AsyncIterator[str]:
        if wire == "sse":
            yield "event: endpoint\ndata: /messages\n\n"
        begins = wire == "http"  # over SSE the handshake and the list come on the same stream
        for number in range(10**9):
            while answers:
                begins = begins or "tools" in answers[-1].get("result", {})
                yield f"event: message\ndata: {json.dumps(answers.pop())}\n\n"
            asked = {"jsonrpc": "2.0", "method": method, "params": FLOODS.get(method, {}), "id": f"flood-{number}"}
            if begins:
                yield f"event: message\ndata: {json.dumps(asked)}\n\n"
            await anyio.sleep(0 if begins else 0.01)

    async def open_stream(_: Request) -> Response:
        return StreamingResponse(flood(), media_type="text/event-stream")

    async def answer(request: Request) -> Response:
        message = await request.json()
        if "method" not in message:
            await anyio.sleep_forever()
        found = server.answer(message["method"], message.get("params") or {}, message) if "id" in message else None
        if found is None or wire == "sse":
            answers.extend([{"jsonrpc": "2.0", "id": message["id"], **found}] if found else [])
            return Response(status_code=202)
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], **found}, headers={"mcp-session-id": "s1"})

    return Starlette(
        routes=[
            Route("/mcp", answer, methods=["POST"]),
            Route("/mcp", open_stream, methods=["GET"]),
            Route("/messages", answer, methods=["POST"]),
            Route("/sse", open_stream, methods=["GET"]),
        ]
    )


@pytest.mark.rule("S20")
@pytest.mark.parametrize("wire", ["http", "sse"])
@pytest.mark.parametrize("method", ["ping", "elicitation/create", "sampling/createMessage"])
async def test_one_that_floods_over_http_and_answers_no_reply_is_quarantined(
    method: str, wire: Literal["http", "sse"]
) -> None:
    async with HttpServer(lambda: build_flood(method, wire), wire) as served:
        entry = {"url": served.url, "type": wire, "protocol": "legacy"}
        async with open_bridge({"flood": entry, "good": rogue("good")}) as bridge:
            with anyio.fail_after(PATIENCE_S):
                await bridge.reached("flood", "quarantined")
            outcome = await bridge.use(call("good__echo", {"text": "unharmed"}))
            began = time.monotonic()
        assert time.monotonic() - began < AT_END_S
    assert outcome.outputs == ["unharmed"]
    [notice] = outcome.notices
    assert notice.startswith('server "flood" is quarantined: 1,001 of its requests')
