"""Published servers killed in the middle of calls while a neighbour works: `python -m tests.external.kills [KILLS
[SERVER ...]]`."""

import logging
import os
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import psutil
from mcp import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bridge.app import Bridge
from tests.fakes.http import HttpServer
from tests.fakes.scene import configure
from tests.fakes.servers import rogue
from tests.fakes.told import Told, do_as_told, tell
from tests.fakes.upstream import ScriptedUpstream

PEERS = Path(__file__).parent.parent.parent / ".peers"
PYTHON, OLD_PYTHON, NODE = PEERS / "bin", PEERS / "old" / "bin", PEERS / "node_modules" / ".bin"
START_S, PAUSE_S = 120, 0.2
PROBES = 10
"""How many calls of the neighbour are timed before each kill."""
NEIGHBOUR = ("neighbour__echo", {"text": "hello"})

Json = dict[str, Any]


@dataclass
class Victim:
    """A server to be killed; `call` is one of its tools. Over HTTP it is a process of ours, else the bridge's child."""

    key: str
    program: Path
    call: Told
    args: tuple[str, ...] = ()
    wire: str = "stdio"
    port: int = 0

    @property
    def entry(self) -> Json:
        """Its entry of `mcpServers`."""
        common = {"require_approval": "never", "connect_timeout_s": START_S, "call_timeout_s": START_S}
        if self.wire == "stdio":
            return {**common, "command": str(self.program), "args": list(self.args)}
        path = "sse" if self.wire == "sse" else "mcp"
        return {**common, "type": self.wire, "url": f"http://127.0.0.1:{self.port}/{path}"}

    def find(self) -> psutil.Process:
        """Its process."""
        children = psutil.Process().children()
        words = self.args[:1] if self.wire != "stdio" else self.args
        [process] = [child for child in children if _is_running(child, [str(self.program), *words])]
        return process

    async def revive(self) -> None:
        """Start it again, where that is not the bridge's work."""
        if self.wire == "stdio":
            return
        env = os.environ | {"PORT": str(self.port)}
        process = await anyio.open_process([str(self.program), *self.args], env=env, stdout=subprocess.DEVNULL)
        assert process.stderr
        said = ""
        with anyio.fail_after(START_S):
            while not re.search(r"port \d+|listening", said, re.IGNORECASE):
                said += (await process.stderr.receive()).decode()
        self._process = process

    async def stop(self) -> None:
        """End it, if it is ours."""
        if self.wire != "stdio":
            with suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
            await self._process.aclose()


def _is_running(process: psutil.Process, words: list[str]) -> bool:
    try:
        line = process.cmdline()
    except psutil.NoSuchProcess:
        return False
    return process.status() != psutil.STATUS_ZOMBIE and all(word in line for word in words)


@dataclass
class Findings:
    """What the kills of one server came to."""

    key: str
    failed: int = 0
    """Calls that the model was told of as lost."""
    repeated: int = 0
    """Calls that were answered by the next process: of tools that say that they may be repeated."""
    quiet: list[float] = field(default_factory=list)
    busy: list[float] = field(default_factory=list)
    """Seconds of each call of the neighbour, before the kills and during them."""

    @property
    def ratio(self) -> float:
        return statistics.median(self.busy) / statistics.median(self.quiet)

    def note(self, answer: str) -> None:
        """What the call came to that the server was killed in."""
        if answer.startswith('{"error"'):
            assert "connection_lost" in answer or "server_unavailable" in answer, answer
            self.failed += 1
        else:
            self.repeated += 1

    def row(self) -> str:
        """One row of the table."""
        before, during = (f"{statistics.median(times) * 1000:.1f} ms" for times in (self.quiet, self.busy))
        cells = (self.key, f"{self.failed + self.repeated}", f"{self.repeated}", before, during, f"{self.ratio:.2f}")
        return f"| {' | '.join(cells)} |"


async def kill_often(client: Client, victim: Victim, kills: int) -> Findings:
    """Kill `victim` in mid-call so often: each costs that call at most, and the next one is answered."""
    found = Findings(victim.key)
    await _use(client, victim)
    for _ in range(kills):  # by turns, so that whatever else the machine does is in both
        await _time(client, found.quiet, len(found.quiet) + PROBES)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_time, client, found.busy, sys.maxsize)
            await _kill(client, victim, found)
            await _use(client, victim)
            tasks.cancel_scope.cancel()
    return found


async def _use(client: Client, victim: Victim) -> None:
    """Until it answers; one that was away for long is not asked for again at once."""
    with anyio.fail_after(START_S):
        while str((await tell(client, victim.call))[0]).startswith('{"error"'):  # noqa: ASYNC110
            await anyio.sleep(PAUSE_S)


