"""Tasks through the real process, over stdio and HTTP: the SDK's client with an extension that polls."""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.client import ConnectMode
from mcp.client.stdio import stdio_client

from bridge.questions import YES
from tests.external.conftest import RunNode
from tests.fakes.bridges import ERAS, open_without_host
from tests.fakes.clock import PATIENCE_S
from tests.fakes.items import Json
from tests.fakes.polling import Handle, Polling, send
from tests.fakes.servers import rogue
from tests.fakes.service import TOKEN, connect, serving, start_service
from tests.fakes.upstream import Request, ScriptedUpstream, call, gated, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

DONE = responds(message("done"))
ACCEPTED: Json = {"action": "accept", "content": {"answer": YES}}
TRANSPORTS = ("stdio", "http")
MODERN = "2026-07-28"
"""Said outright: on a busy machine the SDK's client takes a slow start for a server of the handshake era."""


@asynccontextmanager
async def serve(transport: str, config: Path, mode: ConnectMode, **options: Any) -> AsyncIterator[Client]:
    if transport == "http":
        async with (
            start_service("--config", str(config)) as (_, port),
            connect(port, "/mcp", mode, **options) as client,
        ):
            yield client
        return
    arguments = ["-m", "bridge", "serve", "--config", str(config)]
    server = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
    async with Client(stdio_client(server, errlog=sys.__stderr__ or sys.stderr), mode=mode, **options) as client:
        yield client


def write(folder: Path, upstream: ScriptedUpstream, **sections: Any) -> Path:
    file = folder / "config.json"
    unit = {"base_url": upstream.base_url, "model": "m"}
    file.write_text(json.dumps({"upstream": unit, "builtin_tools": False, **sections}), encoding="utf-8")
    return file


async def use(client: Client) -> Json:
    receipt = (await client.call_tool("respond", {"input": "x"})).structured_content
    assert receipt is not None
    return receipt


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_the_result_comes_by_a_task(transport: str, tmp_path: Path) -> None:
    """The model answers when the task has been polled twice."""
    gate = anyio.Event()

    async def pause(_seconds: float) -> None:
        if len(polling.polls) == 2:
            gate.set()

    polling = Polling(pause)
    async with ScriptedUpstream([gated(DONE, gate)]) as upstream:
        async with serve(transport, write(tmp_path, upstream), MODERN, extensions=[polling]) as client:
            receipt = await use(client)
        upstream.assert_complete()
    assert (receipt["output_text"], receipt["run_id"]) == ("done", polling.handles[0]["taskId"])
    assert [poll["status"] for poll in polling.polls[:2]] == ["working", "working"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_what_needs_a_yes_is_asked_by_the_task(transport: str, tmp_path: Path) -> None:
    shown: list[str] = []

    def say_yes(requests: Json) -> Json:
        shown.extend(request["params"]["message"] for request in requests.values())
        return dict.fromkeys(requests, ACCEPTED)

    script = [responds(call("desk__add", {"a": 1, "b": 2})), DONE]
    polling = Polling(answer=say_yes)
    options = {"extensions": [polling], "elicitation_callback": say_nothing}
    async with ScriptedUpstream(script) as upstream:
        config = write(tmp_path, upstream, mcpServers={"desk": rogue("good")})
        async with serve(transport, config, MODERN, **options) as client:
            receipt = await use(client)
        upstream.assert_complete()
    assert (receipt["status"], len(shown), len(polling.handles)) == ("completed", 1, 1)
    assert receipt["tool_calls"][0]["is_error"] is False


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_others_get_the_result_of_the_call_or_come_back_for_it(
    transport: str, mode: ConnectMode, tmp_path: Path
) -> None:
    """So does a host that takes tasks in the era that has none."""
    gate = anyio.Event()
    options: Any = {"extensions": [Polling()]} if mode == "legacy" else {}
    async with ScriptedUpstream([gated(DONE, gate)]) as upstream:
        config = write(tmp_path, upstream, limits={"soft_deadline_s": 1.5})
        async with serve(transport, config, mode, **options) as client:
            receipt = await use(client)
            assert receipt["status"] == "in_progress"
            gate.set()
            while receipt["status"] == "in_progress":
                result = await client.call_tool("respond_wait", {"run_id": receipt["run_id"]})
                receipt = result.structured_content or {}
    assert receipt["output_text"] == "done"


async def test_the_official_package_for_tasks_gets_its_results(run_node: RunNode) -> None:
    """Of a run that may end at once, of one that goes on while another does, and of one that asks."""
    gate = anyio.Event()

    def answer(request: Request) -> Any:
        prompt, *done = request.json["input"]
        match prompt["content"]:
            case "slow":
                return gated(DONE, gate)
            case "ask" if not done:
                return responds(call("desk__add", {"a": 1, "b": 2}))
            case "let it go on":
                gate.set()
        return DONE

    async with (
        ScriptedUpstream(answer) as upstream,
        open_without_host(upstream, {"desk": rogue("good")}) as bridge,
        serving(bridge) as served,
    ):
        script = Path(__file__).with_name("tasks.mjs").read_text(encoding="utf-8")
        url = f"http://127.0.0.1:{served.port}/mcp"
        done = await run_node("node", "--input-type=module", "--eval", script, "--", url, TOKEN)
    assert done.returncode == 0, done.stderr.decode()
    seen = json.loads(done.stdout)
    assert seen["first"][1:] == ["completed", "done"]
    assert seen["slow"] == seen["asking"] == ["task", "completed", "done"]
    assert seen["asked"] == [["elicitation", 'The model wants to run "add" of "desk" with {"a":1,"b":2}. Run it?']]
    assert seen["sent"] == ["tools/call", "tasks/get", "tasks/update"]


class Cut:
    """A bridge on stdio that is killed in mid-run, and the one that comes after it, with the same file of runs."""

    def __init__(self, folder: Path, upstream: ScriptedUpstream) -> None:
        servers = {"desk": rogue("good")}
        self._config = write(folder, upstream, mcpServers=servers, runs={"store": f"sqlite://{folder / 'runs.sqlite'}"})

        self._is_killed = False

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Client]:
        options: Json = {"elicitation_callback": say_nothing, "extensions": [Polling()]}
        try:
            async with serve("stdio", self._config, MODERN, **options) as client:
                yield client
        except Exception:
            if not self._is_killed:
                raise
        self._is_killed = False

    def kill(self) -> None:
        self._is_killed = True
        [server] = [child for child in psutil.Process().children() if str(self._config) in child.cmdline()]
        server.kill()

    @staticmethod
    async def begin(client: Client) -> str:
        """The id of a task."""
        handle = await client.session.call_tool("respond", {"input": "x"}, allow_claimed=True)
        assert isinstance(handle, Handle)
        return str(handle.task["taskId"])


