"""Runs that are interrupted and taken up again end as if nothing had happened: the loop's tests, on an engine that
remembers steps and nothing else."""

import random
from collections.abc import Iterator

import pytest

from tests.conftest import INTERRUPTIONS
from tests.fakes.forgetful import Interruptions, interrupted
from tests.run.test_answer import *  # noqa: F403
from tests.run.test_budgets import *  # noqa: F403
from tests.run.test_continuation import *  # noqa: F403
from tests.run.test_conversations import *  # noqa: F403
from tests.run.test_example import *  # noqa: F403
from tests.run.test_limits import *  # noqa: F403
from tests.run.test_loop import *  # noqa: F403
from tests.run.test_receipt import *  # noqa: F403
from tests.run.tools.test_find_tools import *  # noqa: F403
from tests.run.tools.test_read_output import *  # noqa: F403

pytestmark = pytest.mark.anyio

HOLD_CALLS_IN_FLIGHT = {
    "test_no_more_calls_than_allowed_are_in_flight_at_once",
    "test_time_that_runs_out_during_a_call_ends_it_and_says_that_it_may_have_been_executed",
}
"""They let no call end before others have begun, and an interruption lets none begin: their calls are not
interrupted."""


@pytest.fixture(autouse=True, params=["one step", pytest.param("every step", marks=pytest.mark.external)])
def interruptions(request: pytest.FixtureRequest) -> Iterator[Interruptions]:
    """Interrupt each run of the test after one step, or after every one."""
    is_every, wanted = request.param == "every step", random.Random(request.node.nodeid).randint(1, 4)
    spared = "call:" if request.function.__name__ in HOLD_CALLS_IN_FLIGHT else None

    def is_interrupted(number: int, key: str) -> bool:
        return number == wanted or (is_every and not (spared and key.startswith(spared)))

    with interrupted(Interruptions(after=is_interrupted)) as interruptions:
        yield interruptions
    request.node.user_properties.append((INTERRUPTIONS, interruptions.count))
