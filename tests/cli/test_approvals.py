"""`runs approve` and `runs deny`: a person at a terminal answers a call of a run elsewhere, and nobody else can."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import psutil
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client

from bridge.app import Bridge
from bridge.questions import NO, YES
from bridge.run.engine import Settle
from tests.fakes.clock import until
from tests.fakes.items import Json
from tests.fakes.office import Office
from tests.fakes.rawhost import RawHost, raw_host
from tests.fakes.screen import AtTerminal
from tests.fakes.servers import rogue

pytestmark = [pytest.mark.anyio, pytest.mark.external]

CAN_ASK: Json = {"elicitation": {}}
ACCEPTED: Json = {"action": "accept", "content": {"answer": YES}}
PROGRAM = [sys.executable, "-m", "bridge"]


@pytest.fixture
def office(tmp_path: Path) -> Office:
    office = Office(tmp_path)
    office.settings = {"limits": {"approval_s": 600, "soft_deadline_s": 3}}
    return office


def command(office: Office, action: str, *args: str) -> list[str]:
    return [*PROGRAM, "runs", action, *args, "--config", str(office.config)]


def answer_at_terminal(
    office: Office, action: str, *args: str, typed: str | None = "y", **environ: str
) -> tuple[int, str]:
    """Run the command, and type this when it asks, or nothing where it must not; its exit code, and what is seen."""
    with AtTerminal(command(office, action, *args), environ, (200, 50)) as terminal:
        if typed is not None:
            terminal.wait_for("[y/N]")
            terminal.type(f"{typed}\n")
        code = terminal.wait()
        assert ("[y/N]" in terminal.seen) == (typed is not None), terminal.seen
        return code, " ".join(terminal.rows)


async def use_terminal(*args: Any, **options: Any) -> tuple[int, str]:
    return await anyio.to_thread.run_sync(partial(answer_at_terminal, *args, **options))


async def finish(host: RawHost, run_id: str) -> Json:
    """The result of the run, when it has one."""
    while True:
        receipt = await host.receipt(await host.call("respond_wait", {"run_id": run_id}))
        if receipt["status"] != "in_progress":
            return receipt


def refuse_form(_: Json) -> Json:
    """Answer with what is none, which the SDK takes for an error."""
    return {"action": "perhaps"}


HOSTS: dict[str, tuple[str, Json, Callable[[Json], Json | None]]] = {
    "modern, asks": ("auto", CAN_ASK, lambda _: None),
    "modern, cannot ask": ("auto", {}, lambda _: None),
    "handshake, asks": ("legacy", CAN_ASK, lambda _: ACCEPTED),
    "handshake, cannot ask": ("legacy", {}, lambda _: None),
    "never answers": ("legacy", CAN_ASK, lambda _: None),
    "answers with an error": ("legacy", CAN_ASK, refuse_form),
    "declines": ("legacy", CAN_ASK, lambda _: {"action": "decline"}),
}


@asynccontextmanager
async def asking(office: Office, ability: str, way: str) -> AsyncIterator[tuple[Bridge, RawHost, int]]:
    """A host whose call comes to the question. One that asks leaves the answer to others where those are tried."""
    mode, capabilities, answer = HOSTS[ability]
    is_left = way != "host" and ability == "handshake, asks"
    async with (
        office.open() as bridge,
        raw_host(
            bridge.server, mode, capabilities=capabilities, answer=(lambda _: None) if is_left else answer
        ) as host,
    ):
        yield bridge, host, await host.call("respond", {"input": "Hello"})


@pytest.mark.parametrize("ability", HOSTS)
async def test_every_host_answers_itself_or_says_in_words_who_can(office: Office, ability: str) -> None:
    async with asking(office, ability, "host") as (_, host, number):
        result = await host.result(number)
        if "inputRequests" in result:
            state = {"inputResponses": {"question-1": ACCEPTED}, "requestState": result["requestState"]}
            result = await host.result(await host.call("respond", {"input": "Hello"}, **state))
        receipt = result["structuredContent"]
        if ability == "never answers":
            receipt = await host.receipt(await host.call("respond_wait", {"run_id": receipt["run_id"], "wait_s": 0}))
        codes = {notice["code"] for notice in receipt["notices"]}
    if ability.endswith(", asks"):
        assert (receipt["status"], codes, office.written) == ("completed", set(), ["one"])
    elif ability == "declines":
        assert (receipt["status"], codes, office.written) == ("completed", {"declined"}, [])
    else:
        assert (receipt["status"], codes) == ("in_progress", {"in_progress", "waits_for_approval"})
        assert f"runs approve {receipt['run_id']} question-1" in str(receipt["notices"])
        assert office.written == []


@pytest.mark.parametrize("action", ["approve", "deny"])
@pytest.mark.parametrize("ability", HOSTS)
async def test_every_host_leaves_the_answer_to_the_terminal_or_has_answered_before(
    office: Office, ability: str, action: str
) -> None:
    async with asking(office, ability, action) as (bridge, host, number):
        if ability == "declines":
            run_id = (await host.receipt(number))["run_id"]
            code, seen = await use_terminal(office, action, run_id, typed=None)
            assert (code, office.written) == (1, [])
            assert f"runs {action}: the run has ended (completed); there is nothing to answer" in seen
            return
        run = await office.asked(bridge)
        code, seen = await use_terminal(office, action, run.run_id)
        receipt = await finish(host, run.run_id)
        assert code == 0
        assert 'The model wants to run "write" of "desk" with {"text":"one"}. Run it?' in seen
        assert receipt["status"] == "completed"
        if action == "approve":
            assert (office.written, "Taken: the call runs." in seen) == (["one"], True)
        else:
            assert (office.written, "Taken: the call is refused." in seen) == ([], True)
            assert "the answer was no (given at a terminal)" in str(receipt["notices"])
        if ability == "modern, asks":  # and it answers too, too late
            state = {"inputResponses": {"question-1": ACCEPTED}, "requestState": run.run_id}
            late = await host.receipt(await host.call("respond", {"input": "Hello"}, **state))
            assert ("This answer did not count" in str(late["notices"])) == (action == "deny"), "as it was a yes, too"
        assert len(office.written) == (action == "approve")


@pytest.mark.parametrize("action", ["approve", "deny"])
async def test_a_run_of_ask_asks_at_its_own_terminal_alone(office: Office, action: str) -> None:
    office.argument, office.texts = "path", [str(office.folder / "one")]  # that server writes it
    async with office.open() as bridge:
        upstream = json.loads(office.config.read_text(encoding="utf-8"))["upstream"]["base_url"]
        office.configure(upstream, mcpServers={"desk": rogue("good")})

        def use() -> tuple[str, int, str]:
            asked = [*PROGRAM, "ask", "Hello", "--config", str(office.config)]
            with AtTerminal(asked, None, (200, 50)) as terminal:
                terminal.wait_for("[y/N/a]")
                [[run_id]] = office.ask_file("SELECT run_id FROM runs")
                code, seen = answer_at_terminal(office, action, run_id, typed=None)
                terminal.type("y\n")
                terminal.wait()
                return run_id, code, seen

        run_id, code, seen = await anyio.to_thread.run_sync(use)
        assert bridge.engine
    assert (code, run_id.startswith("run_")) == (1, True)
    assert "no call of it waits for a yes; one that `ask` began asks at its own terminal" in seen


async def test_whoever_answers_second_is_told_what_was_first(office: Office) -> None:
    async with asking(office, "modern, cannot ask", "approve") as (bridge, host, _):
        run = await office.asked(bridge)

        def use_two() -> tuple[int, str]:
            with AtTerminal(command(office, "approve", run.run_id), None, (200, 50)) as late:
                late.wait_for("[y/N]")
                first = answer_at_terminal(office, "deny", run.run_id, "1")
                assert (first[0], "Taken: the call is refused." in first[1]) == (0, True)
                late.type("y\n")
                return late.wait(), " ".join(late.rows)

        code, seen = await anyio.to_thread.run_sync(use_two)
        receipt = await finish(host, run.run_id)
    assert (code, office.written) == (1, [])
    assert "It was answered before, with a no; this answer does not count." in seen
    assert [notice["code"] for notice in receipt["notices"]] == ["waits_for_approval", "declined"]


async def test_who_does_not_confirm_answers_nothing_and_what_was_typed_before_is_no_answer(office: Office) -> None:
    async with asking(office, "handshake, cannot ask", "approve") as (bridge, host, _):
        run = await office.asked(bridge)
        assert (await use_terminal(office, "approve", run.run_id, typed=""))[0] == 1

        def type_ahead() -> str:
            with AtTerminal(command(office, "approve", run.run_id), None, (200, 50)) as terminal:
                terminal.type("y\ny\n")
                terminal.wait_for("[y/N]")
                terminal.type("n\n")
                terminal.wait()
                return terminal.seen

        assert "Nothing was answered; the call waits on." in await anyio.to_thread.run_sync(type_ahead)
        assert (list(run.questions), office.written) == (["question-1"], [])
        assert (await use_terminal(office, "deny", run.run_id, "question-1"))[0] == 0
        await finish(host, run.run_id)


async def test_several_calls_are_shown_one_by_one(office: Office) -> None:
    office.texts = ["one", "two"]
    async with asking(office, "modern, cannot ask", "approve") as (bridge, host, _):
        run = await office.asked(bridge)

        def use() -> int:
            with AtTerminal(command(office, "approve", run.run_id), None, (200, 50)) as terminal:
                terminal.wait_for("[y/N]")
                terminal.type("n\n")
                terminal.wait_for("[y/N]", 2)
                terminal.type("y\n")
                return terminal.wait()

        assert await anyio.to_thread.run_sync(use) == 1
        assert (await use_terminal(office, "deny", run.run_id, "2", typed=None))[0] == 1
        assert (await use_terminal(office, "deny", run.run_id))[0] == 0
        await finish(host, run.run_id)
    assert office.written == ["two"]


async def test_a_run_that_nobody_drives_is_to_be_taken_up_first(office: Office) -> None:
    async with asking(office, "modern, cannot ask", "approve") as (bridge, host, number):
        run = await office.asked(bridge)
        assert (await host.receipt(number))["status"] == "in_progress"
    code, seen = await use_terminal(office, "approve", run.run_id, typed=None)
    assert (code, office.written) == (1, [])
    assert f"take it up first, then it asks again: mcp-responses-bridge runs resume {run.run_id}" in seen


async def test_what_cannot_be_answered_is_one_sentence(office: Office) -> None:
    office.configure("http://127.0.0.1:9/v1")
    code, seen = await use_terminal(office, "approve", "run_1", typed=None)
    assert (code, "ID: no runs are kept yet (" in seen) == (2, True), seen
    async with asking(office, "modern, cannot ask", "approve") as (bridge, host, _):
        run = await office.asked(bridge)
        code, seen = await use_terminal(office, "deny", "run_1\x1b]0;x", typed=None)
        assert (code, "ID: there is no run" in seen, "\x1b]" in seen) == (2, True, False)
        code, seen = await use_terminal(office, "approve", run.run_id, "question-7", typed=None)
        assert (code, "CALL: the run asks no question-7; open are: question-1" in seen) == (1, True), seen
        await bridge.engine.send(
            run, Settle("question-1", {"action": "accept", "content": {"answer": NO}, "reason": ""})
        )
        await finish(host, run.run_id)
        code, seen = await use_terminal(office, "approve", run.run_id, typed=None)
        assert (code, "the run has ended (completed); there is nothing to answer" in seen) == (1, True)
    office.configure("http://127.0.0.1:9/v1", runs={"store": "memory"})
    code, seen = await use_terminal(office, "approve", run.run_id, typed=None)
    assert (code, 'runs.store is "memory", so no run outlives its process' in seen) == (2, True)


@pytest.mark.rule("S19")
async def test_only_a_person_at_a_terminal_may_answer_and_no_process_of_a_bridge(office: Office) -> None:
    """As zeroclaw-labs/zeroclaw#329 and langgenius/mosoo-agent-driver#8: what nobody could be asked was approved."""
    async with asking(office, "modern, cannot ask", "approve") as (bridge, _host, _):
        run = await office.asked(bridge)
        code, seen = await use_terminal(office, "approve", run.run_id, MCP_RESPONSES_BRIDGE_DEPTH="1", typed=None)
        assert (code, "runs approve: refused in a process that a bridge has started" in seen) == (2, True), seen
        done = await anyio.run_process(
            command(office, "approve", run.run_id), input=b"y\n", check=False, stderr=subprocess.PIPE
        )
        assert done.returncode == 2
        assert b"runs approve: only at a terminal, as somebody has to read what it answers" in done.stderr
        assert (list(run.questions), office.written) == (["question-1"], [])
        await bridge.engine.send(run, Settle("question-1", {"action": "decline", "content": {}, "reason": ""}))
        await until(lambda: run.ending is not None)


