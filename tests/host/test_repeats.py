"""A call that the host cuts and repeats over HTTP: the repeat may come first, and nothing is executed twice for that.

As srbhptl39/MCP-SuperAssistant#155: a client whose patience ends repeats the same request, and each is executed.
"""

import gc
import itertools
import re
import statistics
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import anyio
import pytest
from mcp.server.connection import NotifyOnlyOutbound
from mcp.server.mcpserver import MCPServer
from starlette.requests import Request as HttpRequest

from bridge.app import Bridge
from bridge.host.cancellation import _name_call
from tests.fakes.bridges import ERAS, open_without_host, outputs_of
from tests.fakes.clock import PATIENCE_S, VirtualClock
from tests.fakes.httphost import TIMED_OUT, HttpCall, HttpHost, http_host
from tests.fakes.items import Json
from tests.fakes.rawhost import sse_host
from tests.fakes.servers import OrderedServer
from tests.fakes.service import Served, serving
from tests.fakes.upstream import Request, ScriptedUpstream, call, message, responds

pytestmark = pytest.mark.anyio

Cut: TypeAlias = Callable[[HttpHost, HttpCall], Coroutine[Any, Any, None]]


async def hang_up(_host: HttpHost, cut: HttpCall) -> None:
    """Close the request; in the handshake era that cancels nothing, but nobody can be given the answer."""
    cut.hang_up()


async def cancel(host: HttpHost, cut: HttpCall) -> None:
    """Cancel it, and read on: as the TypeScript clients do."""
    await host.cancel(cut)


async def both(host: HttpHost, cut: HttpCall) -> None:
    cut.hang_up()
    await host.cancel(cut)


CUTS = [
    pytest.param("auto", hang_up, id="modern, closed"),
    pytest.param("legacy", cancel, id="handshake, cancelled"),
    pytest.param("legacy", hang_up, id="handshake, closed"),
    pytest.param("legacy", both, id="handshake, closed and cancelled"),
]
every_cut = pytest.mark.parametrize(("mode", "cut"), CUTS)


class Place:
    """A service whose model calls a tool once and answers with what it said; `tool.started` is what was executed."""

    def __init__(self, served: Served, bridge: Bridge, clock: VirtualClock, tool: OrderedServer) -> None:
        self.served, self.bridge, self.clock, self.tool = served, bridge, clock, tool

    def host(self, mode: str, **options: Any) -> Any:
        return http_host(self.served.port, mode, **options)

    async def settle(self) -> None:
        """Until what was sent has arrived, and everybody waits."""
        await self.clock.advance(0)

    async def pass_a_second(self) -> None:
        await self.settle()
        await self.clock.advance(1)


def use(request: Request) -> Any:
    prompt, *_ = request.json["input"]
    outputs = outputs_of(request)
    return responds(message(f"it says {outputs[0]}") if outputs else call("o__answer", {"key": prompt["content"]}))


@asynccontextmanager
async def place(**options: Any) -> AsyncIterator[Place]:
    clock, tool = VirtualClock(), OrderedServer()
    limits = {"call_timeout_s": 9999, "timeout_s": 9999, **options.pop("limits", {})}
    async with (
        ScriptedUpstream(use) as upstream,
        open_without_host(upstream, {"o": tool.server}, clock=clock, limits=limits) as bridge,
        serving(bridge, clock=clock, **options) as served,
    ):
        yield Place(served, bridge, clock, tool)


def codes(receipt: Json) -> list[str]:
    return [notice["code"] for notice in receipt["notices"]]


async def lose(at: Place, host: HttpHost, cut: Cut, prompt: str = "a") -> None:
    """A call that is cut, and whose run ends."""
    lost = await host.call(prompt)
    await at.tool.reached(prompt)
    await cut(host, lost)
    await at.settle()
    at.tool.release(prompt)
    await at.settle()


@every_cut
async def test_a_run_whose_call_was_lost_is_found_by_an_equal_call_for_ten_minutes(mode: str, cut: Cut) -> None:
    async with place() as at, at.host(mode) as host:
        await lose(at, host, cut)
        await at.clock.advance(599)
        again = await host.call("a")
        await at.settle()
        assert codes(await again.receipt()) == ["rejoined"]
        assert at.tool.started == ["a"]


