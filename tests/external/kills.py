"""Published servers killed in the middle of calls while a neighbour works: `python -m tests.external.kills [KILLS
[SERVER ...]]`."""

import itertools
import logging
import os
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from mcp import Client
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from bridge.app import Bridge
from tests.external.victims import START_S, Victim, list_victims
from tests.fakes.bridges import configure
from tests.fakes.http import HttpServer
from tests.fakes.servers import rogue
from tests.fakes.stalls import untraced, watched_loops
from tests.fakes.told import do_as_told, tell
from tests.fakes.upstream import ScriptedUpstream

PAUSE_S = 0.2
HEADS = ("a neighbour's call, control", "kills", "the longest of a round, control", "kills")
NEIGHBOURS_ENTRY = {**rogue("good", "lives=36000"), "require_approval": "never"}
NEIGHBOUR = ("neighbour__echo", {"text": "hello"})
Rounds = list[list[float]]
"""Seconds of each call of the neighbour, for each time that another server was killed."""


@dataclass
class Findings:
    """What the kills of one server came to."""

    key: str
    failed: int = 0
    """Calls that the model was told of as lost."""
    repeated: int = 0
    """Calls that were answered by the next process: of tools that say that they may be repeated."""
    control: Rounds = field(default_factory=Rounds)
    """While another process of the same program was started and killed outside of the bridge."""
    busy: Rounds = field(default_factory=Rounds)
    """While the bridge lost its own, and started the next."""
    stall: float = 0
    """The longest turn of the event loop during the kills, in seconds of its thread."""

    @property
    def ratio(self) -> float:
        return find_longest(self.busy) / find_longest(self.control)

    def note(self, answer: str) -> None:
        """What the call came to that the server was killed in."""
        if answer.startswith('{"error"'):
            assert "connection_lost" in answer or "server_unavailable" in answer, answer
            self.failed += 1
        else:
            self.repeated += 1

    def row(self) -> str:
        """One row of the table."""
        rounds = (self.control, self.busy)
        medians = [statistics.median(itertools.chain(*times)) for times in rounds]
        seconds = [*medians, *map(find_longest, rounds)]
        times = [f"{value * 1000:.0f} ms" for value in seconds]
        cells = (self.key, f"{self.failed + self.repeated}", f"{self.repeated}", *times, f"{self.ratio:.2f}")
        return f"| {' | '.join(cells)} | {self.stall * 1000:.0f} ms |"


def find_longest(rounds: Rounds) -> float:
    """The longest call of a round, in the median: one that had to wait is seen however many others had not."""
    return statistics.median(map(max, rounds))


async def kill_often(client: Client, victim: Victim, kills: int) -> Findings:
    """Kill `victim` in mid-call so often: each costs that call at most, and the next one is answered.

    Before each kill a control, so that whatever else the machine does is in both.
    """
    found = Findings(victim.key)
    await _use(client, victim)
    for _ in range(kills):
        async with _timing(client, found.control):
            await victim.rehearse()
        with untraced(), watched_loops() as loops:
            async with _timing(client, found.busy):
                await _kill(client, victim, found)
        found.stall = max(found.stall, loops.stall.longest)
    return found


@asynccontextmanager
async def _timing(client: Client, rounds: Rounds) -> AsyncIterator[None]:
    """Calls of the neighbour meanwhile, one after the other."""
    times = list[float]()
    rounds.append(times)
    is_over = False

    async def call_on() -> None:
        while not is_over:  # the last one, which has waited longest perhaps, counts too
            began = time.perf_counter()
            assert await tell(client, NEIGHBOUR) == ["hello"]
            times.append(time.perf_counter() - began)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call_on)
        yield
        is_over = True


async def _use(client: Client, victim: Victim) -> None:
    """Until it answers; one that was away for long is not asked for again at once."""
    with anyio.fail_after(START_S):
        while str((await tell(client, victim.call))[0]).startswith('{"error"'):  # noqa: ASYNC110
            await anyio.sleep(PAUSE_S)


async def _kill(client: Client, victim: Victim, found: Findings) -> None:
    """Suspend it, call it, kill it while it has the call, and use the next."""
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
    await _use(client, victim)


def build_page() -> Starlette:
    """Something to fetch."""

    async def page(_: Request) -> Response:
        return PlainTextResponse("a page")

    return Starlette(routes=[Route("/{path:path}", page)])


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
            {"neighbour": NEIGHBOURS_ENTRY, **{victim.key: victim.entry for victim in victims}},
            builtin_tools=False,
            upstream={"base_url": upstream.base_url, "model": "m"},
        )
        state = stack.enter_context(tempfile.TemporaryDirectory())  # the ports of this run are no change of a config
        environ = {**os.environ, "MCP_RESPONSES_BRIDGE_STATE": state}
        bridge = await stack.enter_async_context(Bridge(config, environ=environ))
        yield await stack.enter_async_context(Client(bridge.server)), victims


async def kill_all(kills: int, *only: str) -> AsyncGenerator[Findings, None]:
    """Kill one server after the other, each so often."""
    async with open_bridge(only) as (client, victims):
        for victim in victims:
            yield await kill_often(client, victim, kills)


async def print_all(kills: int, *only: str) -> None:
    """The table, row by row."""
    heads = ("server", "killed in a call", "answered all the same", *HEADS, "ratio", "stall")
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
