"""Random plans of faults and calls at once: whatever the seed, nothing is lost, doubled, late or left behind."""

import pytest

from tests.fakes.simulation import simulate_all

pytestmark = pytest.mark.anyio

PARTS, SEEDS_EACH = 8, 25


@pytest.mark.parametrize("part", range(PARTS))
async def test_no_seed_breaks_a_promise(part: int) -> None:
    broken = await simulate_all([*range(part * SEEDS_EACH, (part + 1) * SEEDS_EACH)])
    assert {day.seed: [*day.violations, *day.faults] for day in broken} == {}
