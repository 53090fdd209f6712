"""The pace of long work: in pieces, between which other tasks have their turns."""

import time

import anyio.lowlevel

from bridge.clock import Clock

PIECE_S = 0.002
"""How long one piece of the work may take."""
REST = 4
"""How long a gentle worker rests after each piece, in pieces: a fifth of the time is its share."""


class Pace:
    """Call `step` after each small part of the work. `is_gentle`: nobody waits for it, so nobody is to be slowed."""

    def __init__(self, clock: Clock, *, is_gentle: bool) -> None:
        self._clock = clock
        self._is_gentle = is_gentle
        self._began = time.perf_counter()

    async def step(self) -> None:
        """Let others have their turns, if a piece is done."""
        worked = time.perf_counter() - self._began
        if worked >= PIECE_S:
            await (self._clock.sleep(worked * REST) if self._is_gentle else anyio.lowlevel.checkpoint())
            self._began = time.perf_counter()
