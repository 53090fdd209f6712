"""Wrong tokens, slowed down: whoever tries many waits for each."""

from bridge.clock import Clock
from bridge.errors import Busy

FREE = 5
"""So many wrong tokens from one address within WINDOW_S are answered at once."""
WINDOW_S = 60.0
PAUSE_S = 2.0
"""Seconds that each further wrong token waits. A right one does not: behind a proxy all come from one address, and
whoever sends wrong ones there would keep everybody out."""
MOST_WAITING, MOST_ADDRESSES = 20, 1000


class Slowness:
    """Remembers where wrong tokens came from a short while ago."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: dict[str, list[float]] = {}
        """Times of wrong tokens, by address; the address of the latest is last."""
        self._waiting = 0

    async def refuse(self, address: str) -> None:
        """Note a wrong token, and return when it may be answered. Raises Busy where too many wait for that."""
        is_slow = len(self._list_recent(address)) >= FREE
        self._note(address)
        if is_slow:
            await self._pause()

    async def _pause(self) -> None:
        if self._waiting >= MOST_WAITING:
            seconds = round(PAUSE_S)
            raise Busy(f"Too many wrong tokens were tried; try again in {seconds} s", retry_after_s=seconds)
        self._waiting += 1
        try:
            await self._clock.sleep(PAUSE_S)
        finally:
            self._waiting -= 1

    def _list_recent(self, address: str) -> list[float]:
        since = self._clock.now() - WINDOW_S
        return [at for at in self._wrong.get(address, ()) if at > since]

    def _note(self, address: str) -> None:
        recent = self._list_recent(address)
        self._wrong.pop(address, None)
        self._wrong[address] = [*recent, self._clock.now()][-FREE:]
        if len(self._wrong) > MOST_ADDRESSES:
            del self._wrong[next(iter(self._wrong))]
