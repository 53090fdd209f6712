"""Runs as tasks: a host that declares the extension gets a handle, polls, answers questions by it, and may stop it."""

import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import MCPServer
from mcp.types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
)

from bridge.app import Bridge
from bridge.host.tasks import TASKS
from bridge.questions import YES
from tests.fakes.bridges import ERAS, open_without_host, outputs_of
from tests.fakes.clock import VirtualClock, until
from tests.fakes.items import Json
from tests.fakes.polling import Polling
from tests.fakes.rawhost import INFO, VERSIONS, RawHost, raw_host
from tests.fakes.servers import OrderedServer, ordered_server
from tests.fakes.service import Reply, Served, serving
from tests.fakes.upstream import Request, ScriptedUpstream, api_error, call, message, responds

pytestmark = pytest.mark.anyio

TAKES: Json = {"extensions": {TASKS: {}}}
TAKES_AND_ASKS: Json = TAKES | {"elicitation": {}}
ACCEPTED: Json = {"action": "accept", "content": {"answer": YES}}
NOTHING: Json = {}
UNKNOWN = {
    "code": INVALID_PARAMS,
    "message": "taskId: there is no such task; it may have expired, and must be that of an earlier result",
    "data": None,
}


class Place:
    """A bridge on a virtual clock whose model calls a tool that answers when it is released, and then `done`; and
    `write` of another server, which needs a yes, for each word of the input that is not `look`."""

    def __init__(self, bridge: Bridge, clock: VirtualClock, tool: OrderedServer, upstream: ScriptedUpstream) -> None:
        self.bridge, self.clock, self.tool, self.upstream = bridge, clock, tool, upstream
        self.written: list[str] = []

    async def finish(self) -> None:
        """Let the tool answer, and the run end."""
        self.tool.release("a")
        [run] = [run for run in await self.bridge.engine.list(principal="host") if run.ending is None]
        await until(lambda: run.ending is not None)

    async def begin(self, host: RawHost, text: str = "look") -> Json:
        """What `respond` comes to a second later."""
        started = len(self.tool.started)
        number = await host.call("respond", {"input": text})
        await until(lambda: len(self.tool.started) > started or text != "look")
        await self.clock.advance(1)
        return await host.result(number)

    def poll_until(self, polls: int) -> Polling:
        """A host's extension that has polled so often when the tool answers; time passes as it waits."""

        async def pause(seconds: float) -> None:
            if len(polling.polls) == polls:
                self.tool.release("a")
            await self.clock.advance(seconds)

        polling = Polling(pause)
        return polling

    async def respond(self, client: Client) -> CallToolResult:
        """What an SDK's client makes of it."""
        results: list[CallToolResult] = []

        async def call_it() -> None:
            results.append(await client.call_tool("respond", {"input": "look"}))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(call_it)
            await until(lambda: bool(self.tool.started))
            await self.clock.advance(1)
        return results[0]


def use_as_told(request: Request) -> Any:
    if any("output" in item for item in request.json["input"]):
        return responds(message("done"))
    text = request.json["input"][0]["content"]
    return responds(message("Looking."), *map(_call, text.split()))


def _call(word: str) -> Json:
    return call("o__answer", {"key": "a"}) if word == "look" else call("desk__write", {"text": word})


@asynccontextmanager
async def place(script: Any = use_as_told, **limits: Any) -> AsyncIterator[Place]:
    clock, tool, desk = VirtualClock(), ordered_server(), MCPServer("desk")
    limits = {"call_timeout_s": 99999, "timeout_s": 99999, **limits}
    async with ScriptedUpstream(script) as upstream:
        servers = {"o": tool.server, "desk": {"command": desk}}
        async with open_without_host(upstream, servers, clock=clock, limits=limits) as bridge:
            at = Place(bridge, clock, tool, upstream)

            @desk.tool()
            async def write(text: str) -> str:
                """Needs a yes."""
                at.written.append(text)
                return f"wrote {text}"

            yield at
        assert not upstream.errors


