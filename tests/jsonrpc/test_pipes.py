"""Two descriptors as a stream pair: whatever bytes come in, a message is read or costs its own request alone."""

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCNotification

from bridge.host.stdio import serve_stdio
from bridge.jsonrpc.descriptors import read_lines
from bridge.jsonrpc.pipes import open_pipes
from tests.fakes.bridges import open_bridge
from tests.fakes.clock import PATIENCE_S

pytestmark = pytest.mark.anyio

LIMIT = 1 << 20


def reply(value: str) -> bytes:
    return f'{{"jsonrpc": "2.0", "id": 7, "result": {{"value": {value}}}}}'.encode()


# -- a connected server's pipes ----------------------------------------------------------------------------------------


@asynccontextmanager
async def pipes(
    *, limit: int = LIMIT, answer_bad: bool = False
) -> AsyncIterator[tuple[Any, Any, int, int, anyio.Event]]:
    """(from the wire, to the wire, where the peer writes, where the peer reads, the end of the wire)."""
    source, peer_writes = os.pipe()
    peer_reads, sink = os.pipe()
    ended = anyio.Event()
    try:
        async with open_pipes("peer", source, sink, limit=limit, on_end=ended.set, answer_bad=answer_bad) as (
            incoming,
            outgoing,
        ):
            yield incoming, outgoing, peer_writes, peer_reads, ended
    finally:
        for fd in (source, sink, peer_writes, peer_reads):
            with suppress(OSError):
                os.close(fd)


@pytest.mark.rule("REL8")
async def test_noise_is_skipped_and_a_bad_reply_becomes_the_error_of_its_request() -> None:
    async with pipes() as (incoming, _, peer, _, _):
        os.write(peer, b"Server 1.0 \xe9\n\n\r\n{not json\n" + reply("[") + b"\n" + reply('"next"') + b"\r\n")
        with anyio.fail_after(PATIENCE_S):
            failed, good = (await incoming.receive()).message, (await incoming.receive()).message
    assert isinstance(failed, JSONRPCError)
    assert failed.id == 7
    assert "not readable as JSON" in failed.error.message
    assert good.result == {"value": "next"}


async def test_a_reply_that_names_no_request_becomes_an_error_without_an_id_and_a_log_line_nothing() -> None:
    async with pipes() as (incoming, _, peer, _, _):
        os.write(peer, b'{"log": "{broken"\n' + b'{"result": {"text": "cut off he\n' + reply('"next"') + b"\n")
        with anyio.fail_after(PATIENCE_S):
            found = [(await incoming.receive()).message for _ in range(2)]
    assert [message.id for message in found] == [None, 7]


@pytest.mark.rule("REL10")
async def test_a_message_over_the_limit_fails_its_request_and_the_next_one_is_read() -> None:
    async with pipes(limit=100_000) as (incoming, _, peer, _, _), anyio.create_task_group() as tasks:
        data = reply('"' + "x" * 300_000 + '"') + b"\n" + reply('"next"') + b"\n"
        tasks.start_soon(anyio.to_thread.run_sync, write_all, peer, data)
        with anyio.fail_after(PATIENCE_S):
            failed, good = (await incoming.receive()).message, (await incoming.receive()).message
    assert failed.id == 7
    assert "300,052 bytes is over the limit" in failed.error.message
    assert good.result == {"value": "next"}


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


async def test_the_end_of_either_descriptor_is_told() -> None:
    async with pipes() as (incoming, _, peer, _, ended):
        os.write(peer, reply('"last"'))
        os.close(peer)
        with anyio.fail_after(PATIENCE_S):
            assert (await incoming.receive()).message.id == 7  # a last line needs no newline
            with pytest.raises(anyio.EndOfStream):
                await incoming.receive()
            await ended.wait()
    async with pipes() as (incoming, outgoing, _, peer_reads, ended):
        os.close(peer_reads)
        await outgoing.send(message("ping"))
        with anyio.fail_after(PATIENCE_S):
            await ended.wait()
            with pytest.raises(anyio.EndOfStream):
                await incoming.receive()


async def test_a_message_whose_sender_gives_up_is_written_whole_and_the_next_one_behind_it() -> None:
    """Half a line would garble the next one, and with it a call of somebody else."""
    long = message("long", text="x" * 500_000)
    async with pipes() as (_, outgoing, _, peer_reads, _), anyio.create_task_group() as tasks:
        with anyio.CancelScope() as impatience:
            tasks.start_soon(cancel_once_blocked, impatience)
            await outgoing.send(long)
        assert impatience.cancelled_caught
        tasks.start_soon(outgoing.send, message("next"))
        lines = read_lines(peer_reads, LIMIT)
        with anyio.fail_after(PATIENCE_S):
            methods = [json.loads(line)["method"] for line in (await anext(lines), await anext(lines))]  # type: ignore[arg-type]
    assert methods == ["long", "next"]


async def test_a_cancellation_is_written_behind_what_is_stuck_and_nobody_waits_for_it() -> None:
    """Its sender would hold an ended call back, or the end of the bridge, until a server reads that reads no more."""
    async with pipes() as (_, outgoing, _, peer_reads, _), anyio.create_task_group() as tasks:
        tasks.start_soon(outgoing.send, message("long", text="x" * 500_000))
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(PATIENCE_S):
            await outgoing.send(message("notifications/cancelled"))
            lines = read_lines(peer_reads, LIMIT)
            methods = [json.loads(line)["method"] for line in (await anext(lines), await anext(lines))]  # type: ignore[arg-type]
    assert methods == ["long", "notifications/cancelled"]


