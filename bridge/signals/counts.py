"""Counters that are added to as things happen: plain numbers, which any kind of export reads."""

from bisect import bisect_left
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from bridge.signals.names import COUNTED, OTHER, Instrument

MAX_SERIES = 1000
"""Combinations of labels that one metric has; further ones are added up as one. Whoever chooses a name could fill the
memory of this process, and of whatever stores its metrics."""

Labels: TypeAlias = tuple[str, ...]
Note: TypeAlias = Callable[[Instrument, float, Labels], None]
"""Takes one value, with the labels of the instrument in order."""


@dataclass
class Spread:
    """The values of a histogram, by bucket; the last one is for those above all bounds."""

    buckets: list[int]
    total: float = 0.0


@dataclass
class Counts:
    """The numbers of every instrument, by labels."""

    sums: dict[Instrument, dict[Labels, float]] = field(default_factory=dict)
    spreads: dict[Instrument, dict[Labels, Spread]] = field(default_factory=dict)
    relays: list[Note] = field(default_factory=list[Note])
    """Get every value too."""

    def __post_init__(self) -> None:
        """Begin with zero where there are no labels: a counter that is not there cannot be seen to grow."""
        for instrument in COUNTED:
            if instrument.kind == "counter" and not instrument.labels:
                self.sums[instrument] = {(): 0.0}

    def add(self, instrument: Instrument, amount: float, *labels: str) -> None:
        """Add to a counter, or put a value into a histogram."""
        if instrument.kind == "histogram":
            labels = self._put(instrument, amount, labels)
        else:
            known = self.sums.setdefault(instrument, {})
            labels = bound_labels(known, labels)
            known[labels] = known.get(labels, 0.0) + amount
        for relay in self.relays:
            relay(instrument, amount, labels)

    def _put(self, instrument: Instrument, amount: float, labels: Labels) -> Labels:
        known = self.spreads.setdefault(instrument, {})
        labels = bound_labels(known, labels)
        spread = known.get(labels)
        if spread is None:
            spread = known[labels] = Spread([0] * (len(instrument.bounds) + 1))
        spread.buckets[bisect_left(instrument.bounds, amount)] += 1
        spread.total += amount
        return labels


def bound_labels(known: dict[Labels, object] | dict[Labels, float] | dict[Labels, Spread], labels: Labels) -> Labels:
    """Return the labels, or those of all others where there are too many already."""
    return labels if labels in known or len(known) < MAX_SERIES else (OTHER,) * len(labels)


Reading: TypeAlias = tuple[Instrument, float, Labels]
Read: TypeAlias = Callable[[], Iterator[Reading]]
"""Reads what is as it is now."""
