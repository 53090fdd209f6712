"""`python -m tests.bench.load [--quick]`: the service under more than it was made for, part by part.

Each part has a service of its own, in a process of its own, with the embedded upstream; clients are in this process,
and their own work is part of every figure. An honest client is one that asks, waits for its answer and asks again.
"""

import argparse
import asyncio
import itertools
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial

import anyio
import psutil
from mcp.client.client import ConnectMode

from bridge.processes.open_files import raise_limit
from tests.bench.progress import tell
from tests.bench.raw import RawClient
from tests.fakes.service import connect, start_service

FEW = "-n 256"
"""Scarce descriptors: the service cannot raise its limit."""
SOFT = "-Sn 256"
"""Ample ones, as on most systems: the soft limit is low, and may be raised."""
Crowd = Callable[[int, int], AbstractAsyncContextManager[None]]
"""So many clients of the service on this port, for as long as it is entered."""
QUESTIONS = itertools.count(100)
"""No two calls are equal: an equal one of the same host may be a repeat, and waits."""


@dataclass
class Outcome:
    """What the calls of one part came to."""

    title: str
    seconds: list[float] = field(default_factory=list[float])
    counts: Counter[str] = field(default_factory=Counter[str])
    wall_s: float = 0.0
    memory: tuple[float, float] = (0, 0)
    alone: Sequence[float] = ()
    """What the honest client's calls took with nobody beside it."""

    def row(self) -> list[str]:
        counts = [str(self.counts[name]) for name in ("answered", "busy", "failed", "lost")]
        rate = f"{self.counts['answered'] / self.wall_s:.0f}" if self.wall_s else "-"
        ratios = [f"{_find(self.seconds, at) / _find(self.alone, at):.2f}" if self.alone else "-" for at in (50, 99)]
        times = [f"{_find(self.seconds, at) * 1000:,.0f}" for at in (50, 99)]
        return [self.title, *counts, rate, *times, *ratios, *(f"{size:.0f}" for size in self.memory)]


HEAD = ["part", "answered", "busy", "failed", "lost", "runs/s", "p50, ms", "p99, ms"]
HEAD += ["p50 / alone", "p99 / alone", "MB before", "MB after"]


def _find(seconds: Sequence[float], percent: int) -> float:
    return statistics.quantiles(seconds, n=100)[percent - 1] if len(seconds) > 1 else (*seconds, 0.0)[0]


@contextmanager
def watch(outcome: Outcome, pid: int) -> Iterator[None]:
    """Measure the memory of the service, and the time, from here to the end."""
    process, began = psutil.Process(pid), time.perf_counter()
    before = process.memory_info().rss / 1e6
    yield
    outcome.wall_s = time.perf_counter() - began
    outcome.memory = before, process.memory_info().rss / 1e6


async def ask(client: RawClient, outcome: Outcome) -> None:
    """One run, however long it takes, and what it came to."""
    number, began = next(QUESTIONS), time.perf_counter()
    try:
        receipt = await client.call("respond", {"input": f"What is {number} + 100000?"})
        while receipt["status"] == "in_progress":
            receipt = await client.call("respond_wait", {"run_id": receipt["run_id"]})
    except Exception:  # noqa: BLE001 - whatever it is, it is counted
        outcome.counts["lost"] += 1
        return
    if f"math_calculator: {number + 100_000}" in receipt["output_text"]:
        outcome.counts["answered"] += 1
        outcome.seconds.append(time.perf_counter() - began)
    else:
        outcome.counts["busy" if (receipt["error"] or {}).get("code") == "busy" else "failed"] += 1


async def visit(port: int, mode: ConnectMode, outcome: Outcome) -> None:
    """A client that comes, asks once and goes."""
    try:
        client = await RawClient(port, mode).__aenter__()
    except OSError:
        outcome.counts["lost"] += 1
        return
    await ask(client, outcome)
    await client.__aexit__()


async def rush(count: int, mode: ConnectMode, ulimit: str) -> Outcome:
    """So many clients come at the same moment."""
    words = "scarce descriptors" if ulimit == FEW else "ample descriptors"
    era = "modern" if mode == "auto" else "handshake"
    outcome = Outcome(f"{count:,} calls at once, {era} era, {words}")
    async with start_service("--offline", ulimit=ulimit) as (pid, port):
        await visit(port, mode, Outcome("warm up"))
        with watch(outcome, pid):
            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(visit, port, mode, outcome)
    return outcome


