"""A message to a run that still goes on stands before its next turn: whenever it comes, once, and where it is legal."""

import contextlib
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import TaskGroup
from mcp import Client
from mcp.client import ClientRequestContext
from mcp.client.client import ConnectMode
from mcp.types import ElicitRequestParams, ElicitResult

from bridge.app import Bridge
from bridge.events import Said
from bridge.json_text import JsonObject
from bridge.questions import YES
from bridge.run.run import Run
from tests.fakes.bridges import ERAS, open_without_host, respond, text_of
from tests.fakes.clock import VirtualClock, until
from tests.fakes.forgetful import Interruptions, interrupted
from tests.fakes.items import Json
from tests.fakes.legality import find_faults
from tests.fakes.servers import OrderedServer
from tests.fakes.upstream import (
    Answer,
    Reply,
    Request,
    ScriptedUpstream,
    Tally,
    api_error,
    call,
    gated,
    message,
    responds,
    validate_request,
)

pytestmark = pytest.mark.anyio

CALLS = responds(call("o__answer", {"key": "a"}, call_id="call_a"), id="resp_1")
DONE = responds(message("Done."), id="resp_2")
MORE = responds(message("Fait."), id="resp_3")
WORDS = "Rather in French."
FRENCH: Json = {"role": "user", "content": WORDS}
both_eras = pytest.mark.parametrize("mode", ERAS)


class Later:
    """A result that is on its way."""

    def __init__(self) -> None:
        self.receipt: Json = {}

    @property
    def codes(self) -> list[str]:
        return [notice["code"] for notice in self.receipt["notices"]]

    @property
    def notices(self) -> str:
        return "\n".join(notice["message"] for notice in self.receipt["notices"])


class Talk:
    """A host, and a model whose replies wait for `gate` where the script says so; `tool` is at `o__answer`."""

    def __init__(
        self, bridge: Bridge, client: Client, upstream: ScriptedUpstream, tool: OrderedServer, tasks: TaskGroup
    ) -> None:
        self.bridge, self.client, self.upstream, self.tool, self._tasks = bridge, client, upstream, tool, tasks

    async def begin(self, input: str = "Hello", **arguments: Any) -> tuple[Later, Run]:
        """A call of `respond`, and its run."""
        known = len(await self.bridge.engine.list(principal="host"))
        later = self.respond(input, **arguments)
        runs = list[Run]()
        with anyio.fail_after(30):
            while len(runs) <= known:
                runs = await self.bridge.engine.list(principal="host")
                await anyio.lowlevel.checkpoint()
        return later, runs[0]

    def respond(self, input: Any, **arguments: Any) -> Later:
        later = Later()

        async def wait() -> None:
            later.receipt = await respond(self.client, input, **arguments)

        self._tasks.start_soon(wait)
        return later

    async def say(self, run: Run, input: Any = WORDS, **arguments: Any) -> Later:
        """Say something to a run; it has arrived."""
        count = len(run.inbox)
        later = self.respond(input, run_id=run.run_id, **arguments)
        await until(lambda: len(run.inbox) > count or bool(later.receipt))
        return later

    async def results(self, *calls: Later) -> list[Json]:
        await until(lambda: all(each.receipt for each in calls))
        return [each.receipt for each in calls]


@asynccontextmanager
async def talk(*script: Answer, mode: ConnectMode = "auto", answer: Any = None, **options: Any) -> AsyncIterator[Talk]:
    tool = OrderedServer()
    approval = {"command": tool.server, "require_approval": "always"} if answer else tool.server
    async with (
        ScriptedUpstream(script) as upstream,
        open_without_host(upstream, {"o": approval}, **options) as bridge,
        Client(bridge.server, mode=mode, elicitation_callback=answer) as client,
        anyio.create_task_group() as tasks,
    ):
        yield Talk(bridge, client, upstream, tool, tasks)
    upstream.assert_complete()
    for request in upstream.requests:
        validate_request(request.json, as_written=("look_up",))