@every_cut
async def test_an_older_run_whose_call_was_lost_is_named_and_an_equal_call_is_a_new_one(mode: str, cut: Cut) -> None:
    async with place() as at, at.host(mode) as host:
        await lose(at, host, cut)
        await at.clock.advance(601)
        fresh = await host.call("a")
        await at.settle()
        receipt = await fresh.receipt()
        assert (codes(receipt), at.tool.started) == (["earlier_call"], ["a", "a"])
        [notice] = receipt["notices"]
        [earlier] = re.findall(r"run_\w{32}", notice["message"])
        assert earlier != receipt["run_id"]
        wait = await host.call(earlier, tool="respond_wait")
        await at.settle()
        assert (await wait.receipt())["output_text"] == "it says a"
        third = await host.call("a")
        await at.settle()
        assert codes(await third.receipt()) == [], "nothing is left to be told"


@every_cut
@pytest.mark.parametrize("late_s", [0, 0.01, 0.05, 0.5, 0.99])
async def test_a_repeat_that_comes_before_the_end_of_what_it_repeats_gets_its_run(
    mode: str, cut: Cut, late_s: float
) -> None:
    async with place() as at, at.host(mode) as host:
        first = await host.call("a")
        await at.tool.reached("a")
        again = await host.call("a")
        await at.settle()
        await at.clock.advance(late_s)
        await cut(host, first)
        await at.settle()
        at.tool.release("a")
        receipt = await again.receipt()
        assert (receipt["output_text"], codes(receipt), at.tool.started) == ("it says a", ["rejoined"], ["a"])
        fresh = await host.call("a")
        await at.settle()
        assert (codes(await fresh.receipt()), len(at.tool.started)) == ([], 2), "who comes later is somebody new"


@every_cut
async def test_a_repeat_that_comes_after_the_cut_gets_its_run_at_once(mode: str, cut: Cut) -> None:
    async with place() as at, at.host(mode) as host:
        first = await host.call("a")
        await at.tool.reached("a")
        await cut(host, first)
        await at.settle()
        again = await host.call("a")
        await at.settle()
        at.tool.release("a")
        assert (codes(await again.receipt()), at.tool.started) == (["rejoined"], ["a"])


@pytest.mark.parametrize("mode", ERAS)
async def test_two_equal_calls_that_both_stay_are_two_runs_and_the_second_begins_within_a_second(mode: str) -> None:
    async with place() as at, at.host(mode) as host:
        calls = [await host.call("a")]
        await at.tool.reached("a")
        calls.append(await host.call("a"))
        await at.pass_a_second()
        assert at.tool.started == ["a", "a"]
        at.tool.release("a")
        receipts = [await each.receipt() for each in calls]
    assert receipts[0]["run_id"] != receipts[1]["run_id"]
    assert [codes(receipt) for receipt in receipts] == [[], []]


@pytest.mark.parametrize("mode", ERAS)
async def test_an_equal_call_is_a_second_run_where_the_first_ends_meanwhile_and_is_answered(mode: str) -> None:
    """Though a host may close its stream as soon as it has read the answer."""
    async with place() as at, at.host(mode) as host:
        first = await host.call("a", until_answered=True)
        await at.tool.reached("a")
        second = await host.call("a")
        await at.settle()
        at.tool.release("a")
        await first.receipt()
        await at.pass_a_second()
        receipt = await second.receipt()
        assert (codes(receipt), at.tool.started) == ([], ["a", "a"])
        assert receipt["run_id"] != (await first.receipt())["run_id"]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_without_an_equal_one_does_not_wait(mode: str) -> None:
    async with place() as at, at.host(mode) as host:
        await host.call("a")
        await at.tool.reached("a")
        await host.call("b")
        await at.tool.reached("b")
        assert at.clock.now() == 0


