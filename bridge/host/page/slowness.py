"""Wrong tokens, slowed down: whoever tries many waits for each."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from bridge.clock import Clock
from bridge.errors import Busy

FREE = 5
"""So many wrong tokens from one address within WINDOW_S are answered at once."""
WINDOW_S = 60.0
PAUSE_S = 2.0
"""How long each further attempt from there waits, a right token too: else an early answer would tell that it is one."""
MOST_WAITING, MOST_ADDRESSES = 20, 1000


@dataclass
class Attempt:
    """One try to sign in."""

    is_wrong: bool = False


class Slowness:
    """Remembers where wrong tokens came from a short while ago."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._wrong: dict[str, list[float]] = {}
        """When, by address; the address of the latest is last."""
        self._waiting = 0

    @asynccontextmanager
    async def attempt(self, address: str) -> AsyncGenerator[Attempt]:
        """Try, after a pause where it takes one. Raises Busy where too many wait."""
        if len(self._list_recent(address)) >= FREE:
            await self._pause()
        attempt = Attempt()
        yield attempt
        if attempt.is_wrong:
            self._note(address)

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
