"""Random plans of faults and calls at once: whatever the seed, nothing is lost, doubled, late or left behind."""

import pytest

from tests.fakes.simulation import simulate_all

pytestmark = pytest.mark.anyio

PARTS, SEEDS_EACH = 8, 25
FOUND = [522, 523, 5217]
"""Seeds that once broke a promise; docs/track-record.md says which."""


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.external) for part in range(1, PARTS))])
async def test_no_seed_breaks_a_promise(part: int) -> None:
    broken = await simulate_all([*range(part * SEEDS_EACH, (part + 1) * SEEDS_EACH)])
    assert {day.seed: [*day.violations, *day.faults] for day in broken} == {}


async def test_no_seed_that_once_did_breaks_a_promise_again() -> None:
    broken = await simulate_all(FOUND)
    assert {day.seed: [*day.violations, *day.faults] for day in broken} == {}