async def _kill(client: Client, victim: Victim, found: Findings) -> None:
    """Suspend it, call it, and kill it while it has the call."""
    process, started = victim.find(), anyio.Event()

    async def lose() -> None:
        [answer] = await tell(client, victim.call, started=started)
        found.note(str(answer))

    process.suspend()
    async with anyio.create_task_group() as calling:
        calling.start_soon(lose)
        await started.wait()
        await tell(client, NEIGHBOUR)  # by then it has been sent
        process.kill()
        await victim.stop()
        await victim.revive()


async def _time(client: Client, times: list[float], count: int) -> None:
    """Calls of the neighbour, one after the other."""
    while len(times) < count:
        began = time.perf_counter()
        assert await tell(client, NEIGHBOUR) == ["hello"]
        times.append(time.perf_counter() - began)


def build_page() -> Starlette:
    """Something to fetch."""

    async def page(_: Request) -> Response:
        return PlainTextResponse("a page")

    return Starlette(routes=[Route("/{path:path}", page)])


def list_victims(folder: Path, page: str) -> list[Victim]:
    """Eight published servers, over every transport they have."""
    subprocess.run(["git", "init", "-q", folder / "git"], check=True)
    any_page = ("--ignore-robots-txt", "--allow-private-ips")
    hello = {"message": "hello"}
    thought = {"thought": "hm", "nextThoughtNeeded": False, "thoughtNumber": 1, "totalThoughts": 1}
    everything = NODE / "mcp-server-everything"
    victims = [
        Victim("time", PYTHON / "mcp-server-time", ("time__get_current_time", {"timezone": "Etc/UTC"})),
        Victim("git", PYTHON / "mcp-server-git", ("git__git_status", {"repo_path": str(folder / "git")})),
        Victim("fetch", PYTHON / "mcp-server-fetch", ("fetch__fetch", {"url": page}), any_page),
        Victim("sqlite", OLD_PYTHON / "mcp-server-sqlite", ("sqlite__list_tables", {}), ("--db-path", f"{folder}/db")),
        Victim("files", NODE / "mcp-server-filesystem", ("files__list_allowed_directories", {}), (str(folder),)),
        Victim("memory", NODE / "mcp-server-memory", ("memory__read_graph", {})),
        Victim("thinking", NODE / "mcp-server-sequential-thinking", ("thinking__sequentialthinking", thought)),
        Victim("everything", everything, ("everything__echo", hello), ("stdio",)),
        Victim("everything_sse", everything, ("everything_sse__echo", hello), ("sse",), "sse"),
        Victim("everything_http", everything, ("everything_http__echo", hello), ("streamableHttp",), "http"),
    ]
    for victim in victims:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            victim.port = listener.getsockname()[1]
    return victims


@asynccontextmanager
async def open_bridge(only: Sequence[str]) -> AsyncIterator[tuple[Client, list[Victim]]]:
    """A bridge with all of them, or these, and the neighbour; and its host."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        page = await stack.enter_async_context(HttpServer(build_page))
        victims = [victim for victim in list_victims(folder, page.url) if not only or victim.key in only]
        for victim in victims:
            await victim.revive()
            stack.push_async_callback(victim.stop)
        upstream = await stack.enter_async_context(ScriptedUpstream(do_as_told))
        config = configure(
            {"neighbour": {**rogue("good"), "require_approval": "never"}, **{v.key: v.entry for v in victims}},
            builtin_tools=False,
            upstream={"base_url": upstream.base_url, "model": "m"},
        )
        bridge = await stack.enter_async_context(Bridge(config, environ=os.environ))
        yield await stack.enter_async_context(Client(bridge.server)), victims


async def kill_all(kills: int, *only: str) -> AsyncGenerator[Findings, None]:
    """Kill one server after the other, each so often."""
    async with open_bridge(only) as (client, victims):
        for victim in victims:
            yield await kill_often(client, victim, kills)


async def print_all(kills: int, *only: str) -> None:
    """The table, row by row."""
    heads = ("server", "killed in a call", "answered all the same", "a neighbour's call before", "during", "ratio")
    sys.stdout.write(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|\n")
    async with aclosing(kill_all(kills, *only)) as findings:
        async for found in findings:
            sys.stdout.write(found.row() + "\n")
            sys.stdout.flush()


def main(kills: str = "50", *only: str) -> None:
    logging.disable()
    anyio.run(print_all, int(kills), *only)


if __name__ == "__main__":
    main(*sys.argv[1:])