async def ask(host: RawHost, method: str, task: Json | str, **params: Any) -> Json:
    """What one of the extension's requests comes to; `task` is a task, or an id."""
    task_id = task if isinstance(task, str) else task["taskId"]
    result = await host.result(await host.send(method, {"taskId": task_id, **params}))
    result.pop("_meta", None)
    return result


async def get(host: RawHost, task: Json | str) -> Json:
    return await ask(host, "tasks/get", task)


async def test_a_host_that_takes_tasks_gets_a_handle_and_polls_for_the_result() -> None:
    async with place(soft_deadline_s=10) as at:
        polling = at.poll_until(12)
        async with Client(at.bridge.server, extensions=[polling]) as client:
            result = await at.respond(client)
    [handle] = polling.handles
    assert result.structured_content["status"] == "completed"
    assert (result.structured_content["output_text"], handle["taskId"]) == ("done", result.structured_content["run_id"])
    assert {poll["createdAt"] for poll in polling.polls} == {handle["createdAt"]}
    assert [poll["status"] for poll in polling.polls][-2:] == ["working", "completed"]
    assert at.clock.now() > at.bridge.limits.soft_deadline_s


async def test_the_handle_can_be_asked_for_at_once_and_says_what_goes_on() -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        task = await at.begin(host)
        assert (task["resultType"], task["status"]) == ("task", "working")
        now = await get(host, task)
        assert now == {**{name: task[name] for name in task if name != "_meta"}, "resultType": "complete"} | {
            "ttlMs": now["ttlMs"]
        }
        assert now["statusMessage"] == "→ o__answer(key=a) on o"
        assert now["ttlMs"] >= 1000 * at.bridge.keep_s
        assert (type(now["ttlMs"]), type(now["pollIntervalMs"])) == (int, int)
        await at.finish()
        assert (await get(host, task))["result"]["structuredContent"]["output_text"] == "done"
        wait = await host.receipt(await host.call("respond_wait", {"run_id": task["taskId"]}))
        assert wait["output_text"] == "done", "the tools know it by the same id"


async def test_a_run_that_ends_within_a_second_is_answered_directly() -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        number = await host.call("respond", {"input": "look"})
        await until(lambda: bool(at.tool.started))
        await at.clock.advance(0.9)
        at.tool.release("a")
        assert (await host.receipt(number))["output_text"] == "done"


@pytest.mark.parametrize(("mode", "capabilities"), [("auto", {}), ("legacy", TAKES)])
async def test_every_other_host_is_answered_at_the_soft_deadline(mode: ConnectMode, capabilities: Json) -> None:
    async with place() as at, raw_host(at.bridge.server, mode, capabilities=capabilities) as host:
        number = await host.call("respond", {"input": "look"})
        await until(lambda: bool(at.tool.started))
        await at.clock.advance(44)
        assert not host.has_result(number)
        await at.clock.advance(1)
        assert (await host.receipt(number))["status"] == "in_progress"


@pytest.mark.parametrize("mode", ERAS)
async def test_tasks_are_announced_in_the_era_that_has_them(mode: ConnectMode) -> None:
    async with place() as at, Client(at.bridge.server, mode=mode) as client:
        assert client.server_capabilities.extensions == ({TASKS: {}} if mode == "auto" else None)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_the_methods_are_refused_where_nobody_declared_them(method: str) -> None:
    async with (
        place() as at,
        raw_host(at.bridge.server, "auto") as undeclared,
        raw_host(at.bridge.server, "legacy", capabilities=TAKES) as older,
        raw_host(at.bridge.server, "auto", capabilities=TAKES) as host,
    ):
        task = await at.begin(host)
        refusal = (await ask(undeclared, method, task, inputResponses={}))["error"]
        assert refusal["code"] == MISSING_REQUIRED_CLIENT_CAPABILITY
        assert refusal["data"] == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        refusal = (await ask(older, method, task, inputResponses={}))["error"]
        assert (refusal["code"], refusal["data"]) == (METHOD_NOT_FOUND, method)
        assert (await get(host, task))["status"] == "working"


