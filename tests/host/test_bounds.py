"""More than there is room for: connections wait, idle ones make room, calls are queued, and nobody is lost."""

import asyncio
import gc
import resource
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
from mcp.client.client import ConnectMode

from tests.fakes.bridges import ERAS, open_bridge, open_without_host, respond, text_of
from tests.fakes.clock import PATIENCE_S, until
from tests.fakes.httphost import http_host
from tests.fakes.service import TOKEN, Served, connect, parse, serving, start_service
from tests.fakes.upstream import ScriptedUpstream, gated, hang, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

CLIENTS = 50
"""Twice as many as there is room for."""
HEALTH = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"


@asynccontextmanager
async def small(room: int) -> AsyncIterator[Served]:
    """A service with room for so many connections, and nothing behind it."""
    async with open_without_host(None) as bridge, serving(bridge, room=room) as served:
        yield served


async def ask_health(served: Served) -> int:
    request = HEALTH.format(port=served.port) + "Connection: close\r\n\r\n"
    return parse(await served.exchange(request.encode())).status


@pytest.mark.rule("REL28")
@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTT"], ids=["nothing", "half a request"])
async def test_who_sends_no_request_makes_room_for_who_does(sent: bytes) -> None:
    """As libuv's joyent/libuv#690 and dom96/httpbeast#27, where nobody else got in."""
    async with small(16) as served, AsyncExitStack() as stack:
        for _ in range(40):
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            stack.callback(writer.close)
            writer.write(sent)
        assert [await ask_health(served) for _ in range(3)] == [200] * 3


async def test_while_it_is_crowded_clients_are_asked_to_leave_after_their_answer() -> None:
    async with small(16) as served, AsyncExitStack() as stack:

        async def ask_and_stay() -> str:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            stack.callback(writer.close)
            writer.write((HEALTH.format(port=served.port) + "\r\n").encode())
            return (await reader.readuntil(b"\r\n\r\n")).decode().lower()

        heads = [await ask_and_stay() for _ in range(16)]
    assert ["connection: close" in head for head in heads] == [False] * 8 + [True] * 8


@pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning")
async def test_streams_for_news_leave_room_for_calls() -> None:
    """Who gets none on /mcp is told so in a way that clients know; one on /sse may try again."""
    async with small(48) as served, AsyncExitStack() as stack:
        for _ in range(16):
            await stack.enter_async_context(served.client("/sse", "legacy"))
        sse = await served.send("GET", "/sse", served.right)
        assert (sse.status, sse.headers["retry-after"]) == (503, "10")
        stream = await served.send("GET", "/mcp", [*served.right, ("Accept", "text/event-stream")])
        assert (stream.status, stream.headers["allow"]) == (405, "POST, DELETE")
        async with served.client("/mcp", "legacy") as client:
            assert len((await client.list_tools()).tools) == 3
    gc.collect()  # the SDK does not close the channels of a stream that is cancelled


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_that_is_not_let_in_says_when_to_come_again(
    mode: ConnectMode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bridge.run.memory.MAX_WAITING_OF_ONE", 1)
    gate = anyio.Event()
    answer = gated(responds(message("done")), gate)
    async with open_bridge(script=lambda _: answer, mode=mode, limits={"max_runs": 1}) as bridge:
        receipts = list[Any]()

        async def begin(words: str) -> None:
            receipts.append(await bridge.respond(words))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin, "one")
            await bridge.upstream.arrivals.wait(1)
            tasks.start_soon(begin, "two")
            await until(lambda: bridge.engine._places.waiting == 1)
            result = await bridge.client.call_tool("respond", {"input": "three"})
            gate.set()
        assert [receipt["output_text"] for receipt in receipts] == ["done", "done"]
        assert (await bridge.respond("three"))["output_text"] == "done"
    assert result.is_error
    assert result.structured_content
    words = "The bridge is busy: 1 runs go on (limits.max_runs), and 1 wait. Nothing was sent; try again in 1 s"
    error = {"code": "busy", "message": words, "who": "caller", "status": None, "request_id": None, "retry_after_s": 1}
    assert (result.structured_content["status"], result.structured_content["error"]) == ("failed", error)
    assert words in text_of(result), "whichever form a host shows"


async def test_a_call_that_waits_for_its_turn_is_answered_in_progress_and_can_be_stopped() -> None:
    gate = anyio.Event()
    answer = gated(responds(message("done")), gate)
    limits = {"max_runs": 1, "soft_deadline_s": 1}
    async with open_bridge(script=lambda _: answer, limits=limits) as bridge:
        first, second = await bridge.respond("one"), await bridge.respond("two")
        assert (first["status"], second["status"]) == ("in_progress", "in_progress")
        await bridge.client.call_tool("respond_cancel", {"run_id": second["run_id"]})
        gate.set()
        done = await bridge.client.call_tool("respond_wait", {"run_id": first["run_id"]})
        assert done.structured_content
        assert done.structured_content["output_text"] == "done"
        assert len(bridge.requests) == 1, "the other was never sent"