async def cancel_once_blocked(scope: anyio.CancelScope) -> None:
    await anyio.wait_all_tasks_blocked()
    scope.cancel()


def message(method: str, **params: str) -> SessionMessage:
    return SessionMessage(JSONRPCNotification(jsonrpc="2.0", method=method, params=params or None))


async def test_the_end_of_the_session_is_not_the_end_of_the_wire() -> None:
    async with pipes() as (_, outgoing, _, _, ended):
        await outgoing.aclose()
        await anyio.wait_all_tasks_blocked()
    assert not ended.is_set()


# -- our own face ------------------------------------------------------------------------------------------------------

GARBAGE = {
    b"hello": -32700,
    b"{": -32700,
    b"\xff\xfe\x00": -32700,
    b"[" * 100_000: -32700,
    b"[]": -32600,
    b'[{"jsonrpc": "2.0", "id": 1, "method": "ping"}]': -32600,
    b"null": -32600,
    b"{}": -32600,
    b'{"id": 1, "method": "ping"}': -32600,
    b'{"jsonrpc": "1.0", "id": 1, "method": "ping"}': -32600,
    b'{"jsonrpc": "2.0", "id": null, "method": "ping"}': -32600,
    b'{"jsonrpc": "2.0", "id": {}, "method": "ping"}': -32600,
    b'{"jsonrpc": "2.0", "id": 1, "method": 5}': -32600,
    b'{"jsonrpc": "2.0", "id": 1, "method": "ping", "params": [1]}': -32600,
}
UNANSWERED = [
    b"",
    b"\r",
    b'{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": {}}}',
    b'{"jsonrpc": "2.0", "method": "notifications/nonsense"}',
    b'{"jsonrpc": "2.0", "id": 99, "result": {}}',
    b'{"jsonrpc": "2.0", "id": 98, "error": {"code": 1, "message": "stray"}}',
]
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": "first",
    "method": "initialize",
    "params": {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "h", "version": "1"}},
}


@pytest.mark.rule("REL2")
async def test_garbage_is_answered_and_the_next_request_works() -> None:
    asked = [
        json.dumps(INITIALIZE).encode(),
        *UNANSWERED,
        *GARBAGE,
        b'{"jsonrpc": "2.0", "id": "last", "method": "ping"}',
    ]
    source, host_writes = os.pipe()
    host_reads, sink = os.pipe()
    answers: list[Any] = []
    async with open_bridge({}) as bridge, anyio.create_task_group() as tasks:

        async def serve() -> None:
            await serve_stdio(bridge.server, source, sink, message_bytes=LIMIT)
            os.close(sink)

        tasks.start_soon(serve)
        tasks.start_soon(anyio.to_thread.run_sync, write_all, host_writes, b"\n".join(asked) + b"\n")
        with anyio.fail_after(PATIENCE_S):
            async for line in read_lines(host_reads, LIMIT):
                assert isinstance(line, bytes)
                answers.append(json.loads(line))
                if answers[-1].get("id") == "last":
                    os.close(host_writes)
    assert [answer["id"] for answer in answers if "result" in answer] == ["first", "last"]
    assert [answer["error"]["code"] for answer in answers if "error" in answer] == list(GARBAGE.values())


@pytest.mark.rule("REL19")
async def test_a_host_that_stops_listening_ends_the_session() -> None:
    source, host_writes = os.pipe()
    host_reads, sink = os.pipe()
    os.close(host_reads)
    os.write(host_writes, b"garbage\n" + json.dumps(INITIALIZE).encode() + b"\n")
    async with open_bridge({}) as bridge:
        with anyio.fail_after(PATIENCE_S):
            await serve_stdio(bridge.server, source, sink, message_bytes=LIMIT)


async def test_a_file_of_requests_is_answered_to_its_end(tmp_path: Path) -> None:
    """The end of a file comes before the answers; that of a pipe means that nobody waits for them any more."""
    respond = {"name": "respond", "arguments": {"input": "run 1"}}
    asked = [INITIALIZE, *({"jsonrpc": "2.0", "id": n, "method": "tools/call", "params": respond} for n in range(3))]
    requests, answers = tmp_path / "requests", tmp_path / "answers"
    requests.write_text("\n".join(map(json.dumps, asked)), encoding="utf-8")
    source, sink = os.open(requests, os.O_RDONLY), os.open(answers, os.O_WRONLY | os.O_CREAT)
    async with open_bridge({}) as bridge:
        with anyio.fail_after(PATIENCE_S):
            await serve_stdio(bridge.server, source, sink, message_bytes=LIMIT)
    os.close(source)
    os.close(sink)
    found = [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()]
    assert {answer["id"] for answer in found if "result" in answer} == {"first", 0, 1, 2}


async def test_an_empty_stdin_ends_the_session_at_once() -> None:
    nothing = os.open(os.devnull, os.O_RDWR)
    async with open_bridge({}) as bridge:
        with anyio.fail_after(PATIENCE_S):
            await serve_stdio(bridge.server, nothing, nothing, message_bytes=LIMIT)
    os.close(nothing)