def input_of(upstream: ScriptedUpstream, number: int) -> list[Json]:
    """The items of a request, from 0 on, without what nobody here asks about."""
    items = upstream.requests[number].json["input"]
    return [{name: item[name] for name in ("role", "content", "call_id", "output") if name in item} for item in items]


# When it comes


@both_eras
async def test_what_is_said_while_calls_run_comes_behind_their_outputs(mode: ConnectMode) -> None:
    async with talk(CALLS, MORE, mode=mode) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        second = await at.say(run)
        at.tool.release("a")
        await at.results(first, second)
    assert input_of(at.upstream, 1)[-2:] == [{"call_id": "call_a", "output": "a"}, FRENCH]
    for each in (first, second):
        assert (each.receipt["status"], each.receipt["output_text"]) == ("completed", "Fait.")
        assert (each.receipt["run_id"], each.codes) == (run.run_id, ["said"])
        assert each.notices == "Before turn 2 a message was put into this run: Rather in French."


@both_eras
async def test_what_is_said_while_a_turn_is_answered_comes_behind_the_outputs_of_its_calls(mode: ConnectMode) -> None:
    gate = anyio.Event()
    async with talk(gated(CALLS, gate), MORE, mode=mode) as at:
        first, run = await at.begin()
        await at.upstream.arrivals.wait()
        second = await at.say(run)
        at.tool.release("a")
        gate.set()
        await at.results(first, second)
    assert input_of(at.upstream, 1)[-2:] == [{"call_id": "call_a", "output": "a"}, FRENCH]


@both_eras
async def test_what_is_said_while_the_last_answer_arrives_continues_the_run(mode: ConnectMode) -> None:
    gate = anyio.Event()
    async with talk(gated(DONE, gate, after="response.output_text.delta"), MORE, mode=mode) as at:
        first, run = await at.begin()
        await until(lambda: "".join(run.saying) != "")
        second = await at.say(run)
        gate.set()
        receipts = await at.results(first, second)
    assert [receipt["output_text"] for receipt in receipts] == ["Fait.", "Fait."]
    assert [receipt["turns"] for receipt in receipts] == [2, 2]
    assert input_of(at.upstream, 1)[-2:][0]["content"][0]["text"] == "Done."
    assert input_of(at.upstream, 1)[-1] == FRENCH


@both_eras
async def test_what_is_said_while_a_person_is_asked_leaves_the_question_as_it_is(mode: ConnectMode) -> None:
    asked, answered = Tally(), anyio.Event()

    async def answer(_context: ClientRequestContext, _params: ElicitRequestParams) -> ElicitResult:
        asked.add()
        await answered.wait()
        return ElicitResult(action="accept", content={"answer": YES})

    async with talk(CALLS, MORE, mode=mode, answer=answer, ask=None) as at:
        first, run = await at.begin()
        await asked.wait()
        second = await at.say(run)
        await asked.wait(2)  # whoever waits is asked, who speaks too
        answered.set()
        at.tool.release("a")
        receipts = await at.results(first, second)
    assert at.tool.started == ["a"]
    assert [receipt["run_id"] for receipt in receipts] == [run.run_id] * 2
    assert input_of(at.upstream, 1)[-2:] == [{"call_id": "call_a", "output": "a"}, FRENCH]
    assert second.codes == ["said"]


async def test_what_is_said_before_the_first_turn_comes_behind_the_input() -> None:
    gate = anyio.Event()
    async with talk(gated(DONE, gate), MORE, limits={"max_runs": 1}) as at:
        first, _ = await at.begin()
        await at.upstream.arrivals.wait()
        second, run = await at.begin("Wait.")
        third = await at.say(run)
        gate.set()
        await at.results(first, second, third)
    assert input_of(at.upstream, 1) == [{"role": "user", "content": "Wait."}, FRENCH]
    assert third.notices == "Before turn 1 a message was put into this run: Rather in French."