@pytest.mark.parametrize("mode", ERAS)
async def test_of_clients_that_hang_up_few_keep_their_runs_and_who_stays_is_served(mode: ConnectMode) -> None:
    """600 that left kept 572 requests to the upstream going."""
    async with (
        ScriptedUpstream(lambda _: hang()) as upstream,
        open_without_host(upstream, limits={"max_runs": 8}) as bridge,
        serving(bridge) as served,
        http_host(served.port, mode) as host,
    ):
        calls = [await host.call(f"words {number}") for number in range(40)]
        await upstream.arrivals.wait(8)
        await until(lambda: bridge.engine._places.waiting == 32)
        for call in calls:
            call.hang_up()
        await until(lambda: bridge.engine._places.waiting == 0)
        await until(lambda: upstream.arrivals.count - upstream.disconnects.count <= 4)
        before = upstream.arrivals.count
        stays = await host.call("who stays")
        await upstream.arrivals.wait(before + 1)
        stays.hang_up()


async def ask_all(port: int, count: int, mode: ConnectMode) -> int:
    """How many of so many clients that come at once get their own answer."""
    answered = 0

    async def visit(number: int) -> None:
        nonlocal answered
        async with connect(port, "/mcp", mode) as client:
            receipt = await respond(client, f"What is {number} + 100000?")
            while receipt["status"] == "in_progress":
                result = await client.call_tool("respond_wait", {"run_id": receipt["run_id"]})
                receipt = result.structured_content or {}
            answered += f"math_calculator: {number + 100_000}" in receipt["output_text"]

    async with anyio.create_task_group() as tasks:
        for number in range(count):
            tasks.start_soon(visit, number)
    return answered


@pytest.mark.rule("REL22")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("ulimit", ["-Sn 100", "-n 100"], ids=["soft", "hard"])
async def test_few_descriptors_cost_no_call(ulimit: str, mode: ConnectMode) -> None:
    """Of 200 calls 46 failed with 256 of them, as openai/codex#26984 and mattt/iMCP#178; nothing is logged either."""
    async with start_service("--offline", ulimit=ulimit) as (pid, port):
        assert await ask_all(port, CLIENTS, mode) == CLIENTS
        most = psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)[0]
        assert most == (100 if ulimit.startswith("-n") else resource.getrlimit(resource.RLIMIT_NOFILE)[1])


async def test_where_not_even_the_bounds_help_it_is_said_once_and_served_again() -> None:
    """The last descriptors are gone; when it has said so, they are back."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HUNGRY),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin
    assert process.stdout
    assert process.stderr
    try:
        port = int(await process.stdout.readline())
        with anyio.fail_after(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write((HEALTH.format(port=port) + "Connection: close\r\n\r\n").encode())
            said = await process.stderr.readline()
            process.stdin.write(b"enough\n")
            assert parse(await reader.read()).status == 200
            writer.close()
        process.terminate()
        said += await process.stderr.read()
    finally:
        await process.wait()
    words = "connections could not be accepted 1 times: no descriptor was left (ulimit -n)"
    assert said.decode().splitlines() == [f"WARNING:bridge.host.web_server:{words}"]


HUNGRY = f"""
import logging, os, resource, sys
import anyio
from tests.fakes.bridges import open_without_host
from tests.fakes.service import serving

async def main():
    logging.basicConfig()
    async with open_without_host(None) as bridge, serving(bridge, token="{TOKEN}") as served:
        await served.send("GET", "/healthz", served.right)  # it has begun, with all that it imports
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (64, hard))
        held = []
        try:
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        except OSError:
            print(served.port, flush=True)
        await anyio.to_thread.run_sync(sys.stdin.readline)
        for descriptor in held:
            os.close(descriptor)
        await anyio.sleep_forever()

anyio.run(main)
"""


async def test_children_get_the_limit_back_that_we_were_started_with(tmp_path: Path) -> None:
    """Some programs close every descriptor up to their limit, one by one."""
    config = tmp_path / "config.json"
    config.write_text(LIMIT_TELLER, encoding="utf-8")
    config.chmod(0o600)
    async with start_service("--offline", "--config", str(config), ulimit="-Sn 200") as (pid, _):
        await until(lambda: bool(limits_of_children(pid)))
        children = limits_of_children(pid)
        assert psutil.Process(pid).rlimit(psutil.RLIMIT_NOFILE)[0] > 200
    assert set(children) == {200}


LIMIT_TELLER = """{"mcpServers": {"s": {"command": "/bin/sh", "args": ["-c", "exec sleep 60"]}}}"""


def limits_of_children(pid: int) -> Sequence[int]:
    children = psutil.Process(pid).children()
    return [child.rlimit(psutil.RLIMIT_NOFILE)[0] for child in children if child.name() == "sleep"]