async def test_a_question_is_asked_by_the_task_and_its_answer_goes_on_with_the_run() -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES_AND_ASKS) as host:
        task = await at.begin(host, "one two")
        assert (task["status"], "inputRequests" in task) == ("working", False)
        now = await get(host, task)
        assert now["status"] == "input_required"
        assert [asked["method"] for asked in now["inputRequests"].values()] == ["elicitation/create"] * 2
        first, second = now["inputRequests"]
        assert '"write" of "desk" with {"text":"one"}' in now["inputRequests"][first]["params"]["message"]
        assert await ask(host, "tasks/update", task, inputResponses={first: ACCEPTED}) == {"resultType": "complete"}
        now = await get(host, task)
        assert (now["status"], list(now["inputRequests"])) == ("input_required", [second])
        await ask(host, "tasks/update", task, inputResponses={second: {"action": "decline"}})
        await until(lambda: len(at.upstream.requests) == 2)
        assert at.written == ["one"]


async def test_the_key_of_a_question_is_never_another_ones() -> None:
    """Also if both say the same (joshrotenberg/tower-mcp#1248)."""

    def write_twice(request: Request) -> Any:
        done = len([item for item in request.json["input"] if "output" in item])
        return responds(call("desk__write", {"text": "one"})) if done < 2 else responds(message("done"))

    async with place(write_twice) as at, raw_host(at.bridge.server, "auto", capabilities=TAKES_AND_ASKS) as host:
        task = await at.begin(host, "one")
        [first] = (await get(host, task))["inputRequests"]
        await ask(host, "tasks/update", task, inputResponses={first: ACCEPTED})
        await until(lambda: len(at.upstream.requests) == 2)
        await at.clock.advance(1)
        [second] = (await get(host, task))["inputRequests"]
        await ask(host, "tasks/update", task, inputResponses={first: ACCEPTED})
        assert (await get(host, task))["inputRequests"].keys() == {second} != {first}
    assert at.written == ["one"]


async def test_a_person_may_take_longer_than_the_soft_deadline() -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES_AND_ASKS) as host:
        task = await at.begin(host, "one")
        [key] = (await get(host, task))["inputRequests"]
        await at.clock.advance(590)
        await ask(host, "tasks/update", task, inputResponses={key: ACCEPTED})
        await until(lambda: len(at.upstream.requests) == 2)
        assert at.written == ["one"]


async def test_answers_to_what_is_not_asked_change_nothing() -> None:
    """Never asked, answered before, of another task; and one that is no answer approves nothing."""
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES_AND_ASKS) as host:
        task = await at.begin(host, "one two")
        first, second = (await get(host, task))["inputRequests"]
        forged = {"question-9": ACCEPTED, "": ACCEPTED, "one": ACCEPTED}
        assert await ask(host, "tasks/update", task, inputResponses=forged) == {"resultType": "complete"}
        assert list((await get(host, task))["inputRequests"]) == [first, second]
        await ask(host, "tasks/update", task, inputResponses={first: {"action": "decline"}})
        await ask(host, "tasks/update", task, inputResponses={first: ACCEPTED, second: {"action": "yes"}})
        await until(lambda: len(at.upstream.requests) == 2)
        assert at.written == []
        other = await at.begin(host)
        assert await ask(host, "tasks/update", other, inputResponses={"question-1": ACCEPTED}) == {
            "resultType": "complete"
        }
        assert (await get(host, other))["status"] == "working"


async def test_a_host_that_polls_and_never_shows_the_question_does_not_hold_the_run_for_ever() -> None:
    async with place(orphan_s=300) as at, raw_host(at.bridge.server, "auto", capabilities=TAKES_AND_ASKS) as host:
        task = await at.begin(host, "one")
        for _ in range(10):
            await at.clock.advance(29)
            assert (await get(host, task))["status"] == "input_required"
        await at.clock.advance(40)
        await until(lambda: len(at.upstream.requests) == 2)
        assert "was not answered in time" in outputs_of(at.upstream.requests[1])[0]
        assert at.written == []


