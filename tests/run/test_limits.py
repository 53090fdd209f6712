"""How far a run may go, what a caller may change about that, and what is left of a run that was stopped."""

import json
from typing import Any

import anyio
import pytest
from mcp.server.mcpserver import MCPServer

from bridge.config.settings import BUILTIN_NAMES
from tests.fakes.bridges import ask, open_bridge, outputs_of
from tests.fakes.clock import VirtualClock
from tests.fakes.servers import ordered_server
from tests.fakes.upstream import HEAD, api_error, call, hang, message, reasoning, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))
TIME = responds(call("current_time"))
LOOK_UP = {"type": "function", "name": "look_up", "parameters": {"type": "object"}}


def pairs(items: list[dict[str, Any]]) -> tuple[list[str], list[str]]:
    """The call ids of all calls, and of all outputs, among these items."""
    made = [item["call_id"] for item in items if item["type"].endswith("_call")]
    answered = [item["call_id"] for item in items if item["type"].endswith("_call_output")]
    return made, answered


def reason(receipt: dict[str, Any]) -> str | None:
    return receipt["incomplete_details"] and receipt["incomplete_details"]["reason"]


# Turns and calls


@pytest.mark.rule("R16", "L1")
async def test_a_model_that_always_calls_is_stopped_after_ten_turns_and_gives_a_last_answer() -> None:
    times = [responds(call("current_time", {"timezone": f"Etc/GMT+{n}"})) for n in range(10)]
    receipt, requests = await ask([*times, DONE], builtin_tools=True)
    assert len(requests) == receipt["turns"] == 11
    assert (receipt["status"], reason(receipt)) == ("incomplete", "max_turns")
    assert receipt["output_text"] == "done"
    assert [request.json.get("tool_choice") for request in requests] == [None] * 10 + ["none"]
    assert len({json.dumps(request.json["tools"]) for request in requests}) == 1


@pytest.mark.rule("R16")
async def test_calls_of_a_last_answer_are_not_run_but_answered_so_that_the_items_can_be_sent_again() -> None:
    ran: list[int] = []
    server = MCPServer("s")

    @server.tool()
    def note() -> str:
        ran.append(1)
        return "noted"

    arguments = {"max_turns": 1, "detail": "full"}
    comment = message("I am at it")
    script = [responds(call("s__note")), responds(comment, call("s__note"))]
    receipt, _ = await ask(script, {"s": server}, arguments)
    assert ran == [1]
    assert reason(receipt) == "max_turns"
    assert receipt["output_text"] == "I am at it"
    made, answered = pairs(receipt["output"])
    assert made == answered
    assert json.loads(receipt["output"][-1]["output"])["error"] == "limit_reached"


async def test_a_last_answer_that_fails_costs_nothing_of_what_was_done() -> None:
    receipt, _ = await ask([TIME, api_error(400, "no more")], None, {"max_turns": 1}, builtin_tools=True)
    assert (receipt["status"], reason(receipt)) == ("incomplete", "max_turns")
    assert [made["name"] for made in receipt["tool_calls"]] == ["current_time"]
    assert "There is no last answer: " in receipt["notices"][0]["message"]


@pytest.mark.rule("R1", "REL27", "L2")
async def test_calls_over_the_limit_are_refused_and_the_others_of_that_turn_run() -> None:
    ran: list[int] = []
    server = MCPServer("s")

    @server.tool()
    def note(n: int) -> str:
        ran.append(n)
        return "noted"

    calls = [call("s__note", {"n": n}) for n in range(5)]
    script = [responds(*calls), DONE]
    receipt, _ = await ask(script, {"s": server}, {"detail": "full"}, limits={"max_tool_calls": 3})
    assert sorted(ran) == [0, 1, 2]
    assert reason(receipt) == "max_tool_calls"
    assert [made["is_error"] for made in receipt["tool_calls"]] == [False, False, False, True, True]
    made, answered = pairs(receipt["output"])
    assert made == answered == [item["call_id"] for item in calls]


async def test_a_run_may_make_as_many_calls_as_the_limit_says() -> None:
    receipt, _ = await ask([TIME, TIME, DONE], builtin_tools=True, limits={"max_tool_calls": 2})
    assert receipt["status"] == "completed"


