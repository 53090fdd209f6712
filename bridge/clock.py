"""The one source of time for deadlines and pauses, so that a test can hand in another."""

import asyncio

import anyio


class Clock:
    """Real time: seconds of the event loop's monotonic clock."""

    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await anyio.sleep(seconds)

    def scope(self, deadline: float) -> anyio.CancelScope:
        return anyio.CancelScope(deadline=deadline)  # deadline may be math.inf
