"""The one source of time, which tests replace."""

import asyncio
import time

import anyio


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
