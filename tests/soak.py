"""Much of everything, and then a look at what is left: `python -m tests.soak [CALLS RESTARTS DISCONNECTS]`.

One bridge in this process, a connected server in a child process, a host over memory and others over HTTP.
"""

import asyncio
import gc
import logging
import os
import statistics
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import anyio
import psutil
from mcp import Client

from bridge.app import Bridge
from tests.fakes.bridges import configure
from tests.fakes.clock import VirtualClock, until
from tests.fakes.servers import rogue
from tests.fakes.service import Served, serving
from tests.fakes.told import SILENCE, do_as_told, tell
from tests.fakes.upstream import ScriptedUpstream

CALLS_AT_ONCE = 20
WARM_UP = 200, 5, 6
"""So many calls, restarts and disconnects before the first look."""
LONG = 10_000, 500, 500
HOUR_S = 3600
"""Longer than anything is kept for."""


@dataclass(frozen=True)
class Left:
    """What a process holds."""

    descriptors: int
    tasks: int
    threads: int
    children: int

    @staticmethod
    def look() -> "Left":
        process = psutil.Process()
        children = process.children(recursive=True)
        return Left(process.num_fds(), len(asyncio.all_tasks()), process.num_threads(), len(children))


@dataclass(frozen=True)
class Findings:
    """What a soak came to."""

    before: Left
    after: Left
    memory: list[tuple[int, int]]
    """Calls made, and bytes resident then."""

    @property
    def bytes_per_call(self) -> float:
        """The slope of memory over the last four fifths of the calls."""
        late = self.memory[len(self.memory) // 5 :]
        return statistics.linear_regression(*zip(*late, strict=True)).slope


class Soak:
    """A running bridge, and ways to use it up."""

    def __init__(self, bridge: Bridge, host: Client, served: Served, upstream: ScriptedUpstream, clock: VirtualClock):
        self._bridge = bridge
        self._host = host
        self._served = served
        self._upstream = upstream
        self._clock = clock
        self._disconnects = 0
        self.memory: list[tuple[int, int]] = []

    async def run(self, calls: int, restarts: int, disconnects: int) -> None:
        """So many of each; memory is measured over the calls."""
        for number in range(restarts):
            await self._restart(f"before the end, {number}")
        for number in range(disconnects):
            await self._disconnect(legacy=number % 2 == 0)
        for number in range(0, calls, CALLS_AT_ONCE):
            await self._call(number)
            if number % 100 == 0:
                await self._forget()
                self.memory.append((number, psutil.Process().memory_info().rss))
        await self._forget()

    async def _call(self, number: int) -> None:
        words = [f"call {number + index} " + "x" * 200 for index in range(CALLS_AT_ONCE)]
        assert await tell(self._host, *(("s__echo", {"text": text}) for text in words)) == words

    async def _restart(self, words: str) -> None:
        """A call that is answered, and one that the server dies in."""
        [answered] = await tell(self._host, ("s__echo", {"text": words}))
        assert answered == words
        [crashed] = await tell(self._host, ("s__crash", {}))
        assert "connection_lost" in crashed
        await self._reach("backing off")
        await self._clock.advance(1)
        await self._reach("ready")

    async def _disconnect(self, *, legacy: bool) -> None:
        """A host that comes, asks and goes away without an answer."""
        expected = self._upstream.arrivals.count + 1
        gone = self._upstream.disconnects.count + 1
        async with (
            self._served.client(mode="legacy" if legacy else "auto") as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(client.call_tool, "respond", {"input": SILENCE})
            await self._upstream.arrivals.wait(expected)
            tasks.cancel_scope.cancel()
        await self._upstream.disconnects.wait(gone)

    async def _forget(self) -> None:
        """Let pass the time for which anything is kept, and throw away what the fakes have written down."""
        self._upstream.requests.clear()
        await self._clock.advance(HOUR_S)
        gc.collect()

    async def _reach(self, state: str) -> None:
        [member] = self._bridge.hub.members
        await until(lambda: member.state == state)


@asynccontextmanager
async def open_soak() -> AsyncIterator[Soak]:
    clock = VirtualClock()
    async with ScriptedUpstream(do_as_told) as upstream:
        config = configure(
            {"s": {**rogue("crash_mid_call"), "require_approval": "never"}},
            builtin_tools=False,
            upstream={"base_url": upstream.base_url, "model": "m"},
            limits={"on_cancel": "stop"},
        )
        async with (
            Bridge(config, environ=os.environ, clock=clock) as bridge,
            serving(bridge) as served,
            Client(bridge.server) as host,
        ):
            yield Soak(bridge, host, served, upstream, clock)


async def soak(calls: int, restarts: int, disconnects: int) -> Findings:
    """Warm up, look, do so much, look again."""
    async with open_soak() as soaked:
        await soaked.run(*WARM_UP)
        before = Left.look()
        soaked.memory.clear()
        await soaked.run(calls, restarts, disconnects)
        return Findings(before, Left.look(), soaked.memory)


def main(*numbers: str) -> int:
    amounts = tuple(map(int, numbers)) if numbers else LONG
    calls, restarts, disconnects = amounts
    logging.disable()
    began = time.monotonic()
    found = anyio.run(soak, calls, restarts, disconnects)
    lines = [
        f"{calls:,} calls, {restarts} restarts, {disconnects} disconnects in {time.monotonic() - began:.0f} s",
        f"before: {found.before}",
        f"after:  {found.after}",
        f"memory: {found.memory[0][1] >> 20} MiB, then {found.bytes_per_call:+.0f} bytes a call",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
    return int(found.after != found.before or found.bytes_per_call > 1024)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