async def be_honest(port: int, calls: int, outcome: Outcome) -> None:
    """A client that asks so often, one call after the other."""
    async with RawClient(port, "auto") as client:
        for _ in range(calls):
            await ask(client, outcome)


async def measure_honest(title: str, crowd: Crowd, count: int, calls: int = 200) -> Outcome:
    """An honest client alone, and then beside a crowd."""
    alone, beside = Outcome("alone"), Outcome(title)
    async with start_service("--offline", ulimit=SOFT) as (pid, port):
        await be_honest(port, 5, Outcome("warm up"))
        await be_honest(port, calls, alone)
        with watch(beside, pid):
            async with crowd(port, count):
                await be_honest(port, calls, beside)
    beside.alone = alone.seconds
    return beside


@asynccontextmanager
async def slow_sockets(port: int, count: int) -> AsyncIterator[None]:
    """Connections whose request never comes whole."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            stack.callback(writer.close)
            writer.write(b"POST /mcp HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ")
        yield


@asynccontextmanager
async def idle_streams(port: int, count: int) -> AsyncIterator[None]:
    """Clients of `/sse` that ask for nothing."""
    async with AsyncExitStack() as stack:
        for _ in range(count):
            await stack.enter_async_context(connect(port, "/sse", "legacy"))
        yield


@asynccontextmanager
async def leavers(port: int, count: int) -> AsyncIterator[None]:
    """Clients that ask and hang up, ten at a time."""

    async def leave() -> None:
        writer = await RawClient(port, "auto").begin({"input": f"What is {next(QUESTIONS)} + 1?"})
        await writer.drain()
        await asyncio.sleep(0.02)  # its run has begun, as with a host that gives up
        writer.transport.abort()

    async def go_on() -> None:
        for _ in range(count // 10):
            await asyncio.gather(*(leave() for _ in range(10)))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(go_on)
        yield


async def measure_endurance(runs: int) -> Outcome:
    """One client, run after run: the last tenth against the first."""
    outcome = Outcome(f"{runs:,} runs one after the other")
    async with start_service("--offline", ulimit=SOFT) as (pid, port):
        await be_honest(port, 50, Outcome("warm up"))
        with watch(outcome, pid):
            await be_honest(port, runs, outcome)
    tenth = len(outcome.seconds) // 10
    outcome.alone, outcome.seconds = outcome.seconds[:tenth], outcome.seconds[-tenth:]
    return outcome


async def main(parts: Sequence[str], share: int) -> None:
    """Measure the parts, and print a table."""
    raise_limit()
    outcomes = list[Outcome]()
    modes: tuple[ConnectMode, ...] = ("auto", "legacy")
    slow, idle, leaving, runs = 1000 // share, 200 // share, 500 // share, 2000 // share
    measures = {
        "rush": [partial(rush, 1000 // share, mode, ulimit) for mode in modes for ulimit in (SOFT, FEW)],
        "slow": [partial(measure_honest, f"an honest client beside {slow:,} slow sockets", slow_sockets, slow)],
        "idle": [partial(measure_honest, f"an honest client beside {idle} idle SSE clients", idle_streams, idle)],
        "leave": [partial(measure_honest, f"an honest client beside {leaving} that hang up", leavers, leaving)],
        "long": [partial(measure_endurance, runs)],
    }
    for part in parts or measures:
        for measure in measures[part]:
            with tell(part):
                outcomes.append(await measure())
    lines = [HEAD, ["---"] * len(HEAD), *(outcome.row() for outcome in outcomes)]
    sys.stdout.write("".join(f"| {' | '.join(line)} |\n" for line in lines))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Put the service under load.")
    parser.add_argument("parts", nargs="*", help="rush, slow, idle, leave, long; all by default")
    parser.add_argument("--quick", action="store_true", help="a tenth of everything")
    given = parser.parse_args()
    try:
        asyncio.run(main(given.parts, 10 if given.quick else 1))
    except KeyboardInterrupt:
        sys.exit(130)
