"""A process that has imported everything and makes a replica of each line that it reads: `python -m
tests.engines.cluster.nursery`. It says which process each one is, and when it has ended.

A replica that was started as a program would spend most of its life on imports.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import anyio
import psutil

from tests.engines.cluster.replicas import LONG_S, Point, World, parse_order, run_doomed, write_order

PAUSE_S = 0.02


@contextmanager
def open_nursery() -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "tests.engines.cluster.nursery"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as nursery:
        try:
            yield nursery
        finally:
            for child in psutil.Process(nursery.pid).children():
                child.kill()
            nursery.kill()


def bear(nursery: "subprocess.Popen[str]", world: World, point: Point | None, names: list[str]) -> psutil.Process:
    """A replica in a process of its own."""
    assert nursery.stdin
    assert nursery.stdout
    nursery.stdin.write(write_order(world, point, names))
    nursery.stdin.flush()
    return psutil.Process(int(nursery.stdout.readline()))


async def come_true(condition: Callable[[], bool]) -> None:
    """Until it is so: what another process does, no event tells of."""
    with anyio.fail_after(LONG_S):
        while not condition():  # noqa: ASYNC110
            await anyio.sleep(PAUSE_S)


def has_died(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def main() -> None:
    for line in sys.stdin:
        if not (child := os.fork()):
            world, point, names = parse_order(line)
            anyio.run(run_doomed, world, point, names, [])
            os._exit(0)
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == "__main__":
    main()
