"""`python -m tests.bench.signals [ROUNDS]`: processor time of the service with traces and metrics, against without.

Each arm is a service of its own with the embedded upstream; a round is a batch of runs on each, in random order. A run
is two turns with four calls of tools. What is sent goes to a collector in this process, whose time is not counted.
"""

import random
import statistics
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial

import anyio
import psutil

from tests.bench.progress import tell
from tests.bench.raw import RawClient
from tests.fakes.collector import Collector
from tests.fakes.service import start_service

BATCH = 20
QUESTION = "Tell me the time, what 2 + 3 is, a random number between 1 and 6, and the system's information ({})."
SAMPLES = 2000


async def main(rounds: int) -> None:
    async with AsyncExitStack() as stack:
        collector = await stack.enter_async_context(Collector())
        stack.enter_context(tell(f"{rounds} rounds"))
        sends = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
        arms: dict[str, dict[str, str]] = {
            "off": {},
            "traces": sends | {"OTEL_METRICS_EXPORTER": "none"},
            "both": sends,
        }
        services = {
            name: await stack.enter_async_context(start_service("--offline", variables=variables))
            for name, variables in arms.items()
        }
        spent: dict[str, list[float]] = {name: [] for name in arms}
        for n in range(rounds + 1):
            for name in random.sample(list(arms), len(arms)):
                seconds = await _measure(*services[name], n)
                if n:  # the first is for what is imported late
                    spent[name].append(seconds)
        memory = {name: psutil.Process(pid).memory_info().rss for name, (pid, _) in services.items()}
    for name, seconds in spent.items():
        ratio, low, high = compare(seconds, spent["off"])
        each, size = statistics.median(seconds) * 1000 / BATCH, memory[name] / 1e6
        print(f"{name:8} {each:5.2f} ms a run   {ratio:.3f} ({low:.3f} to {high:.3f})   {size:.0f} MB")  # noqa: T201
    print(f"{len(collector.spans)} spans and {len(collector.metrics)} metrics came")  # noqa: T201


async def _measure(pid: int, port: int, round_: int) -> float:
    """Processor time of one batch."""
    process = psutil.Process(pid)
    began = sum(process.cpu_times()[:2])
    async with RawClient(port, "auto") as client, anyio.create_task_group() as tasks:
        for n in range(BATCH):
            question = QUESTION.format(f"{round_}.{n}")
            tasks.start_soon(partial(client.call, "respond", {"input": question}))
    return sum(process.cpu_times()[:2]) - began


def compare(ones: Sequence[float], others: Sequence[float]) -> tuple[float, float, float]:
    """The ratio of all that was spent, and where it lies in 19 of 20 draws of the rounds."""
    pairs = list(zip(ones, others, strict=True))
    draws = sorted(_divide(random.choices(pairs, k=len(pairs))) for _ in range(SAMPLES))
    return _divide(pairs), draws[SAMPLES // 40], draws[-SAMPLES // 40]


def _divide(pairs: Sequence[tuple[float, float]]) -> float:
    return sum(one for one, _ in pairs) / sum(other for _, other in pairs)


if __name__ == "__main__":
    anyio.run(main, int(sys.argv[1]) if len(sys.argv) > 1 else 10)
