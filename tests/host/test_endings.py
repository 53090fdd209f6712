"""Sessions that end while messages for them are on their way."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from bridge.telemetry import Redactor, configure_logging
from tests.fakes.bridges import open_without_host
from tests.fakes.service import Served, serving

pytestmark = pytest.mark.anyio

JSON = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
CLIENT: dict[str, Any] = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "h", "version": "1"},
}
BEGIN = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": CLIENT}).encode()
TOLD = json.dumps({"jsonrpc": "2.0", "method": "notifications/progress", "params": {"progressToken": 1}}).encode()
SESSIONS = 15


async def test_what_is_said_to_a_session_as_it_ends_is_answered_once_and_no_traceback(tmp_path: Path) -> None:
    configure_logging("info", tmp_path / "log", Redactor())
    async with open_without_host(None, upstream=None) as bridge, serving(bridge) as served:
        async with anyio.create_task_group() as tasks:
            for _ in range(SESSIONS):
                tasks.start_soon(end_while_spoken_to, served)
        async with served.client() as client:
            assert (await client.list_tools()).tools
    lines = (tmp_path / "log").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if " INFO bridge.host.request_log: " not in line] == []


async def end_while_spoken_to(served: Served) -> None:
    begun = await served.send("POST", "/mcp", [*served.right, *JSON], BEGIN)
    session = [*served.right, *JSON, ("Mcp-Session-Id", begun.headers["mcp-session-id"])]

    async def send(method: str, body: bytes) -> None:
        reply = await served.send(method, "/mcp", session, body)
        assert reply.status in (200, 202, 404), reply

    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(send, "POST", TOLD)
        tasks.start_soon(send, "DELETE", b"")
        for _ in range(4):
            tasks.start_soon(send, "POST", TOLD)