async def say_nothing(*_: Any) -> Any:
    raise AssertionError("a task's question is not one of the call")


async def poll(client: Client, task_id: str, *statuses: str) -> Json:
    """The task, once it has one of these."""
    with anyio.fail_after(PATIENCE_S):
        while (task := await send(client.session, "tasks/get", task_id))["status"] not in statuses:
            pass
    return task


async def test_a_handle_is_good_in_the_next_process(tmp_path: Path) -> None:
    """Killed in its second turn: that one is asked again, and nothing else."""

    def answer(request: Request) -> Any:
        if len(request.json["input"]) == 1:
            return responds(call("desk__add", {"a": 1, "b": 2}))
        return DONE if is_killed else gated(DONE, anyio.Event())

    is_killed = False
    async with ScriptedUpstream(answer) as upstream:
        cut = Cut(tmp_path, upstream)
        async with cut.open() as client:
            task_id = await cut.begin(client)
            await accept(client, task_id)
            await upstream.arrivals.wait(2)
            before = await poll(client, task_id, "working")
            cut.kill()
        is_killed = True
        async with cut.open() as client:
            task = await poll(client, task_id, "completed")
            assert await poll(client, task_id, "completed") == task, "and it stays"
    result = task["result"]["structuredContent"]
    assert (result["status"], result["output_text"], result["run_id"]) == ("completed", "done", task_id)
    assert [len(request.json["input"]) > 1 for request in upstream.requests] == [False, True, True]
    assert task["createdAt"] == before["createdAt"]
    assert [notice["code"] for notice in result["notices"]] == ["resumed"]


async def test_a_question_that_was_cut_off_is_asked_by_the_next_process(tmp_path: Path) -> None:
    """Under another key: an answer to the first is none to this."""
    script = [responds(call("desk__add", {"a": 1, "b": 2})), DONE]
    async with ScriptedUpstream(script) as upstream:
        cut = Cut(tmp_path, upstream)
        async with cut.open() as client:
            task_id = await cut.begin(client)
            [first] = (await poll(client, task_id, "input_required"))["inputRequests"]
            cut.kill()
        async with cut.open() as client:
            task = await poll(client, task_id, "input_required")
            await send(client.session, "tasks/update", task_id, inputResponses={first: ACCEPTED})
            assert (await poll(client, task_id, "input_required"))["inputRequests"] == task["inputRequests"]
            assert first not in task["inputRequests"]
            await accept(client, task_id)
            task = await poll(client, task_id, "completed")
        upstream.assert_complete()
    assert task["result"]["structuredContent"]["tool_calls"][0]["is_error"] is False


async def accept(client: Client, task_id: str) -> None:
    """Say yes to what it asks."""
    asked = (await poll(client, task_id, "input_required"))["inputRequests"]
    await send(client.session, "tasks/update", task_id, inputResponses=dict.fromkeys(asked, ACCEPTED))