@pytest.mark.parametrize("mode", ERAS)
async def test_of_two_clients_with_one_token_neither_waits_for_the_other_or_gets_its_run(mode: str) -> None:
    async with place() as at, at.host(mode, name="one") as one, at.host(mode, name="two") as two:
        first = await one.call("a")
        await at.tool.reached("a")
        second = await two.call("a")
        await at.settle()
        assert (at.tool.started, at.clock.now()) == (["a", "a"], 0)
        first.hang_up()
        await at.settle()
        at.tool.release("a")
        receipt = await second.receipt()
    assert codes(receipt) == []


@every_cut
async def test_without_a_token_it_is_the_same(mode: str, cut: Cut) -> None:
    async with place(no_auth=True, token=None) as at, at.host(mode, token=None) as host:
        first = await host.call("a")
        await at.tool.reached("a")
        again = await host.call("a")
        await at.settle()
        await cut(host, first)
        await at.settle()
        at.tool.release("a")
        assert (codes(await again.receipt()), at.tool.started) == (["rejoined"], ["a"])


@pytest.mark.external
@every_cut
async def test_three_repeats_in_a_row_are_one_run_in_whatever_order_their_ends_come(mode: str, cut: Cut) -> None:
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [0, 2, 1], [1, 2, 0], [2, 0, 1]):
        async with place() as at, at.host(mode) as host:
            calls = [await host.call("a")]
            await at.tool.reached("a")
            for _ in range(3):
                calls.append(await host.call("a"))
                await at.settle()
            for number in order:
                await cut(host, calls[number])
                await at.clock.advance(0.1)
            at.tool.release("a")
            receipt = await calls[-1].receipt()
            assert (codes(receipt), at.tool.started) == (["rejoined"], ["a"]), order


async def test_a_repeat_that_is_cut_while_it_waits_begins_no_run() -> None:
    async with place() as at, at.host("legacy") as host:
        await host.call("a")
        await at.tool.reached("a")
        again = await host.call("a")
        await at.settle()
        again.hang_up()
        await at.pass_a_second()
        assert at.tool.started == ["a"]


@every_cut
async def test_two_calls_that_are_cut_are_taken_over_one_each(mode: str, cut: Cut) -> None:
    async with place() as at, at.host(mode) as host:
        calls = [await host.call("a")]
        await at.tool.reached("a")
        calls.append(await host.call("a"))
        await at.pass_a_second()
        assert at.tool.started == ["a", "a"]
        repeats = [await host.call("a"), await host.call("a")]
        await at.settle()
        for each in reversed(calls):
            await cut(host, each)
        await at.pass_a_second()
        at.tool.release("a")
        receipts = [await each.receipt() for each in repeats]
        assert len({receipt["run_id"] for receipt in receipts}) == 2
        assert at.tool.started == ["a", "a"]


@every_cut
async def test_a_repeat_with_other_meta_data_is_the_same_call(mode: str, cut: Cut) -> None:
    async with place() as at, at.host(mode) as host:
        first = await host.call("a", meta={"progressToken": 1})
        await at.tool.reached("a")
        again = await host.call("a", meta={"progressToken": "two", "example.com/attempt": 2})
        await at.settle()
        await cut(host, first)
        await at.settle()
        at.tool.release("a")
        assert (codes(await again.receipt()), at.tool.started) == (["rejoined"], ["a"])


@every_cut
async def test_a_result_that_the_cut_call_never_got_is_given_to_its_repeat(mode: str, cut: Cut) -> None:
    """The run ends after the cut and before the repeat."""
    async with place() as at, at.host(mode) as host:
        first = await host.call("a")
        await at.tool.reached("a")
        await cut(host, first)
        await at.settle()
        at.tool.release("a")
        await at.settle()
        receipt = await (await host.call("a")).receipt()
        assert (receipt["output_text"], codes(receipt), at.tool.started) == ("it says a", ["rejoined"], ["a"])
        fresh = await (await host.call("a")).receipt()
        assert (codes(fresh), len(at.tool.started)) == ([], 2)


async def test_a_host_that_closes_its_stream_on_the_answer_has_got_it() -> None:
    """As the SDKs do, before the end of the stream has come: what it asks next is something new."""
    async with place() as at, at.host("legacy") as host:
        at.tool.release("a")
        for _ in range(3):
            call = await host.call("a", until_answered=True)
            assert codes(await call.receipt()) == []
        assert at.tool.started == ["a"] * 3


