"""What the benchmark is at, on stderr: a line as each part begins and one as it ends; on a terminal the same line."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def tell(title: str) -> Iterator[None]:
    """Say that a part begins, and how long it took when it ends."""
    began = time.monotonic()
    _say(f"{title} ...", "\r" if sys.stderr.isatty() else "\n")
    try:
        yield
    except BaseException:
        _say(f"{title}: given up")
        raise
    _say(f"{title}: {time.monotonic() - began:.1f} s")


def _say(words: str, end: str = "\n") -> None:
    sys.stderr.write(words + end)
    sys.stderr.flush()
