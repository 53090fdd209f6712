"""The states of one connected server: what leads from one to the next, and how long until it is tried again."""

from collections import deque
from collections.abc import Mapping
from typing import Literal

State = Literal["starting", "late", "ready", "backing off", "failed", "quarantined"]
Trigger = Literal["overdue", "opened", "lost", "refused"]

TRANSITIONS: Mapping[Trigger, Mapping[State, State]] = {
    # not ready within its connect timeout: slow is not failed, and whoever waited goes on without it
    "overdue": {"starting": "late", "backing off": "late"},
    # connected, and its tools listed
    "opened": dict.fromkeys(("starting", "late", "backing off", "failed", "quarantined"), "ready"),
    # a connection that was ready has ended
    "lost": {"ready": "backing off"},
    # an attempt to connect came to nothing
    "refused": dict.fromkeys(("starting", "late", "backing off", "failed"), "failed"),
}
"""Where a trigger leads from a state; a pair that is not there changes nothing. Besides: BREAKER_FAILURES of the last
two within BREAKER_WINDOW_S lead to "quarantined", and so does the next one after an attempt out of it."""

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 30.0
BREAKER_FAILURES, BREAKER_WINDOW_S = 5, 60.0
PROBE_S = 30.0
"""How long a quarantined server is left alone before one more attempt."""
STABLE_S = 10.0
"""A connection that lasted this long was a good one, even if nobody called."""


class Health:
    """The state of one server and why it is not ready. `now` is always the clock's time, in seconds."""

    def __init__(self) -> None:
        self.state: State = "starting"
        self.reason: str | None = None
        self._failures: deque[float] = deque(maxlen=BREAKER_FAILURES)
        self._failed_in_row = 0
        self._is_on_trial = False
        self._opened = 0.0

    def note(self, trigger: Trigger, now: float, reason: str | None = None) -> bool:
        """Take in what has happened. Whether state or reason are other ones now."""
        before = self.state, self.reason
        if trigger == "opened":
            self._opened = now
        elif trigger == "lost" and now - self._opened > STABLE_S:
            self.serve()
        elif trigger in ("lost", "refused"):
            self._failures.append(now)
            self._failed_in_row += 1
        state = TRANSITIONS[trigger].get(self.state)
        if trigger in ("lost", "refused") and self._must_rest(now):
            state, reason = "quarantined", self._explain_rest(reason)
            self._is_on_trial = True
        if state:
            self.state, self.reason = state, reason
        return (self.state, self.reason) != before

    def serve(self) -> None:
        """It was of use: a call was answered. Whatever failed before no longer counts."""
        self._failures.clear()
        self._failed_in_row, self._is_on_trial = 0, False

    @property
    def pause_s(self) -> float:
        """How long until the next attempt to connect."""
        if self.state == "quarantined":
            return PROBE_S
        return min(FIRST_BACKOFF_S * 2 ** (self._failed_in_row - 1), LAST_BACKOFF_S) if self._failed_in_row else 0.0

    def _must_rest(self, now: float) -> bool:
        is_full = len(self._failures) == BREAKER_FAILURES and now - self._failures[0] <= BREAKER_WINDOW_S
        return is_full or self._is_on_trial

    def _explain_rest(self, reason: str | None) -> str:
        return f"it failed {self._failed_in_row} times, the last time: {reason}; it is tried again every {PROBE_S:g} s"
