"""The one source of time, which tests replace."""

import asyncio
import time

import anyio
import anyio.lowlevel
from typing_extensions import override


class Clock:
    """The real clock: `now` for deadlines and pauses, `time` for timestamps."""

    def now(self) -> float:
        """Return the seconds of the event loop's monotonic clock."""
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        """Return the seconds since 1970 by the wall clock."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def scope(self, deadline: float) -> anyio.CancelScope:
        return anyio.CancelScope(deadline=deadline)  # deadline may be math.inf

    def move(self, scope: anyio.CancelScope, deadline: float) -> None:
        """Move the deadline of a scope that `scope` has returned."""
        scope.deadline = deadline


class SteppedClock(Clock):
    """Time that moves only by `reach`. A sleep returns at once."""

    def __init__(self) -> None:
        self._now = 0.0
        self._scopes: list[tuple[float, anyio.CancelScope]] = []

    @override
    def now(self) -> float:
        return self._now

    @override
    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()

    @override
    def scope(self, deadline: float) -> anyio.CancelScope:
        scope = anyio.CancelScope()
        self._scopes.append((deadline, scope))
        return scope

    @override
    def move(self, scope: anyio.CancelScope, deadline: float) -> None:
        self._scopes = [(deadline if each is scope else end, each) for end, each in self._scopes]

    def reach(self, instant: float) -> None:
        """Move to an instant, and cancel the scopes whose deadline has passed."""
        self._now = max(self._now, instant)
        for deadline, scope in self._scopes:
            if deadline <= self._now:
                scope.cancel()
