"""Which arms a workload measures, and what its row is made of."""

from collections import Counter

import pytest

from tests.bench.arms import Arm
from tests.bench.floor import Hear
from tests.bench.run import measure
from tests.bench.workloads import BY_KEY, Workload

pytestmark = pytest.mark.anyio


class Runs:
    """Arms that do nothing, and how often each was run."""

    def __init__(self) -> None:
        self.counts = Counter[str]()
        self.arms = {name: self._build(name) for name in ("floor", "direct", "respond", "hop")}

    def _build(self, name: str) -> Arm:
        async def run(workload: Workload, hear: Hear | None = None) -> None:  # noqa: ARG001
            self.counts[name] += 1

        return run


async def test_the_hop_takes_its_turns_with_the_others_where_a_goal_needs_it() -> None:
    runs = Runs()
    row = await measure(BY_KEY["text"], runs.arms, quick=True)
    assert len(set(runs.counts.values())) == 1
    assert row.hop
    assert row.direct
    assert row.direct_and_hop == row.direct + row.hop


async def test_the_hop_is_not_called_where_no_goal_needs_it() -> None:
    runs = Runs()
    row = await measure(BY_KEY["ten"], runs.arms, quick=True)
    assert (runs.counts["hop"], row.hop, row.direct_and_hop) == (0, None, None)
    assert runs.counts["respond"]
