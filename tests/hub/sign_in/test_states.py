"""A server that wants a sign-in, as runs and people see it: before somebody has signed in, and afterwards."""

import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, types
from mcp.client import ClientRequestContext
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.app import Bridge
from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.hub.sign_in.person import sign_in
from bridge.hub.transports.credentials import LOOK_S
from bridge.hub.transports.need import FOLDER
from bridge.state import VARIABLE, StateFolder
from bridge.telemetry import Redactor
from tests.fakes.authority import Authority, browse
from tests.fakes.bridges import ERAS, open_bridge, open_without_host, outputs_of, respond
from tests.fakes.clock import VirtualClock, until
from tests.fakes.http import HttpServer
from tests.fakes.items import Json
from tests.fakes.service import serving
from tests.fakes.upstream import Request, ScriptedUpstream, call, message, responds

pytestmark = pytest.mark.anyio

LOGIN = "`mcp-responses-bridge login far`"
COMMANDS = (["check"], ["check", "--json"], ["tools"], ["tools", "--json"])


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {VARIABLE: str(tmp_path)}


def entry(authority: Authority, **others: Any) -> dict[str, Json]:
    return {"far": {"url": authority.url, "require_approval": "never", **others}}


async def log_in(authority: Authority, environ: dict[str, str]) -> None:
    """As `login far` does, in whatever process."""
    server, folder = ServerConfig(key="far", url=authority.url), StateFolder(Path(environ[VARIABLE]), FOLDER)

    async def agree(url: str) -> None:
        assert (await browse(url)).status_code == 200

    await sign_in(server, folder, agree, clock=Clock(), redact=Redactor())


@pytest.mark.parametrize("status", [401, 403, 400])
async def test_a_server_that_wants_a_sign_in_slows_nobody_and_its_notice_names_the_command(
    environ: dict[str, str], status: int
) -> None:
    clock = VirtualClock()
    async with Authority(refuses_with=status) as authority:
        servers = {**entry(authority), "near": MCPServer("near")}
        async with open_bridge(servers, clock=clock, environ=environ) as bridge:
            outcome = await bridge.use()
            assert bridge.member("far").state == "needs sign-in"
            assert clock.now() == 0, "no run has waited"
            [notice] = outcome.notices
            assert notice.startswith('server "far" needs sign-in: ')
            assert LOGIN in notice


async def test_it_is_not_knocked_at_again_until_somebody_has_signed_in_elsewhere(environ: dict[str, str]) -> None:
    clock = VirtualClock()
    async with Authority() as authority, open_bridge(entry(authority), clock=clock, environ=environ) as bridge:
        await bridge.reached("far", "needs sign-in")
        knocks = authority.counts["refused"]
        await clock.advance(24 * 3600)
        assert authority.counts["refused"] == knocks == 2, "once in each era"
        await log_in(authority, environ)
        await clock.advance(2 * LOOK_S * 15)
        await bridge.reached("far", "ready")
        assert (await bridge.use(call("far__echo", {"text": "hello"}))).outputs == ["hello"]


async def test_a_run_that_begins_after_a_sign_in_has_the_tools_without_waiting_for_the_clock(
    environ: dict[str, str],
) -> None:
    clock = VirtualClock()
    async with Authority() as authority, open_bridge(entry(authority), clock=clock, environ=environ) as bridge:
        assert (await bridge.use()).offered == []
        await log_in(authority, environ)
        assert "far__echo" in (await bridge.use()).offered
        assert clock.now() == 0


async def test_hosts_are_told_when_the_tools_come(environ: dict[str, str]) -> None:
    heard: list[Any] = []

    async def hear(message: Any) -> None:
        heard.append(message)

    clock = VirtualClock()
    async with (
        Authority() as authority,
        open_bridge(entry(authority), clock=clock, environ=environ, mode="legacy", hear=hear) as bridge,
    ):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(bridge.server.tell_changes)
            await bridge.client.list_tools()
            await bridge.use()
            await log_in(authority, environ)
            await bridge.use()
            await clock.advance(1)
            await until(lambda: any(isinstance(one, types.ToolListChangedNotification) for one in heard))
            tasks.cancel_scope.cancel()
        [respond, *_] = (await bridge.client.list_tools()).tools
    assert respond.description is not None
    assert "far (4 tools)" in respond.description


