"""A server without tools, which has prompts or resources instead, is ready with none: that is no fault of anybody."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import types
from starlette.responses import JSONResponse

from bridge.hub.toolless import NO_ANSWER_S
from tests.fakes.bridges import open_bridge
from tests.fakes.clock import VirtualClock, until
from tests.fakes.commands import run
from tests.fakes.http import HttpServer, build_answering
from tests.fakes.items import Json
from tests.fakes.servers import Gate, rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

WORDS = "no tools: it announces prompts and resources"
REFUSALS = {
    "method not found (microsoft/vscode#243614)": "-32601:Method not found",
    "tools not supported (nicobailon/pi-mcp-adapter#220)": "-32601:tools not supported",
    "not implemented, as an internal error": "-32603:Not implemented",
    "does not support tools": "-32600:Server does not support tools (required for tools/list)",
    "a code of its own": "-32099:no handler for tools/list",
    "the code of a closed connection": "-32000:Tools not supported",
    "invalid params": "-32602:Invalid request parameters",
    "no words at all": "0:",
}


@pytest.mark.parametrize("era", ["legacy", "modern"])
@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
async def test_one_that_refuses_to_list_tools_is_ready_with_none(refusal: str, era: str, tmp_path: Path) -> None:
    entry = rogue(f"no_tools={refusal}", era, pids=tmp_path)
    async with open_bridge({"book": entry, "good": rogue("good")}) as bridge:
        outcome = await bridge.use(call("good__echo", {"text": "here"}))
        book = bridge.member("book")
        assert (book.state, book.reason, book.tools, book.listing.note) == ("ready", None, (), WORDS)
        assert "book (no tools)" in str((await bridge.client.list_tools()).tools[0].description)
    assert outcome.outputs == ["here"]
    assert outcome.notices == []
    assert await count_starts(tmp_path) == 1


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_one_that_never_answers_is_not_waited_for(era: str, tmp_path: Path) -> None:
    clock, log = VirtualClock(), tmp_path / "log"
    async with open_bridge({"book": rogue("no_tools", era, f"log={log}")}, clock=clock) as bridge:
        await until(lambda: log.exists() and "tools/list" in log.read_text(encoding="utf-8"))
        await clock.drive(lambda: bridge.member("book").state == "ready", NO_ANSWER_S + 1)
        assert bridge.member("book").listing.note == WORDS


@pytest.mark.parametrize("era", ["legacy", "modern"])
async def test_its_tools_come_when_it_announces_them(era: str) -> None:
    async with (
        Gate() as gate,
        open_bridge({"book": rogue("no_tools=-32601:Method not found", f"tools_come={gate.port}", era)}) as bridge,
    ):
        assert (await bridge.use()).offered == []
        await gate.reached()
        gate.open()
        await until(lambda: bool(bridge.member("book").tools))
        outcome = await bridge.use(call("book__read"))
        assert bridge.member("book").listing.note is None
    assert outcome.outputs == ["nothing has changed"]


@pytest.mark.parametrize("status", [200, 400, 404, 405, 501])
async def test_over_http_it_does_not_matter_which_status_says_so(status: int) -> None:
    def refuse(message: Json) -> Any:
        error = {"code": -32601, "message": "Method not found"}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error}, status) if asks(message) else None

    async with (
        HttpServer(lambda: build_answering(refuse, {"no_tools": ""})) as served,
        open_bridge({"book": {"url": served.url}}) as bridge,
    ):
        assert (await bridge.use()).notices == []
        assert bridge.member("book").state == "ready"


async def count_starts(pids: Path) -> int:
    return len([file async for file in anyio.Path(pids).iterdir()])


def asks(message: Json) -> bool:
    return message.get("method") == "tools/list"


UNTOLD: dict[str, tuple[int, Json]] = {
    "401": (401, {}),
    "403": (403, {}),
    "429": (429, {}),
    "an error of the code of a closed connection": (200, {"code": -32000, "message": "Service busy"}),
}


@pytest.mark.parametrize("kind", UNTOLD)
async def test_a_refusal_that_tells_nothing_of_tools_is_none_of_them(kind: str) -> None:
    status, error = UNTOLD[kind]

    def refuse(message: Json) -> Any:
        body = {"jsonrpc": "2.0", "id": message["id"], "error": error} if error else {"detail": "not now"}
        return JSONResponse(body, status) if asks(message) else None

    async with (
        HttpServer(lambda: build_answering(refuse, {"no_tools": ""})) as served,
        open_bridge({"book": {"url": served.url}}) as bridge,
    ):
        assert "book" in str((await bridge.use()).notices)
        assert bridge.member("book").state != "ready"


FAILURES: dict[str, Json] = {
    "it announces tools, and has a fault": {"code": -32603, "message": "the database is down"},
    "it announces tools, and wants a sign-in": {"code": -32001, "message": "Unauthorized"},
    "it announces tools, and is busy": {"code": -32000, "message": "Service unavailable"},
}


@pytest.mark.parametrize("error", FAILURES.values(), ids=FAILURES)
async def test_one_that_fails_to_list_its_tools_has_failed(error: Json) -> None:
    async with (
        HttpServer(lambda: build_answering(lambda message: {"error": error} if asks(message) else None)) as served,
        open_bridge({"shop": {"url": served.url}}) as bridge,
    ):
        [notice] = (await bridge.use()).notices
    assert error["message"] in notice


async def test_a_list_that_is_refused_later_costs_no_tool() -> None:
    asked = 0

    def refuse_later(message: Json) -> Any:
        nonlocal asked
        asked += asks(message)
        return {"error": {"code": -32601, "message": "Method not found"}} if asks(message) and asked > 1 else None

    async with (
        HttpServer(lambda: build_answering(refuse_later)) as served,
        open_bridge({"shop": {"url": served.url}}) as bridge,
    ):
        await bridge.use()
        listing = bridge.member("shop").listing
        await listing.handle_notification(types.ToolListChangedNotification(method="notifications/tools/list_changed"))
        await until(lambda: asked > 1)
        assert len((await bridge.use()).offered) == 5


@pytest.mark.external
async def test_tools_and_check_say_so_once(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "config.json"
    servers = {"book": rogue("no_tools=-32601:Method not found")}
    file.write_text(json.dumps({"builtin_tools": False, "mcpServers": servers}), encoding="utf-8")
    file.chmod(0o600)
    shown = await run(capfd, "tools", "--config", str(file))
    checked = await run(capfd, "check", "--config", str(file))
    assert f"book: ready: {WORDS} (0 tools, MCP 2026-07-28)" in shown.stdout
    assert f"server book: ready, {WORDS}, MCP 2026-07-28" in checked.stdout
    assert (shown.stdout + checked.stdout).count("no tools") == 2
