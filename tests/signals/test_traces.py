"""The spans of runs: what ends when, and whose parent is whose."""

import anyio
import pytest
from opentelemetry import trace

from tests.fakes.bridges import open_bridge, open_without_host
from tests.fakes.clock import VirtualClock
from tests.fakes.collector import Traced
from tests.fakes.http import HttpServer
from tests.fakes.servers import OrderedServer
from tests.fakes.telling import build_server
from tests.fakes.upstream import HEAD, ScriptedUpstream, call, cut, hang, http_error, message, responds

pytestmark = pytest.mark.anyio

RUN = "invoke_agent mcp-responses-bridge"
CHAT = "chat gpt-4.1"


def span_in(header: str) -> str:
    """The span that a `traceparent` names."""
    return header.split("-")[2]


async def test_calls_that_go_on_at_once_each_come_with_their_own_span() -> None:
    traced = Traced()
    async with HttpServer(build_server) as served:
        servers = {"telling": {"url": served.url, "require_approval": "never"}}
        async with open_bridge(servers, **traced.options) as bridge:
            outcome = await bridge.use(*(call("telling__tell", {"key": str(n)}) for n in range(8)))
    calls = traced.read().all("execute_tool telling__tell")
    assert {span_in(output.split()[1]) for output in outcome.outputs} == {span.id for span in calls}
    assert len(calls) == 8
    assert {tuple(traced.chain(span)) for span in calls} == {("execute_tool telling__tell", "turn 1", RUN)}
    assert {span.attributes["gen_ai.tool.name"] for span in calls} == {"tell"}
    assert len({span.trace for span in traced.spans}) == 1


async def test_a_lone_call_is_not_the_parent_of_what_comes_after_it() -> None:
    traced = Traced()
    async with open_bridge({"telling": build_server()}, **traced.options) as bridge:
        await bridge.run([[call("telling__tell")], [call("telling__tell")]])
        headers = [request.headers["traceparent"] for request in bridge.requests]
    traced.read()
    assert [traced.chain(span) for span in traced.all("POST")] == [["POST", CHAT, f"turn {n}", RUN] for n in (1, 2, 3)]
    assert [span.id for span in traced.all("POST")] == [span_in(header) for header in headers]


async def test_runs_at_once_have_traces_of_their_own() -> None:
    traced = Traced()
    async with open_bridge({"telling": build_server()}, **traced.options) as bridge, anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(bridge.use, call("telling__tell"))
    runs = traced.read().all(RUN)
    assert len({span.trace for span in runs}) == 5
    assert {traced.chain(span)[-1] for span in traced.spans} == {RUN}
    assert all(len([each for each in traced.spans if each.trace == span.trace]) == 8 for span in runs)


async def test_a_request_that_is_repeated_has_a_span_for_each_time() -> None:
    traced, clock = Traced(), VirtualClock(autojump=True)
    script = [
        http_error(503, {"error": {"message": "canary"}}),
        cut(HEAD, responds(message("x"))),
        responds(message("Hi.")),
    ]
    async with open_bridge(script=script, clock=clock, **traced.options) as bridge:
        await bridge.respond("Hello")
    refused, lost, sent = traced.read().all("POST")
    chat = traced.one(CHAT)
    assert [span.parent for span in (refused, lost, sent)] == [chat.id] * 3
    assert [span.attributes.get("error.type") for span in (refused, lost, sent)] == ["503", "RemoteProtocolError", None]
    assert [name for name, _ in chat.events] == ["mcp_responses_bridge.retry"] * 2
    assert (chat.is_error, traced.one(RUN).is_error) == (False, False)
    assert chat.attributes["gen_ai.usage.input_tokens"] > 0
    assert "gen_ai.response.time_to_first_chunk" in chat.attributes


async def test_a_run_that_fails_ends_all_its_spans_as_failed_and_without_words() -> None:
    traced = Traced()
    async with open_bridge(script=[http_error(401, {"error": {"message": "canary"}})], **traced.options) as bridge:
        assert (await bridge.respond("canary"))["status"] == "failed"
    assert sorted(traced.read().names) == sorted([RUN, "turn 1", CHAT, "POST"])
    assert {(span.is_error, span.words, span.attributes["error.type"]) for span in traced.spans} == {(True, "", "401")}
    assert "canary" not in str(traced.spans)


