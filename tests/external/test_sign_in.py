"""A sign-in from the first page to the last call, by real processes: `login` with a browser or over ssh, then `serve`,
which renews it while another process does, or is killed in the middle."""

import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import psutil
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from tests.fakes.bridges import respond
from tests.fakes.person import name_browser
from tests.fakes.screen import AtTerminal
from tests.fakes.trap import TOKEN, Trap, read_form, trap
from tests.fakes.upstream import Reply, ScriptedUpstream, call, message, responds
from tests.fakes.upstream import Request as Sent

pytestmark = [pytest.mark.anyio, pytest.mark.external]

PEEKED = "peeked"
START_S = 150
"""How long a process may take on a busy machine."""


def answer(request: Sent) -> Reply:
    """A model that peeks once, and repeats what it was told."""
    outputs = [str(item["output"]) for item in request.json["input"] if item.get("type") == "function_call_output"]
    return responds(message(outputs[-1])) if outputs else responds(call("s__peek", {}))


@dataclass
class Office:
    """A computer with a config file, a browser, and a state folder of its own."""

    folder: Path
    config: Path

    @property
    def environ(self) -> dict[str, str]:
        state = str(self.folder / "state")
        ours = {"BROWSER": name_browser(), "SEEN": str(self.folder / "seen"), "MCP_RESPONSES_BRIDGE_STATE": state}
        return os.environ | ours

    def command(self, *words: str) -> list[str]:
        return [sys.executable, "-m", "bridge", *words, "--config", str(self.config)]

    async def type(self, *words: str) -> tuple[int, str]:
        """Run a command: its exit code, and all that it said."""
        with anyio.fail_after(START_S):
            done = await anyio.run_process(self.command(*words), env=self.environ, check=False)
        return done.returncode, (done.stdout + done.stderr).decode()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Client]:
        """A host of `serve`, in a process of its own."""
        program, *arguments = self.command("serve")
        server = StdioServerParameters(command=program, args=arguments, env=self.environ)
        async with Client(stdio_client(server, errlog=sys.__stderr__ or sys.stderr)) as client:
            yield client

    @property
    def pages(self) -> list[str]:
        return (self.folder / "seen").read_text(encoding="utf-8").splitlines()


@pytest.fixture
async def laid() -> AsyncIterator[Trap]:
    async with trap() as laid:
        yield laid


@pytest.fixture
async def office(laid: Trap, tmp_path: Path) -> AsyncIterator[Office]:
    async with ScriptedUpstream(answer) as upstream:
        server = {"url": laid.url, "require_approval": "never", "pin": False}
        config = tmp_path / "config.json"
        unit = {"base_url": upstream.base_url, "model": "m"}
        sections = {"upstream": unit, "builtin_tools": False, "mcpServers": {"s": server}}
        config.write_text(json.dumps(sections), encoding="utf-8")
        config.chmod(0o600)
        yield Office(tmp_path, config)
        assert not upstream.errors


async def peek(client: Client) -> str:
    return str((await respond(client, "peek"))["output_text"])


def ask_on_a_page(laid: Trap) -> None:
    """Let the authority ask for consent on a page with a form."""

    def consent(request: Request) -> Response:
        if request.method == "GET":
            fields = f'<input type="hidden" name="back" value="{laid.send_back(request)}">'.replace("&", "&amp;")
            buttons = '<button name="answer" value="yes">Allow</button><button name="answer" value="no">Deny</button>'
            return HTMLResponse(f'<form method="post" action="/consent">{fields}{buttons}</form>')
        return Response(status_code=405)

    def agree(_: Request) -> Response:
        form = read_form(laid.requests("/consent")[-1])
        assert form["answer"] == "yes"
        return RedirectResponse(form["back"], 303)

    laid.replies |= {"/authorize": consent, "/consent": agree}


async def test_a_person_signs_in_on_a_page_and_another_process_calls(laid: Trap, office: Office) -> None:
    ask_on_a_page(laid)
    code, said = await office.type("login", "s")
    assert code == 0, said
    statuses = [page.split()[0] for page in office.pages]
    assert statuses == ["open", "200", "200"], office.pages
    async with office.serve() as client:
        assert await peek(client) == PEEKED
    assert len(laid.requests("/token")) == 1
    assert {asked.headers.get("authorization") for asked in laid.requests("/mcp")} <= {None, f"Bearer {TOKEN}"}


