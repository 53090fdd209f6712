"""No host is too impatient for any run: its model gets the answer, and nothing is executed twice for it."""

import itertools
import math
import random
from pathlib import Path

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


UNKNOWN = "may have been executed"
"""Told of a call that was about to be sent."""


def draw_drop(case: tuple[object, ...], run_s: float) -> float:
    return random.Random(str(case)).uniform(0, run_s + 50)


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("host", HOSTS)
async def test_nor_is_it_where_the_bridge_is_dropped_and_another_takes_its_place(
    host: str, mode: str, tmp_path: Path
) -> None:
    for view, run_s in zip(VIEWS, (46, 61, 241), strict=True):
        drop_s = draw_drop((host, view, mode, run_s), run_s)
        file = tmp_path / f"{view}.sqlite"
        outcome = await simulate(HOSTS[host], view, mode, run_s, file=file, drop_s=drop_s)
        assert outcome.answer is not None, (view, run_s, drop_s)
        assert outcome.executed == 1 or (outcome.executed == 0 and UNKNOWN in outcome.answer), (view, run_s, drop_s)


@pytest.mark.external
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("host", HOSTS)
@pytest.mark.parametrize("is_dropped", [False, True], ids=["kept", "dropped at a random step"])
async def test_so_it_is_in_all_of_them_with_runs_in_a_file(
    is_dropped: bool, host: str, mode: str, tmp_path: Path
) -> None:
    """480 in all, each with the bridge as it is and with one that is dropped."""
    lost, doubled, cases = list[object](), list[object](), list(itertools.product(VIEWS, RUNS_S))
    for number, (view, run_s) in enumerate(cases):
        drop_s = draw_drop((host, view, mode, run_s), run_s) if is_dropped else math.inf
        file = tmp_path / f"{number}.sqlite"
        outcome = await simulate(HOSTS[host], view, mode, run_s, file=file, drop_s=drop_s)
        lost += [(view, run_s)] if outcome.answer is None else []
        doubled += [(view, run_s)] if outcome.executed > 1 else []
    assert (len(cases), lost, doubled) == (60, [], [])
