"""Tallies of what anybody can make happen often: each is logged in a line a minute."""

import logging

from bridge.clock import Clock
from bridge.telemetry import COUNTED

EVERY_S = 60.0


class Tally:
    """Counts one kind of event."""

    def __init__(self, logger: logging.Logger, words: str, clock: Clock) -> None:
        """`words`: the line, with `%s` for how many there were since the last one."""
        self._logger = logger
        self._words = words
        self._clock = clock
        self._count = 0
        self._next = 0.0

    def add(self) -> None:
        """Count one."""
        self._count += 1
        if self._clock.now() >= self._next:
            self._next = self._clock.now() + EVERY_S
            self._logger.warning(self._words, f"{self._count:,}", extra=COUNTED)
            self._count = 0


class Told:
    """Names that others make up, each of which is told once a minute, and at most so many of them."""

    def __init__(self, most: int, clock: Clock) -> None:
        self._most = most
        self._clock = clock
        self._until: dict[str, float] = {}
        """Until when each is not told again."""

    def take(self, name: str) -> bool:
        """Return whether this one is to be told now."""
        now = self._clock.now()
        self._until = {told: until for told, until in self._until.items() if until > now}
        if name in self._until or len(self._until) >= self._most:
            return False
        self._until[name] = now + EVERY_S
        return True