async def test_a_late_cancellation_does_not_bring_back_what_the_repeat_was_given() -> None:
    async with place() as at, at.host("legacy") as host:
        first = await host.call("a")
        await at.tool.reached("a")
        first.hang_up()
        await at.settle()
        again = await host.call("a")
        await at.settle()
        at.tool.release("a")
        await again.receipt()
        await host.cancel(first)
        await at.settle()
        assert codes(await (await host.call("a")).receipt()) == []


@pytest.mark.parametrize("reason", ["The user pressed stop", "AbortError: This operation was aborted"])
async def test_a_run_that_is_stopped_while_its_repeat_waits_is_the_repeats(reason: str) -> None:
    async with place() as at, at.host("legacy") as host:
        first = await host.call("a", meta={"progressToken": 1})
        await at.tool.reached("a")
        again = await host.call("a")
        await at.settle()
        await host.cancel(first, reason)
        await at.settle()
        at.tool.release("a")
        assert (codes(await again.receipt()), at.tool.started, at.tool.cancelled) == (["rejoined"], ["a"], [])


COLLECTED = pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
"""What httpx2 and the SDK leave open comes to light when a test collects garbage."""


@COLLECTED
@pytest.mark.parametrize("mode", ERAS)
async def test_nothing_of_an_answered_call_is_kept_for_a_cancellation_that_may_come(mode: str) -> None:
    """Neither its HTTP request, whose body may have 32 MiB."""
    async with place() as at, at.host(mode) as host:
        for key in "abcd":
            at.tool.release(key)
            await (await host.call(key)).receipt()
        await at.settle()
        gc.collect()
        assert len([each for each in gc.get_objects() if type(each) is HttpRequest]) <= 1, "the last, by the SDK"


def test_a_call_is_named_as_none_of_a_connection_that_has_ended() -> None:
    """The connections come and go, each where the one before it was in memory, and all number their calls alike."""
    names = set[Any]()
    for _ in range(100):
        connection = connect()
        names.add(_name_call(connection, 1))
        assert _name_call(connection, "1") in names
        del connection
    assert len(names) == 100


def connect() -> Any:
    """A request on a connection of its own, as far as its name goes."""
    outbound = NotifyOnlyOutbound(cast("Any", None))
    return SimpleNamespace(session=SimpleNamespace(_connection=SimpleNamespace(outbound=outbound)))


@every_cut
async def test_a_run_that_is_stopped_while_it_has_a_twin_is_its_repeats(mode: str, cut: Cut) -> None:
    """The repeat waits for the callers of both."""
    async with place() as at, at.host(mode) as host:
        calls = [await host.call("a")]
        await at.tool.reached("a")
        calls.append(await host.call("a", meta={"progressToken": 1}))
        await at.pass_a_second()
        assert at.tool.started == ["a", "a"]
        again = await host.call("a")
        await at.settle()
        if cut is cancel:
            await host.cancel(calls[1], "The user pressed stop")
        else:
            await cut(host, calls[1])
        await at.pass_a_second()
        at.tool.release("a")
        receipt = await again.receipt()
        assert (codes(receipt), at.tool.started, at.tool.cancelled) == (["rejoined"], ["a", "a"], [])


@pytest.mark.parametrize(
    ("order", "hangs_up"),
    [([0, 1], False), ([1, 0], False), ([0], True)],
    ids=["the first one first", "the repeat first", "the repeat is closed"],
)
async def test_a_run_whose_call_and_repeat_are_both_stopped_is_stopped(order: list[int], hangs_up: bool) -> None:
    async with place() as at, at.host("legacy") as host:
        calls = [await host.call("a", meta={"progressToken": 1})]
        await at.tool.reached("a")
        calls.append(await host.call("a"))
        await at.settle()
        if hangs_up:
            calls[1].hang_up()
            await at.settle()
        for number in order:
            await host.cancel(calls[number], "The user pressed stop")
        with anyio.fail_after(PATIENCE_S):
            while at.tool.cancelled != ["a"]:
                await at.settle()
        assert at.tool.started == ["a"]