async def test_all_that_is_said_before_one_turn_comes_in_its_order() -> None:
    words = ["One.", "Two.", "Three."]
    async with talk(CALLS, MORE) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        others = [await at.say(run, text) for text in words]
        at.tool.release("a")
        await at.results(first, *others)
    assert [item["content"] for item in input_of(at.upstream, 1)[-3:]] == words
    assert first.codes == ["said"] * 3


async def test_a_run_may_be_spoken_to_again_and_again() -> None:
    gates = [anyio.Event() for _ in range(3)]
    script = [gated(responds(message(f"answer {n}")), gate) for n, gate in enumerate(gates)]
    async with talk(*script, MORE) as at:
        calls = [(await at.begin())[0]]
        [run] = await at.bridge.engine.list(principal="host")
        for number, gate in enumerate(gates, 1):
            await at.upstream.arrivals.wait(number)
            calls.append(await at.say(run, f"message {number}"))
            gate.set()
        await at.results(*calls)
    said = [event for event in run.events if isinstance(event, Said)]
    assert [(event.turn, event.items[0]["content"]) for event in said] == [
        (2, "message 1"),
        (3, "message 2"),
        (4, "message 3"),
    ]
    assert {each.receipt["output_text"] for each in calls} == {"Fait."}


@pytest.mark.parametrize("way", ["run_id", "previous_response_id"])
@pytest.mark.parametrize("state", ["stateless", "previous_response_id"])
async def test_the_conversation_goes_on_with_what_was_said(way: str, state: str) -> None:
    async with talk(CALLS, MORE, DONE, upstream={"state": state}) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        second = await at.say(run)
        at.tool.release("a")
        [receipt, _] = await at.results(first, second)
        key = "run_id" if way == "run_id" else "response_id"
        await at.results(at.respond("And now?", **{way: receipt[key]}))
    sent = input_of(at.upstream, 2)
    if state == "stateless":
        assert [item.get("content") for item in sent if item.get("role") == "user"] == ["Hello", WORDS, "And now?"]
        assert sent.index(FRENCH) == 3, "behind the output, before the answer"
    else:
        assert sent == [{"role": "user", "content": "And now?"}]
        assert input_of(at.upstream, 1) == [{"call_id": "call_a", "output": "a"}, FRENCH]


async def test_all_items_of_a_run_have_what_was_said_in_its_place() -> None:
    async with talk(CALLS, MORE) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        second = await at.say(run, detail="full")
        at.tool.release("a")
        await at.results(first, second)
    assert "output" not in first.receipt
    kinds = [item.get("type") for item in second.receipt["output"]]
    assert kinds == ["function_call", "function_call_output", None, "message"]
    assert second.receipt["output"][2] == FRENCH


async def test_a_picture_is_read_when_it_is_said(tmp_path: Path) -> None:
    (tmp_path / "dot.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    parts = [
        {"type": "input_text", "text": "Look."},
        {"type": "input_image", "detail": "auto", "path": str(tmp_path / "dot.png")},
    ]
    async with talk(CALLS, MORE, input_roots=[str(tmp_path)]) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        second = await at.say(run, [{"type": "message", "role": "user", "content": parts}])
        (tmp_path / "dot.png").unlink()
        at.tool.release("a")
        await at.results(first, second)
    [text, picture] = input_of(at.upstream, 1)[-1]["content"]
    assert (text["text"], picture["image_url"]) == ("Look.", "data:image/png;base64,iVBORw0KGgo=")
    assert second.notices == "Before turn 2 a message was put into this run: Look."


