"""Every step of the canonical run, with every fault, over every transport: the oracle has nothing to say."""

from collections.abc import Callable, Iterable

import pytest

from tests.fakes.canonical import TRANSPORTS, Plan, Report, judge, run_canonical
from tests.fakes.peers import END, FAULTS, ODD, REFUSALS, Fault, Trouble

pytestmark = pytest.mark.anyio

IN_CODE: tuple[Fault, ...] = ("error", "hang", "garbage", "delay")
"""What a server in this process can do; it is no program of other people's."""
CALLS_EACH_RUN = 4
QUICK_STEPS = ("start", "tools/list", "tools/call")


async def list_steps(transport: str) -> list[str]:
    """The steps of the first run, in order."""
    report = await run_canonical(transport, lambda _number, _step: None)
    assert judge(report) == []
    return [step for step in report.subject.steps if step != END][:-CALLS_EACH_RUN]


async def survive(transport: str, troubles: Iterable[tuple[int, Fault]]) -> list[str]:
    """What the oracle says of a run with these faults."""
    return judge(await run_canonical(transport, build_plan(troubles)))


def build_plan(troubles: Iterable[tuple[int, Fault]]) -> Plan:
    plan = {number: Trouble(fault) for number, fault in troubles}
    return lambda number, _: plan.get(number)


@pytest.mark.rule("L11")
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_fault_at_a_start_a_list_or_a_call_breaks_a_promise(
    transport: str, capfd: pytest.CaptureFixture[str]
) -> None:
    steps = await list_steps(transport)
    faults: tuple[Fault, ...] = ("garbage",) if transport == "in process" else ("eof", "garbage", "oddity")
    for number in {steps.index(step) for step in QUICK_STEPS if step in steps}:
        for fault in faults:
            assert await survive(transport, [(number, fault)]) == [], (steps[number], fault)
    assert capfd.readouterr().out == ""  # I8: stdout is the protocol's


@pytest.mark.external
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_no_fault_at_any_step_and_no_two_in_a_row_break_a_promise(
    transport: str, capfd: pytest.CaptureFixture[str], record_testsuite_property: Callable[[str, object], None]
) -> None:
    steps = await list_steps(transport)
    faults: tuple[Fault, ...] = IN_CODE if transport == "in process" else FAULTS
    plans = [[(number, fault)] for number in range(len(steps)) for fault in faults]
    plans += [
        [(number, fault), (number + 1, other)]
        for number in range(len(steps) - 1)
        for fault in faults
        for other in ("eof", "hang", "garbage")
        if other in faults
    ]
    violations = {}
    for plan in plans:
        if found := await survive(transport, plan):
            violations[str([(steps[number], number, fault) for number, fault in plan])] = found
    record_testsuite_property(f"fault matrix, {transport}, runs", len(plans))
    assert violations == {}
    assert capfd.readouterr().out == ""


@pytest.mark.external
@pytest.mark.parametrize("transport", [each for each in TRANSPORTS if each != "in process"])
async def test_what_is_odd_at_any_step_costs_nothing_and_a_refusal_breaks_no_promise(
    transport: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    steps = await list_steps(transport)
    plans = [(number, fault) for number in range(len(steps)) for fault in (*ODD, *REFUSALS)]
    violations = {}
    for number, fault in plans:
        report = await run_canonical(transport, build_plan([(number, fault)]))
        if found := [*judge(report), *(find_losses(report) if fault in ODD else [])]:
            violations[f"{steps[number]}, {number}, {fault}"] = found
    record_testsuite_property(f"odd answers and refusals, {transport}, runs", len(plans))
    assert violations == {}


def find_losses(report: Report) -> list[str]:
    """The calls of the first run whose answer did not reach the model."""
    texts = report.output_texts[0]
    return [f"{mark}: {said}" for mark, said in texts.items() if mark not in said and "nothing has changed" not in said]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_refused_notice_of_a_cancelled_call_breaks_no_promise(transport: str) -> None:
    """The call is of the last turn: nothing but the next run finds out whether the connection still stands."""
    seen = list[str]()

    def plan(_: int, step: str) -> Trouble | None:
        seen.append(step)
        if step == "notifications/cancelled":
            return Trouble("error")
        return Trouble("hang") if step == "tools/call" and seen.count(step) == CALLS_EACH_RUN else None

    assert judge(await run_canonical(transport, plan)) == []


async def survive_end(fault: Fault, call: Fault | None = None) -> list[str]:
    """What the oracle says where the server has this fault when it is told that its session is over; `call`: and that
    one in its last call. What processes do at their end is tried in `tests/hub/test_end.py`."""
    seen = list[str]()

    def plan(_: int, step: str) -> Trouble | None:
        seen.append(step)
        if step == END:
            return Trouble(fault)
        return Trouble(call) if call and step == "tools/call" and seen.count(step) == CALLS_EACH_RUN else None

    found = judge(await run_canonical("http framed", plan))
    return found if END in seen else [*found, "the server was not told"]


async def test_a_server_that_never_hears_that_a_session_is_over_breaks_no_promise() -> None:
    assert await survive_end("hang", "hang") == []


@pytest.mark.external
async def test_no_fault_at_the_end_of_a_session_breaks_a_promise() -> None:
    plans = [(fault, call) for fault in FAULTS for call in (None, *FAULTS)]
    violations = {plan: found for plan in plans if (found := await survive_end(*plan))}
    assert violations == {}
