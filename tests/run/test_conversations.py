"""Going on from an earlier response, on upstreams that keep responses, keep none, or forget them."""

import math
from typing import Any

import anyio
import pytest

from bridge.errors import ArgumentError
from bridge.events import TurnEnded
from bridge.json_text import JsonObject
from bridge.run.engine import Context
from bridge.run.limits import COMPLETED, Ending
from bridge.run.memory import MemoryEngine
from bridge.run.shelf import KEPT_S, Bounds, Shelf
from bridge.run.transcript import Transcript
from tests.fakes.bridges import open_bridge, open_without_host
from tests.fakes.clock import VirtualClock
from tests.fakes.upstream import Reply, ScriptedUpstream, api_error, call, message, reasoning, responds

pytestmark = pytest.mark.anyio

FIRST: list[Reply] = [
    responds(reasoning("I look.", encrypted="gAAAA"), call("current_time")),
    responds(message("It is noon.")),
]
DONE = responds(message("Still noon."))
UNKNOWN = "previous_response_id: there is no such response; it may have expired, and must be that of a result"


def kinds(body: Any) -> list[str]:
    return [item.get("type", "message") for item in body["input"]]


async def converse(script: list[Reply], **settings: Any) -> tuple[dict[str, Any], list[Any]]:
    """Two runs, of which the second goes on from the first: its receipt, and the bodies of its requests."""
    async with open_bridge(script=[*FIRST, *script], builtin_tools=True, upstream=settings) as bridge:
        first = await bridge.respond("What time is it?")
        receipt = await bridge.respond("And now?", previous_response_id=first["response_id"])
    return receipt, [request.json for request in bridge.requests[2:]]


@pytest.mark.parametrize("settings", [{}, {"state": "stateless"}], ids=["not known", "keeps nothing"])
async def test_the_history_is_sent_to_an_upstream_that_may_keep_nothing(settings: dict[str, Any]) -> None:
    receipt, (body,) = await converse([DONE], **settings)
    assert receipt["output_text"] == "Still noon."
    assert "previous_response_id" not in body
    assert kinds(body) == ["message", "reasoning", "function_call", "function_call_output", "message", "message"]
    assert body["input"][1]["encrypted_content"] == "gAAAA"
    assert body["input"][-1]["content"] == "And now?"


async def test_an_upstream_that_keeps_responses_is_sent_what_is_new() -> None:
    receipt, (body,) = await converse([DONE], state="previous_response_id")
    assert receipt["output_text"] == "Still noon."
    assert body["previous_response_id"]
    assert [item["content"] for item in body["input"]] == ["And now?"]


async def test_one_that_forgets_is_sent_the_history_instead_and_the_caller_is_told() -> None:
    gone = api_error(400, "Previous response with id 'resp_2' not found.", code="previous_response_not_found")
    receipt, bodies = await converse([gone, DONE], state="previous_response_id")
    assert receipt["output_text"] == "Still noon."
    assert ["previous_response_id" in body for body in bodies] == [True, False]
    assert len(bodies[1]["input"]) == 6
    assert "whole history" in receipt["notices"][0]["message"]


async def test_what_a_compaction_stands_for_is_not_sent_again() -> None:
    compaction: JsonObject = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gAAAA"}
    script = [responds(message("Dropped."), compaction, call("current_time")), responds(message("It is noon.")), DONE]
    async with open_bridge(script=script, builtin_tools=True) as bridge:
        first = await bridge.respond("What time is it?")
        await bridge.respond("And now?", previous_response_id=first["response_id"])
    following = ["compaction", "function_call", "function_call_output", "message", "message"]
    assert kinds(bridge.requests[2].json) == following


async def test_a_conversation_goes_on_as_long_as_anybody_likes() -> None:
    script = [responds(message(str(n))) for n in range(20)]
    async with open_bridge(script=script) as bridge:
        receipt = await bridge.respond("0")
        for n in range(1, 20):
            receipt = await bridge.respond(str(n), previous_response_id=receipt["response_id"])
    said = [item["content"] for item in bridge.requests[-1].json["input"] if item["role"] == "user"]
    assert said == [str(n) for n in range(20)]
    assert len(bridge.requests[-1].json["input"]) == 39


@pytest.mark.rule("S28")
async def test_nobody_goes_on_with_the_conversation_of_another() -> None:
    async with ScriptedUpstream([DONE, DONE]) as upstream, open_without_host(upstream) as bridge:
        run = await bridge.run({"input": "My secret is 42."}, principal="ada")
        following: JsonObject = {"input": "Which?", "previous_response_id": run.response_id}
        with pytest.raises(ArgumentError, match="there is no such response"):
            await bridge.run(following, principal="bob")
        await bridge.run(following, principal="ada")
    assert len(upstream.requests) == 2


async def test_unknown_expired_and_somebody_elses_get_the_same_answer() -> None:
    clock = VirtualClock()
    async with open_bridge(script=[DONE], clock=clock, upstream={"state": "stateless"}) as bridge:
        first = await bridge.respond()
        await clock.advance(KEPT_S)
        expired = await bridge.respond(previous_response_id=first["response_id"])
        unknown = await bridge.respond(previous_response_id="resp_nobody_knows")
    assert expired["error"]["message"] == unknown["error"]["message"] == UNKNOWN
    assert len(bridge.requests) == 1


