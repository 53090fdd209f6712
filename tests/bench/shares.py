"""`python -m tests.bench.shares WORKLOAD [RUNS] [--floor]`: where the time of a run goes, by package and function.

Profiling makes function calls dearer than they are: the shares are for finding what to look at, not for the record.
"""

import argparse
import asyncio
import cProfile
import pstats
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.bench.arms import open_arms
from tests.bench.upstream import open_upstream
from tests.bench.workloads import BY_KEY

LINES = 60
_PACKAGE = re.compile(r"(?:site-packages|python3\.\d+)/(?!site-packages)([^/.]+)|(bridge|builtin_tools|tests)/")


async def main(key: str, runs: int, arm: str) -> None:
    """Profile one arm and print its shares."""
    workload = BY_KEY[key]
    profile = cProfile.Profile()
    with tempfile.TemporaryDirectory() as folder:
        async with open_upstream() as base_url, open_arms(workload.setup, base_url, Path(folder)) as arms:
            await arms[arm](workload)
            profile.enable()
            for _ in range(runs):
                await asyncio.gather(*(arms[arm](workload) for _ in range(workload.at_once)))
            profile.disable()
    sys.stdout.write(describe(pstats.Stats(profile), runs * workload.at_once))


def describe(stats: pstats.Stats, runs: int) -> str:
    """Milliseconds per run spent in each package itself, and in each function with all it calls."""
    own, cumulative = Counter[str](), Counter[str]()
    for (file, line, name), (_, calls, self_s, total_s, _) in stats.stats.items():  # type: ignore[attr-defined]
        match = _PACKAGE.search(file)
        package = (match[1] or match[2]) if match else "built in"
        own[package] += self_s * 1000 / runs
        short = "/".join(Path(file).parts[-3:])
        cumulative[f"{short}:{line} {name} ({calls / runs:.1f} calls)"] += total_s * 1000 / runs
    return "\n".join(
        f"{milliseconds:8.3f} ms  {name}"
        for counts in (own, cumulative)
        for name, milliseconds in [*counts.most_common(LINES), ("", 0.0)]
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Profile the runs of one workload.")
    parser.add_argument("workload", choices=BY_KEY)
    parser.add_argument("runs", type=int, nargs="?", default=300)
    parser.add_argument("--floor", action="store_true", help="profile the floor instead")
    options = parser.parse_args()
    asyncio.run(main(options.workload, options.runs, "floor" if options.floor else "direct"))
