"""The load benchmark counts what came of each call, in every part."""

import pytest

from tests.bench.load import (
    FEW,
    HEAD,
    SOFT,
    Crowd,
    Outcome,
    idle_streams,
    leavers,
    measure_endurance,
    measure_honest,
    rush,
    slow_sockets,
)
from tests.fakes.bridges import ERAS

pytestmark = [pytest.mark.anyio, pytest.mark.external]


def test_a_row_has_a_figure_for_each_column() -> None:
    outcome = Outcome("part", seconds=[0.1, 0.2, 0.3], wall_s=1.5, memory=(80, 90), alone=[0.1, 0.1, 0.1])
    outcome.counts.update(answered=3, busy=1)
    row = dict(zip(HEAD, outcome.row(), strict=True))
    assert (row["answered"], row["busy"], row["failed"], row["runs/s"]) == ("3", "1", "0", "2")
    assert (row["p50, ms"], row["p50 / alone"], row["MB after"]) == ("200", "2.00", "90")


@pytest.mark.parametrize("ulimit", [SOFT, FEW])
@pytest.mark.parametrize("mode", ERAS)
async def test_everybody_who_comes_at_once_is_counted(mode: str, ulimit: str) -> None:
    outcome = await rush(3, mode, ulimit)  # type: ignore[arg-type]
    assert (outcome.counts, len(outcome.seconds)) == ({"answered": 3}, 3)


@pytest.mark.parametrize("crowd", [slow_sockets, idle_streams, leavers])
@pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning")
async def test_an_honest_client_is_measured_alone_and_beside_a_crowd(crowd: Crowd) -> None:
    outcome = await measure_honest("part", crowd, 10, calls=3)
    assert (outcome.counts, len(outcome.alone)) == ({"answered": 3}, 3)


async def test_the_last_runs_of_many_are_held_against_the_first() -> None:
    outcome = await measure_endurance(20)
    assert (outcome.counts, len(outcome.seconds), len(outcome.alone)) == ({"answered": 20}, 2, 2)