async def test_a_repeat_gets_a_result_whose_call_was_cancelled_as_it_was_answered() -> None:
    """The host had given it up by then, and does not read the answer."""
    async with place() as at, at.host("legacy") as host:
        first = await host.call("a")
        await at.tool.reached("a")
        again = await host.call("a")
        await at.settle()
        at.tool.release("a")
        await first.receipt()
        await host.cancel(first)
        await at.settle()
        assert (codes(await again.receipt()), at.tool.started) == (["rejoined"], ["a"])


SSE_WARNINGS = pytest.mark.filterwarnings(
    "ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"
)


@SSE_WARNINGS
async def test_over_sse_a_repeat_that_overtakes_the_cancellation_gets_its_run() -> None:
    async with place() as at, sse_host(at.served.port) as host:
        first = await host.call("respond", {"input": "a"})
        await at.tool.reached("a")
        again = await host.call("respond", {"input": "a"})
        await at.settle()
        await host.cancel(first, TIMED_OUT)
        await at.settle()
        at.tool.release("a")
        assert (codes(await host.receipt(again)), at.tool.started) == (["rejoined"], ["a"])
    gc.collect()  # the SDK does not close the channels of a stream of SSE


@SSE_WARNINGS
async def test_over_sse_a_host_that_connects_again_gets_the_run_of_the_call_that_it_lost() -> None:
    async with place() as at:
        async with sse_host(at.served.port) as host:
            await host.call("respond", {"input": "a"})
            await at.tool.reached("a")
        async with sse_host(at.served.port) as host:
            await at.settle()
            again = await host.call("respond", {"input": "a"})
            await at.settle()
            at.tool.release("a")
            assert (codes(await host.receipt(again)), at.tool.started) == (["rejoined"], ["a"])
    gc.collect()


async def test_a_session_that_is_ended_leaves_its_run_to_the_next_one_of_its_token() -> None:
    async with place() as at, at.host("legacy") as host, at.host("legacy") as next_session:
        await host.call("a")
        await at.tool.reached("a")
        await host.end()
        await at.settle()
        again = await next_session.call("a")
        await at.settle()
        at.tool.release("a")
        assert (codes(await again.receipt()), at.tool.started, at.tool.cancelled) == (["rejoined"], ["a"], [])


async def test_a_session_that_is_ended_without_a_token_takes_its_run_with_it() -> None:
    """Nobody could ever ask for it."""
    async with place(no_auth=True, token=None) as at, at.host("legacy", token=None) as host:
        await host.call("a")
        await at.tool.reached("a")
        await host.end()
        with anyio.fail_after(PATIENCE_S):
            while at.tool.cancelled != ["a"]:
                await at.settle()


async def test_a_call_that_nobody_repeats_ends_as_an_orphan() -> None:
    async with place(limits={"orphan_s": 100}) as at, at.host("auto") as host:
        first = await host.call("a")
        await at.tool.reached("a")
        first.hang_up()
        await at.settle()
        await at.clock.advance(100)
        with anyio.fail_after(PATIENCE_S):
            while at.tool.cancelled != ["a"]:
                await at.settle()


async def test_waiting_for_a_run_that_is_cut_and_asked_for_again_by_its_arguments_gets_it() -> None:
    """A host that has waited on cuts that call, and its model begins anew."""
    async with place() as at, at.host("auto") as host:
        first = await host.call("a")
        await at.tool.reached("a")
        await at.clock.advance(45)
        run_id = (await first.receipt())["run_id"]
        waiting = await host.call(run_id, tool="respond_wait")
        await at.settle()
        again = await host.call("a")
        await at.settle()
        waiting.hang_up()
        await at.settle()
        at.tool.release("a")
        receipt = await again.receipt()
        assert (receipt["run_id"], at.tool.started) == (run_id, ["a"])
        [notice] = receipt["notices"]
        assert "had not got its result" in notice["message"], "it was answered, and not given up"


