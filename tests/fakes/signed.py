"""Who has signed in to an `Authority`, and another process that uses the same sign-in."""

import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import httpx2
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from bridge.clock import Clock
from bridge.config.settings import OAuthConfig, ServerConfig
from bridge.hub.sign_in.kept import Kept, SignedIn, SignInFile
from bridge.hub.sign_in.person import sign_in
from bridge.hub.sign_in.provider import SignIn
from bridge.hub.transports.need import FOLDER, OnNeed
from bridge.state import StateFolder
from bridge.telemetry import Redactor
from tests.fakes.authority import Authority, browse
from tests.fakes.clock import PATIENCE_S

INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "t", "version": "1"},
    },
}
ACCEPT = {"accept": "application/json, text/event-stream"}


async def agree(url: str) -> None:
    """Be the person who opens the address and says yes."""
    await browse(url)


class Visitor:
    """Somebody with a state folder, who signs in to the server of an authority."""

    def __init__(self, authority: Authority, root: Path, **oauth: Any) -> None:
        config = OAuthConfig(**oauth) if oauth else None
        self.server = ServerConfig(key="s", url=authority.url, transport="http", oauth=config)
        self.folder = StateFolder(root, FOLDER)
        self.redact = Redactor()
        self.shown: list[str] = []

    async def sign_in(self, show: Any = agree, **options: Any) -> SignedIn:
        async def show_noting(url: str) -> None:
            self.shown.append(url)
            await show(url)

        return await sign_in(self.server, self.folder, show_noting, clock=Clock(), redact=self.redact, **options)

    @property
    def file(self) -> SignInFile:
        return SignInFile(self.server, self.folder)

    @property
    def kept(self) -> Kept:
        kept = self.file.read()
        assert kept
        return kept

    def age(self) -> None:
        """Let the token's time be over, by what is kept."""
        self.file.write(self.kept.model_copy(update={"renew_at": 1.0, "ends_at": 2.0}))

    def build_auth(self, ask: OnNeed | None = None, **options: Any) -> SignIn:
        return SignIn(self.server, self.folder, clock=Clock(), redact=self.redact, ask=ask, **options)


@asynccontextmanager
async def client(visitor: Visitor, ask: OnNeed | None = None) -> AsyncIterator[httpx2.AsyncClient]:
    """A plain HTTP client whose requests are signed in."""
    async with httpx2.AsyncClient(auth=visitor.build_auth(ask), headers=ACCEPT, trust_env=False, timeout=60) as http:
        yield http


class Other:
    """Another process with the same state folder: it sends `count` requests at once when it is told to."""

    def __init__(self, process: Process) -> None:
        assert process.stdin
        assert process.stdout
        self.process, self._in, self._out = process, process.stdin, TextReceiveStream(process.stdout)

    async def go(self) -> None:
        await self._in.send(b"go\n")

    async def read(self) -> str:
        with anyio.fail_after(PATIENCE_S):
            return (await self._out.receive()).strip()

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)


@asynccontextmanager
async def other_process(visitor: Visitor, count: int) -> AsyncIterator[Other]:
    command = [
        sys.executable,
        "-m",
        "tests.fakes.signed",
        visitor.server.url or "",
        str(visitor.folder.root),
        str(count),
    ]
    async with await anyio.open_process(command, env=dict(os.environ), stderr=subprocess.DEVNULL) as process:
        other = Other(process)
        try:
            assert await other.read() == "ready"
            yield other
        finally:
            with suppress(ProcessLookupError):
                process.kill()


async def _send(url: str, root: str, count: int) -> None:
    server = ServerConfig(key="s", url=url, transport="http")
    auth = SignIn(server, StateFolder(Path(root), FOLDER), clock=Clock(), redact=Redactor())
    statuses: list[str] = []
    async with httpx2.AsyncClient(auth=auth, headers=ACCEPT, trust_env=False, timeout=60) as http:

        async def post() -> None:
            try:
                statuses.append(str((await http.post(url, json=INITIALIZE)).status_code))
            except Exception as error:  # noqa: BLE001 - it is told
                statuses.append(type(error).__name__)

        sys.stdout.write("ready\n")
        sys.stdout.flush()
        sys.stdin.readline()
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(post)
    sys.stdout.write(" ".join(statuses) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    anyio.run(_send, sys.argv[1], sys.argv[2], int(sys.argv[3]))