@pytest.mark.rule("R2", "L10")
async def test_no_more_calls_than_allowed_are_in_flight_at_once() -> None:
    ordered = ordered_server()
    calls = [call("o__answer", {"key": str(n)}) for n in range(5)]
    async with (
        open_bridge({"o": ordered.server}, script=[responds(*calls), DONE], limits={"max_parallel": 2}) as bridge,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(bridge.respond)
        for n in range(5):
            await ordered.reached(str(min(n + 1, 4)))
            await anyio.wait_all_tasks_blocked()
            assert len(ordered.started) - len(ordered.answered) <= 2
            assert len(ordered.started) == min(n + 2, 5)
            ordered.release(str(n))
    assert outputs_of(bridge.requests[1]) == [str(n) for n in range(5)]


async def test_a_caller_may_lower_a_limit() -> None:
    receipt, requests = await ask([TIME, DONE], None, {"max_turns": 1}, builtin_tools=True)
    assert len(requests) == 2
    assert receipt["notices"] == []


async def test_a_caller_may_not_raise_a_limit_and_is_told_so() -> None:
    arguments = {"max_turns": 50, "timeout_s": 1e9}
    limits = {"max_turns": 2, "timeout_s": 900}
    receipt, requests = await ask([TIME, TIME, DONE], None, arguments, builtin_tools=True, limits=limits)
    assert len(requests) == 3
    assert [notice["code"] for notice in receipt["notices"]] == ["limit", "limit"]
    assert "max_turns 50 is over the configured limit of 2, which holds" in receipt["notices"][0]["message"]


@pytest.mark.parametrize("name", ["max_turns", "timeout_s"])
async def test_a_wish_of_four_hundred_digits_is_a_wrong_argument(name: str) -> None:
    receipt, _ = await ask([], None, {name: 10**400})
    assert receipt["error"]["code"] == "invalid_argument"
    assert receipt["error"]["message"].startswith(f"{name}: … 000")
    assert "is greater than the maximum of 1000000" in receipt["error"]["message"]
    assert len(receipt["error"]["message"]) < 400


# Time

LONG = {"timeout_s": 100, "soft_deadline_s": 1000}


@pytest.mark.rule("R26", "L3")
async def test_time_that_runs_out_during_a_request_ends_it_and_keeps_what_was_done() -> None:
    clock = VirtualClock()
    receipts: list[Any] = []
    async with open_bridge(script=[TIME, hang(HEAD)], builtin_tools=True, clock=clock, limits=LONG) as bridge:

        async def run() -> None:
            receipts.append(await bridge.respond())

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await bridge.upstream.arrivals.wait(2)
            await clock.advance(99)
            assert receipts == []
            await clock.advance(1)
        await bridge.upstream.disconnects.wait()
    (receipt,) = receipts
    assert (receipt["status"], reason(receipt)) == ("incomplete", "timeout")
    assert [made["name"] for made in receipt["tool_calls"]] == ["current_time"]
    assert receipt["usage"]["total_tokens"] == 15


@pytest.mark.rule("REL6", "L3")
async def test_time_that_runs_out_during_a_call_ends_it_and_says_that_it_may_have_been_executed() -> None:
    clock, ordered = VirtualClock(), ordered_server()
    calls = [call("o__answer", {"key": key}) for key in ("quick", "slow", "slower", "waiting")]
    receipts: list[Any] = []
    async with open_bridge(
        {"o": ordered.server}, script=[responds(*calls)], clock=clock, limits={"max_parallel": 2}
    ) as bridge:

        async def run() -> None:
            receipts.append(await bridge.respond(timeout_s=5, detail="full"))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run)
            await ordered.reached("quick", "slow")
            ordered.release("quick")
            await ordered.reached("slower")
            await clock.advance(5)
    (receipt,) = receipts
    assert reason(receipt) == "timeout"
    assert sorted(ordered.cancelled) == ["slow", "slower"]
    assert [made["is_error"] for made in receipt["tool_calls"]] == [False, True, True, True]
    quick, *others = (made["output"] for made in receipt["tool_calls"])
    assert quick == "quick"
    assert ["may have been executed" in output for output in others] == [True, True, False]
    assert "it was not run" in others[2]
    made, answered = pairs(receipt["output"])
    assert made == answered


# Incomplete responses


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("max_output_tokens", "max_output_tokens"),
        ("content_filter", "content_filter"),
        ("steered", "max_output_tokens"),
    ],
)
async def test_an_incomplete_response_ends_the_run_with_its_reason_and_its_text(said: str, expected: str) -> None:
    reply = responds(message("Once upon"), status="incomplete", incomplete_details={"reason": said})
    receipt, _ = await ask([reply])
    assert (receipt["status"], reason(receipt), receipt["output_text"]) == ("incomplete", expected, "Once upon")


@pytest.mark.rule("R33")
async def test_a_hosted_approval_request_ends_the_run_and_is_never_answered_for_the_user() -> None:
    asked = {"type": "mcp_approval_request", "id": "mcpr_1", "name": "x", "server_label": "y", "arguments": "{}"}
    receipt, requests = await ask([responds(asked)])
    assert (receipt["status"], reason(receipt), receipt["pending"]) == ("needs_input", "approval", [asked])
    assert len(requests) == 1


# Tools of the caller's own


