"""Many clients of the service at one time: how long each waits and how much memory that takes, against a bare server.

A run is one with the embedded upstream, in the process of the bridge: two turns and a tool call between them. The bare
server gives back what it gets. Clients are connected beforehand, and call all at once.
"""

import asyncio
import random
import statistics
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import psutil
from mcp import Client

from tests.bench.processes import open_module
from tests.bench.progress import tell
from tests.bench.table import Row
from tests.fakes.service import connect, start_service

CLIENTS = 200
Service = tuple[int, int]
"""A process and its port."""


async def measure_crowd(rounds: int) -> list[Row]:
    """A row each for the median and the slowest twentieth of the calls, and for memory."""
    kinds = {"floor": open_bare, "respond": lambda: start_service("--offline")}
    bursts: dict[str, list[list[float]]] = {name: [] for name in kinds}
    async with AsyncExitStack() as stack:
        stack.enter_context(tell(f"{CLIENTS} clients at once over HTTP"))
        services = {name: await stack.enter_async_context(start()) for name, start in kinds.items()}
        crowds = {name: await stack.enter_async_context(gather_clients(service)) for name, service in services.items()}
        for clients in crowds.values():
            await time_calls(clients[:1])
        for _ in range(rounds):
            for name in random.sample(list(crowds), len(crowds)):
                bursts[name].append(await time_calls(crowds[name]))
        peaks = {name: find_peak(pid) for name, (pid, _) in services.items()}
    return build_rows(bursts, peaks)


def build_rows(bursts: Mapping[str, list[list[float]]], peaks: Mapping[str, float]) -> list[Row]:
    """Milliseconds, each percentile the median of those of all bursts; and megabytes."""

    def build_row(title: str, figures: Mapping[str, float]) -> Row:
        return Row(f"{CLIENTS} clients at once over HTTP: {title}", figures["floor"], None, figures["respond"])

    def find(percent: int) -> dict[str, float]:
        cuts = {name: [statistics.quantiles(burst, n=100) for burst in all] for name, all in bursts.items()}
        return {name: statistics.median(cut[percent - 1] for cut in all) for name, all in cuts.items()}

    return [build_row("p50", find(50)), build_row("p95", find(95)), build_row("peak memory, MB", peaks)]


async def time_calls(clients: list[Client]) -> list[float]:
    """Milliseconds until each has its answer, when all call at once, and each with a question of its own: an equal call
    of the same host would wait, because it may be a repeat."""
    began = time.perf_counter()

    async def call(number: int, client: Client) -> float:
        result = await client.call_tool("respond", {"input": f"What is {number} + 3?"})
        assert not result.is_error, result
        return (time.perf_counter() - began) * 1000

    return await asyncio.gather(*(call(number, client) for number, client in enumerate(clients)))


@asynccontextmanager
async def gather_clients(service: Service) -> AsyncIterator[list[Client]]:
    """Clients of one service, each with a connection of its own."""
    _, port = service
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(connect(port, "/mcp", "auto")) for _ in range(CLIENTS)]


@asynccontextmanager
async def open_bare() -> AsyncIterator[Service]:
    """The bare server."""
    async with open_module("tests.bench.bare_server", "http", stdout=asyncio.subprocess.PIPE) as process:
        assert process.stdout
        yield process.pid, int(await process.stdout.readline())


def find_peak(pid: int) -> float:
    """Megabytes that the process ever held; what it holds now where the system does not tell."""
    status = Path(f"/proc/{pid}/status")
    if not status.exists():
        return psutil.Process(pid).memory_info().rss / 1e6
    [line] = [line for line in status.read_text(encoding="utf-8").splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024 / 1e6
