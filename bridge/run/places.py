"""Places: as many runs go on at once; the others wait, and the principals take turns."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

import anyio

FindMost: TypeAlias = Callable[[str | None], int | None]
"""Finds how many runs of a principal may go on at once; None for as many as there are places."""


class Places:
    """The places of the runs that go on. Of those that wait, each principal's first is served in turn, so that one that
    brings a thousand holds nobody else up; who has as many as it may have waits for one of its own to end."""

    def __init__(self, count: int, find_most: FindMost = lambda _: None) -> None:
        self.count = count
        self._find_most = find_most
        self._free = count
        self._held = Counter[str | None]()
        """How many each principal holds."""
        self._queues: dict[str | None, dict[anyio.Event, None]] = {}
        """Those who wait, by principal: who is first in its queue comes first, and whose queue is first is served next.
        While a place is free, all of them have as many as they may have."""

    @property
    def taken(self) -> int:
        """Number of places that are held."""
        return self.count - self._free

    @property
    def is_full(self) -> bool:
        """True while whoever comes has to wait."""
        return self._free <= 0

    @property
    def is_wanted(self) -> bool:
        """True while somebody waits for any place, and not for one of its own to end."""
        return self.is_full and any(self.find_bound(each) is None for each in self._queues)

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    def count_waiting(self, principal: str | None) -> int:
        """Count those of this principal who wait."""
        return len(self._queues.get(principal, ()))

    def find_bound(self, principal: str | None) -> int | None:
        """Find how many this principal may hold, where that is what it waits for; else None."""
        most = self._find_most(principal)
        return most if most is not None and self._held[principal] >= most else None

    def resize(self, count: int) -> None:
        """Have this many places from now on; where there are fewer, those that are held stay so. Who may have more than
        before gets it."""
        self._free += count - self.count
        self.count = count
        while self._free > 0 and self._pass_on():
            pass

    @asynccontextmanager
    async def occupy(self, principal: str | None) -> AsyncGenerator[None]:
        """Wait for a place, and hold it while entered."""
        if self._free > 0 and self.find_bound(principal) is None:
            self._take(principal)
        else:
            await self._wait(principal)
        try:
            yield
        finally:
            self._give_back(principal)

    def _take(self, principal: str | None) -> None:
        self._free -= 1
        self._held[principal] += 1

    def _give_back(self, principal: str | None) -> None:
        self._free += 1
        self._held[principal] -= 1
        if not self._held[principal]:
            del self._held[principal]
        if self._free > 0:
            self._pass_on()

    async def _wait(self, principal: str | None) -> None:
        called = anyio.Event()
        self._queues.setdefault(principal, {})[called] = None
        try:
            await called.wait()
        except BaseException:
            self._leave(principal, called)
            raise

    def _leave(self, principal: str | None, called: anyio.Event) -> None:
        if called.is_set():
            self._give_back(principal)
            return
        queue = self._queues[principal]
        del queue[called]
        if not queue:
            del self._queues[principal]

    def _pass_on(self) -> bool:
        """Give a free place to the first who may have it; False where there is nobody."""
        for principal in self._queues:
            if self.find_bound(principal) is None:
                self._call(principal)
                return True
        return False

    def _call(self, principal: str | None) -> None:
        queue = self._queues.pop(principal)
        called = next(iter(queue))
        del queue[called]
        if queue:
            self._queues[principal] = queue  # behind all others
        self._take(principal)
        called.set()
