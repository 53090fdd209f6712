"""How soon one more stream may be opened."""

import math

from bridge.clock import Clock

FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 5.0
"""Between two streams opened by GET, where the one before brought nothing."""


class Pace:
    """How soon one more stream may be opened."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = -math.inf
        self.reset()

    async def wait(self) -> None:
        """Until the next one may be opened."""
        now = self._clock.now()
        start = max(now, self._next)
        self._next = start + self._pause_s
        self._pause_s = min(self._pause_s * 2, LAST_PAUSE_S)
        if start > now:
            await self._clock.sleep(start - now)

    def reset(self) -> None:
        """A stream has brought something."""
        self._pause_s = FIRST_PAUSE_S
