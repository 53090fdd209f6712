"""The one source of time, so that a test can hand in another."""

import asyncio
import time

import anyio


class Clock:
    """Real time: `now` for deadlines and pauses, `time` for people."""

    def now(self) -> float:
        """Seconds of the event loop's monotonic clock."""
        return asyncio.get_running_loop().time()

    def time(self) -> float:
        """Wall-clock seconds since 1970."""
        return time.time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def scope(self, deadline: float) -> anyio.CancelScope:
        return anyio.CancelScope(deadline=deadline)  # deadline may be math.inf
