"""What a run leaves to its engine to remember: enough to be taken up again, and no call that is made twice."""

import anyio
import pytest
from mcp.server.mcpserver import MCPServer
from mcp.types import ToolAnnotations

from bridge.questions import Answer, Question, say_yes
from tests.fakes.bridges import ask, open_without_host, outputs_of
from tests.fakes.clock import VirtualClock
from tests.fakes.forgetful import Interruptions, interrupted
from tests.fakes.items import Json
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, api_error, call, message, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))
READS = ToolAnnotations(read_only_hint=True)


def desk() -> tuple[MCPServer, list[str]]:
    """Tools `read(text)`, `write(text)` and `recite(chars)`, and what was written."""
    server, written = MCPServer("desk"), list[str]()

    @server.tool(annotations=READS)
    async def read(text: str) -> str:
        return f"read {text}"

    @server.tool()
    async def write(text: str) -> str:
        written.append(text)
        return f"wrote {text}"

    @server.tool(annotations=READS)
    async def recite(chars: int) -> str:
        return "long " * (chars // 5)

    return server, written


def entry(server: MCPServer) -> Json:
    return {"command": server, "require_approval": "writes"}


RICH = [
    responds(
        call("desk__recite", {"chars": 60_000}), call("desk__write", {"text": "a"}), call("desk__read"), id="resp_1"
    ),
    responds(call("read_output", {"id": 1, "offset": 100}), call("desk__read", {"text": "b"}), id="resp_2"),
    api_error(400, "This model's maximum context length is 9000 tokens.", code="context_length_exceeded"),
    responds(
        {"type": "compaction", "id": "cmp_1", "encrypted_content": "x"},
        call("desk__recite", {"chars": 3000}),
        id="resp_3",
    ),
    responds(message("One moment."), call("nobody__knows"), call("desk__write", {"text": "c"}), id="resp_4"),
    responds(message('{"answer": 42}'), id="resp_5"),
]
"""Outputs that are cut and read again, questions, an error, a window that is learned, a compaction, JSON."""
FORM: Json = {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}}}


async def run_rich() -> tuple[Json, list[Json]]:
    server, written = desk()
    limits = {"output_bytes": 2000}
    receipt, requests = await ask(RICH, {"desk": entry(server)}, {"text": FORM, "detail": "full"}, limits=limits)
    assert written == ["a", "c"]
    return receipt, [request.json for request in requests]


def without_times(receipt: Json) -> Json:
    calls = [{**made, "duration_ms": 0} for made in receipt["tool_calls"]]
    return {**receipt, "tool_calls": calls, "run_id": ""}


@pytest.mark.rule("REL32")
async def test_a_run_that_is_taken_up_after_every_step_sends_the_same_and_ends_the_same() -> None:
    receipt, requests = await run_rich()
    assert receipt["status"] == "completed", receipt
    with interrupted(Interruptions(after=lambda *_: True)) as interruptions:
        again, repeated = await run_rich()
    assert (interruptions.count, len(interruptions.steps)) == (15, 16), "of two calls in flight the second ends as well"
    assert repeated == requests
    assert without_times(again) == without_times(receipt)


@pytest.mark.parametrize("number", range(1, 17))
async def test_a_run_that_is_taken_up_after_one_step_ends_the_same(number: int) -> None:
    receipt, requests = await run_rich()
    with interrupted(Interruptions(after=lambda done, _: done == number)) as interruptions:
        again, repeated = await run_rich()
    assert interruptions.count == 1
    assert repeated == requests
    assert without_times(again) == without_times(receipt)


@pytest.mark.rule("REL32")
async def test_a_call_that_was_about_to_be_sent_is_not_made_again_and_the_model_is_told() -> None:
    server, written = desk()
    script = [responds(call("desk__write", {"text": "a"})), DONE]
    with interrupted(Interruptions(at_intent=lambda _: True)) as interruptions:
        receipt, requests = await ask(script, {"desk": entry(server)})
    assert interruptions.count == 1
    assert written == []
    assert receipt["status"] == "completed"
    [output] = outputs_of(requests[-1])
    assert "it may have been executed" in output


async def test_a_call_that_waits_for_a_yes_is_asked_about_again_and_runs_once() -> None:
    server, written = desk()
    asked = list[str]()
    interruptions = Interruptions(after=lambda _, key: key == "call:1:1")

    async def answer(question: Question) -> Answer:
        asked.append(question.message)
        if len(asked) == 1:
            await anyio.sleep_forever()  # the bridge ends while the person thinks
        return await say_yes(question)

    script = [responds(call("desk__write", {"text": "a"}), call("desk__read", {"text": "b"})), DONE]
    with interrupted(interruptions):
        receipt, requests = await ask(script, {"desk": entry(server)}, ask=answer)
    assert (interruptions.count, len(asked), written) == (1, 2, ["a"])
    assert outputs_of(requests[-1]) == ["wrote a", "read b"]
    assert receipt["status"] == "completed"


async def test_an_answer_is_remembered_and_not_asked_for_again() -> None:
    server, written = desk()
    asked = list[str]()

    async def answer(question: Question) -> Answer:
        asked.append(question.message)
        return await say_yes(question)

    script = [responds(call("desk__write", {"text": "a"})), DONE]
    with interrupted(Interruptions(after=lambda _, key: key.startswith("question"))) as interruptions:
        await ask(script, {"desk": entry(server)}, ask=answer)
    assert (interruptions.count, len(asked), written) == (1, 1, ["a"])


async def test_time_in_which_nobody_drives_a_run_does_not_count() -> None:
    clock = VirtualClock()
    turns = list[float]()

    def answer(_request: Request) -> Reply:
        turns.append(clock.now())
        return responds(call("current_time")) if len(turns) < 3 else DONE

    async def let_a_day_pass() -> None:
        await clock.advance(86_400)

    interruptions = Interruptions(after=lambda _, key: key == "turn:1", between=let_a_day_pass)
    with interrupted(interruptions):
        async with (
            ScriptedUpstream(answer) as upstream,
            open_without_host(upstream, clock=clock, builtin_tools=True, limits={"timeout_s": 100}) as bridge,
        ):
            run = await bridge.run({"input": "Hello"})
    assert turns[1] - turns[0] == 86_400
    assert run.ending == {"status": "completed", "reason": None, "error": None}


async def test_time_that_was_used_before_counts() -> None:
    clock = VirtualClock(autojump=True)
    server = MCPServer("slow")

    @server.tool()
    async def work() -> str:
        await clock.sleep(60)
        return "worked"

    limits = {"timeout_s": 100, "call_timeout_s": 1000}
    interruptions = Interruptions(after=lambda _, key: key == "call:1:0")
    with interrupted(interruptions):
        async with (
            ScriptedUpstream([responds(call("slow__work")), responds(call("slow__work"))]) as upstream,
            open_without_host(upstream, {"slow": server}, clock=clock, limits=limits) as bridge,
        ):
            run = await bridge.run({"input": "Hello"})
    assert interruptions.count == 1
    assert run.ending == {"status": "incomplete", "reason": "timeout", "error": None}
