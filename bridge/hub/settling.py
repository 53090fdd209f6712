"""How long a server's changes are awaited before its tools are listed again: longer, the more often it changes."""

from bridge.clock import Clock

SETTLE_CHANGES_S, LAST_SETTLE_S = 0.2, 60.0
"""Bounds of the wait after an announced change, so that a storm of changes costs one listing."""
PER_LISTING = 10
"""How long the wait is at least, in the time that the last listing took: a long list must not be read all the time."""
FREE = 3
"""How many listings in a row wait no longer than the first."""


class Settling:
    """The wait before the next listing. It doubles with each, until the server has been quiet for LAST_SETTLE_S."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._in_row = 0
        self._listed = -LAST_SETTLE_S
        self._took = 0.0

    async def wait(self) -> None:
        """Wait for further changes; a change has just been announced."""
        if self._clock.now() - self._listed >= LAST_SETTLE_S:
            self._in_row = 0
        self._in_row += 1
        doublings = min(max(self._in_row - FREE, 0), 20)
        least = self._took * PER_LISTING if self._in_row > 1 else 0.0
        await self._clock.sleep(min(max(SETTLE_CHANGES_S * 2**doublings, least), LAST_SETTLE_S))

    def note_listed(self, took_s: float) -> None:
        """Note that the tools have been listed: quiet counts from now on."""
        self._listed, self._took = self._clock.now(), took_s
