"""How hosts begin: whatever they say first, they can list and call `respond` afterwards, in either protocol era.

What is refused is refused in the words that the protocol has for it, and costs that message alone.
"""

import itertools
import json
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from subprocess import PIPE
from typing import Any, Literal, TypeAlias

import anyio
import pytest
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY

from tests.fakes.bridges import open_bridge, open_without_host
from tests.fakes.clock import PATIENCE_S
from tests.fakes.items import Json
from tests.fakes.openings import (
    INITIALIZED,
    TRANSPORTS,
    Faces,
    StreamableHttp,
    Transport,
    Wire,
    discover,
    envelope,
    initialize,
    notice,
    open_process,
    request,
    show,
)
from tests.fakes.rawhost import raw_host
from tests.fakes.upstream import ScriptedUpstream, hang, message, responds

pytestmark = pytest.mark.anyio

Era: TypeAlias = Literal["handshake", "modern"]
ERAS: tuple[Era, ...] = ("handshake", "modern")
UNKNOWN = "2031-01-01"
NO_SESSION = r"-32600 .*Missing session ID"
"""What only Streamable HTTP says, where a request without a session belongs to no connection."""
EARLY = rf"-32602 .*`initialize` first.*io.modelcontextprotocol/protocolVersion|{NO_SESSION}"
UNKNOWN_METHOD = rf"-32601 Method not found|{NO_SESSION}"
UNSUPPORTED = r"-32022 Unsupported protocol version .*'2026-07-28'"
NO_MESSAGE = r"-32600 JSON, but not a JSON-RPC 2.0 message"
HALF = r"-32602 .*clientCapabilities"
RESPOND = {"name": "respond", "arguments": {"input": "Hello"}}


@dataclass(frozen=True)
class Opening:
    """`steps`: each is said at once, and its replies are awaited before the next. `refused`: which requests are refused
    in which words, by id; the others have a result. `public` is the report of somebody who met it."""

    steps: tuple[tuple[Any, ...], ...]
    refused: Mapping[Any, str] = field(default_factory=dict[Any, str])
    public: str = ""


def opens(*steps: tuple[Any, ...], refused: Mapping[Any, str] | None = None, public: str = "") -> Opening:
    return Opening(steps, refused or {}, public)


HELLO = initialize(1)["params"]
NONE: list[Any] = []
"""As PHP writes an object without fields."""
BARE = request(1, "server/discover")
PING = request(1, "ping")
LIST = request(1, "tools/list")


def modern(number: Any, method: str = "tools/list", **params: Any) -> Json:
    return request(number, method, **params, _meta=envelope())


