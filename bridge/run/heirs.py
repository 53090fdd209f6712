"""Calls that wait a moment to take over the run of an earlier, equal call."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Protocol

import anyio

from bridge.clock import Clock
from bridge.run.engine import Caller
from bridge.run.run import Run

LOOKS_EVERY_S = 0.05
"""Nobody tells when a caller hangs up whose run has ended."""


class Heir:
    """One such call. It is woken whenever a caller of a run that it waits for departs."""

    def __init__(self, caller: Caller, clock: Clock) -> None:
        self.caller = caller
        self.taken: Run | None = None
        """The run that it has taken over."""
        self._clock = clock
        self._woken = anyio.Event()

    def wake(self) -> None:
        """Let it look again."""
        self._woken.set()

    async def rest(self, until: float) -> None:
        """Wait until there may be something to see; at most until an instant."""
        with self._clock.scope(min(until, self._clock.now() + LOOKS_EVERY_S)):
            await self._woken.wait()
        self._woken = anyio.Event()


class Bequest(Protocol):
    """A run that may be taken over."""

    def admit(self, heir: Heir) -> None:
        """Count the heir as waiting."""
        ...

    def dismiss(self, heir: Heir) -> None:
        """Count it no more; it has taken the run over or another one, or gone."""
        ...


@contextmanager
def waiting_for(bequests: Sequence[Bequest], heir: Heir) -> Generator[None]:
    """Let the heir wait for each of these runs while entered."""
    for bequest in bequests:
        bequest.admit(heir)
    try:
        yield
    finally:
        for bequest in bequests:
            bequest.dismiss(heir)
