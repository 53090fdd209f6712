"""What it costs to keep runs in a file: `respond` with the one beside `respond` with memory, and one intent's way to
the disk."""

import asyncio
import json
import os
import random
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack, closing
from pathlib import Path

from tests.bench.arms import FEW, Arm, far_end, open_respond, start_bridge, write_config
from tests.bench.progress import tell
from tests.bench.table import Row
from tests.bench.workloads import BY_KEY, Goal, Workload

GOALS = {"text": Goal(None, 1.15), "one": Goal(None, 1.15), "crowd": Goal(None, 1.1)}
"""By workload: the time with the file divided by that with memory."""
TITLE = "runs in a file, against memory: "
FLUSHES = 200


async def measure_kept(base_url: str, quick: bool) -> list[Row]:
    """A row for each workload, with memory as its floor; and one for a flush, with the disk's own as its floor."""
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder:  # a temporary folder may be no disk
        rows = await _measure_runs(base_url, Path(folder), 10 if quick else 1)
        flush, disk = _time_flushes(Path(folder))
    return [*rows, Row("an intent on the disk, against fdatasync", disk, None, flush)]


async def _measure_runs(base_url: str, folder: Path, share: int) -> list[Row]:
    rows = list[Row]()
    async with AsyncExitStack() as stack:
        arms = dict[str, Arm]()
        for store in ("memory", "sqlite"):
            (folder / store).mkdir()
            config = write_config(folder / store, base_url, {"bench": far_end(FEW)})
            content = json.loads(config.read_text(encoding="utf-8"))
            config.write_text(json.dumps(content | {"runs": {"store": store}}), encoding="utf-8")
            arms[store] = await stack.enter_async_context(open_respond(start_bridge(config)))
        for key, goal in GOALS.items():
            workload, samples = BY_KEY[key], {name: list[float]() for name in arms}
            with tell(TITLE + workload.title):
                for _ in range(max(workload.rounds // share, 4)):
                    for name in random.sample(list(arms), 2):
                        samples[name].append(await _take(workload, arms[name]))
            medians = {name: statistics.median(taken[1:]) for name, taken in samples.items()}
            title = TITLE + workload.title.removesuffix(", runs/s")
            rows.append(Row(title, medians["memory"], None, medians["sqlite"], goal))
    return rows


async def _take(workload: Workload, arm: Arm) -> float:
    began = time.perf_counter()
    await asyncio.gather(*(arm(workload) for _ in range(workload.at_once)))
    return (time.perf_counter() - began) * 1000


def _time_flushes(folder: Path) -> tuple[float, float]:
    """Milliseconds of a row that is on the disk, and of fdatasync after as many bytes."""
    with closing(sqlite3.connect(folder / "flush.sqlite", isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("CREATE TABLE steps (run TEXT, key TEXT, PRIMARY KEY (run, key)) WITHOUT ROWID")

        def flush(number: int) -> None:
            connection.execute("INSERT INTO steps VALUES ('run_1', ?)", [f"call:{number}"])

        figure = _time(flush)
    file = os.open(folder / "plain", os.O_CREAT | os.O_WRONLY)

    def sync(_: int) -> None:
        os.write(file, b"x" * 4096)
        os.fdatasync(file)

    plain = _time(sync)
    os.close(file)
    return figure, plain


def _time(do: Callable[[int], None]) -> float:
    taken = list[float]()
    for number in range(FLUSHES):
        began = time.perf_counter()
        do(number)
        taken.append((time.perf_counter() - began) * 1000)
    return statistics.median(taken)