OPENINGS = {
    # a probe, and the handshake all the same
    "discover, then initialize": opens(
        (discover(1),), (initialize(2),), (INITIALIZED,), public="github/copilot-cli#4888"
    ),
    "discover and initialize at once": opens((discover(1), initialize(2)), public="anthropics/claude-code#96183"),
    "discover, initialize and initialized at once": opens((discover(1), initialize(2), INITIALIZED)),
    "discover in a session that ends in tools/list": opens(
        (discover(1), initialize(2), INITIALIZED), (request(3, "tools/list"),), public="github/copilot-cli#4525"
    ),
    "discover without _meta, then initialize": opens((BARE,), (initialize(2),), refused={1: EARLY}),
    "discover without _meta and initialize at once": opens((BARE, initialize(2)), refused={1: EARLY}),
    "discover with an empty _meta": opens(
        (request(1, "server/discover", _meta={}),), (initialize(2),), refused={1: EARLY}
    ),
    "discover with a progress token only": opens(
        (request(1, "server/discover", _meta={"progressToken": 1}),), refused={1: EARLY}
    ),
    "discover with a revision, and initialize with the same": opens((discover(1),), (initialize(2, "2026-07-28"),)),
    "discover twice": opens((discover(1),), (discover(2),), public="modelcontextprotocol/typescript-sdk#2315"),
    "discover twice at once, then initialize": opens((discover(1), discover(2)), (initialize(3),)),
    "discover given up, then initialize": opens(
        (discover(1), notice("notifications/cancelled", requestId=1, reason="timed out")), (initialize(2),)
    ),
    "discover given up after its answer": opens(
        (discover(1),), (notice("notifications/cancelled", requestId=1),), (initialize(2),)
    ),
    "discover, and initialize with the same id": opens((discover(0),), (initialize(0),)),
    "discover with more in its params": opens(
        (request(1, "server/discover", _meta=envelope(extra=[1]), versions=["2026-07-28"]),), (initialize(2),)
    ),
    "discover with half of its _meta": opens(
        (request(1, "server/discover", _meta={"io.modelcontextprotocol/protocolVersion": "2026-07-28"}),),
        (initialize(2),),
        refused={1: HALF},
    ),
    "discover with an unknown revision": opens(
        (discover(1, version=UNKNOWN),), (initialize(2),), refused={1: UNSUPPORTED}
    ),
    "discover with an unknown revision, then with ours": opens(
        (discover(1, version=UNKNOWN),), (discover(2),), refused={1: UNSUPPORTED}
    ),
    # the modern era
    "discover, then modern requests": opens((discover(1),), (modern(2),), (modern(3, "tools/call", **RESPOND),)),
    "modern requests at once": opens((modern(1), modern(2, "tools/call", **RESPOND))),
    "a modern request with an unknown revision": opens(
        (request(1, "tools/list", _meta=envelope(UNKNOWN)),), refused={1: UNSUPPORTED}
    ),
    "initialize after modern requests": opens((discover(1),), (modern(2),), (initialize(3),)),
    "discover after the handshake": opens((initialize(1),), (INITIALIZED,), (discover(2),)),
    "modern requests after the handshake": opens((initialize(1),), (INITIALIZED,), (modern(2), modern(3))),
    "ping in the modern era": opens((modern(1, "ping"),), refused={1: r"-32601 "}),
    # the handshake
    "initialize and initialized at once": opens((initialize(1), INITIALIZED)),
    "initialize twice": opens((initialize(1),), (initialize(2),), (INITIALIZED,)),
    "initialize twice at once": opens((initialize(1), initialize(2))),
    "initialize again after initialized": opens((initialize(1),), (INITIALIZED,), (initialize(2),)),
    "initialize with _meta": opens((initialize(1, _meta=envelope()),), (INITIALIZED,)),
    "initialize with an unknown revision": opens((initialize(1, UNKNOWN),), (INITIALIZED,)),
    "initialize with a revision of long ago": opens((initialize(1, "2024-11-05"),), (INITIALIZED,)),
    "initialize without what it needs": opens(
        (request(1, "initialize"),), (initialize(2),), refused={1: r"-32602 Invalid request parameters"}
    ),
    **{
        f"initialize with {name}": opens((request(1, "initialize", **(HELLO | odd)),), (INITIALIZED,))
        for name, odd in {
            "[] for an object": {"capabilities": NONE, "clientInfo": NONE},
            "null for an object": dict[str, Any](capabilities=None, clientInfo=None),
            "[] in its capabilities": {"capabilities": {"elicitation": NONE, "roots": 1, "experimental": NONE}},
            "a numeric version": {"clientInfo": {"name": "host", "version": 2}},
            "no name": {"clientInfo": {"title": "Host"}},
            "a number for the revision": {"protocolVersion": 2025},
        }.items()
    },
    "initialize without params that it needs": opens((request(1, "initialize", capabilities={}),), (INITIALIZED,)),
    **{
        f"modern requests with {name}": opens(
            (request(1, "server/discover", _meta=envelope(**odd)), request(2, "tools/list", _meta=envelope(**odd)))
        )
        for name, odd in {
            "[] for their capabilities": {CLIENT_CAPABILITIES_META_KEY: NONE},
            "null for their capabilities": {CLIENT_CAPABILITIES_META_KEY: None},
            "[] for who asks": {CLIENT_INFO_META_KEY: NONE},
            "a numeric version": {CLIENT_INFO_META_KEY: {"name": "host", "version": 2}},
        }.items()
    },
    "a request before initialized": opens(
        (initialize(1),), (request(2, "tools/list"),), (INITIALIZED,), public="anthropics/claude-code#59835"
    ),
    "no initialized at all": opens((initialize(1),), (request(2, "tools/list"),)),
    # neither
    "ping first": opens((PING,), refused={1: rf"a result|{NO_SESSION}"}),
    "tools/list at once": opens((LIST,), refused={1: EARLY}, public="posit-dev/mcptools#77"),
    "tools/call at once": opens((request(1, "tools/call", **RESPOND),), refused={1: EARLY}),
    "initialized first": opens((INITIALIZED,)),
    "an unknown notification first": opens((notice("notifications/hello", who="me"),), (discover(1),)),
    "ten notifications first": opens((*itertools.repeat(notice("notifications/hello"), 10),), (discover(1),)),
    "an unknown method first": opens((request(1, "hello"),), refused={1: UNKNOWN_METHOD}),
    "an answer to nothing first": opens(({"jsonrpc": "2.0", "id": 9, "result": {}},), (discover(1),)),
    "ids as strings": opens((discover("a"),), (initialize("b"),), (INITIALIZED,)),
    "an id of no length": opens((discover(""),), (initialize("0"),)),
    "a batch": opens(([discover(1), initialize(2)],), refused={None: rf"{NO_MESSAGE}.*send each message by itself"}),
    "no JSON-RPC": opens(({"hello": 1},), refused={None: NO_MESSAGE}),
}


@pytest.fixture(scope="module")
async def faces() -> AsyncIterator[Faces]:
    async with (
        ScriptedUpstream(lambda _: responds(message("Hi."))) as upstream,
        open_without_host(upstream) as bridge,
        show(bridge) as faces,
    ):
        yield faces


async def open_as(opening: Opening, wire: Wire) -> bool:
    """Say what the opening says, and check each reply; whether a handshake was among it."""
    is_open = False
    for step in opening.steps:
        asked = [each for each in step if isinstance(each, dict)]
        for answer in [*await wire.say(*step), *([await wire.reply(None)] if None in opening.refused else [])]:
            check(opening, answer)
            is_open |= "serverInfo" in answer.get("result", {})
        assert asked or None in opening.refused
    return is_open


