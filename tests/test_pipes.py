"""Two descriptors as a stream pair: whatever bytes come in, a message is read or costs its own request alone."""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp_types import JSONRPCError, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse

from bridge.host.stdio import serve_stdio
from bridge.lines import Overlong
from bridge.pipes import BadMessage, open_pipes, read_lines, read_message, write_message
from tests.fakes.scene import scene

pytestmark = pytest.mark.anyio

LIMIT = 1 << 20


def reply(value: str) -> bytes:
    return f'{{"jsonrpc": "2.0", "id": 7, "result": {{"value": {value}}}}}'.encode()


# -- one line ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "value"),
    [
        (reply('"plain"'), "plain"),
        (reply('"crlf"') + b"\r", "crlf"),
        (reply('"caf?"').replace(b"?", b"\xe9"), "caf\ufffd"),
        (reply('"half \\ud83d"'), "half \ufffd"),
        (reply('"whole \\ud83d\\ude00"'), "whole 😀"),
        (reply("7" * 4300), int("7" * 4300)),
        (reply("[" * 240 + "]" * 240), json.loads("[" * 240 + "]" * 240)),
    ],
    ids=["plain", "crlf", "not utf-8", "half an emoji", "a whole one", "digits", "deep"],
)
def test_what_can_be_read_is_read(line: bytes, value: object) -> None:
    message = read_message(line)
    assert isinstance(message, JSONRPCResponse)
    assert message.result == {"value": value}


@pytest.mark.parametrize(
    ("line", "id"),
    [
        (reply("7" * 4301), 7),
        (reply("[" * 100_000 + "]" * 100_000), 7),
        (reply("NaN\\ud83d"), 7),
        (b'{"jsonrpc": "2.0", "id": 7, "result": {"id": 8, "text": "cut', 7),
        (b'{"jsonrpc": "2.0", "id": "seven \\"7\\"", "result": ', 'seven "7"'),
        (b'{"result": {"content": [{"id": 8, bad}]}, "jsonrpc": "2.0", "id": 7}', 7),
        (b'{"result": {"id": 8}, "text": "cut', None),
        (b'{"result": [{"id": 8', None),
        (b"Listening on stdio ...", None),
        (b'{"jsonrpc": "2.0", "id": 7}', 7),
        (b"[]", None),
        (b"5", None),
        (b'{"jsonrpc": "2.0", "id": null, "method": "ping"}', None),
        (b'{"jsonrpc": "2.0", "id": 1.5, "method": "ping"}', None),
        (Overlong(b'{"jsonrpc": "2.0", "id": 7, "result": {"text": "xxx', b'xxx"}}', 5000), 7),
        (Overlong(b'{"result": {"text": "\\"id\\": 8, xxx', b'xxx"}, "jsonrpc": "2.0", "id": 7}', 5000), 7),
    ],
)
def test_what_cannot_be_read_names_the_request_it_belongs_to_and_no_other(line: bytes | Overlong, id: object) -> None:
    with pytest.raises(BadMessage) as caught:
        read_message(line)
    assert caught.value.id == id


@given(st.binary(max_size=60))
@settings(max_examples=200, derandomize=True)
def test_no_line_raises_anything_else(line: bytes) -> None:
    with suppress(BadMessage):
        read_message(line)


@given(st.recursive(st.none() | st.floats() | st.integers() | st.text(st.characters()), st.lists, max_leaves=9))
@settings(max_examples=100, derandomize=True)
def test_whatever_a_message_holds_is_one_line_of_json(value: Any) -> None:
    line = write_message(JSONRPCResponse(jsonrpc="2.0", id=7, result={"value": value}))
    assert line.count(b"\n") == 1
    assert json.loads(line)["id"] == 7


@pytest.mark.parametrize("levels", [300, 900, 5000])
def test_a_reply_too_deep_to_be_written_is_an_error_and_no_crash(levels: int) -> None:
    value: object = "\ud83d"
    for _ in range(levels):
        value = [value]
    written = json.loads(write_message(JSONRPCResponse(jsonrpc="2.0", id=7, result={"value": value})))
    assert written["id"] == 7
    assert ("error" in written) == (levels == 5000)


# -- a connected server's pipes -----------------------------------------------------------------------------------------


@asynccontextmanager
async def pipes(
    *, limit: int = LIMIT, answer_bad: bool = False
) -> AsyncIterator[tuple[Any, Any, int, int, anyio.Event]]:
    """(from the wire, to the wire, where the peer writes, where the peer reads, the end of the wire)."""
    source, peer_writes = os.pipe()
    peer_reads, sink = os.pipe()
    ended = anyio.Event()
    try:
        async with open_pipes(source, sink, limit=limit, on_end=ended.set, answer_bad=answer_bad) as (
            incoming,
            outgoing,
        ):
            yield incoming, outgoing, peer_writes, peer_reads, ended
    finally:
        for fd in (source, sink, peer_writes, peer_reads):
            with suppress(OSError):
                os.close(fd)


async def test_noise_is_skipped_and_a_bad_reply_becomes_the_error_of_its_request() -> None:
    async with pipes() as (incoming, _, peer, _, _):
        os.write(peer, b"Server 1.0 \xe9\n\n\r\n{not json\n" + reply("[") + b"\n" + reply('"next"') + b"\r\n")
        with anyio.fail_after(5):
            failed, good = (await incoming.receive()).message, (await incoming.receive()).message
    assert isinstance(failed, JSONRPCError)
    assert failed.id == 7
    assert "not readable as JSON" in failed.error.message
    assert good.result == {"value": "next"}


async def test_a_message_over_the_limit_fails_its_request_and_the_next_one_is_read() -> None:
    async with pipes(limit=100_000) as (incoming, _, peer, _, _), anyio.create_task_group() as tasks:
        data = reply('"' + "x" * 300_000 + '"') + b"\n" + reply('"next"') + b"\n"
        tasks.start_soon(anyio.to_thread.run_sync, write_all, peer, data)
        with anyio.fail_after(5):
            failed, good = (await incoming.receive()).message, (await incoming.receive()).message
    assert failed.id == 7
    assert "300,050 bytes is over the limit" in failed.error.message
    assert good.result == {"value": "next"}


def write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


async def test_the_end_of_either_descriptor_is_told() -> None:
    async with pipes() as (incoming, _, peer, _, ended):
        os.write(peer, reply('"last"'))
        os.close(peer)
        with anyio.fail_after(5):
            assert (await incoming.receive()).message.id == 7  # a last line needs no newline
            with pytest.raises(anyio.EndOfStream):
                await incoming.receive()
            await ended.wait()
    async with pipes() as (incoming, outgoing, _, peer_reads, ended):
        os.close(peer_reads)
        await outgoing.send(message("ping"))
        with anyio.fail_after(5):
            await ended.wait()
            with pytest.raises(anyio.EndOfStream):
                await incoming.receive()


def message(method: str) -> Any:
    from mcp.shared.message import SessionMessage

    return SessionMessage(JSONRPCNotification(jsonrpc="2.0", method=method))


async def test_the_end_of_the_session_is_not_the_end_of_the_wire() -> None:
    async with pipes() as (_, outgoing, _, _, ended):
        outgoing.close()
        await anyio.wait_all_tasks_blocked()
    assert not ended.is_set()