async def serve_once(office: Office, use: Callable[[Client], Awaitable[Json]]) -> Json:
    """What becomes of a call to a `serve` of its own process, which is killed then as the machine would."""
    children = psutil.Process().children()
    arguments = ["-m", "bridge", "serve", "--config", str(office.config), "--log-level", "error"]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
    async with Client(stdio_client(server, errlog=sys.__stderr__ or sys.stderr)) as client:
        receipt = await use(client)
        [process] = [child for child in psutil.Process().children() if child not in children]
        process.kill()
    return receipt


async def test_a_process_that_is_killed_while_it_waits_leaves_the_question_to_the_next(
    office: Office, tmp_path: Path
) -> None:
    """As BaseIntelligence/bounty-challenge#43367 and vercel/ai#18018: the question, or the answer, was lost with it."""
    office.argument, office.texts, counts = "path", [str(tmp_path / "one")], tmp_path / "counts"

    async def begin(client: Client) -> Json:
        return (await client.call_tool("respond", {"input": "Hello"})).structured_content or {}

    async with office.open(runs={"store": "memory"}):
        upstream = json.loads(office.config.read_text(encoding="utf-8"))["upstream"]["base_url"]
        office.configure(upstream, mcpServers={"desk": rogue("good", f"counts={counts}")})
        receipt = await serve_once(office, begin)
        run_id = receipt["run_id"]
        assert receipt["status"] == "in_progress"
        code, seen = await use_terminal(office, "approve", run_id, typed=None)
        assert (code, "take it up first" in seen) == (1, True)

        async def go_on(client: Client) -> Json:
            waited = partial(client.call_tool, "respond_wait", {"run_id": run_id})
            assert ((await waited()).structured_content or {})["status"] == "in_progress"
            code, seen = await use_terminal(office, "approve", run_id)
            assert (code, "Taken: the call runs." in seen) == (0, True), seen
            return (await waited()).structured_content or {}

        receipt = await serve_once(office, go_on)
    assert (receipt["status"], counts.read_text(encoding="utf-8")) == ("completed", "write\n")