async def find_kept(*sizes: int) -> list[bool]:
    """Hold conversations of so many kB one after the other, where there is room for 250 beside the last, and tell which
    can be gone on with."""

    async def converse(ctx: Context, arguments: JsonObject) -> Ending:
        ctx.begin(Transcript(["x" * 1000 * int(str(arguments["input"]))]))
        ctx.emit(
            TurnEnded(
                turn=1,
                response_id=f"resp_{arguments['input']}_{ctx.run.run_id}",
                model=None,
                usage=None,
                tokens=0,
                cost=None,
                is_estimated=False,
                output=[],
            )
        )
        return COMPLETED

    async with MemoryEngine(converse, VirtualClock(), orphan_s=1, shelf=Shelf(each=Bounds(1000, 250_000))) as engine:
        for number, size in enumerate(sizes):
            run = await engine.start(str(number), {"input": size}, principal=None)
            await engine.wait(run, news=0, until=math.inf)
            await anyio.wait_all_tasks_blocked()
        found = [await engine.find_response(f"resp_{size}_{n}", principal=None) for n, size in enumerate(sizes)]
    return [run is not None for run in found]


async def test_the_oldest_conversation_is_forgotten_where_there_is_no_room() -> None:
    assert await find_kept(150, 150, 150, 150) == [False, False, True, True]


async def test_a_conversation_that_there_is_no_room_for_throws_no_other_out() -> None:
    assert await find_kept(10, 1000, 10) == [True, False, True]


async def test_each_goes_on_with_its_own_where_the_upstream_gives_every_response_the_same_id() -> None:
    same = responds(message("Noted."), id="resp_1")
    async with ScriptedUpstream([same] * 4) as upstream, open_without_host(upstream) as bridge:
        for owner in ("ada", "bob"):
            await bridge.run({"input": f"I am {owner}."}, principal=owner)
        for owner in ("ada", "bob"):
            arguments: JsonObject = {"input": "Who am I?", "previous_response_id": "resp_1"}
            await bridge.run(arguments, principal=owner)
    said = [request.json["input"][0]["content"] for request in upstream.requests]
    assert said == ["I am ada.", "I am bob."] * 2


@pytest.mark.parametrize("by", ["run_id", "previous_response_id"])
@pytest.mark.parametrize("status", ["incomplete", "failed"])
async def test_a_run_that_ended_with_calls_can_be_gone_on_with(by: str, status: str) -> None:
    script = [responds(call("current_time", status=status), status=status), DONE]
    async with open_bridge(script=script, builtin_tools=True, upstream={"max_retries": 0}) as bridge:
        first = await bridge.respond()
        receipt = await bridge.respond("Go on.", **{by: first["run_id" if by == "run_id" else "response_id"]})
    assert receipt["status"] == "completed"
    assert kinds(bridge.requests[-1].json) == ["message", "function_call", "function_call_output", "message"]


async def test_a_call_of_the_callers_own_in_a_last_answer_is_left_to_nobody() -> None:
    mine = {"type": "function", "name": "mine", "parameters": {"type": "object"}}
    script = [responds(call("current_time")), responds(call("mine")), DONE]
    async with open_bridge(script=script, builtin_tools=True, limits={"max_turns": 1}) as bridge:
        first = await bridge.respond(tools=["*", mine])
        assert first["incomplete_details"] == {"reason": "max_turns"}
        receipt = await bridge.respond("Go on.", run_id=first["run_id"])
    assert receipt["status"] == "completed"
    assert "limit_reached" in bridge.requests[-1].json["input"][-2]["output"]


def own(name: str) -> JsonObject:
    return {"type": "function", "name": name, "parameters": {"type": "object"}}


async def test_what_servers_answered_beside_the_caller_is_kept_as_long_as_the_conversation() -> None:
    clock = VirtualClock()
    script = [responds(call("mine", call_id="call_mine"), call("current_time")), DONE]
    async with open_bridge(script=script, builtin_tools=True, clock=clock) as bridge:
        first = await bridge.respond(tools=["*", own("mine")])
        await clock.advance(KEPT_S / 2)  # the run itself is forgotten
        answer = {"type": "function_call_output", "call_id": "call_mine", "output": "x"}
        await bridge.respond([answer], previous_response_id=first["response_id"])
    outputs = ["function_call_output"] * 2
    assert kinds(bridge.requests[-1].json) == ["message", "function_call", "function_call", *outputs]


async def test_of_equal_ids_the_newest_is_gone_on_from() -> None:
    script = [responds(call("mine"), id="resp_1"), responds(message("a"), id="resp_1"), DONE]
    async with open_bridge(script=script) as bridge:
        await bridge.respond("One", tools=[own("mine")])
        await bridge.respond("Two")
        receipt = await bridge.respond("Three", previous_response_id="resp_1")
    assert receipt["status"] == "completed"
    assert bridge.requests[-1].json["input"][0]["content"] == "Two"


async def test_an_equal_call_does_not_take_the_result_of_one_that_is_still_being_given_it() -> None:
    arguments: JsonObject = {"input": "Hello"}

    async def converse(_ctx: Context, _arguments: JsonObject) -> Ending:
        return COMPLETED

    async with MemoryEngine(converse, VirtualClock(), orphan_s=1) as engine:
        run = await engine.start("run_1", arguments, principal=None)
        with engine.attend(run):
            await engine.wait(run, news=0, until=math.inf)
            await anyio.wait_all_tasks_blocked()
            assert run.ending
            assert await engine.find_lost(arguments, principal=None) is None
        assert await engine.find_lost(arguments, principal=None) is run
