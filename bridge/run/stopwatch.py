"""The time that a run takes, without that for which it waits for a person."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import anyio

from bridge.clock import Clock


class Stopwatch:
    """Goes as the clock does, and stands still meanwhile."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._stops = 0
        """How many stop it now."""
        self._stopped_at = 0.0
        self._stood_s = 0.0
        self._scopes = WeakKeyDictionary[anyio.CancelScope, float]()

    @property
    def is_stopped(self) -> bool:
        """True while somebody stops it."""
        return self._stops > 0

    @property
    def stood_s(self) -> float:
        """Seconds for which it has stood still: by so many the clock is ahead."""
        return self._stood_s + (self._clock.now() - self._stopped_at if self.is_stopped else 0.0)

    def now(self) -> float:
        """Return what it shows."""
        return self._clock.now() - self.stood_s

    def scope(self, instant: float) -> anyio.CancelScope:
        """Return a scope that is cancelled when it shows `instant`."""
        scope = self._clock.scope(math.inf if self.is_stopped else instant + self._stood_s)
        self._scopes[scope] = instant
        return scope

    @contextmanager
    def stopped(self) -> Generator[None]:
        """Stop it while entered."""
        if not self.is_stopped:
            self._stopped_at = self._clock.now()
            self._move(math.inf)
        self._stops += 1
        try:
            yield
        finally:
            stood_s = self.stood_s
            self._stops -= 1
            if not self.is_stopped:
                self._stood_s = stood_s
                self._move(stood_s)

    def _move(self, by_s: float) -> None:
        for scope, instant in self._scopes.items():
            self._clock.move(scope, instant + by_s)