async def test_a_run_that_is_stopped_ends_its_spans() -> None:
    traced, ordered = Traced(), OrderedServer()
    script = [responds(call("ordered__answer", {"key": "a"}))]
    async with (
        open_bridge({"ordered": ordered.server}, script=script, **traced.options) as bridge,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(bridge.respond, "Hello")
        await ordered.reached("a")
        tasks.cancel_scope.cancel()
    span = traced.read().one("execute_tool ordered__answer")
    assert (span.is_error, span.attributes["error.type"]) == (True, "stopped")
    assert traced.chain(span) == ["execute_tool ordered__answer", "turn 1", RUN]
    assert traced.one(RUN).attributes["mcp_responses_bridge.run.status"] == "cancelled"


async def test_a_request_that_is_given_up_ends_its_spans() -> None:
    traced = Traced()
    async with open_bridge(script=[hang()], **traced.options) as bridge, anyio.create_task_group() as tasks:
        tasks.start_soon(bridge.respond, "Hello")
        await bridge.upstream.arrivals.wait()
        tasks.cancel_scope.cancel()
    assert sorted(traced.read().names) == sorted([RUN, "turn 1", CHAT, "POST"])
    assert traced.one(CHAT).attributes["error.type"] == "cancelled"


async def test_a_call_that_fails_names_our_code_and_nothing_that_a_server_says() -> None:
    traced = Traced()
    async with open_bridge({"telling": build_server()}, **traced.options) as bridge:
        await bridge.use(call("telling__tell", {"key": 1, "canary": 2}), call("canary_nobody", {}))
    wrong, unknown = sorted(
        traced.read().all("execute_tool telling__tell") + traced.all("execute_tool _OTHER"), key=str
    )
    assert {span.attributes["error.type"] for span in (wrong, unknown)} == {"invalid_arguments", "unknown_tool"}
    assert "canary" not in str(traced.spans)


async def test_a_run_that_is_taken_up_is_linked_to_the_trace_that_it_was_begun_in() -> None:
    ordered, left, taken = OrderedServer(), Traced(), Traced()
    script = [responds(call("ordered__answer", {"key": "a"})), responds(message("Hi."))]
    settings = {"runs": {"store": "sqlite"}}
    async with ScriptedUpstream(script) as model:
        async with open_without_host(model, {"ordered": ordered.server}, **settings, **left.options) as bridge:
            run, _ = await bridge.start({"input": "Hello"}, principal="host")
            await ordered.reached("a")
        async with open_without_host(model, {"ordered": ordered.server}, **settings, **taken.options) as bridge:
            found = await bridge.find(run.run_id, principal="host")
            await bridge.see_out(await bridge.engine.resume(found))
    before, after = left.read().one(RUN), taken.read().one(RUN)
    assert (before.attributes["mcp_responses_bridge.run.status"], before.links) == ("cancelled", []), (
        "by the process that left it"
    )
    assert after.attributes["mcp_responses_bridge.run.status"] == "completed"
    assert after.links == [(before.trace, before.id)]
    assert {left.chain(span)[-1] for span in left.spans} == {RUN}, "all that was begun has ended"
    assert {taken.chain(span)[-1] for span in taken.spans} == {RUN}
    assert taken.all("turn 1") == [], "what was done before is not done again"


async def test_a_run_belongs_to_the_span_that_it_is_begun_in_and_that_is_left_alone() -> None:
    traced = Traced()
    async with open_bridge(script=[responds(message("Hi."))], **traced.options) as bridge:
        with traced.tracer.start_as_current_span("outside") as outside:
            await bridge.respond("Hello")
            assert trace.get_current_span() is outside
    # The host's request came over a connection of its own, whose task was begun before: in this process it is no child.
    assert traced.read().chain(traced.one("POST"))[-1] in (RUN, "outside")