async def test_a_sign_in_that_is_taken_back_leads_there_in_mid_service_and_a_new_one_out_of_it(
    environ: dict[str, str],
) -> None:
    clock = VirtualClock()
    async with Authority() as authority:
        await log_in(authority, environ)
        async with open_bridge(entry(authority), clock=clock, environ=environ) as bridge:
            assert (await bridge.use(call("far__echo", {"text": "one"}))).outputs == ["one"]
            authority.revoke()
            outcome = await bridge.use(call("far__echo", {"text": "two"}))
            assert LOGIN in str(outcome.outputs[0])
            assert "it was not executed" in str(outcome.outputs[0])
            await bridge.reached("far", "needs sign-in")
            outcome = await bridge.use()
            assert (outcome.offered, LOGIN in str(outcome.notices)) == ([], True)
            knocks = authority.counts.total()
            await clock.advance(24 * 3600)
            assert authority.counts.total() == knocks
            await log_in(authority, environ)
            assert (await bridge.use(call("far__echo", {"text": "three"}))).outputs == ["three"]


async def test_a_token_of_the_users_own_that_is_refused_is_told_as_that_and_no_sign_in_is_offered(
    environ: dict[str, str],
) -> None:
    async with Authority() as authority:
        servers = entry(authority, headers={"Authorization": "Bearer mine-0123456789"})
        async with open_bridge(servers, environ=environ) as bridge:
            [notice] = (await bridge.use()).notices
            assert bridge.member("far").state == "failed"
    assert "it does not accept the Authorization in headers: renew it" in notice
    assert "login" not in notice


async def test_a_call_that_needs_more_than_was_granted_says_so_and_the_server_stays(environ: dict[str, str]) -> None:
    async with Authority() as authority:
        await log_in(authority, environ)
        async with open_bridge(entry(authority), environ=environ) as bridge:
            outcome = await bridge.use(call("far__admin"), call("far__echo", {"text": "fine"}))
            assert "it wants the scope admin for this call: " in str(outcome.outputs[0])
            assert LOGIN in str(outcome.outputs[0])
            assert outcome.outputs[1] == "fine"
            assert bridge.member("far").state == "ready"


async def test_a_server_of_the_modern_era_whose_next_refusal_is_about_the_handshake_is_in_that_state_too(
    environ: dict[str, str],
) -> None:
    """It wants a token for `server/discover`, and answers `initialize` as one that does not know it."""
    challenge = {"www-authenticate": 'Bearer resource_metadata="http://127.0.0.1:9/prm"'}

    async def answer(request: HttpRequest) -> Response:
        if b"server/discover" in await request.body():
            return JSONResponse({}, 401, headers=challenge)
        return JSONResponse({"error": "Missing MCP-Protocol-Version header"}, 400)

    app = Starlette(routes=[Route("/{path:path}", answer, methods=["GET", "POST"])])
    async with (
        HttpServer(lambda: app) as served,
        open_bridge({"far": {"url": served.url}}, environ=environ) as bridge,
    ):
        [notice] = (await bridge.use()).notices
        assert bridge.member("far").state == "needs sign-in"
        assert LOGIN in notice


class Person:
    """A host's person, who opens what they are shown; `goes_on`: and signs in there."""

    def __init__(self, action: str = "accept") -> None:
        self.action: Any = action
        self.shown: list[types.ElicitRequestURLParams] = []

    async def __call__(self, context: ClientRequestContext, params: types.ElicitRequestParams) -> types.ElicitResult:
        assert context.request_id is not None
        assert isinstance(params, types.ElicitRequestURLParams)
        self.shown.append(params)
        if self.action == "accept":
            assert (await browse(params.url)).status_code == 200
        return types.ElicitResult(action=self.action)


@asynccontextmanager
async def place(
    authority: Authority, environ: dict[str, str], *calls: Json, **options: Any
) -> AsyncIterator[tuple[Bridge, list[Any]]]:
    """A bridge whose hosts are asked, and whose model makes these calls in each run; and what it was told."""
    outputs: list[Any] = []

    def answer(request: Request) -> Any:
        items = request.json["input"]
        if calls and isinstance(items, list) and any("output" in item for item in items):
            outputs.extend(outputs_of(request))
            return responds(message("done"))
        return responds(*calls) if calls else responds(message("done"))

    async with (
        ScriptedUpstream(answer) as upstream,
        open_without_host(upstream, entry(authority), environ=environ, **options) as bridge,
    ):
        yield bridge, outputs


