"""Which ended runs are kept: within bounds for each principal and for all, and nobody's for ever."""

from typing import NamedTuple

KEPT_S = 86_400.0
"""How long after its end a run can be found, and continued, where nothing else is said."""


class Bounds(NamedTuple):
    """How much may be kept; the last run beside it, whatever it weighs."""

    runs: int
    bytes: int


KEPT_EACH = Bounds(1000, 128 << 20)
"""Of one principal. The oldest run is dropped first."""
KEPT = Bounds(2000, 256 << 20)
"""In all. Who has the most gives way, so that nobody can crowd out the others."""


class _Pile:
    """Runs by their ids, the oldest first, with what each weighs."""

    def __init__(self) -> None:
        self.weights: dict[str, int] = {}
        self.bytes = 0

    def add(self, run_id: str, weight: int) -> None:
        self.weights[run_id] = weight
        self.bytes += weight

    def remove(self, run_id: str) -> None:
        self.bytes -= self.weights.pop(run_id)

    def is_over(self, bounds: Bounds) -> bool:
        """Tell whether the runs are too many, or too heavy beside the last."""
        last = self.weights[next(reversed(self.weights))]
        return len(self.weights) > bounds.runs or self.bytes - last > bounds.bytes


class Shelf:
    """The ended runs, in the order in which they ended."""

    def __init__(self, each: Bounds = KEPT_EACH, whole: Bounds = KEPT, keep_s: float = KEPT_S) -> None:
        self._keep_s = keep_s
        self._each = each
        self._whole = whole
        self._all = _Pile()
        self._own: dict[str | None, _Pile] = {}
        self._ends: dict[str, tuple[str | None, float]] = {}
        """Whose each run is, and when it ended."""

    def __len__(self) -> int:
        return len(self._ends)

    def put(self, run_id: str, principal: str | None, time: float, weight: int) -> list[str]:
        """Add a run that has ended. Returns those that are dropped for it."""
        last = next(reversed(self._ends), None)
        is_heavy = last is not None and self._all.weights[last] > self._each.bytes
        dropped = [self._take(last)] if last is not None and is_heavy else []  # it would throw out all others
        self._ends[run_id] = (principal, time)
        self._all.add(run_id, weight)
        own = self._own.setdefault(principal, _Pile())
        own.add(run_id, weight)
        while own.is_over(self._each):
            dropped.append(self._take(next(iter(own.weights))))
        while self._all.is_over(self._whole):
            dropped.append(self._take(next(iter(self._find_most(run_id).weights))))
        return dropped

    def drop_old(self, now: float) -> list[str]:
        """Drop the runs that ended too long ago, and return them."""
        dropped = list[str]()
        while (oldest := next(iter(self._ends), None)) is not None and self._ends[oldest][1] <= now - self._keep_s:
            dropped.append(self._take(oldest))
        return dropped

    def _find_most(self, last: str) -> _Pile:
        """Find the runs of whoever has the most, beside the last."""
        if len(self._ends) > self._whole.runs:
            return max(self._own.values(), key=lambda own: len(own.weights))
        return max(self._own.values(), key=lambda own: own.bytes - own.weights.get(last, 0))

    def _take(self, run_id: str) -> str:
        principal, _ = self._ends.pop(run_id)
        self._all.remove(run_id)
        self._own[principal].remove(run_id)
        if not self._own[principal].weights:
            del self._own[principal]
        return run_id