async def test_progress_tells_of_what_was_said() -> None:
    lines = list[str]()

    async def note(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
        lines.append(message or "")

    async with talk(CALLS, MORE) as at, anyio.create_task_group() as tasks:
        arguments = {"input": "Hello"}
        tasks.start_soon(lambda: at.client.call_tool("respond", arguments, progress_callback=note))
        await at.tool.reached("a")
        [run] = await at.bridge.engine.list(principal="host")
        await at.say(run)
        at.tool.release("a")
    assert "  + said before turn 2: Rather in French." in lines


# Limits hold


async def test_what_comes_during_the_last_answer_goes_on_as_another_run() -> None:
    gate = anyio.Event()
    async with talk(CALLS, gated(DONE, gate), MORE, limits={"max_turns": 1}) as at:
        first, run = await at.begin()
        at.tool.release("a")
        await at.upstream.arrivals.wait(2)
        second = await at.say(run)
        gate.set()
        await at.results(first, second)
    assert (first.receipt["status"], first.receipt["incomplete_details"]) == ("incomplete", {"reason": "max_turns"})
    assert (second.receipt["status"], second.receipt["output_text"]) == ("completed", "Fait.")
    assert second.receipt["run_id"] != run.run_id
    assert second.codes == ["too_late"]
    assert input_of(at.upstream, 2)[-1] == FRENCH
    assert [item for item in input_of(at.upstream, 2) if item == FRENCH] == [FRENCH]


async def test_what_comes_before_the_last_answer_stands_before_that_and_gives_no_more_turns() -> None:
    async with talk(CALLS, MORE, limits={"max_turns": 1}) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        second = await at.say(run)
        at.tool.release("a")
        receipts = await at.results(first, second)
    assert input_of(at.upstream, 1)[-1] == FRENCH
    assert [receipt["incomplete_details"] for receipt in receipts] == [{"reason": "max_turns"}] * 2


@pytest.mark.parametrize("limits", [{"max_turns": 1}, {"tokens": 20}])
async def test_no_limit_is_moved_by_what_is_said(limits: Json) -> None:
    gate = anyio.Event()
    async with talk(gated(DONE, gate), MORE, limits=limits) as at:
        first, run = await at.begin()
        await at.upstream.arrivals.wait()
        second = await at.say(run)
        gate.set()
        await at.results(first, second)
    assert (first.receipt["status"], first.receipt["turns"]) == ("completed", 1)
    assert second.codes == ["too_late"]
    assert second.receipt["run_id"] != run.run_id


async def test_the_deadline_holds_and_the_message_goes_on_as_another_run() -> None:
    clock = VirtualClock()
    async with talk(CALLS, MORE, clock=clock, limits={"timeout_s": 10}) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        second = await at.say(run)
        await clock.advance(10)
        await at.results(first, second)
    assert first.receipt["incomplete_details"] == {"reason": "timeout"}
    assert "came too late for a turn" in first.notices
    assert (second.receipt["status"], second.codes) == ("completed", ["too_late"])
    assert [item for item in input_of(at.upstream, 1) if item.get("role") == "user"] == [
        {"role": "user", "content": "Hello"},
        FRENCH,
    ]


async def test_a_call_that_is_asked_for_again_by_a_person_is_made_again() -> None:
    again = [responds(call("o__answer", {"key": "a"})) for _ in range(5)]
    gate = anyio.Event()
    async with talk(*again[:4], gated(again[4], gate), MORE) as at:
        at.tool.release("a")
        first, run = await at.begin()
        await at.upstream.arrivals.wait(3)
        second = await at.say(run, "Once more.")
        gate.set()
        await at.results(first, second)
    assert first.receipt["status"] == "completed"


# How the run ends meanwhile


async def test_a_run_that_fails_is_gone_on_from() -> None:
    gate = anyio.Event()
    script = [gated(api_error(400, "It cannot be."), gate), MORE]
    async with talk(*script, upstream={"max_retries": 0}) as at:
        first, run = await at.begin()
        await at.upstream.arrivals.wait()
        second = await at.say(run)
        gate.set()
        await at.results(first, second)
    assert first.receipt["status"] == "failed"
    assert (second.receipt["status"], second.codes) == ("completed", ["too_late"])


async def test_a_run_that_is_stopped_stays_stopped_and_says_that_it_did_not_hear() -> None:
    async with talk(CALLS) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        second = await at.say(run)
        await at.client.call_tool("respond_cancel", {"run_id": run.run_id})
        receipts = await at.results(first, second)
    assert [receipt["status"] for receipt in receipts] == ["cancelled"] * 2
    assert second.codes == ["unheard"]


async def test_what_the_caller_must_answer_first_is_named() -> None:
    own = {"type": "function", "name": "look_up", "parameters": {"type": "object"}, "strict": False}
    gate = anyio.Event()
    async with talk(gated(responds(call("look_up", {}, call_id="call_1")), gate)) as at:
        first, run = await at.begin(tools=[own])
        await at.upstream.arrivals.wait()
        second = await at.say(run)
        gate.set()
        await at.results(first, second)
    assert first.receipt["status"] == "needs_input"
    assert "look_up (call_1) has no answer" in second.receipt["error"]["message"]


async def test_a_call_that_is_answered_before_says_that_the_message_waits_and_the_result_says_where_it_went() -> None:
    clock = VirtualClock()
    async with talk(CALLS, MORE, clock=clock, limits={"call_timeout_s": 999}) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        second = await at.say(run)
        await clock.advance(45)
        await at.results(first, second)
        assert second.receipt["status"] == "in_progress"
        assert second.codes == ["waits", "in_progress"]
        again = at.respond(WORDS, run_id=run.run_id)  # as a host's model does that takes it for its result
        await clock.advance(0)
        at.tool.release("a")
        await at.results(again)
    assert again.codes == ["said", "rejoined"]
    assert input_of(at.upstream, 1)[-2:] == [{"call_id": "call_a", "output": "a"}, FRENCH], "once"


async def test_a_message_that_nobody_waits_for_any_more_is_not_lost_without_a_word() -> None:
    clock = VirtualClock()
    async with talk(CALLS, clock=clock, limits={"call_timeout_s": 999, "timeout_s": 60}) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        second = await at.say(run)
        await clock.advance(45)
        await at.results(first, second)
        await clock.advance(15)
        result = await at.client.call_tool("respond_wait", {"run_id": run.run_id})
    assert "came too late for a turn of this run" in text_of(result)


# What can be said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"model": "other"}, "model: this run still goes on, with the arguments that it began with"),
        ({"max_turns": 50}, "max_turns: this run still goes on"),
        ({"tools": ["*"]}, "tools: this run still goes on"),
        ({"previous_response_id": "resp_1"}, "previous_response_id: this run still goes on"),
        (
            {"input": [{"type": "function_call_output", "call_id": "call_a", "output": "b"}]},
            "input[0]: this run still goes on and can be told messages alone, no function_call_output",
        ),
        ({"input": [FRENCH, {"type": "message", "content": "x"}]}, "input[1].role: expected user, system, developer"),
        ({"input": [{"role": "user"}]}, "input[0].content: expected a text, or a list of parts that have a type"),
        ({"input": [{"role": "user", "content": [{"text": "x"}]}]}, "input[0].content: expected a text"),
        (
            {"input": [{"role": "user", "content": [{"type": "input_image", "path": "/nowhere.png"}]}]},
            "input[0].content[0].path: no folder is allowed",
        ),
    ],
    ids=str,
)
async def test_what_cannot_be_said_is_refused_in_a_sentence_and_the_run_goes_on(arguments: Json, words: str) -> None:
    async with talk(CALLS, DONE) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        refused = await at.say(run, **{"input": WORDS, **arguments})
        assert refused.receipt["error"]["message"].startswith(words)
        at.tool.release("a")
        [receipt] = await at.results(first)
    assert (receipt["status"], receipt["output_text"], first.codes) == ("completed", "Done.", [])


