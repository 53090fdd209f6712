"""Hosts are told that the tools have changed, whatever another host does with what it is sent.

As IBM/mcp-context-forge#1682 and gnacho/netpulse#200: one client of SSE that does not read holds up all others.
"""

import asyncio
import gc
import json
import re
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.lowlevel
import pytest
from mcp import types

from bridge.app import Bridge
from tests.fakes.bridges import open_without_host
from tests.fakes.clock import PATIENCE_S, until
from tests.fakes.items import Json
from tests.fakes.service import Served, serving
from tests.fakes.upstream import Request, ScriptedUpstream, message, responds

pytestmark = [
    pytest.mark.anyio,
    # The SDK does not close the channels of a stream of SSE.
    pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"),
]

HELLO: Json = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "deaf", "version": "1"}}
LONG = 1_000_000


def write_much(_request: Request) -> Any:
    return responds(message("x" * LONG), as_json=True)


async def post(served: Served, path: str, headers: Json, body: Json) -> Any:
    content = json.dumps({"jsonrpc": "2.0", **body}).encode()
    kinds = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream", **headers}
    return await served.send("POST", path, [*served.right, *kinds.items()], content)


@asynccontextmanager
async def deaf_client(served: Served) -> AsyncIterator[str]:
    """A client of SSE that has finished its handshake and then reads nothing: where it posts what it says."""
    line = socket.create_connection(("127.0.0.1", served.port))
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    reader, writer = await asyncio.open_connection(sock=line, limit=4096)
    headers = "".join(f"{name}: {value!s}\r\n" for name, value in served.right)
    writer.write(f"GET /sse HTTP/1.1\r\n{headers}\r\n".encode())
    found = re.search(rb"/messages/\?session_id=\w+", await reader.readuntil(b"session_id=") + await reader.read(32))
    assert found
    place = found[0].decode()
    await post(served, place, {}, {"id": 1, "method": "initialize", "params": HELLO})
    await reader.readuntil(b'"serverInfo"')
    await post(served, place, {}, {"method": "notifications/initialized"})
    try:
        yield place
    finally:
        writer.transport.abort()


async def stuff(bridge: Bridge, served: Served, place: str) -> None:
    """Call until more is on its way to the client than anybody keeps for it."""
    for number in range(8):
        arguments = {"input": f"Write {number}", "detail": "full"}
        params = {"name": "respond", "arguments": arguments}
        await post(served, place, {}, {"id": 10 + number, "method": "tools/call", "params": params})
    await until(lambda: len(bridge.engine._ended) == 8)


@pytest.mark.external
@pytest.mark.parametrize("path", ["/mcp", "/sse"])
async def test_one_client_that_does_not_read_holds_up_nobody(path: str) -> None:
    heard = anyio.Event()

    async def hear(message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            heard.set()

    async with (
        ScriptedUpstream(write_much) as upstream,
        open_without_host(upstream, limits={"result_chars": 5 * LONG}) as bridge,
        serving(bridge) as served,
        deaf_client(served) as place,
    ):
        await stuff(bridge, served, place)
        async with served.client(path, "legacy", message_handler=hear):
            with anyio.fail_after(PATIENCE_S):
                while not heard.is_set():
                    bridge.server.note_change()  # again: its standing stream opens late
                    await anyio.lowlevel.checkpoint()
    gc.collect()
