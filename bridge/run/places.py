"""Places: as many runs go on at once; the others wait, and the principals take turns."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio


class Places:
    """The places of the runs that go on. Of those that wait, each principal's first is served in turn, so that one that
    brings a thousand holds nobody else up."""

    def __init__(self, count: int) -> None:
        self.count = count
        self._free = count
        self._queues: dict[str | None, dict[anyio.Event, None]] = {}
        """Those who wait, by principal: who is first in its queue comes first, and whose queue is first is served next.
        While there is one, no place is free."""

    @property
    def is_full(self) -> bool:
        """True while whoever comes has to wait."""
        return not self._free

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._queues.values()))

    def count_waiting(self, principal: str | None) -> int:
        """Count those of this principal who wait."""
        return len(self._queues.get(principal, ()))

    @asynccontextmanager
    async def occupy(self, principal: str | None) -> AsyncGenerator[None]:
        """Wait for a place, and hold it while entered."""
        if self._free:
            self._free -= 1
        else:
            await self._wait(principal)
        try:
            yield
        finally:
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
            self._pass_on()
            return
        queue = self._queues[principal]
        del queue[called]
        if not queue:
            del self._queues[principal]

    def _pass_on(self) -> None:
        if not self._queues:
            self._free += 1
            return
        principal = next(iter(self._queues))
        queue = self._queues.pop(principal)
        called = next(iter(queue))
        del queue[called]
        if queue:
            self._queues[principal] = queue  # behind all others
        called.set()
