"""A process that has imported everything and makes a replica of each line that it reads: `python -m
tests.engines.nursery`. It says which process each one is, and when it has ended.

A replica that was started as a program would spend most of its life on imports.
"""

import os
import sys

import anyio

from tests.engines.replicas import parse_order, run_doomed


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