async def test_a_host_that_cannot_ask_is_told_the_result_of_the_refusal() -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        receipt = await host.receipt(await host.call("respond", {"input": "one"}))
    assert [notice["code"] for notice in receipt["notices"]] == ["approval_required"]


async def test_a_task_goes_on_for_as_long_as_it_is_polled_and_ends_when_nobody_does() -> None:
    async with place(orphan_s=100) as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        task = await at.begin(host)
        for _ in range(5):
            await at.clock.advance(99)
            assert (await get(host, task))["status"] == "working"
        await at.clock.advance(100)
        now = await get(host, task)
        assert now["status"] == "cancelled"
        assert "nobody asked for this run for 100 s" in now["statusMessage"]
        assert "result" not in now


async def test_a_task_that_is_polled_keeps_its_place_though_others_wait() -> None:
    async with (
        place(max_runs=1) as at,
        raw_host(at.bridge.server, "auto", capabilities=TAKES) as host,
        raw_host(at.bridge.server, "auto") as other,
    ):
        task = await at.begin(host)
        await at.clock.advance(70)  # nobody asked for it for a minute, and nobody was in need
        assert (await get(host, task))["status"] == "working"
        waiting = await other.call("respond", {"input": "one"})
        await at.clock.advance(1)
        for _ in range(5):
            assert (await get(host, task))["status"] == "working"
            await at.clock.advance(50)
        await other.result(waiting)
        await at.clock.advance(10)
        now = await get(host, task)
        assert now["status"] == "cancelled"
        assert "others waited for its place" in now["statusMessage"]


async def test_a_task_is_stopped_once_and_a_finished_one_stays_as_it_is() -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        task = await at.begin(host)
        assert await ask(host, "tasks/cancel", task) == {"resultType": "complete"}
        assert await ask(host, "tasks/cancel", task) == {"resultType": "complete"}
        await until(lambda: at.tool.cancelled == ["a"])
        now = await get(host, task)
        assert (now["status"], now.get("result")) == ("cancelled", None)
        assert "Looking." in now["statusMessage"], "what there is so far is in its words"
        task = await at.begin(host, "look look")
        await at.finish()
        assert await ask(host, "tasks/cancel", task) == {"resultType": "complete"}
        now = await get(host, task)
        assert (now["status"], now["result"]["structuredContent"]["status"]) == ("completed", "completed")


async def test_a_run_that_failed_is_a_task_that_completed_with_an_error() -> None:
    """`failed` is for calls that were answered with an error of the protocol."""

    def fail(request: Request) -> Any:
        return api_error(401, "No.") if len(request.json["input"]) > 1 else use_as_told(request)

    async with place(fail) as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        task = await at.begin(host)
        await at.finish()
        now = await get(host, task)
    assert (now["status"], now["result"]["isError"]) == ("completed", True)
    assert now["result"]["structuredContent"]["status"] == "failed"


async def test_equal_calls_are_tasks_of_their_own() -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        first = await at.begin(host)
        assert (await at.begin(host))["taskId"] != first["taskId"], "the host has the first by its handle"


async def test_a_call_that_was_given_up_before_its_handle_came_is_found_again() -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        number = await host.call("respond", {"input": "look"})
        await until(lambda: bool(at.tool.started))
        await host.cancel(number, "Request timed out")
        await anyio.wait_all_tasks_blocked()
        number = await host.call("respond", {"input": "look"})
        await at.clock.advance(1)
        task = await host.result(number)
        assert "nothing was done twice" in task["statusMessage"]
        await at.finish()
        assert (await get(host, task))["status"] == "completed"
    assert len(at.tool.started) == 1


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_what_is_no_request_about_a_task_gets_one_clear_sentence(method: str) -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        assert (await ask(host, method, "run_1", inputResponses={}))["error"] == UNKNOWN
        for task_id in ("", None, 7, ["run_1"]):
            number = await host.send(method, {"taskId": task_id, "inputResponses": {}})
            error = (await host.result(number))["error"]
            assert error["message"] == "taskId: it is missing; give that of an earlier result, as a text"
        task = await at.begin(host)
        for responses in (None, ["question-1"], "question-1"):
            result = await ask(host, "tasks/update", task, inputResponses=responses)
            assert "inputResponses: expected an object" in result["error"]["message"]


