"""What it takes to start: time until the tools are listed and until the first call, and memory after it."""

import asyncio
import compileall
import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx2
import psutil
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from tests.bench.arms import FEW, HERE, far_end, start_bridge, start_module, write_config
from tests.bench.processes import open_module
from tests.bench.progress import tell
from tests.bench.table import Row
from tests.bench.workloads import BY_KEY, ROOT, Goal, Json

Arms = Mapping[str, Callable[[], Awaitable[float]]]
ONE = BY_KEY["one"]


async def measure_starts(base_url: str, rounds: int) -> list[Row]:
    """A row each for listing, the first call with three slow servers, and memory.

    Bytecode is made beforehand. An installed bridge has it, a checkout has none where PYTHONDONTWRITEBYTECODE is set.
    """
    for package in ("bridge", "builtin_tools", "tests/bench"):
        compileall.compile_dir(ROOT / package, quiet=1)
    with tempfile.TemporaryDirectory() as folder:
        return [
            await measure_listing(base_url, Path(folder), rounds * 2),
            await measure_first_call(base_url, Path(folder), rounds),
            await measure_memory(base_url, Path(folder), rounds),
        ]


async def measure_listing(base_url: str, folder: Path, rounds: int) -> Row:
    """Milliseconds from the start of the process to the answer to `tools/list`."""
    config = write_config(folder, base_url, {}, builtin_tools=True)

    async def list_tools(server: StdioServerParameters) -> float:
        began = time.perf_counter()
        async with Client(server) as client:
            await client.list_tools()
            return (time.perf_counter() - began) * 1000

    title = "spawn to `tools/list`, against a bare server"
    medians = await alternate(
        title,
        {
            "floor": lambda: list_tools(start_module("tests.bench.bare_server", "stdio")),
            "respond": lambda: list_tools(start_bridge(config)),
        },
        rounds,
    )
    return Row(title, medians["floor"], None, medians["respond"], Goal(None, 1.1))


async def measure_first_call(base_url: str, folder: Path, rounds: int) -> Row:
    """Milliseconds from the start of the process to the request with the output of its first call.

    The floor starts its servers one after the other; directly is the command `ask`.
    """
    slow = str(HERE / "slow.py")
    config = write_config(folder, base_url, {"bench": [slow], "second": [slow], "third": [slow]})

    async def run_module(*arguments: str) -> None:
        nowhere = asyncio.subprocess.DEVNULL
        async with open_module(*arguments, stdout=nowhere, stderr=nowhere) as process:
            assert await process.wait() == 0

    async def respond() -> None:
        async with Client(start_bridge(config)) as client:
            await client.call_tool("respond", ONE.arguments)

    async def time_call(do: Callable[[], Awaitable[None]]) -> float:
        await fetch_requests(base_url)
        began = time.perf_counter_ns()
        await do()
        return ((await fetch_requests(base_url))[1]["at"] - began) / 1e6

    floor = ("tests.bench.floor", base_url, ONE.key, slow, slow, slow)
    ask = ("bridge", "ask", "--config", str(config), "--model", ONE.key, "the same")
    title = "start to first call, three servers of 500 ms"
    medians = await alternate(
        title,
        {
            "floor": lambda: time_call(lambda: run_module(*floor)),
            "direct": lambda: time_call(lambda: run_module(*ask)),
            "respond": lambda: time_call(respond),
        },
        rounds,
    )
    return Row(title, medians["floor"], medians["direct"], medians["respond"], Goal(1000, 1000, in_units=True))


async def measure_memory(base_url: str, folder: Path, rounds: int) -> Row:
    """Megabytes after the start and one call."""
    config = write_config(folder, base_url, {"bench": far_end(FEW)}, builtin_tools=True)

    async def weigh(server: StdioServerParameters) -> float:
        before = set(psutil.Process().children())
        async with Client(stdio_client(server)) as client:
            result = await client.call_tool("respond", ONE.arguments)
            assert not result.is_error, result
            (process,) = set(psutil.Process().children()) - before
            return process.memory_info().rss / 1e6

    bare = StdioServerParameters(
        command=sys.executable, args=[str(HERE / "bare.py"), *far_end(FEW)], env=dict(os.environ)
    )
    title = "memory after start, MB, against a bare client and server"
    arms = {"floor": lambda: weigh(bare), "respond": lambda: weigh(start_bridge(config))}
    medians = await alternate(title, arms, rounds)
    return Row(title, medians["floor"], None, medians["respond"], Goal(None, 1.04))


async def alternate(title: str, arms: Arms, rounds: int) -> dict[str, float]:
    """The median of each arm, which take turns in shuffled order."""
    samples: dict[str, list[float]] = {name: [] for name in arms}
    with tell(title):
        for _ in range(rounds):
            for name in random.sample(list(arms), len(arms)):
                samples[name].append(await arms[name]())
    return {name: statistics.median(values) for name, values in samples.items()}


async def fetch_requests(base_url: str) -> list[Json]:
    """What was sent to the upstream since the last time."""
    async with httpx2.AsyncClient(trust_env=False) as http:
        return json.loads((await http.get(f"{base_url}/requests")).content)
