"""No host is too impatient for any run: its model gets the answer, and nothing is executed twice for it."""

import itertools

import pytest

from tests.fakes.bridges import ERAS
from tests.fakes.patience import Patience, View, simulate

pytestmark = pytest.mark.anyio

HOSTS = {
    "hard cut at 60 s": Patience(60),
    "hard cut at 240 s": Patience(240),
    "60 s, reset by progress": Patience(60, is_reset=True),
    "hard cut at 20 s, before the soft deadline": Patience(20),
}
VIEWS: tuple[View, ...] = ("text", "structure", "both")
RUNS_S = (1, 19, 20, 21, 30, 44, 45, 46, 59, 60, 61, 90, 120, 239, 241, 300, 600, 900, 1200, 1800)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("host", HOSTS)
async def test_an_answer_that_takes_longer_than_the_host_waits_is_neither_lost_nor_made_twice(
    host: str, mode: str
) -> None:
    for view, run_s in zip(VIEWS, (46, 61, 241), strict=True):
        outcome = await simulate(HOSTS[host], view, mode, run_s)
        assert (outcome.answer, outcome.executed) == ("done-0", 1), (view, run_s)


@pytest.mark.external
async def test_every_host_every_view_every_era_and_runs_of_a_second_to_half_an_hour() -> None:
    cases = list(itertools.product(HOSTS, VIEWS, ERAS, RUNS_S))
    outcomes = [await simulate(HOSTS[host], view, mode, run_s) for host, view, mode, run_s in cases]
    lost = [case for case, outcome in zip(cases, outcomes, strict=True) if outcome.answer is None]
    doubled = [case for case, outcome in zip(cases, outcomes, strict=True) if outcome.executed != 1]
    assert (len(cases), lost, doubled) == (480, [], [])
