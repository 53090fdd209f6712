"""Why the guards are there: each fault, on the SDK alone. A test that fails here says which guard can go."""

import json
import subprocess
import sys
from contextlib import suppress

import httpx2
import pytest
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from pydantic import ValidationError
from typing_extensions import override

from bridge.json_text import JsonObject
from tests.bench.faults import Bombs
from tests.fakes.clock import VirtualClock, until
from tests.fakes.peers import MemoryHttp, Peer
from tests.fakes.servers import ROGUE

pytestmark = [pytest.mark.anyio, pytest.mark.external]

INITIALIZE: JsonObject = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "host", "version": "1"},
}
SOON_S = 0.5
"""Long enough for an answer, were there one."""


def far(*modes: str) -> StdioServerParameters:
    return StdioServerParameters(command=sys.executable, args=["-S", "-E", str(ROGUE), "legacy", *modes])


async def test_half_an_emoji_in_an_argument_ends_the_connection() -> None:
    """`messages.write_message`, for stdio."""
    with pytest.raises(ExceptionGroup, match="TaskGroup"):
        async with Client(far(), mode="legacy") as client:
            await client.call_tool("echo", {"text": "\ud83d"}, read_timeout_seconds=SOON_S)


@pytest.mark.parametrize("mode", ["surrogate", "bad_json", "deep=1000", "digits=5000"])
async def test_a_reply_that_cannot_be_read_leaves_its_call_waiting(mode: str) -> None:
    """`messages.read_message`, for stdio."""
    async with Client(far(mode), mode="legacy") as client:
        with pytest.raises(MCPError, match="timed out"):
            await client.call_tool(mode.partition("=")[0], {}, read_timeout_seconds=SOON_S)


async def test_a_byte_that_is_not_utf_8_ends_the_connection() -> None:
    """`pipes.open_pipes`, for stdio."""

    async def call() -> None:
        async with Client(far("bad_utf8"), mode="legacy") as client:
            with suppress(MCPError):
                await client.call_tool("bad_utf8", {}, read_timeout_seconds=SOON_S)

    with pytest.raises(ExceptionGroup):
        await call()


async def test_one_invalid_tool_costs_the_whole_list() -> None:
    """`Listing.repair`."""
    async with Client(far("bad_tool"), mode="legacy") as client:
        with pytest.raises(ValidationError):
            await client.list_tools()


def test_a_line_of_garbage_is_not_answered() -> None:
    """`pipes.open_pipes`, for our own face."""
    program = "from mcp.server.mcpserver import MCPServer; MCPServer('bare', log_level='CRITICAL').run('stdio')"
    done = subprocess.run(
        [sys.executable, "-c", program], input=b"garbage\n", capture_output=True, timeout=60, check=True
    )
    assert done.stdout == b""


HALF_AN_EMOJI = """
from mcp.server.mcpserver import MCPServer
server = MCPServer("bare", log_level="CRITICAL")
server.add_tool(lambda: chr(0xD83D), name="half")
server.run("stdio")
"""


def test_half_an_emoji_in_a_result_is_never_answered_and_ends_the_server_at_the_next_line() -> None:
    """`messages.write_message`, for our own face."""
    said: list[JsonObject] = [
        {"id": 1, "method": "initialize", "params": INITIALIZE},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": {"name": "half", "arguments": {}}},
    ]
    command, pipe = [sys.executable, "-c", HALF_AN_EMOJI], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as server:
        assert server.stdin
        assert server.stdout
        assert server.stderr
        with suppress(BrokenPipeError):
            for message in (*said, *[{"id": 3, "method": "ping"}] * 60):
                server.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
                with suppress(subprocess.TimeoutExpired):
                    server.wait(SOON_S)
        answers = [json.loads(line)["id"] for line in server.stdout]
        assert b"surrogates not allowed" in server.stderr.read()
    assert server.returncode == 1
    assert 2 not in answers


async def test_a_small_body_that_is_large_in_memory_is_accepted() -> None:
    """`bodies.read_body`, for Streamable HTTP."""
    async with (
        httpx2.AsyncClient(transport=Bombs(20_000_000)) as http,
        Client(streamable_http_client("http://far/mcp", http_client=http), mode="legacy") as client,
    ):
        result = await client.call_tool("echo", {"text": "x"})
    assert len(result.content[0].text) == 20_000_000  # type: ignore[union-attr]


async def test_an_event_over_its_limit_ends_the_connection_of_the_sse_transport() -> None:
    """`sse.EventReader`; the limit cannot be set."""
    peer = Peer("far", VirtualClock(), {"legacy": "", "huge": "2"})
    outgoing = MemoryHttp({"far": peer})

    def build(
        headers: dict[str, str] | None = None, timeout: httpx2.Timeout | None = None, auth: httpx2.Auth | None = None
    ) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(transport=outgoing, headers=headers, timeout=timeout, auth=auth)

    async def call_twice() -> None:
        async with Client(sse_client("http://far/sse", httpx_client_factory=build), mode="legacy") as client:
            with suppress(MCPError):
                await client.call_tool("huge", {}, read_timeout_seconds=2)
            await client.call_tool("read", {}, read_timeout_seconds=SOON_S)

    with pytest.raises((ExceptionGroup, MCPError)):
        await call_twice()


async def test_streams_are_opened_as_fast_as_the_server_ends_them() -> None:
    """`streams.Backoff` (python-sdk#3257)."""
    bombs = Bombs()
    async with (
        httpx2.AsyncClient(transport=bombs) as http,
        Client(streamable_http_client("http://far/mcp", http_client=http), mode="legacy"),
    ):
        await until(lambda: bombs.gets > 50)


class Falling(Bombs):
    """Nobody listens any more when a call is made."""

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if b"tools/call" in request.content:
            raise httpx2.ConnectError("refused")
        return await super().handle_async_request(request)


async def test_a_refused_connection_in_one_call_ends_all() -> None:
    """`GuardedClient` (python-sdk#3560)."""

    async def call_and_list() -> None:
        async with (
            httpx2.AsyncClient(transport=Falling()) as http,
            Client(streamable_http_client("http://far/mcp", http_client=http), mode="legacy") as client,
        ):
            with suppress(MCPError):
                await client.call_tool("echo", {"text": "x"}, read_timeout_seconds=SOON_S)
            await client.list_tools()

    with pytest.raises((ExceptionGroup, MCPError)):
        await call_and_list()
