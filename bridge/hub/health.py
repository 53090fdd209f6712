"""The states of one connected server, the triggers that lead from one to the next, and the pauses between attempts."""

from collections import deque
from collections.abc import Mapping
from typing import Literal

State = Literal["starting", "late", "ready", "backing off", "failed", "quarantined"]
Trigger = Literal["overdue", "opened", "lost", "refused"]

TRANSITIONS: Mapping[Trigger, Mapping[State, State]] = {
    # not ready within its connect timeout: it may still become ready, but runs no longer wait for it
    "overdue": {"starting": "late", "backing off": "late"},
    # connected, and its tools listed
    "opened": dict.fromkeys(("starting", "late", "backing off", "failed", "quarantined"), "ready"),
    # a connection that was ready has ended
    "lost": {"ready": "backing off"},
    # an attempt to connect failed
    "refused": dict.fromkeys(("starting", "late", "backing off", "failed"), "failed"),
}
"""The state that each trigger leads to from each state; a pair that is not listed changes nothing.

In addition, BREAKER_FAILURES of "lost" or "refused" within BREAKER_WINDOW_S seconds lead to "quarantined", and so does
a failed attempt out of quarantine.
"""

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 30.0
BREAKER_FAILURES, BREAKER_WINDOW_S = 5, 60.0
PROBE_S = 30.0
"""Pause before the next attempt to connect a quarantined server."""
STABLE_S = 10.0
"""A connection that lasted longer counts as a success, even without a call."""


class Health:
    """The state of one server, and the reason if it is not ready. `now` is the clock's time, in seconds."""

    def __init__(self) -> None:
        self.state: State = "starting"
        self.reason: str | None = None
        self._failures: deque[float] = deque(maxlen=BREAKER_FAILURES)
        self._failed_in_row = 0
        self._is_on_trial = False
        self._opened = 0.0

    def note(self, trigger: Trigger, now: float, reason: str | None = None) -> bool:
        """Apply a trigger; return True if the state or the reason has changed."""
        before = self.state, self.reason
        if trigger == "opened":
            self._opened = now
        elif trigger == "lost" and now - self._opened > STABLE_S:
            self.note_success()
        elif trigger in ("lost", "refused"):
            self._failures.append(now)
            self._failed_in_row += 1
        state = TRANSITIONS[trigger].get(self.state)
        if trigger in ("lost", "refused") and self._must_quarantine(now):
            state, reason = "quarantined", self._explain_quarantine(reason)
            self._is_on_trial = True
        if state:
            self.state, self.reason = state, reason
        return (self.state, self.reason) != before

    def note_success(self) -> None:
        """Forget earlier failures: a call was answered, or the connection has lasted."""
        self._failures.clear()
        self._failed_in_row, self._is_on_trial = 0, False

    @property
    def pause_s(self) -> float:
        """Seconds until the next attempt to connect."""
        if self.state == "quarantined":
            return PROBE_S
        return min(FIRST_BACKOFF_S * 2 ** (self._failed_in_row - 1), LAST_BACKOFF_S) if self._failed_in_row else 0.0

    def _must_quarantine(self, now: float) -> bool:
        is_full = len(self._failures) == BREAKER_FAILURES and now - self._failures[0] <= BREAKER_WINDOW_S
        return is_full or self._is_on_trial

    def _explain_quarantine(self, reason: str | None) -> str:
        return f"it failed {self._failed_in_row} times, the last time: {reason}; it is tried again every {PROBE_S:g} s"
