"""`login` and `logout`: a person signs in to a server at the terminal, and out again."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process

from tests.fakes.authority import Authority, find_way_back
from tests.fakes.commands import run

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MCP_RESPONSES_BRIDGE_STATE", str(tmp_path / "state"))
    return tmp_path / "state"


def configure(folder: Path, **servers: Any) -> str:
    file = folder / "config.json"
    file.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    return str(file)


class Terminal:
    """`login` in a process of its own, as over ssh: lines of it are read, and lines are typed."""

    def __init__(self, process: Process) -> None:
        assert process.stdin
        assert process.stdout
        assert process.stderr
        self.process, self._in, self._out, self._err = process, process.stdin, process.stdout, process.stderr
        self.shown = ""

    async def read_until(self, word: str) -> str:
        """Read until a line begins with a word; return that line."""
        with anyio.fail_after(60):
            while not (found := [line for line in self.shown.split("\n")[:-1] if line.startswith(word)]):
                self.shown += (await self._out.receive()).decode()
        return found[-1]

    async def type(self, line: str) -> None:
        await self._in.send(f"{line}\n".encode())

    async def end(self) -> int:
        with anyio.fail_after(60):
            return await self.process.wait()

    async def read_errors(self) -> str:
        return b"".join([chunk async for chunk in self._err]).decode()


@asynccontextmanager
async def terminal(*args: str, **environ: str) -> AsyncIterator[Terminal]:
    command = [sys.executable, "-m", "bridge", *args]
    env = {name: value for name, value in os.environ.items() if name not in ("DISPLAY", "BROWSER")} | environ
    async with await anyio.open_process(command, env=env, stderr=subprocess.PIPE) as process:
        try:
            yield Terminal(process)
        finally:
            with suppress(ProcessLookupError):
                process.kill()


@pytest.mark.external
async def test_over_ssh_the_address_is_printed_and_the_pasted_one_is_taken(tmp_path: Path) -> None:
    async with Authority() as authority:
        config = configure(tmp_path, shop={"url": authority.url})
        async with terminal("login", "shop", "--no-browser", "--config", config) as person:
            way_back = await find_way_back(await person.read_until("http://"))
            await person.type("what?")
            await person.read_until("There is no code")
            await person.type(way_back.replace("state=", "state=x"))
            await person.read_until("That address belongs to another")
            await person.type(way_back)
            assert (
                await person.read_until("shop: signed in")
                == f"shop: signed in by {authority.issuer}, renewed by itself."
            )
            assert await person.end() == 0


@pytest.mark.external
async def test_the_browser_is_opened_and_comes_back_by_itself(tmp_path: Path) -> None:
    page = tmp_path / "browser.py"
    page.write_text("import asyncio, sys\nfrom tests.fakes.authority import browse\nasyncio.run(browse(sys.argv[1]))\n")
    async with Authority() as authority:
        config = configure(tmp_path, shop={"url": authority.url})
        browser = f"{sys.executable} {page} %s &"
        async with terminal("login", "shop", "--config", config, BROWSER=browser, PYTHONPATH=str(Path.cwd())) as person:
            await person.read_until("shop: signed in")
            assert await person.end() == 0


async def test_signed_out_nothing_is_kept(tmp_path: Path, state: Path, capfd: pytest.CaptureFixture[str]) -> None:
    async with Authority(clients={"us": "s3cret-of-ours"}) as authority:
        grant = {"grant": "client_credentials", "client_id": "us", "client_secret": "s3cret-of-ours"}
        config = configure(tmp_path, shop={"url": authority.url, "oauth": grant | {"issuer": authority.issuer}})
        done = await run(capfd, "login", "shop", "--config", config)
        assert (done.code, done.stdout) == (0, f"shop: signed in by {authority.issuer}, renewed by itself.\n")
        done = await run(capfd, "logout", "shop", "--config", config)
        assert done.stdout.startswith("shop: signed out;")
        assert list((state / "signins").iterdir()) == []
        done = await run(capfd, "logout", "shop", "--config", config)
        assert (done.code, done.stdout) == (0, "shop: nobody was signed in.\n")


@pytest.mark.skipif(sys.platform == "win32", reason="other users' rights are not in the mode there")
async def test_a_sign_in_that_others_can_read_is_told_once_with_what_to_do(
    tmp_path: Path, state: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with Authority(clients={"us": "s3cret-of-ours"}) as authority:
        grant = {"grant": "client_credentials", "client_id": "us", "client_secret": "s3cret-of-ours"}
        config = configure(tmp_path, shop={"url": authority.url, "oauth": grant | {"issuer": authority.issuer}})
        assert (await run(capfd, "login", "shop", "--config", config)).code == 0
        [file] = (state / "signins").glob("*.json")
        file.chmod(0o644)
        told = (await run(capfd, "tools", "shop", "--config", config)).stdout
        assert f"{file}: it can be read by others; sign in anew: `logout shop`, then `login shop`" in told
        assert told.count("it can be read by others") == 1
