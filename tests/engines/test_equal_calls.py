"""An equal call, and the run that a process before this one has left."""

from pathlib import Path

import pytest
from typing_extensions import override

from bridge.clock import Clock
from bridge.events import Notified
from tests.fakes.bridges import open_without_host
from tests.fakes.upstream import ScriptedUpstream, message, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))


class LaterClock(Clock):
    """A wall clock that is so far on."""

    def __init__(self, late_s: float) -> None:
        self._late_s = late_s

    @override
    def time(self) -> float:
        return super().time() + self._late_s


@pytest.mark.parametrize(
    ("late_s", "principal", "is_found", "is_named"),
    [
        (300, "the host", True, False),
        (1000, "the host", False, True),
        (1000, "somebody on a port", False, False),
        (1000, "another host", False, False),
    ],
)
async def test_the_run_of_a_process_before_is_found_for_ten_minutes_and_named_after(
    late_s: float, principal: str, is_found: bool, is_named: bool, tmp_path: Path
) -> None:
    runs = {"store": f"sqlite:///{tmp_path / 'runs.sqlite'}"}
    whose = "the host" if principal == "another host" else principal
    async with ScriptedUpstream([DONE, DONE]) as upstream:
        async with open_without_host(upstream, runs=runs) as bridge:
            earlier = await bridge.run({"input": "Hello"}, principal=whose)
        async with open_without_host(upstream, runs=runs, clock=LaterClock(late_s)) as bridge:
            run, is_earlier = await bridge.start({"input": "Hello"}, principal=principal)
            told = [event.message for event in run.events if isinstance(event, Notified)]
    assert (is_earlier, run.run_id == earlier.run_id) == (is_found, is_found)
    assert [earlier.run_id in text for text in told] == ([True] if is_named else [])
