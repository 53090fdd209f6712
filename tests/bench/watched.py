"""`python -m tests.bench.watched [ROUNDS]`: what open pages cost the service: its processor's time for 64 runs at once,
while ten pages listen, against the same without any; and its memory."""

import argparse
import asyncio
import random
import statistics
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx2
import psutil
from mcp import Client

from tests.bench.crowd import find_peak
from tests.bench.table import Row, render
from tests.bench.workloads import Goal
from tests.fakes.service import TOKEN, connect, start_service

RUNS, PAGES = 64, 10
GOAL = Goal(None, 1.1)


async def measure_watched(rounds: int) -> list[Row]:
    """A row for the time of the processor, and one for the peak of the memory."""
    seconds: dict[str, list[float]] = {"unwatched": [], "watched": []}
    async with AsyncExitStack() as stack:
        services = {name: await stack.enter_async_context(start_service("--offline")) for name in seconds}
        clients = {
            name: [await stack.enter_async_context(connect(port, "/mcp", "auto")) for _ in range(RUNS)]
            for name, (_, port) in services.items()
        }
        for name in services:
            await _run_all(clients[name], -1)
        await stack.enter_async_context(_open_pages(services["watched"][1]))
        for number in range(rounds):
            for name in random.sample(list(services), 2):
                process = psutil.Process(services[name][0])
                before = process.cpu_times()
                await _run_all(clients[name], number)
                after = process.cpu_times()
                seconds[name].append(after.user + after.system - before.user - before.system)
        peaks = {name: find_peak(pid) for name, (pid, _) in services.items()}
    medians = {name: statistics.median(taken) * 1000 for name, taken in seconds.items()}
    title = f"{RUNS} runs at once with {PAGES} pages open, against none"
    return [
        Row(f"{title}: CPU of the service, ms", medians["unwatched"], None, medians["watched"], GOAL),
        Row(f"{title}: peak memory, MB", peaks["unwatched"], None, peaks["watched"]),
    ]


async def _run_all(clients: list[Client], number: int) -> None:
    questions = [f"What is {number} plus {place}?" for place in range(len(clients))]
    await asyncio.gather(
        *(client.call_tool("respond", {"input": text}) for client, text in zip(clients, questions, strict=True))
    )


@asynccontextmanager
async def _open_pages(port: int) -> AsyncIterator[None]:
    """Sign in, and hear the news as often as there are pages."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as http:
        (await http.post("/page/session", json={"token": TOKEN})).raise_for_status()

        async def listen() -> None:
            async with http.stream("GET", "/page/news") as response:
                async for _ in response.aiter_raw():
                    pass

        async with asyncio.TaskGroup() as tasks:
            pages = [tasks.create_task(listen()) for _ in range(PAGES)]
            yield
            for page in pages:
                page.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what open pages cost the service.")
    parser.add_argument("rounds", type=int, nargs="?", default=12)
    sys.stdout.write(render(asyncio.run(measure_watched(parser.parse_args().rounds))) + "\n")
