"""A person answers on the page what a run asks: the exact call that is shown, once, and only whose run it is."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.server.mcpserver import MCPServer
from mcp.types import ElicitRequestParams, ElicitResult

from bridge.questions import is_yes
from bridge.run.run import Run
from tests.fakes.audited import audited, read_audit
from tests.fakes.bridges import outputs_of
from tests.fakes.browser import Browser, Stream
from tests.fakes.clock import VirtualClock, until
from tests.fakes.items import Json
from tests.fakes.servers import rogue
from tests.fakes.upstream import Request, call, message, responds
from tests.fakes.watched import ANN, BOB, OLE, watched

pytestmark = pytest.mark.anyio

PATIENT = {"approval_s": 600}


class Desk:
    """A server with a tool that needs a yes, and a model that calls it; `outputs` is what the model was told."""

    def __init__(self, *texts: str) -> None:
        self.texts = texts or ("the plan",)
        self.server = MCPServer("desk")
        self.server.add_tool(self.write)
        self.written = list[str]()
        self.outputs = list[Any]()

    async def write(self, text: str) -> str:
        self.written.append(text)
        return f"wrote {text}"

    def answer(self, request: Request) -> Any:
        if any("output" in item for item in request.json["input"] if isinstance(item, dict)):
            self.outputs = outputs_of(request)
            return responds(message("done"))
        return responds(*(call("desk__write", {"text": text}) for text in self.texts))

    def open(self, **options: Any) -> Any:
        given: dict[str, Any] = {"limits": PATIENT, **options}
        return watched(self.answer, {"desk": {"command": self.server}}, **given)


async def asked(page: Browser, stream: Stream, count: int = 1) -> tuple[str, list[Any]]:
    """The run that waits for a person, and what it asks."""
    run_id = (await stream.until(questions=count))["run_id"]
    return run_id, (await page.see(f"runs/{run_id}"))["questions"]


async def answer(page: Browser, run_id: str, question: str, *, yes: bool) -> Any:
    return await page.change("POST", f"runs/{run_id}/answer", {"question": question, "yes": yes})


@pytest.mark.parametrize("yes", [True, False])
async def test_a_run_that_no_host_asks_for_waits_for_the_page_and_goes_on_with_its_answer(*, yes: bool) -> None:
    desk = Desk()
    async with (
        desk.open() as at,
        at.browser(ANN) as ann,
        ann.listening() as stream,
        at.slow_host(ANN) as host,
    ):
        called = await host.call("Write it")
        run_id, [question] = await asked(ann, stream)
        assert question | {"asked_at": 0} == {
            "question": "question-1",
            "server": "desk",
            "tool": "write",
            "message": 'The model wants to run "write" of "desk" with {"text":"the plan"}. Run it?',
            "arguments": '{"text":"the plan"}',
            "difference": None,
            "is_approval": True,
            "asked_at": 0,
            "turn": 1,
            "index": 0,
        }
        whole = await ann.see(f"runs/{run_id}")
        assert "they can give it on the page of this service" in str(whole["notices"])
        assert (whole["may_answer"], desk.written) == (True, [])
        assert (await answer(ann, run_id, "question-1", yes=yes)).status_code == 200
        receipt = await called.receipt()
        await stream.until(status="completed", questions=0)
        again = await answer(ann, run_id, "question-1", yes=True)
        assert (again.status_code, again.json()["error"]["code"]) == (409, "moved_on")
    assert receipt["status"] == "completed"
    assert desk.written == (["the plan"] if yes else [])
    assert ("wrote the plan" in str(desk.outputs)) is yes


async def test_the_first_answer_counts_also_where_a_host_shows_the_question_too() -> None:
    desk, never, senders = Desk(), anyio.Event(), list[tuple[str, str]]()
    shown = list[ElicitRequestParams]()

    async def think(_: Any, params: ElicitRequestParams) -> ElicitResult:
        shown.append(params)
        await never.wait()
        return ElicitResult(action="decline")

    class Ears:
        def begin(self, run: Run) -> None:
            pass

        def hear(self, run: Run, event: Any) -> None:
            pass

        def settle(self, run: Run, question: str, answer: Any, sender: str) -> None:
            assert run.decisions[question] == is_yes(answer)
            senders.append((question, sender))

    async with desk.open(limits={}) as at, at.browser(ANN) as ann, ann.listening() as stream:
        at.bridge.engine.observe(Ears())
        async with (
            at.host(ANN, mode="legacy", elicitation_callback=think) as host,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(host.call_tool, "respond", {"input": "Write it"})
            await until(lambda: bool(shown))
            run_id, [question] = await asked(ann, stream)
            assert question["message"] == shown[0].message
            assert (await answer(ann, run_id, question["question"], yes=True)).status_code == 200
            await stream.until(status="completed")
            never.set()
        whole = await ann.see(f"runs/{run_id}")
    assert (desk.written, senders) == (["the plan"], [("question-1", "page ann")])
    assert whole["status"] == "completed"


async def test_each_call_is_answered_by_itself_and_a_wrong_answer_is_one_sentence() -> None:
    desk = Desk("one", "two")
    async with (
        desk.open() as at,
        at.browser(ANN) as ann,
        at.browser(BOB) as bob,
        at.browser(OLE) as ole,
        ann.listening() as stream,
        at.slow_host(ANN) as host,
    ):
        called = await host.call("Write them")
        run_id, questions = await asked(ann, stream, 2)
        [one, two] = sorted(questions, key=lambda question: question["arguments"])
        assert [question["index"] for question in (one, two)] == [0, 1]
        wrong: list[Json] = [
            {},
            {"question": one["question"]},
            {"question": 1, "yes": True},
            {"question": "", "yes": 1},
        ]
        for body in wrong:
            refused = await ann.change("POST", f"runs/{run_id}/answer", body)
            assert (refused.status_code, "yes" in refused.json()["error"]["message"]) == (400, True)
        assert (await answer(ann, run_id, "question-9", yes=True)).status_code == 409
        assert (await answer(bob, run_id, one["question"], yes=True)).status_code == 404
        assert (await answer(ole, run_id, one["question"], yes=True)).status_code == 403
        assert (await ole.see(f"runs/{run_id}"))["may_answer"] is False
        assert desk.written == []
        assert (await answer(ann, run_id, two["question"], yes=True)).status_code == 200
        assert (await answer(ann, run_id, one["question"], yes=False)).status_code == 200
        await called.result()
    assert desk.written == ["two"]


async def test_a_long_call_is_shown_whole_before_it_is_approved() -> None:
    desk = Desk(f"{'x' * 100_000} and the end")
    async with (
        desk.open() as at,
        at.browser(ANN) as ann,
        ann.listening() as stream,
        at.slow_host(ANN) as host,
    ):
        called = await host.call("Write it")
        run_id, [question] = await asked(ann, stream)
        assert json.loads(question["arguments"]) == {"text": desk.texts[0]}
        assert len(question["message"]) < 10_000
        assert (await answer(ann, run_id, question["question"], yes=True)).status_code == 200
        await called.result()
    assert desk.written == [*desk.texts]


async def test_a_run_is_ended_on_the_page() -> None:
    desk = Desk()
    async with (
        desk.open() as at,
        at.browser(ANN) as ann,
        ann.listening() as stream,
        at.slow_host(ANN) as host,
    ):
        called = await host.call("Write it")
        run_id, _ = await asked(ann, stream)
        assert (await ann.change("POST", f"runs/{run_id}/cancel", {})).status_code == 200
        assert (await called.receipt())["status"] == "cancelled"
        await stream.until(status="cancelled", questions=0)
        assert (await ann.change("POST", f"runs/{run_id}/cancel", {})).status_code == 409


async def test_without_a_sign_in_there_is_nobody_to_wait_for() -> None:
    desk, clock = Desk(), VirtualClock()
    async with desk.open(no_auth=True, clock=clock) as at, at.slow_host("none") as host:
        receipt = await (await host.call("Write it")).receipt()
    assert (receipt["status"], desk.written) == ("completed", [])
    assert "approval_required" in str(desk.outputs)


READ: Json = {"name": "read", "description": "Reads.", "inputSchema": {"type": "object"}}
HIDDEN = "Reads. \u202e<script>alert(1)</script>"


async def test_what_has_changed_in_a_tool_is_shown_with_its_call(tmp_path: Path) -> None:
    """The definition that was approved, and the one of now, with nothing hidden."""
    book = tmp_path / "book.json"
    book.write_text(json.dumps([READ]), encoding="utf-8")
    entry = rogue(f"book={book}") | {"tools": {"allow": ["read"]}}

    def model(request: Request) -> Any:
        if any("output" in item for item in request.json["input"] if isinstance(item, dict)):
            return responds(message("done"))
        return responds(call("shop__read", {}))

    async with watched(model, {"shop": entry}, state=tmp_path) as at:
        assert (await at.ask(ANN))["status"] == "completed"
    book.write_text(json.dumps([READ | {"description": HIDDEN}]), encoding="utf-8")
    async with (
        watched(model, {"shop": entry}, state=tmp_path, limits=PATIENT) as at,
        at.browser(ANN) as ann,
        ann.listening() as stream,
        at.slow_host(ANN) as host,
    ):
        called = await host.call("Read it")
        run_id, [question] = await asked(ann, stream)
        assert question["arguments"] == "{}"
        assert "has changed" in question["difference"]
        assert "\\u202e" in question["difference"]
        assert "\u202e" not in json.dumps(question, ensure_ascii=False)
        assert "Run it?" not in question["difference"]
        assert (await answer(ann, run_id, question["question"], yes=True)).status_code == 200
        assert (await called.receipt())["status"] == "completed"


@pytest.mark.parametrize(("yes", "decision"), [(True, "allowed"), (False, "refused")])
async def test_the_audit_says_that_it_was_decided_at_the_page(*, yes: bool, decision: str, tmp_path: Path) -> None:
    desk = Desk()
    with audited(tmp_path) as kept:
        async with (
            desk.open() as at,
            at.browser(ANN) as ann,
            ann.listening() as stream,
            at.slow_host(ANN) as host,
        ):
            called = await host.call("Write it")
            run_id, [question] = await asked(ann, stream)
            await answer(ann, run_id, question["question"], yes=yes)
            await called.result()
        [line] = read_audit(kept.file)
        assert (line["decision"], line["by"]) == (decision, "page")