async def test_a_function_of_the_callers_own_comes_back_unresolved_with_all_items() -> None:
    thought, made = reasoning("hm", encrypted="x"), call("look_up", {"word": "a"})
    script = [responds(thought, made, call("current_time"))]
    receipt, requests = await ask(script, None, {"tools": ["*", LOOK_UP]}, builtin_tools=True)
    assert (receipt["status"], reason(receipt)) == ("needs_input", "caller_tools")
    assert receipt["output"][:2] == [thought, made]
    assert [item["type"] for item in receipt["output"]][2:] == ["function_call", "function_call_output"]
    made_ids, answered = pairs(receipt["output"])
    assert [call_id for call_id in made_ids if call_id not in answered] == [made["call_id"]]
    assert requests[0].json["tools"][-1] == LOOK_UP


async def test_calls_for_the_caller_come_back_from_the_last_turn_too() -> None:
    receipt, _ = await ask([responds(call("look_up"))], None, {"tools": [LOOK_UP], "max_turns": 1})
    assert reason(receipt) == "caller_tools"
    assert receipt["output"][0]["name"] == "look_up"


async def test_a_custom_tool_of_the_callers_own_comes_back_too() -> None:
    tool = {"type": "custom", "name": "shell"}
    made = {"type": "custom_tool_call", "id": "ctc_1", "call_id": "call_1", "name": "shell", "input": "ls"}
    receipt, _ = await ask([responds(made)], None, {"tools": [tool]})
    assert reason(receipt) == "caller_tools"
    assert receipt["output"] == [made]


@pytest.mark.rule("R32")
async def test_hosted_tools_pass_and_their_items_are_sent_back_as_they_came() -> None:
    hosted = [{"type": "web_search", "search_context_size": "low"}, {"type": "code_interpreter", "container": "auto"}]
    searched = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "q": "x"}}
    script = [responds(searched, call("current_time")), DONE]
    _, (asked, again) = await ask(script, None, {"tools": ["current_time", *hosted]}, builtin_tools=True)
    assert asked.json["tools"][1:] == hosted
    assert again.json["input"][1] == searched


LOCAL = [{"type": kind} for kind in ("local_shell", "shell", "apply_patch", "computer", "computer_use_preview")]
LOCAL += [{"type": "shell", "environment": {"type": "local"}}, {"type": "tool_search", "execution": "client"}]


@pytest.mark.rule("R32")
@pytest.mark.parametrize("tool", LOCAL, ids=str)
async def test_a_hosted_tool_that_nobody_here_executes_is_refused_before_anything_is_sent(tool: dict[str, Any]) -> None:
    receipt, requests = await ask([], None, {"tools": ["*", tool]})
    assert requests == []
    assert receipt["error"]["who"] == "caller"
    assert receipt["error"]["message"].startswith(f"tools: the calls of {tool['type']!r} have to be executed")


@pytest.mark.parametrize(
    "tool", [{"type": "shell", "environment": {"type": "container_auto"}}, {"type": "tool_search"}], ids=str
)
async def test_a_hosted_tool_that_the_upstream_executes_is_sent(tool: dict[str, Any]) -> None:
    _, (asked,) = await ask([DONE], None, {"tools": [tool]})
    assert asked.json["tools"] == [tool]


@pytest.mark.parametrize(
    ("globs", "names"),
    [
        (["*"], ["random_generator", "system_info", "math_calculator", "current_time", "o__answer", "read_output"]),
        (["o__*"], ["o__answer", "read_output"]),
        (["*_[it]*"], ["system_info", "current_time"]),
        (["current_time", "*time*"], ["current_time"]),
        ([], []),
    ],
    ids=str,
)
async def test_globs_choose_among_the_tools(globs: list[str], names: list[str]) -> None:
    servers = {"o": ordered_server().server}
    _, (asked,) = await ask([DONE], servers, {"tools": globs}, builtin_tools=True)
    assert [tool["name"] for tool in asked.json.get("tools", [])] == names


async def test_a_glob_that_matches_nothing_is_refused_with_near_names() -> None:
    receipt, requests = await ask([], None, {"tools": ["curent_time"]}, builtin_tools=True)
    assert requests == []
    assert receipt["error"]["who"] == "caller"
    assert receipt["error"]["message"] == "tools: no tool's name matches 'curent_time'; near names: current_time"


@pytest.mark.rule("R13")
async def test_too_many_tools_that_are_named_in_full_are_refused_with_the_count_of_each_server() -> None:
    servers = {"o": ordered_server().server}
    tools = [*BUILTIN_NAMES, "o__answer", LOOK_UP]
    receipt, requests = await ask([], servers, {"tools": tools}, builtin_tools=True, limits={"max_tools": 6})
    assert requests == []
    said = "tools: 7 tools are over the limit of 6 per request (builtin_tools 4, o 1, the caller 1, bridge 1)"
    assert receipt["error"]["message"].startswith(said)


async def test_without_any_tools_none_are_sent() -> None:
    _, (asked,) = await ask([DONE])
    assert "tools" not in asked.json
