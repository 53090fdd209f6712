"""The test doubles themselves: each does what the tests that use it rely on."""

import json
import math
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import openai
import psutil
import pytest
from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.types import TextContent
from openai.types.responses import ResponseStreamEvent
from pydantic import TypeAdapter

from tests.fakes.clock import VirtualClock
from tests.fakes.servers import Gate, error_server, image_server, ordered_server, rendezvous_server, rogue, survivors
from tests.fakes.upstream import (
    HEAD,
    InvalidRequest,
    Reply,
    ScriptedUpstream,
    api_error,
    call,
    cut,
    gated,
    hang,
    html,
    http_error,
    message,
    raw,
    reasoning,
    responds,
    validate_request,
)

pytestmark = [pytest.mark.anyio, pytest.mark.external]

FOREIGN = {"OPENAI_API_KEY": "k", "MCP_RESPONSES_BRIDGE_TOKEN": "t", "https_proxy": "http://p", "NO_PROXY": "*"}
ASKED = {"model": "gpt-4.1", "input": [{"role": "user", "content": "你好"}]}
STREAMED = ASKED | {"stream": True}
ITEMS = [reasoning("I add.", encrypted="gAAAA"), message("One moment, 请稍等。"), call("add", {"a": 123.5, "b": 456.7})]
CUT = (httpx2.ReadError, httpx2.RemoteProtocolError)


