"""The drain of an engine that is to end: it begins no more runs, and waits for those that go on."""

import math
from collections.abc import Iterable
from typing import Protocol

import anyio

from bridge.clock import Clock
from bridge.errors import Busy

COME_AGAIN_S = 10
"""After at most so many seconds a caller that was refused is to try again: another process may be there by then."""

FETCH_S = 5.0
"""Seconds after the last run's end in which a host that polls can still fetch its result; hosts of tasks are asked to
poll more often than that."""


class Drain:
    """Gate for new runs: closed once the service is to end. Wakes who waits when a run ends or its result is got."""

    def __init__(self) -> None:
        self._until: float | None = None
        self._news = anyio.Event()

    @property
    def is_begun(self) -> bool:
        """True once no more runs are begun."""
        return self._until is not None

    def begin(self, until: float) -> None:
        """Begin no more runs; those that go on may do so until this instant of the clock."""
        self._until = until

    def check(self, now: float) -> None:
        """Raise Busy where no more runs are begun."""
        if self._until is not None:
            seconds = min(max(1, math.ceil(self._until - now)), COME_AGAIN_S)
            raise Busy(
                f"The service is stopping and begins no more runs. Nothing was sent; try again in {seconds} s",
                retry_after_s=seconds,
            )

    def note(self) -> None:
        """Note that a run has ended, or that somebody got its result."""
        self._news.set()
        self._news = anyio.Event()

    async def wait(self) -> None:
        """Wait for the next of these."""
        await self._news.wait()


class Drained(Protocol):
    """The engine, as far as a drain needs it."""

    drain: Drain

    @property
    def outlives(self) -> bool:
        """True where runs that are left go on in another process."""
        ...

    def list_live(self) -> list[str]:
        """List the runs that go on here."""
        ...

    def list_unfetched(self, run_ids: Iterable[str]) -> list[str]:
        """List those of these runs that have ended, and whose result nobody has got."""
        ...


async def drain(engine: Drained, clock: Clock, seconds: float) -> None:
    """Begin no more runs, and wait at most so long until those that go on have ended, and until their results were
    got: a host that polls comes for its result a moment after the end of the run. A result that is in a file needs not
    be waited for."""
    until = clock.now() + seconds
    engine.drain.begin(until)
    going_on = engine.list_live()
    with clock.scope(until):
        while engine.list_live():
            await engine.drain.wait()
    if not engine.outlives:
        with clock.scope(min(until, clock.now() + FETCH_S)):
            while engine.list_unfetched(going_on):
                await engine.drain.wait()