async def test_methods_of_earlier_tasks_do_not_exist() -> None:
    async with place() as at, raw_host(at.bridge.server, "auto", capabilities=TAKES) as host:
        task = await at.begin(host)
        for method in ("tasks/list", "tasks/result"):
            assert (await ask(host, method, task))["error"]["code"] == METHOD_NOT_FOUND


async def post(served: Served, method: str, params: Json, *, host: str = "raw", **headers: str) -> Reply:
    """A request of the modern era, without a token, from a host of this name."""
    meta = {
        "io.modelcontextprotocol/protocolVersion": VERSIONS["auto"],
        "io.modelcontextprotocol/clientInfo": INFO | {"name": host},
        "io.modelcontextprotocol/clientCapabilities": TAKES,
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": meta}}
    sent = {
        "Host": f"127.0.0.1:{served.port}",
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "MCP-Protocol-Version": VERSIONS["auto"],
        "Mcp-Method": method,
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    return await served.send("POST", "/mcp", list(sent.items()), json.dumps(body).encode())


async def begin_over_http(at: Place, served: Served) -> Json:
    replies = []

    async def respond() -> None:
        params = {"name": "respond", "arguments": {"input": "look"}}
        replies.append(await post(served, "tools/call", params, mcp_name="respond"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(respond)
        await until(lambda: bool(at.tool.started))
        await at.clock.advance(1)
    task: Json = json.loads(replies[0].body)["result"]
    assert task["resultType"] == "task"
    return task


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_over_http_a_header_that_names_another_task_is_refused(method: str) -> None:
    """A proxy goes by the header: who may ask for one task must not get another. It may be left out, as some clients do
    (modelcontextprotocol/inspector#1917)."""
    async with place() as at, serving(at.bridge, no_auth=True) as served:
        task_id = (await begin_over_http(at, served))["taskId"]
        params = {"taskId": task_id, "inputResponses": NOTHING}
        for named in ("run_of_somebody_else", "", "=?base64?cnVuXzE=?="):
            reply = await post(served, method, params, mcp_name=named)
            error = json.loads(reply.body)["error"]
            assert (reply.status, error["code"]) == (400, HEADER_MISMATCH)
            assert error["message"] == "Mcp-Name: the header names another task than taskId in the body"
        for headers in (
            NOTHING,
            {"mcp_name": task_id},
            {"mcp_name": f"=?base64?{b64encode(task_id.encode()).decode()}?="},
        ):
            reply = await post(served, method, params, **headers)
            assert (reply.status, json.loads(reply.body)["result"]["resultType"]) == (200, "complete")


@pytest.mark.parametrize("method", ["tasks/get", "tasks/update", "tasks/cancel"])
async def test_a_task_of_somebody_else_is_as_one_that_does_not_exist(method: str) -> None:
    async with place() as at, serving(at.bridge, no_auth=True) as served:
        task = await begin_over_http(at, served)
        params = {"taskId": task["taskId"], "inputResponses": NOTHING}
        reply = await post(served, method, params, host="another")
        unknown = await post(served, method, params | {"taskId": "run_1"})
        error = json.loads(reply.body)["error"]
        assert (error, json.loads(unknown.body)["error"]) == ({name: UNKNOWN[name] for name in error},) * 2
        mine = await post(served, "tasks/get", params)
        assert json.loads(mine.body)["result"]["status"] == "working"


async def test_over_http_the_sdks_client_gets_the_result_by_its_task() -> None:
    async with place() as at, serving(at.bridge) as served:
        polling = at.poll_until(3)
        async with served.client(extensions=[polling]) as client:
            result = await at.respond(client)
    assert (result.structured_content["output_text"], len(polling.handles)) == ("done", 1)