class Worker:
    """A server whose tool works for a while; what was executed."""

    def __init__(self, seconds: float) -> None:
        self.executed: list[str] = []
        self.server = MCPServer("o")
        self.server.tool()(self.answer)
        self._begun: dict[tuple[str, int], anyio.Event] = {}
        self._seconds = seconds

    async def answer(self, key: str) -> str:
        """Take a while."""
        self.executed.append(key)
        self._event(key, self.executed.count(key)).set()
        await anyio.sleep(self._seconds)
        return key

    async def begun(self, key: str, times: int = 1) -> None:
        """Until it was executed so often."""
        with anyio.fail_after(PATIENCE_S):
            await self._event(key, times).wait()

    def _event(self, key: str, times: int) -> anyio.Event:
        return self._begun.setdefault((key, times), anyio.Event())


@asynccontextmanager
async def real_place(worker: Worker) -> AsyncIterator[Served]:
    """A service by the real clock."""
    async with (
        ScriptedUpstream(use) as upstream,
        open_without_host(upstream, {"o": worker.server}) as bridge,
        serving(bridge) as served,
    ):
        yield served


TRIES = 100
PAUSES_S = (0, 0.01, 0.05, 0.5)


@pytest.mark.external
@every_cut
async def test_of_a_hundred_calls_that_are_cut_and_repeated_none_is_executed_twice(
    mode: str, cut: Cut, record_testsuite_property: Any
) -> None:
    """With each of the pauses; without one, the cut and the repeat are on their way at the same time."""
    got: list[Json] = []
    worker = Worker(1)

    async def live(host: HttpHost, pause_s: float, key: str) -> None:
        first = await host.call(key)
        await worker.begun(key)
        cutting.start_soon(cut, host, first)
        if pause_s:
            await anyio.sleep(pause_s)
        got.append(await (await host.call(key)).receipt())

    async with (
        real_place(worker) as served,
        http_host(served.port, mode) as host,
        anyio.create_task_group() as cutting,
    ):
        for batch in range(TRIES // 10):  # of 40 calls: more than 64 that nobody waits for are not kept
            async with anyio.create_task_group() as tasks:
                for number, pause_s in itertools.product(range(10), PAUSES_S):
                    tasks.start_soon(live, host, pause_s, f"{pause_s * 1000:g} ms, {batch} {number}")
    executed = Counter(worker.executed)
    assert {receipt["output_text"] for receipt in got} == {f"it says {key}" for key in executed}
    for pause_s in PAUSES_S:
        runs = [times for key, times in executed.items() if key.startswith(f"{pause_s * 1000:g} ms")]
        name = f"of {len(runs)} calls cut and repeated after {pause_s * 1000:g} ms, {mode}, {cut.__name__}"
        record_testsuite_property(name, f"{sum(runs) - len(runs)} executed twice")
        assert (len(runs), sum(runs)) == (TRIES, TRIES)


@pytest.mark.external
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("names", [("one", "one"), ("one", "two")], ids=["one client", "two with one token"])
async def test_of_a_hundred_pairs_of_honest_equal_calls_each_is_two_runs(
    mode: str, names: tuple[str, str], record_testsuite_property: Any
) -> None:
    late: list[float] = []
    worker = Worker(1.5)

    async def live(key: str) -> None:
        first = await one.call(key)
        await worker.begun(key)
        began = anyio.current_time()
        second = await (one if names[0] == names[1] else two).call(key)
        await worker.begun(key, 2)
        late.append(anyio.current_time() - began)
        assert (await first.receipt())["run_id"] != (await second.receipt())["run_id"]

    async with (
        real_place(worker) as served,
        http_host(served.port, mode, name=names[0]) as one,
        http_host(served.port, mode, name=names[1]) as two,
    ):
        for batch in range(4):
            async with anyio.create_task_group() as tasks:
                for number in range(TRIES // 4):
                    tasks.start_soon(live, f"{batch} {number}")
    assert set(Counter(worker.executed).values()) == {2}
    name = f"of {TRIES} pairs of honest equal calls, {mode}, of {' and '.join(names)}"
    told = f"{len(worker.executed)} runs, the second begun after {statistics.median(late):.2f} s"
    record_testsuite_property(name, told)
