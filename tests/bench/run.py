"""`python -m tests.bench.run [--quick]`: what a bridge costs, as ratios to the floor of the same run.

The arms of a workload take turns in shuffled order, so that whatever else the machine does falls on all of them;
figures are medians. Milliseconds wobble with the machine, ratios much less: they alone are compared with goals.
"""

import argparse
import asyncio
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path

from tests.bench.arms import FEW, Arm, far_end, open_arms
from tests.bench.crowd import measure_crowd
from tests.bench.kept import measure_kept
from tests.bench.peers import open_peers
from tests.bench.progress import tell
from tests.bench.sizes import measure_sizes
from tests.bench.starts import measure_starts
from tests.bench.table import Row, render, render_missed, render_peers
from tests.bench.upstream import STAMP, open_upstream
from tests.bench.workloads import MANY, NAP_MS, WORKLOADS, Setup, Workload

SETUPS: tuple[Setup, ...] = ("json", "builtin", "many", "sse")
HOP_TITLE = "the hop alone: a bare server that gives back the text"
SHORT = 10
"""A quick run has this much fewer rounds."""


async def measure_runs(setup: Setup, base_url: str, quick: bool) -> list[Row]:
    """The rows of one setup."""
    with tempfile.TemporaryDirectory() as folder:
        script = ["-m", "builtin_tools"] if setup == "builtin" else far_end(MANY if setup == "many" else FEW)
        async with AsyncExitStack() as stack:
            with tell(f"starting bridge and servers, {setup}"):
                arms = await stack.enter_async_context(open_arms(setup, base_url, Path(folder)))
                peers = await stack.enter_async_context(open_peers(setup, base_url, script))
            return [await measure(workload, arms | peers, quick) for workload in WORKLOADS if workload.setup == setup]


async def measure(workload: Workload, arms: Mapping[str, Arm], quick: bool) -> Row:
    """The medians of one workload; the hop only where the goal needs it."""
    names = [name for name in arms if name != "hop" or (workload.goal and workload.goal.past_hop)]
    samples: dict[str, list[float]] = {name: [] for name in names}
    with tell(workload.title):
        for name in names:
            await take(workload, arms[name])
        for _ in range(workload.rounds // workload.burst // (SHORT if quick else 1) or 1):
            for name in random.sample(names, len(names)):
                samples[name] += [await take(workload, arms[name]) for _ in range(workload.burst)]
    medians = {name: statistics.median(values) for name, values in samples.items()}
    floor, direct, respond = (medians.pop(name) for name in ("floor", "direct", "respond"))
    hop = medians.pop("hop", None)
    return Row(workload.title, floor, direct, respond, workload.goal, medians, hop)


async def take(workload: Workload, arm: Arm) -> float:
    """One figure of one arm, in the workload's measure."""
    if workload.measure == "first delta ms":
        return await time_first_delta(workload, arm)
    began = time.perf_counter()
    await asyncio.gather(*(arm(workload) for _ in range(workload.at_once)))
    seconds = time.perf_counter() - began
    match workload.measure:
        case "runs/s":
            return workload.at_once / seconds
        case "ms over 200":
            return seconds * 1000 - NAP_MS
        case _:
            return seconds * 1000


async def time_first_delta(workload: Workload, arm: Arm) -> float:
    """Milliseconds from the upstream's sending of it to its arrival here."""
    seen: list[int] = []

    def hear(text: bytes) -> None:
        if not seen and (stamp := STAMP.search(text)):
            seen.append(time.perf_counter_ns() - int(stamp[0]))

    await arm(workload, hear)
    return seen[0] / 1e6


async def main(quick: bool) -> None:
    """Measure everything and print one table."""
    began = time.monotonic()
    async with open_upstream() as base_url:
        runs = [row for setup in SETUPS for row in await measure_runs(setup, base_url, quick)]
        rows = [Row(HOP_TITLE, None, None, runs[0].hop), *runs]
        rows += await measure_starts(base_url, 1 if quick else 7)
        rows += await measure_kept(base_url, quick)
        rows += [] if quick else await measure_sizes(base_url)
    rows += await measure_crowd(1 if quick else 6)
    sys.stdout.write(f"{render(rows)}\n{render_peers(rows)}{time.monotonic() - began:.0f} s\n{render_missed(rows)}\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Measure what a bridge costs.")
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, no sizes: under a minute")
    try:
        asyncio.run(main(parser.parse_args().quick))
    except KeyboardInterrupt:
        sys.exit(130)