@pytest.mark.parametrize("mode", ERAS)
async def test_over_stdio_the_person_signs_in_from_the_chat_and_that_run_has_the_tools(
    environ: dict[str, str], mode: ConnectMode
) -> None:
    person = Person()
    async with (
        Authority() as authority,
        place(authority, environ, call("far__echo", {"text": "hello"})) as (bridge, outputs),
        Client(bridge.server, mode=mode, elicitation_callback=person) as client,
    ):
        receipt = await respond(client)
        assert (receipt["status"], outputs) == ("completed", ["hello"])
        [asked] = person.shown
        where = authority.origin.removeprefix("http://")
        assert asked.message.startswith(f'The server "far" asks you to open a page of {where}: sign in there.')
        await respond(client, "Something else")
        assert len(person.shown) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_who_declines_is_asked_once_and_the_run_goes_on_without(
    environ: dict[str, str], mode: ConnectMode
) -> None:
    person = Person("decline")
    async with (
        Authority() as authority,
        place(authority, environ) as (bridge, _),
        Client(bridge.server, mode=mode, elicitation_callback=person) as client,
    ):
        for text in ("one", "two"):
            receipt = await respond(client, text)
            assert (receipt["status"], LOGIN in str(receipt["notices"])) == ("completed", True)
    assert len(person.shown) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_where_the_host_opens_no_pages_nobody_is_asked_and_nothing_is_registered(
    environ: dict[str, str], mode: ConnectMode
) -> None:
    async with (
        Authority() as authority,
        place(authority, environ) as (bridge, _),
        Client(bridge.server, mode=mode) as client,
    ):
        receipt = await respond(client)
        assert (receipt["status"], LOGIN in str(receipt["notices"])) == ("completed", True)
        assert (len(authority.registered), authority.counts["refused"]) == (0, 2)


@pytest.mark.parametrize("mode", ERAS)
async def test_over_http_nobody_is_asked_as_one_persons_account_would_be_everybodys(
    environ: dict[str, str], mode: ConnectMode
) -> None:
    person = Person()
    async with (
        Authority() as authority,
        place(authority, environ, is_service=True) as (bridge, _),
        serving(bridge) as served,
        served.client("/mcp", mode=mode, elicitation_callback=person) as client,
    ):
        receipt = await respond(client)
    assert (person.shown, LOGIN in str(receipt["notices"])) == ([], True)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_scope_that_a_call_needs_is_asked_for_once_and_the_call_repeated(
    environ: dict[str, str], mode: ConnectMode
) -> None:
    person = Person()
    async with Authority() as authority:
        await log_in(authority, environ)
        async with (
            place(authority, environ, call("far__admin")) as (bridge, outputs),
            Client(bridge.server, mode=mode, elicitation_callback=person) as client,
        ):
            receipt = await respond(client)
        assert receipt["status"] == "completed"
        assert (len(person.shown), authority.executed["admin"]) == (1, 1), outputs


@pytest.mark.external
async def test_check_and_tools_show_who_is_signed_in_and_who_has_to(environ: dict[str, str], tmp_path: Path) -> None:
    async with Authority(refreshes=False) as authority:
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"mcpServers": entry(authority)}), encoding="utf-8")

        async def tell(*args: str) -> str:
            command = [sys.executable, "-m", "bridge", *args, "--config", str(config)]
            done = await anyio.run_process(command, env={**environ, "PATH": "/usr/bin"}, check=False)
            return done.stdout.decode()

        for told in (
            await tell("check"),
            await tell("check", "--json"),
            await tell("tools"),
            await tell("tools", "--json"),
        ):
            assert "needs sign-in" in told
            assert LOGIN in told
        await log_in(authority, environ)
        for told in (
            await tell("check"),
            await tell("check", "--json"),
            await tell("tools"),
            await tell("tools", "--json"),
        ):
            assert f"signed in by {authority.issuer} until 20" in told
            assert not any(secret in told for secret in authority.secrets)


@pytest.mark.external
async def test_where_no_server_wants_a_sign_in_nothing_of_it_is_imported(
    environ: dict[str, str], tmp_path: Path
) -> None:
    async with Authority(is_open=True) as authority:
        config = tmp_path / "config.json"
        config.write_text(json.dumps({"mcpServers": entry(authority)}), encoding="utf-8")
        command = [sys.executable, "-X", "importtime", "-m", "bridge", "tools", "--config", str(config)]
        done = await anyio.run_process(command, env={**environ, "PATH": "/usr/bin"}, check=False)
    assert "far: ready" in done.stdout.decode()
    imported = done.stderr.decode()
    assert "bridge.hub.transports.credentials" in imported
    assert "bridge.hub.sign_in" not in imported
    assert "bridge.hub.invitations" not in imported