async def test_arguments_that_are_the_runs_own_may_be_said_again() -> None:
    own: Json = {"instructions": "Be brief.", "max_turns": 5}
    async with talk(CALLS, MORE) as at:
        first, run = await at.begin(**own)
        await at.tool.reached("a")
        second = await at.say(run, model="gpt-4.1", **own)
        at.tool.release("a")
        await at.results(first, second)
    assert second.codes == ["said"]


async def test_somebody_elses_run_is_as_unknown_as_any() -> None:
    async with talk(CALLS, DONE) as at:
        first, run = await at.begin()
        await at.tool.reached("a")
        words: JsonObject = {"input": WORDS, "run_id": run.run_id}
        assert await at.bridge.interject(words, principal="another") is None
        with pytest.raises(Exception, match="run_id: there is no such run"):
            await at.bridge.start(words, principal="another")
        at.tool.release("a")
        await at.results(first)
    assert not run.inbox


# Taken up again


Speak = Callable[[int, str], bool]


async def hold_a_talk(say: bool, interruptions: Interruptions | None = None) -> tuple[list[Json], Json]:
    """The requests of a run to which something was said at every point, or nothing; and its result."""
    gate = anyio.Event()
    script = [CALLS, gated(DONE, gate), MORE]
    with interrupted(interruptions) if interruptions else contextlib.nullcontext():
        async with talk(*(script if say else script[:2])) as at:
            first, run = await at.begin()
            await at.tool.reached("a")
            others = [await at.say(run, "One.")] if say else []
            at.tool.release("a")
            await at.upstream.arrivals.wait(2)
            others += [await at.say(run, "Two.")] if say else []
            gate.set()
            if say:
                await at.upstream.arrivals.wait(3)
            [receipt, *_] = await at.results(first, *others)
    return [request.json for request in at.upstream.requests], receipt