def check(opening: Opening, answer: Json) -> None:
    expected = opening.refused.get(answer["id"])
    error = answer.get("error")
    said = f"{error['code']} {error['message']} {error.get('data')}" if error else "a result"
    assert re.match(expected or "a result", said), (answer, expected)


async def go_on(wire: Wire, era: Era, is_open: bool) -> None:
    """List and call `respond`, as hosts of this era do."""
    meta = {"_meta": envelope()} if era == "modern" else {}
    if era == "handshake":
        if not is_open:
            assert "result" in (await wire.say(initialize("go on")))[0]
        await wire.say(INITIALIZED)
    [listed] = await wire.say(request("list", "tools/list", **meta))
    assert "respond" in [tool["name"] for tool in listed["result"]["tools"]]
    [called] = await wire.say(request("call", "tools/call", **RESPOND, **meta))
    assert called["result"]["structuredContent"]["status"] == "completed", called


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
async def test_a_host_gets_in_however_it_begins(faces: Faces, opening: Opening, transport: Transport, era: Era) -> None:
    async with faces.open(transport) as wire:
        await go_on(wire, era, await open_as(opening, wire))


@pytest.mark.parametrize("era", ERAS)
@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
async def test_a_host_gets_in_whatever_it_said_while_we_were_starting(faces: Faces, opening: Opening, era: Era) -> None:
    """As a host whose patience with the first answers has run out: all that it said is read at once, later."""
    async with faces.open("stdio", *itertools.chain(*opening.steps)) as wire:
        await go_on(wire, era, is_open=False)


@pytest.mark.parametrize("others", [{}, {"Mcp-Method": "initialize"}], ids=["alone", "with the method"])
@pytest.mark.parametrize("revision", ["2026-07-28", UNKNOWN, "latest"])
async def test_a_host_whose_headers_name_another_revision_shakes_hands(
    faces: Faces, revision: str, others: Mapping[str, str]
) -> None:
    """As one that probes, and keeps the headers of its probe; what follows is of the session, whatever they say."""
    headers = {"MCP-Protocol-Version": revision}
    async with faces.open("http") as wire:
        assert isinstance(wire, StreamableHttp)
        wire.headers = {**headers, **others}
        [answer] = await wire.say(initialize(1))
        assert answer["result"]["protocolVersion"] == "2025-11-25", answer
        wire.headers = headers
        await go_on(wire, "handshake", is_open=True)


async def test_a_request_without_a_session_is_refused_by_its_headers(faces: Faces) -> None:
    async with faces.open("http") as wire:
        assert isinstance(wire, StreamableHttp)
        wire.headers = {"MCP-Protocol-Version": "2026-07-28"}
        [bare, enveloped] = await wire.say(LIST, modern(2))
        assert bare["error"]["code"] == -32602, bare
        assert enveloped["error"]["code"] == -32020, enveloped
        wire.headers = None
        await go_on(wire, "modern", is_open=False)


@pytest.mark.parametrize("era", ERAS)
async def test_a_call_that_is_given_up_stops_its_run_whatever_else_the_connection_speaks(era: Era) -> None:
    """The reason comes in a notification, which belongs to no era; here the connection has had a handshake."""
    meta = {"_meta": envelope()} if era == "modern" else {}
    async with open_bridge(script=[hang()]) as bridge, raw_host(bridge.server, "legacy") as host:
        number = await host.call("respond", {"input": "Hello"}, **meta)
        await bridge.upstream.arrivals.wait()
        await host.cancel(number, "no longer wanted")
        with anyio.fail_after(PATIENCE_S):
            await bridge.upstream.disconnects.wait()


@pytest.mark.external
@pytest.mark.parametrize("era", ERAS)
async def test_a_real_process_reads_at_once_what_was_said_before_it_was_ready(era: Era) -> None:
    """A host waits for its probe for one second, say, and then shakes hands (`@ai-sdk/mcp` 2.0.99)."""
    async with open_process("serve", "--offline") as wire:
        probe, handshake = await wire.say(discover(0), initialize(1))
        assert "2026-07-28" in probe["result"]["supportedVersions"]
        assert handshake["result"]["protocolVersion"] == "2025-11-25"
        await wire.say(INITIALIZED)
        await go_on(wire, era, is_open=True)


@pytest.mark.external
def test_a_host_that_lists_waits_for_nothing_that_only_runs_need() -> None:
    said = b"".join(json.dumps(each).encode() + b"\n" for each in (discover(1), modern(2)))
    command = [sys.executable, "-X", "importtime", "-m", "bridge", "serve", "--offline"]
    with subprocess.Popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE) as process:
        assert process.stdin
        assert process.stdout
        process.stdin.write(said)
        process.stdin.flush()
        listed = [json.loads(process.stdout.readline()) for _ in range(2)]
        imported = {line.rpartition("|")[2].strip() for line in process.communicate()[1].decode().splitlines()}
    assert listed[1]["result"]["tools"]
    assert "bridge.host.eras" in imported
    assert not imported & {"bridge.upstream.client", "bridge.run.loop", "psutil"}
