"""How long the event loop stood: what a task that does nothing but wait for its next turn would have waited."""

import asyncio
import gc
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass
class Stall:
    """Seconds of processor time of one thread, so that other programs do not count."""

    longest: float = 0.0

    @contextmanager
    def step(self) -> Iterator[None]:
        """Counts what is done inside as one turn of the loop, as it is one where a bridge runs."""
        began = time.thread_time()
        try:
            yield
        finally:
            self.longest = max(self.longest, time.thread_time() - began)


@dataclass
class Loops:
    """All event loops of this process; `stall` hears of every turn of each."""

    stall: Stall = field(default_factory=Stall)


@contextmanager
def watched_loops() -> Iterator[Loops]:
    """Times each turn of every loop. A task that asked for every turn would keep the loop busy all the time."""
    loops = Loops()
    turn: Callable[[asyncio.BaseEventLoop], None] = asyncio.BaseEventLoop._run_once  # type: ignore[attr-defined]

    def timed(loop: asyncio.BaseEventLoop) -> None:
        with loops.stall.step():
            turn(loop)

    asyncio.BaseEventLoop._run_once = timed  # type: ignore[attr-defined]
    try:
        yield loops
    finally:
        asyncio.BaseEventLoop._run_once = turn  # type: ignore[attr-defined]


@contextmanager
def untraced() -> Iterator[None]:
    """Without the tracer of coverage, which slows Python code and not what it is compared with; and without the garbage
    collector, which would look through whatever the tests before have left."""
    tracer = sys.gettrace()
    sys.settrace(None)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.settrace(tracer)