async def test_a_run_that_is_taken_up_again_hears_the_same() -> None:
    requests, receipt = await hold_a_talk(say=True)
    interruptions = Interruptions(after=lambda *_: True)
    again, repeated = await hold_a_talk(say=True, interruptions=interruptions)
    assert again == requests
    assert (repeated["output_text"], repeated["status"]) == (receipt["output_text"], "completed")
    assert [key for key in interruptions.steps if key.startswith("said")] == ["said:2", "said:3"]


async def test_a_run_that_nobody_speaks_to_has_no_step_more() -> None:
    interruptions = Interruptions()
    await hold_a_talk(say=False, interruptions=interruptions)
    assert not [key for key in interruptions.steps if key.startswith("said")]


# At any moment


@pytest.mark.parametrize("seeds", [range(5), pytest.param(range(5, 200), marks=pytest.mark.external)], ids=str)
async def test_a_message_is_heard_once_whenever_it_comes_and_the_run_ends_whenever_it_does(seeds: range) -> None:
    for seed in seeds:
        chance = random.Random(seed)
        interruptions = Interruptions(after=lambda *_: chance.random() < 0.1)  # noqa: B023
        with interrupted(interruptions) if seed % 2 else contextlib.nullcontext():
            await race(chance)


async def race(chance: random.Random) -> None:
    words = [f"message {number}" for number in range(4)]

    def answer(request: Request) -> Reply:
        assert not list(find_faults(request.json))
        return responds(call("o__answer", {"key": "a"})) if chance.random() < 0.4 else responds(message("Done."))

    tool = OrderedServer()
    tool.release("a")
    entry = {"command": tool.server, "require_approval": "never", "tools": {"repeat": ["*"]}}
    far: Json = {"max_turns": 1000, "max_tool_calls": 1000}
    async with (
        ScriptedUpstream(answer) as upstream,
        open_without_host(upstream, {"o": entry}, upstream={"state": "stateless"}, limits=far) as bridge,
        Client(bridge.server) as client,
        anyio.create_task_group() as tasks,
    ):
        at = Talk(bridge, client, upstream, tool, tasks)
        first, run = await at.begin()
        others = list[Later]()
        for text in words:
            for _ in range(chance.randint(0, 150)):
                await anyio.lowlevel.checkpoint()
            others.append(at.respond(text, run_id=run.run_id))
        await at.results(first, *others)
        runs = await bridge.engine.list(principal="host")
    assert not upstream.errors
    heard = [
        str(item["content"])
        for each in runs
        for event in each.events
        if isinstance(event, Said)
        for item in event.items
    ]
    begun = [str(each.arguments["input"]) for each in runs if each is not run]
    assert sorted([*heard, *begun]) == words
    for text, each in zip(words, others, strict=True):
        assert each.receipt["status"] == "completed"
        assert (each.receipt["run_id"] == run.run_id) == (text in heard)
