"""A message to a run that the host cuts and repeats over HTTP is heard once, whichever of the two comes first."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from bridge.app import Bridge
from bridge.events import Said
from bridge.run.run import Run
from tests.fakes.bridges import ERAS, open_without_host
from tests.fakes.clock import VirtualClock
from tests.fakes.httphost import HttpCall, HttpHost, http_host
from tests.fakes.servers import OrderedServer
from tests.fakes.service import Served, serving
from tests.fakes.upstream import Request, ScriptedUpstream, call, gated, message, responds
from tests.host.test_repeats import Cut, codes, every_cut

pytestmark = pytest.mark.anyio

WORDS = "Rather in French."
STOPPED = "AbortError: This operation was aborted"


class Place:
    """A service whose model calls a tool in the first turn of a run, and then says what it was told; that waits for
    `gate`."""

    def __init__(self, served: Served, bridge: Bridge, clock: VirtualClock, upstream: ScriptedUpstream) -> None:
        self.served, self.bridge, self.clock, self.upstream = served, bridge, clock, upstream
        self.tool, self.gate = OrderedServer(), anyio.Event()

    def host(self, mode: str) -> Any:
        return http_host(self.served.port, mode)

    async def settle(self) -> None:
        await self.clock.advance(0)

    async def begin(self, host: HttpHost) -> tuple[HttpCall, Run]:
        """A run in its first call."""
        first = await host.call("Hello")
        await self.tool.reached("a")
        [run] = self.bridge.engine._runs.values()
        return first, run

    async def say(self, host: HttpHost, run: Run) -> HttpCall:
        """Say it; it has arrived."""
        said = await host.call("", arguments={"input": WORDS, "run_id": run.run_id})
        await self.settle()
        return said

    def release(self) -> None:
        self.tool.release("a")
        self.gate.set()


@asynccontextmanager
async def place(**limits: Any) -> AsyncIterator[Place]:
    clock = VirtualClock()

    def answer(request: Request) -> Any:
        items = request.json["input"]
        if not any("output" in item for item in items):
            return responds(call("o__answer", {"key": "a"}))
        told = [item["content"] for item in items if item.get("role") == "user"]
        return gated(responds(message(" ".join(told))), at.gate)

    async with ScriptedUpstream(answer) as upstream:
        tool = OrderedServer()
        limits = {"call_timeout_s": 9999, "timeout_s": 9999, **limits}
        async with (
            open_without_host(upstream, {"o": tool.server}, clock=clock, limits=limits) as bridge,
            serving(bridge, clock=clock) as served,
        ):
            at = Place(served, bridge, clock, upstream)
            at.tool = tool
            yield at
    assert not upstream.errors


def said(run: Run) -> int:
    """How often something was said to it."""
    return len([event for event in run.events if isinstance(event, Said)])


@every_cut
@pytest.mark.parametrize("late_s", [0, 0.05, 0.99])
async def test_a_repeat_that_comes_before_the_end_of_what_it_repeats_says_nothing_twice(
    mode: str, cut: Cut, late_s: float
) -> None:
    async with place() as at, at.host(mode) as host:
        _, run = await at.begin(host)
        first = await at.say(host, run)
        again = await at.say(host, run)
        await at.clock.advance(late_s)
        await cut(host, first)
        await at.settle()
        at.release()
        receipt = await again.receipt()
    assert (receipt["output_text"], codes(receipt)) == (f"Hello {WORDS}", ["said", "rejoined"])
    assert said(run) == 1


@every_cut
async def test_a_repeat_that_comes_after_the_cut_says_nothing_twice(mode: str, cut: Cut) -> None:
    async with place() as at, at.host(mode) as host:
        _, run = await at.begin(host)
        await cut(host, await at.say(host, run))
        await at.settle()
        again = await at.say(host, run)
        at.release()
        receipt = await again.receipt()
    assert (receipt["output_text"], codes(receipt)) == (f"Hello {WORDS}", ["said", "rejoined"])
    assert said(run) == 1


@every_cut
async def test_a_result_that_the_cut_call_never_got_is_given_to_its_repeat(mode: str, cut: Cut) -> None:
    """Though the call that began the run has got it."""
    async with place() as at, at.host(mode) as host:
        first, run = await at.begin(host)
        await cut(host, await at.say(host, run))
        await at.settle()
        at.release()
        await first.receipt()
        receipt = await (await at.say(host, run)).receipt()
        assert (receipt["run_id"], codes(receipt)) == (run.run_id, ["said", "rejoined"])
        requests = len(at.upstream.requests)
        fresh = await (await at.say(host, run)).receipt()
        assert fresh["run_id"] != run.run_id, "who says it then says it anew"
    assert (said(run), requests) == (1, 2)


@every_cut
async def test_a_repeat_goes_on_once_where_the_run_had_no_turn_left(mode: str, cut: Cut) -> None:
    """Where the SDK does not notice that a request was closed, the cut call must not go on either."""
    async with place(max_turns=1) as at, at.host(mode) as host:
        first, run = await at.begin(host)
        at.tool.release("a")
        await at.upstream.arrivals.wait(2)
        second = await at.say(host, run)
        await cut(host, second)
        await at.settle()
        again = await at.say(host, run)
        at.gate.set()
        await first.receipt()
        receipt = await again.receipt()
        await at.settle()
    assert (receipt["output_text"], said(run)) == (f"Hello {WORDS}", 0)
    assert receipt["run_id"] != run.run_id
    assert len(at.upstream.requests) == 3


@pytest.mark.parametrize("mode", ERAS)
async def test_two_equal_messages_whose_calls_both_stay_are_two(mode: str) -> None:
    async with place() as at, at.host(mode) as host:
        _, run = await at.begin(host)
        calls = [await at.say(host, run), await at.say(host, run)]
        await at.clock.advance(1)
        at.release()
        receipts = [await each.receipt() for each in calls]
    assert [receipt["output_text"] for receipt in receipts] == [f"Hello {WORDS} {WORDS}"] * 2
    assert said(run) == 2


async def test_who_stops_what_it_has_said_does_not_stop_the_run_of_others() -> None:
    async with place() as at, at.host("legacy") as host:
        first, run = await at.begin(host)
        second = await at.say(host, run)
        await host.cancel(second, STOPPED)
        await at.settle()
        at.release()
        receipt = await first.receipt()
    assert (receipt["status"], said(run)) == ("completed", 1)