async def test_over_ssh_the_address_is_printed_and_the_one_that_comes_back_is_pasted(
    laid: Trap, office: Office
) -> None:
    def sign_in() -> int:
        with AtTerminal(office.command("login", "s", "--no-browser"), office.environ, size=(2000, 50)) as terminal:
            terminal.wait_for("code_challenge_method=S256")
            terminal.wait_for("\n", 2)
            [address] = {word for word in terminal.seen.split() if word.startswith(f"{laid.root}/authorize?")}
            back = httpx2.get(address).headers["location"]
            terminal.type(f"  {back}\r")
            return terminal.wait()

    assert await anyio.to_thread.run_sync(sign_in) == 0
    assert not (office.folder / "seen").exists(), "no browser was opened here"
    async with office.serve() as client:
        assert await peek(client) == PEEKED


@dataclass
class Rotating:
    """An authority whose refresh tokens are good for one use: one that comes twice ends everything, like a theft."""

    laid: Trap
    number: int = 0
    is_over: bool = False
    renewing: anyio.Event = field(default_factory=anyio.Event)
    hold: anyio.Event | None = None
    """Until when the reply to a renewal waits; the authority has made the new tokens by then."""

    def __post_init__(self) -> None:
        self.laid.replies["/token"] = self.grant
        self.laid.tokens.clear()

    async def grant(self, _: Request) -> Response:
        form = read_form(self.laid.requests("/token")[-1])
        is_renewal = form["grant_type"] == "refresh_token"
        self.is_over = is_renewal and (self.is_over or form["refresh_token"] != f"refresh-{self.number}")
        if self.is_over:
            self.laid.tokens.clear()
            return JSONResponse({"error": "invalid_grant"}, 400)
        self.number += 1
        number = self.number
        self.laid.tokens = {f"access-{number}"}
        if self.hold and is_renewal:
            self.renewing.set()
            await self.hold.wait()
        tokens = {"access_token": f"access-{number}", "refresh_token": f"refresh-{number}"}
        return JSONResponse({**tokens, "token_type": "Bearer", "expires_in": 3600})

    def revoke(self) -> None:
        """Take the access token back."""
        self.laid.tokens.clear()

    @property
    def renewals(self) -> int:
        return sum(read_form(asked)["grant_type"] == "refresh_token" for asked in self.laid.requests("/token"))


async def test_two_processes_renew_once_and_neither_is_signed_out(laid: Trap, office: Office) -> None:
    rotating = Rotating(laid)
    code, said = await office.type("login", "s")
    assert code == 0, said
    answers: list[str] = []

    async def use(client: Client) -> None:
        answers.append(await peek(client))

    async with office.serve() as one, office.serve() as other:
        assert [await peek(one), await peek(other)] == [PEEKED] * 2
        rotating.revoke()
        async with anyio.create_task_group() as tasks:
            for client in (one, other, one, other):
                tasks.start_soon(use, client)
        assert answers == [PEEKED] * 4
        assert (rotating.renewals, rotating.is_over) == (1, False)


async def test_a_process_that_is_killed_in_a_renewal_leaves_nothing_stuck(laid: Trap, office: Office) -> None:
    rotating = Rotating(laid)
    assert (await office.type("login", "s"))[0] == 0
    rotating.hold = anyio.Event()
    program, *arguments = office.command("ask", "peek")
    process = await anyio.open_process([program, *arguments], env=office.environ)
    rotating.revoke()
    with anyio.fail_after(START_S):
        await rotating.renewing.wait()
    psutil.Process(process.pid).send_signal(signal.SIGKILL)
    await process.wait()
    await process.aclose()
    rotating.hold.set()
    rotating.hold = None
    async with office.serve() as client:
        told = ""
        with anyio.fail_after(START_S):
            while "login s" not in told:  # its refresh token is used up, and the new one never came: a person is asked
                told = json.dumps(await respond(client, "peek"))
    code, said = await office.type("login", "s")
    assert code == 0, said
    async with office.serve() as client:
        assert await peek(client) == PEEKED
