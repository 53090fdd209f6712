"""A tally: what anybody can make happen often is counted, and logged in a line a minute."""

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
