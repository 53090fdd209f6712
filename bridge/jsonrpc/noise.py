"""Lines that are no messages, as servers print them among their messages: one is shown, the others are counted."""

import logging

logger = logging.getLogger(__name__)

FIRST_COUNT = 100_000
"""How many lines there are when their number is told for the first time before the end; then each tenfold."""


class Noise:
    """The noise of one connection; `name` is the other side's in the log."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._count = self._told = 0
        self._next = FIRST_COUNT

    def note(self, reason: object) -> None:
        """Note a line. The first one is logged with the reason why it is no message."""
        self._count += 1
        if self._count == 1:
            logger.warning("%s: skipped a line that is not a message: %s", self._name, reason)
            self._told = 1
        elif self._count == self._next:
            self._next *= 10
            self.tell()

    def tell(self) -> None:
        """Log how many lines there were, unless that is known."""
        if self._count > self._told:
            self._told = self._count
            logger.warning("%s: skipped %s lines that are not messages", self._name, f"{self._count:,}")
