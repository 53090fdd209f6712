"""Connected servers over HTTP: real ones on loopback, in both eras and over both transports."""

import socket
from contextlib import suppress
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.server.mcpserver import MCPServer

from tests.fakes.bridges import open_bridge
from tests.fakes.clock import until
from tests.fakes.http import FAULTS, HttpServer, build_faulty
from tests.fakes.servers import OrderedServer, rendezvous_server, rogue
from tests.fakes.upstream import call

pytestmark = [pytest.mark.anyio, pytest.mark.external]

MODERN, LEGACY = "2026-07-28", "2025-11-25"


def build() -> MCPServer:
    return OrderedServer().server


async def test_every_transport_and_era_connects() -> None:
    async with HttpServer(build) as http, HttpServer(build, "sse") as sse:
        servers = {
            "http": {"type": "http", "url": http.url},
            "http_legacy": {"type": "http", "url": http.url, "protocol": "legacy"},
            "http_revision": {"type": "streamable-http", "url": http.url, "protocol": LEGACY},
            "sse": {"type": "sse", "url": sse.url},
            "untyped": {"url": http.url},
            "untyped_sse": {"url": sse.url},
            "stdio": rogue("modern"),
            "stdio_legacy": rogue("legacy"),
            "exits": rogue("exits_on_discover"),
            "told": {**rogue("exits_on_discover"), "protocol": "legacy"},
        }
        async with open_bridge(servers) as bridge:
            catalogue = await bridge.hub.catalogue()
            assert not catalogue.notices
            eras = {member.key: member.era for member in bridge.hub.members}
    assert eras == {
        "http": MODERN,
        "http_legacy": LEGACY,
        "http_revision": LEGACY,
        "sse": MODERN,
        "untyped": MODERN,
        "untyped_sse": MODERN,
        "stdio": MODERN,
        "stdio_legacy": LEGACY,
        "exits": LEGACY,
        "told": LEGACY,
    }


@pytest.mark.rule("REL12")
@pytest.mark.external
@pytest.mark.parametrize("wire", ["http", "sse"])
async def test_a_server_stopped_in_mid_call_costs_that_call_and_is_used_again_when_it_is_back(wire: Any) -> None:
    servers: list[OrderedServer] = []

    def build() -> MCPServer:
        servers.append(OrderedServer())
        return servers[-1].server

    async with (
        HttpServer(build, wire) as served,
        open_bridge({"far": {"type": wire, "url": served.url}}) as bridge,
        anyio.create_task_group() as tasks,
    ):
        await bridge.hub.catalogue()
        outputs = []

        async def run() -> None:
            outputs.append((await bridge.use(call("far__answer", {"key": "a"}))).output)

        tasks.start_soon(run)
        await servers[0].reached("a")
        await served.stop()
        await until(lambda: bool(outputs))
        assert outputs[0]["error"] == "connection_lost"
        assert "it may have been executed" in outputs[0]["message"]
        await served.start()
        servers[-1].release("b")
        assert (await bridge.use(call("far__answer", {"key": "b"}))).outputs == ["b"]


@pytest.mark.external
async def test_an_expired_session_costs_nothing() -> None:
    """What the server says it does not know was not executed, so it is sent again in a new session."""
    async with (
        HttpServer(lambda: rendezvous_server(1)) as served,
        open_bridge({"far": {"type": "http", "url": served.url, "protocol": "legacy"}}) as bridge,
    ):
        await bridge.hub.catalogue()
        await served.stop()
        await served.start()
        outputs = (await bridge.run([[call("far__meet", {"key": "b"})]] * 2)).outputs
    assert outputs == ["b", "b"]


async def test_a_server_that_refuses_the_connection_is_named() -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}/mcp"
        servers = {"http": {"type": "http", "url": url}, "sse": {"type": "sse", "url": url}, "untyped": {"url": url}}
        async with open_bridge(servers) as bridge:
            notices = (await bridge.hub.catalogue()).notices
    assert [notice["message"] for notice in notices] == [
        f'server "{key}" failed: {url} cannot be reached: connection refused; start it there, or correct url; '
        "its tools are missing"
        for key in servers
    ]


async def test_the_bare_sdk_loses_its_session_over_one_refused_call() -> None:
    """Why there is a guard (python-sdk#3560): when this fails, `GuardedClient` can go."""

    async def call_before_and_after() -> None:
        async with HttpServer(build) as served, Client(served.url) as client:
            await served.stop()
            with suppress(MCPError):
                await client.call_tool("answer", {"key": "a"})
            await served.start()
            await client.list_tools()

    with pytest.raises((ExceptionGroup, MCPError)):
        await call_before_and_after()


@pytest.mark.rule("REL12")
async def test_a_faulty_reply_fails_its_own_call_in_words_and_no_other() -> None:
    limits = {"message_bytes": 1_000_000}
    async with HttpServer(build_faulty) as served, open_bridge({"far": {"url": served.url}}, limits=limits) as bridge:
        outcome = await bridge.use(*(call(f"far__{name}") for name in FAULTS), call("far__echo", {"text": "unharmed"}))
        again = await bridge.use(call("far__read"))
    outputs = dict(zip([*FAULTS, "echo"], outcome.outputs, strict=True))
    assert outputs.pop("echo") == "unharmed"
    expected = {
        "unauthorized": "the server answered with HTTP 401 Unauthorized",
        "page": "the server answered with HTTP 502 Bad Gateway",
        "refusal": "error -32050: no",
        "cut": "the reply was cut",
        "large": "over the limit of 1,000,000 bytes",
        "half_emoji": "\ufffd",
        "latin1": "caf\ufffd",
        "nonsense": "cannot be read",
        "untyped": "text/plain",
    }
    assert {name: outputs[name] for name, words in expected.items() if words not in outputs[name]} == {}
    assert again.outputs == ["nothing has changed"]
    assert bridge.member("far").state == "ready"