@pytest.fixture(scope="module", autouse=True)
def _foreign_environment() -> Iterator[None]:
    """What a developer may have set; this comes before the fixture that has to hide it."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in FOREIGN.items():
            patch.setenv(name, value)
        yield


async def post(upstream: ScriptedUpstream, body: dict[str, Any]) -> httpx2.Response:
    async with httpx2.AsyncClient(base_url=upstream.base_url) as client:
        return await client.post("/responses", json=body)


def events_of(reply: httpx2.Response) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in reply.text.splitlines() if line.startswith("data: ")]


# The environment of a test


def test_keys_and_proxies_of_the_developer_are_out_of_sight() -> None:
    assert not FOREIGN.keys() & os.environ.keys()


def test_a_child_process_finds_the_project_from_any_folder_and_has_a_home_of_its_own(tmp_path: Path) -> None:
    code = "import bridge, pathlib; print(pathlib.Path.home())"
    home = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, check=True, text=True).stdout
    assert Path(home.strip()).is_relative_to(tmp_path.parent.parent)


@pytest.mark.parametrize("method", ["connect", "connect_ex"])
def test_a_connection_off_loopback_is_refused(method: str, refused_hosts: list[str]) -> None:
    with socket.socket() as sock, pytest.raises(AssertionError, match="this machine only"):
        getattr(sock, method)(("192.0.2.1", 80))
    assert refused_hosts == ["192.0.2.1"]
    refused_hosts.clear()


async def test_a_name_off_loopback_is_not_looked_up(refused_hosts: list[str]) -> None:
    with pytest.raises(AssertionError, match="this machine only"):
        await anyio.connect_tcp("example.com", 80)
    refused_hosts.clear()


# The scripted upstream


async def test_every_event_of_a_stream_is_one_that_the_sdk_knows() -> None:
    known: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)
    refusal = message("", content=[{"type": "refusal", "refusal": "I would rather not."}])
    async with ScriptedUpstream([responds(*ITEMS, refusal)]) as upstream:
        events = events_of(await post(upstream, STREAMED))
    assert [known.validate_python(event).type for event in events] == [event["type"] for event in events]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))


@pytest.mark.external
@pytest.mark.parametrize("options", [{}, {"chunk": 1}, {"crlf": True}], ids=str)
async def test_the_sdk_reads_a_stream_to_its_end(options: dict[str, Any]) -> None:
    async with ScriptedUpstream([responds(*ITEMS, **options)]) as upstream, sdk(upstream) as client:
        async with client.responses.stream(model="gpt-4.1", input="123.5 + 456.7?") as stream:
            response = await stream.get_final_response()
        upstream.assert_complete()
    assert [item.type for item in response.output] == ["reasoning", "message", "function_call"]
    assert response.output_text == "One moment, 请稍等。"


async def test_the_sdk_reads_a_json_response() -> None:
    async with ScriptedUpstream([responds(*ITEMS, metadata={"a": "b"})]) as upstream, sdk(upstream) as client:
        response = await client.responses.create(model="gpt-4.1", input="123.5 + 456.7?")
    assert response.output_text == "One moment, 请稍等。"
    assert response.metadata == {"a": "b"}
    assert upstream.requests[0].headers["authorization"] == "Bearer key"


def sdk(upstream: ScriptedUpstream) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(api_key="key", base_url=upstream.base_url, max_retries=0)


async def test_the_last_event_may_be_empty_and_events_may_be_replaced() -> None:
    script = [responds(*ITEMS, empty_final=True), responds(*ITEMS, events=lambda true: [": ping\n\n", *true[:2]])]
    async with ScriptedUpstream(script) as upstream:
        emptied, replaced = await post(upstream, STREAMED), await post(upstream, STREAMED)
    assert events_of(emptied)[-1]["response"]["output"] == []
    assert replaced.text.startswith(": ping\n\n")
    assert [event["type"] for event in events_of(replaced)] == ["response.created", "response.in_progress"]


@pytest.mark.parametrize(
    ("reply", "body", "kind"),
    [
        (responds(as_json=True), STREAMED, "application/json"),
        (responds(as_sse=True), ASKED, "text/event-stream; charset=utf-8"),
    ],
)
async def test_a_reply_may_come_in_the_form_that_was_not_asked_for(
    reply: Reply, body: dict[str, Any], kind: str
) -> None:
    async with ScriptedUpstream([reply]) as upstream:
        assert (await post(upstream, body)).headers["content-type"] == kind


async def test_requests_share_a_connection_and_are_recorded() -> None:
    async with ScriptedUpstream([responds(), responds()]) as upstream:
        async with httpx2.AsyncClient(base_url=upstream.base_url) as client:
            await client.post("/responses", json=ASKED)
            await client.post("/responses", json=STREAMED)
        upstream.assert_complete()
    assert upstream.connections == 1
    assert [request.json for request in upstream.requests] == [ASKED, STREAMED]
    assert upstream.requests[0].path == "/v1/responses"


@pytest.mark.parametrize(
    ("reply", "status", "text"),
    [
        (api_error(429, "Slow down.", {"retry-after": "1"}, code="rate_limit_exceeded"), 429, "rate_limit_exceeded"),
        (http_error(524, "a timeout occurred"), 524, "a timeout occurred"),
        (html(502), 502, "<h1>502</h1>"),
        (raw(b"HTTP/1.1 200 OK\r\n\r\nanything"), 200, "anything"),
    ],
    ids=["api_error", "http_error", "html", "raw"],
)
async def test_an_error_arrives_as_it_was_written(reply: Reply, status: int, text: str) -> None:
    async with ScriptedUpstream([reply]) as upstream:
        got = await post(upstream, ASKED)
    assert got.status_code == status
    assert text in got.text


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("after", [0, 40, HEAD, "response.output_item.added"])
async def test_a_cut_reply_ends_where_it_was_cut(after: int | str, reset: bool) -> None:
    async with ScriptedUpstream([cut(after, responds(*ITEMS), reset=reset)]) as upstream:
        with pytest.raises(CUT):
            await post(upstream, STREAMED)


@pytest.mark.parametrize(
    "reply",
    [hang(), hang(after=HEAD), gated(responds(), anyio.Event())],
    ids=["at once", "after the head", "at a gate"],
)
async def test_an_upstream_that_hangs_notices_when_the_client_goes(reply: Reply) -> None:
    async with ScriptedUpstream([reply]) as upstream, anyio.create_task_group() as group:
        group.start_soon(post, upstream, ASKED)
        await upstream.arrivals.wait()
        assert upstream.disconnects.count == 0
        group.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await upstream.disconnects.wait()


async def test_a_gate_in_the_middle_of_a_stream_holds_back_what_is_behind_it() -> None:
    gate = anyio.Event()
    reply = gated(responds(message("hello")), gate, after="response.output_item.added")
    seen = ""
    async with (
        ScriptedUpstream([reply]) as upstream,
        httpx2.AsyncClient(base_url=upstream.base_url) as client,
        client.stream("POST", "/responses", json=STREAMED) as stream,
    ):
        async for text in stream.aiter_text():
            seen += text
            if "output_item.added" in seen and not gate.is_set():
                assert "output_text.delta" not in seen
                gate.set()
    assert "response.completed" in seen


async def test_a_function_can_choose_the_reply() -> None:
    async with ScriptedUpstream(lambda request: responds(message(request.json["input"][0]["content"]))) as upstream:
        got = await post(upstream, ASKED)
    assert got.json()["output"][0]["content"][0]["text"] == "你好"


async def test_a_request_too_many_and_a_reply_too_many_are_told() -> None:
    async with ScriptedUpstream([]) as upstream:
        assert "has no reply in the script" in (await post(upstream, ASKED)).text
        with pytest.raises(AssertionError, match="has no reply in the script"):
            upstream.assert_complete()
    async with ScriptedUpstream([responds()]) as upstream:
        with pytest.raises(AssertionError, match="1 of 1 scripted replies"):
            upstream.assert_complete()


async def test_a_mistake_in_the_script_is_told() -> None:
    async with ScriptedUpstream([cut("no such event", responds())]) as upstream:
        assert (await post(upstream, ASKED)).status_code == 500
        with pytest.raises(AssertionError, match="the script failed at request 1"):
            upstream.assert_complete()


# The validator of requests

SCHEMA: dict[str, Any] = {"type": "object", "properties": {}}
TOOL = {"type": "function", "name": "add", "parameters": SCHEMA, "strict": False}
OUTPUT = {"type": "function_call_output", "call_id": "call_1", "output": "2"}


def test_a_whole_second_turn_is_a_valid_request() -> None:
    validate_request({**ASKED, "input": [*ASKED["input"], *ITEMS, OUTPUT], "tools": [TOOL, {"type": "web_search"}]})


def test_a_tool_as_the_caller_wrote_it_may_lack_strict() -> None:
    body = ASKED | {"tools": [{key: TOOL[key] for key in TOOL if key != "strict"}]}
    validate_request(body, as_written={"add"})
    with pytest.raises(InvalidRequest, match="strict"):
        validate_request(body)


@pytest.mark.parametrize(
    "broken",
    [
        {"model": 4.1},
        {"input": "a text"},
        {"input": [{"role": "user", "content": [{"type": "input_text", "text": "parts"}]}]},
        {"input": [{"role": "nobody", "content": "hello"}]},
        {"input": [{"type": "function_call", "call_id": "call_1", "name": "add", "arguments": {"a": 1}}]},
        {"input": [OUTPUT | {"output": 2}]},
        {"input": [OUTPUT | {"output": [{"type": "output_text", "text": "2"}]}]},
        {"input": [message("", content=[{"type": "output_text"}])]},
        {"input": [{"type": "unheard_of"}]},
        {"tools": [{"type": "function", "function": {"name": "add"}}]},
        {"tools": [TOOL | {"parameters": "none"}]},
    ],
    ids=str,
)
def test_a_broken_request_is_refused(broken: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest):
        validate_request(ASKED | broken)


# The servers


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_calls_meet_only_if_they_are_in_flight_together(mode: str) -> None:
    async with Client(rendezvous_server(3), mode=mode) as client, anyio.create_task_group() as group:
        for key in "abc":
            group.start_soon(client.call_tool, "meet", {"key": key})


async def test_the_test_decides_in_which_order_calls_are_answered() -> None:
    ordered = ordered_server()
    async with Client(ordered.server) as client, anyio.create_task_group() as group:
        for key in "abc":
            group.start_soon(client.call_tool, "answer", {"key": key})
        await ordered.reached("a", "b", "c")
        ordered.release("c", "a")
        await anyio.wait_all_tasks_blocked()
        assert ordered.answered == ["c", "a"]
        group.cancel_scope.cancel()
    assert ordered.cancelled == ["b"]


async def test_one_result_holds_text_image_and_structure() -> None:
    async with Client(image_server()) as client:
        result = await client.call_tool("draw", {})
    assert [block.type for block in result.content] == ["text", "image"]
    assert result.structured_content == {"width": 1, "height": 1}


async def test_a_refusal_is_told_and_a_crash_is_not() -> None:
    async with Client(error_server()) as client:
        told = [await client.call_tool(name, {}) for name in ("refuse", "crash")]
    texts = [block.text for result in told for block in result.content if isinstance(block, TextContent)]
    assert ["out of paper" in texts[0], "secret" in texts[1]] == [True, False]


# The rogue server

TOOLS = ["echo", "add", "sleep_forever", "write", "read"]


def converse(*modes: str, ask: list[dict[str, Any]] | None = None, env: dict[str, str] | None = None) -> Any:
    """Start the rogue server, send it everything at once, and end its input."""
    entry = rogue(*modes)
    lines = "".join(json.dumps({"jsonrpc": "2.0", "id": number} | body) + "\n" for number, body in enumerate(ask or []))
    return subprocess.run(
        [entry["command"], *entry["args"]], input=lines.encode(), env=env, capture_output=True, timeout=10, check=False
    )


def answers(*modes: str, ask: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in converse(*modes, ask=ask).stdout.splitlines()]


def using(name: str, **arguments: object) -> dict[str, Any]:
    meta = {"progressToken": 7}
    return {"method": "tools/call", "params": {"name": name, "arguments": arguments, "_meta": meta}}


def listing(cursor: str | None = None) -> dict[str, Any]:
    return {"method": "tools/list", "params": {} if cursor is None else {"cursor": cursor}}


@pytest.mark.parametrize(
    ("modes", "version"),
    [(["good"], "2026-07-28"), (["modern"], "2026-07-28"), (["legacy"], "2025-11-25"), (["banner"], "2026-07-28")],
)
async def test_the_sdk_agrees_on_an_era_with_the_rogue_server(modes: list[str], version: str) -> None:
    entry = StdioServerParameters.model_validate(rogue(*modes))
    async with Client(entry) as client:
        assert client.protocol_version == version
        assert [tool.name for tool in (await client.list_tools()).tools] == TOOLS
        assert (await client.call_tool("add", {"a": 1, "b": 2})).content == [TextContent(type="text", text="3")]


async def test_a_listener_of_the_modern_era_hears_that_the_tools_have_changed() -> None:
    async with Client(StdioServerParameters.model_validate(rogue("modern", "list_changed"))) as client:
        async with client.listen(tools_list_changed=True) as changes:
            await client.call_tool("grow", {})
            await anext(changes)
        assert "grown_1" in [tool.name for tool in (await client.list_tools()).tools]


async def test_a_server_at_the_gate_answers_when_the_gate_opens() -> None:
    async with Gate() as gate, anyio.create_task_group() as group:
        started = anyio.Event()

        async def connect() -> None:
            async with Client(StdioServerParameters.model_validate(rogue(gate.mode))):
                started.set()

        group.start_soon(connect)
        await gate.reached()
        assert not started.is_set()
        gate.open()


def test_a_legacy_server_announces_changes_without_being_asked() -> None:
    lines = answers("legacy", "list_changed", ask=[using("grow"), {"method": "server/discover"}])
    assert lines[0]["method"] == "notifications/tools/list_changed"
    assert lines[2]["error"]["code"] == -32601


def test_calls_that_sleep_do_not_hold_up_others_and_executions_are_counted(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    (line,) = answers(f"counts={counts}", ask=[using("sleep_forever"), using("echo", text="é")])
    assert line["result"]["content"][0]["text"] == "é"
    assert counts.read_text(encoding="utf-8").split() == ["sleep_forever", "echo"]


def test_a_crash_takes_the_calls_behind_it_along_but_not_the_count(tmp_path: Path) -> None:
    counts = tmp_path / "counts"
    ended = converse("crash_mid_call", f"counts={counts}", ask=[using("echo"), using("crash"), using("echo")])
    assert (ended.returncode, len(ended.stdout.splitlines())) == (3, 1)
    assert counts.read_text(encoding="utf-8").split() == ["echo", "crash"]


@pytest.mark.parametrize(
    ("mode", "code", "words"),
    [
        ("exit_at_start", 1, b"database is missing"),
        ("exits_on_discover", 1, b"expected initialize"),
        ("silent", 0, b""),
    ],
)
def test_a_server_that_does_not_start_says_nothing_on_stdout(mode: str, code: int, words: bytes) -> None:
    ended = converse(mode, ask=[{"method": "server/discover"}])
    assert (ended.returncode, ended.stdout) == (code, b"")
    assert words in ended.stderr


def test_pages_end_or_do_not() -> None:
    pages = [line["result"] for line in answers("pages", ask=[listing(cursor) for cursor in (None, *"1234")])]
    assert [tool["name"] for page in pages for tool in page["tools"]] == TOOLS
    assert [page.get("nextCursor") for page in pages] == ["1", "2", "3", "4", None]
    (page,) = answers("endless_pages", ask=[listing("1000000")])
    assert page["result"]["nextCursor"] == "1000001"


def test_one_bad_tool_is_listed_with_the_good_ones() -> None:
    (page,) = answers("bad_tool", ask=[listing()])
    assert {tool["name"]: tool["inputSchema"] for tool in page["result"]["tools"]}["broken"] is None
    assert len(page["result"]["tools"]) == len(TOOLS) + 1


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("bad_utf8", b'"caf\xe9"'),
        ("bad_json", b'{"content": [\n'),
        ("surrogate", rb"half an emoji: \ud83d"),
        ("deep=300", b"[" * 300),
        ("digits=5000", b"7" * 5000),
        ("huge=3", b"x" * (3 << 20)),
    ],
)
def test_a_bad_result_is_on_the_wire_as_announced(mode: str, expected: bytes) -> None:
    first, second = converse(mode, ask=[using(mode.partition("=")[0]), using("echo", text="on")]).stdout.splitlines(
        True
    )
    assert expected in first
    assert json.loads(second)["result"]["content"][0]["text"] == "on"


def test_noise_surrounds_each_answer() -> None:
    ended = converse("banner", "stderr_flood", ask=[using("echo")])
    assert [line[:5] for line in ended.stdout.splitlines()] == [b"Rogue", b"{not ", b"Rogue", b"{not ", b'{"jso']
    assert len(ended.stderr) > 4_000_000


def test_progress_comes_before_the_result() -> None:
    lines = answers("progress", ask=[using("progress")])
    assert [line["params"]["progress"] for line in lines[:3]] == [1, 2, 3]
    assert "result" in lines[3]


def test_a_server_tells_its_environment() -> None:
    ended = converse("env", ask=[using("environment")], env={"CANARY": "sings"})
    assert json.loads(json.loads(ended.stdout)["result"]["content"][0]["text"])["CANARY"] == "sings"


@pytest.mark.external
def test_a_stubborn_server_and_its_child_live_until_they_are_killed(tmp_path: Path) -> None:
    entry = rogue("ignores_eof", "grandchild", pids=tmp_path)
    command = [entry["command"], *entry["args"]]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=entry["env"]) as process:
        assert process.stdin
        assert process.stdout
        for number in range(2):
            process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "tools/list"}\n')
            process.stdin.flush()
            assert b"sleep_forever" in process.stdout.readline(), f"no answer {number}"
            process.send_signal(signal.SIGTERM)
        children = psutil.Process(process.pid).children()
        process.stdin.close()
        with pytest.raises(subprocess.TimeoutExpired):
            process.wait(timeout=0.1)
        assert sorted(survivors(tmp_path)) == ["ignores_eof grandchild", "sleeper"]
        process.kill()
        for child in children:
            child.kill()
    psutil.wait_procs(children, timeout=5)
    assert not survivors(tmp_path)


# The clock


async def test_time_stands_still_until_it_is_advanced_and_then_sleepers_wake_in_order() -> None:
    clock, woken = VirtualClock(), list[tuple[str, float]]()

    async def sleep_twice(name: str, seconds: float) -> None:
        for _ in range(2):
            await clock.sleep(seconds)
            woken.append((name, clock.now()))

    async with anyio.create_task_group() as group:
        group.start_soon(sleep_twice, "slow", 3)
        group.start_soon(sleep_twice, "quick", 2)
        await clock.advance(5)
        assert woken == [("quick", 2), ("slow", 3), ("quick", 4)]
        await clock.advance(1)
    assert woken[-1] == ("slow", 6)


@pytest.mark.parametrize(
    ("deadline", "cancelled"), [(-1, True), (0, True), (10, True), (10.5, False), (math.inf, False)]
)
async def test_a_scope_is_cancelled_when_its_virtual_deadline_has_come(deadline: float, cancelled: bool) -> None:
    clock = VirtualClock()
    async with anyio.create_task_group() as group:
        group.start_soon(clock.advance, 10)
        with clock.scope(deadline) as scope:
            await clock.sleep(10)
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught is cancelled


async def test_a_clock_that_jumps_sleeps_at_once_and_remembers() -> None:
    clock = VirtualClock(autojump=True)
    with clock.scope(4) as scope:
        await clock.sleep(1)
        await clock.sleep(2.5)
        await clock.sleep(60)
    assert scope.cancelled_caught
    assert (clock.sleeps, clock.now()) == ([1, 2.5, 60], 63.5)
