"""The states of one connected server, the triggers that lead from one to the next, and the pauses between attempts."""

from collections import deque
from collections.abc import Mapping
from typing import Literal

State = Literal["starting", "late", "ready", "backing off", "failed", "needs sign-in", "quarantined"]
Trigger = Literal["overdue", "opened", "lost", "refused", "unsigned", "signed", "flooded"]

TRANSITIONS: Mapping[Trigger, Mapping[State, State]] = {
    # not ready within its connect timeout: it may still become ready, but runs no longer wait for it
    "overdue": {"starting": "late", "backing off": "late"},
    # connected, and its tools listed
    "opened": dict.fromkeys(("starting", "late", "backing off", "failed", "needs sign-in", "quarantined"), "ready"),
    # a connection that was ready has ended
    "lost": {"ready": "backing off"},
    # an attempt to connect failed
    "refused": dict.fromkeys(("starting", "late", "backing off", "failed", "needs sign-in"), "failed"),
    # it refuses us until somebody has signed in to it
    "unsigned": dict.fromkeys(
        ("starting", "late", "ready", "backing off", "failed", "needs sign-in", "quarantined"), "needs sign-in"
    ),
    # somebody has, and it is tried again
    "signed": {"needs sign-in": "starting"},
    # it sent more than can be answered
    "flooded": dict.fromkeys(
        ("starting", "late", "ready", "backing off", "failed", "needs sign-in", "quarantined"), "quarantined"
    ),
}
"""The state that each trigger leads to from each state; a pair that is not listed changes nothing.

In addition, BREAKER_FAILURES of "lost" or "refused" within BREAKER_WINDOW_S seconds lead to "quarantined", and so does
a failed attempt out of quarantine.
"""

FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.25, 30.0
"""Bounds of the pause between two attempts, which doubles; a failure may come with another upper bound."""
BREAKER_FAILURES, BREAKER_WINDOW_S = 5, 60.0
PROBE_S = 30.0
"""The shortest pause before the next attempt to connect a quarantined server."""
STABLE_S = 10.0
"""A connection that lasted longer counts as a success, even without a call."""
LOSSES, LOSSES_WINDOW_S = 5, 300.0
"""From so many losses within so many seconds on, each is a failure, however long the connection lasted."""


class Health:
    """The state of one server, and the reason if it is not ready. `now` is the clock's time, in seconds."""

    def __init__(self) -> None:
        self.state: State = "starting"
        self.reason: str | None = None
        self._failures: deque[float] = deque(maxlen=BREAKER_FAILURES)
        self._losses: deque[float] = deque(maxlen=LOSSES)
        self._longest_pause_s = LAST_BACKOFF_S
        self._last_failure: str | None = None
        self._failed_in_row = 0
        self._is_on_trial = False
        self._opened = 0.0

    def note(
        self, trigger: Trigger, now: float, reason: str | None = None, *, longest_pause_s: float = LAST_BACKOFF_S
    ) -> bool:
        """Apply a trigger; return True if the state or the reason has changed. How often it failed is no news.

        `longest_pause_s`: how long the pauses may become after this failure.
        """
        before = self.state, self._last_failure
        failure = reason
        if trigger == "opened":
            self._opened = now
        elif trigger == "signed":
            self._forget_failures()
        elif trigger == "unsigned":
            self._note_refusal(longest_pause_s)
        elif trigger != "overdue":
            self._note_failure(trigger, now)
            self._longest_pause_s = longest_pause_s
        state = TRANSITIONS[trigger].get(self.state)
        if trigger == "flooded" or (trigger in ("lost", "refused") and self._must_quarantine(now)):
            state, reason = "quarantined", self._explain_quarantine(reason)
            self._is_on_trial = True
        if state:
            self.state, self.reason, self._last_failure = state, reason, failure
        return (self.state, self._last_failure) != before

    def _note_failure(self, trigger: Trigger, now: float) -> None:
        if trigger == "lost" and now - self._opened > STABLE_S and not self._is_lost_often(now):
            self._forget_failures()
        else:
            self._failures.append(now)
            self._failed_in_row += 1

    def _note_refusal(self, longest_pause_s: float) -> None:
        """Note that it is there, and wants somebody to sign in: that is no failure of its own."""
        self._failures.clear()
        self._is_on_trial = False
        self._failed_in_row += 1
        self._longest_pause_s = longest_pause_s

    def _is_lost_often(self, now: float) -> bool:
        self._losses.append(now)
        return len(self._losses) == LOSSES and now - self._losses[0] <= LOSSES_WINDOW_S

    def note_success(self) -> None:
        """Forget earlier failures: a call was answered."""
        self._losses.clear()
        self._forget_failures()

    def _forget_failures(self) -> None:
        self._failures.clear()
        self._failed_in_row, self._is_on_trial = 0, False

    @property
    def pause_s(self) -> float:
        """Seconds until the next attempt to connect."""
        doublings = min(self._failed_in_row - 1, 20)
        pause = min(FIRST_BACKOFF_S * 2**doublings, self._longest_pause_s) if self._failed_in_row else 0.0
        return max(pause, PROBE_S) if self.state == "quarantined" else pause

    def _must_quarantine(self, now: float) -> bool:
        is_full = len(self._failures) == BREAKER_FAILURES and now - self._failures[0] <= BREAKER_WINDOW_S
        return is_full or self._is_on_trial

    def _explain_quarantine(self, reason: str | None) -> str:
        is_growing = self._longest_pause_s > PROBE_S
        again = (
            f"at growing pauses of up to {self._longest_pause_s / 60:g} min" if is_growing else f"every {PROBE_S:g} s"
        )
        often = f"it failed {self._failed_in_row} times, the last time: " if self._failed_in_row > 1 else ""
        return f"{often}{reason}; it is tried again {again}"
