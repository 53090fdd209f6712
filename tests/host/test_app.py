"""The timeline in a host's chat: for hosts that declare the extension, in both eras, and unseen by all others."""

import json
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError, types
from mcp.client import ClientExtension, advertise
from mcp.client.client import ConnectMode

from bridge.host.mcp_app.drawing import MOST_SPANS
from bridge.host.mcp_app.names import APP_TYPE, APPS, TIMELINE, URI
from bridge.texts import estimate_tokens
from tests.fakes.bridges import ERAS, open_without_host
from tests.fakes.items import Json
from tests.fakes.polling import Polling
from tests.fakes.servers import rogue
from tests.fakes.service import serving
from tests.fakes.upstream import ScriptedUpstream, call, gated, message, responds

pytestmark = [
    pytest.mark.anyio,
    # The SDK's SSE client (mcp 2.3) leaves its streams to the garbage collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"),
]

MOST_MORE_TOKENS = 30
SHOWS_APPS = advertise(APPS, {"mimeTypes": [APP_TYPE]})
USED = {"input_tokens": 900, "output_tokens": 100, "total_tokens": 1000}
REACHES_NOTHING: Json = {"connectDomains": [], "resourceDomains": [], "frameDomains": [], "baseUriDomains": []}
NO_EXTENSIONS: list[ClientExtension] = []
METHODS = ("resources/list", "resources/templates/list", "resources/read")


@asynccontextmanager
async def connect(path: str, mode: ConnectMode, extensions: Sequence[ClientExtension]) -> AsyncIterator[Client]:
    """A host of a bridge in this process, or, with a path, of its service."""
    script = [responds(call("good__echo", {"text": "hello"}), usage=USED), responds(message("Hi."), usage=USED)]
    async with (
        ScriptedUpstream(script) as upstream,
        open_without_host(upstream, {"good": rogue("good") | {"require_approval": "never"}}) as bridge,
    ):
        if not path:
            async with Client(bridge.server, mode=mode, extensions=extensions) as client:
                yield client
            return
        async with serving(bridge) as served, served.client(path, mode, extensions=extensions) as client:
            yield client


WAYS = [(path, mode) for path in ("", "/mcp") for mode in ERAS] + [("/sse", "legacy")]


@pytest.mark.parametrize(("path", "mode"), WAYS)
async def test_a_host_that_shows_apps_finds_the_page_reads_it_and_gets_the_times(path: str, mode: ConnectMode) -> None:
    async with connect(path, mode, [SHOWS_APPS]) as client:
        tools = {tool.name: tool.meta or {} for tool in (await client.list_tools()).tools}
        [listed] = (await client.list_resources()).resources
        assert (await client.list_resource_templates()).resource_templates == []
        [page] = (await client.read_resource(tools["respond"]["ui"]["resourceUri"])).contents
        result = await client.call_tool("respond", {"input": "Hello"})
        capabilities = client.server_capabilities
    assert [name for name, meta in tools.items() if "ui" in meta] == ["respond"]
    assert isinstance(page, types.TextResourceContents)
    assert (listed.uri, page.uri, listed.mime_type, page.mime_type) == (URI, URI, APP_TYPE, APP_TYPE)
    assert page.text.startswith("<!DOCTYPE html>")
    assert (page.meta or {})["ui"]["csp"] == (listed.meta or {})["ui"]["csp"] == REACHES_NOTHING
    drawn = (result.meta or {})[TIMELINE]
    assert [(span["turn"], span["kind"], span["tokens"]) for span in drawn["timeline"]] == [
        (1, "turn", 1000),
        (1, "call", None),
        (2, "turn", 1000),
    ]
    axis = drawn["axis"]
    assert all(axis["began"] <= span["began"] <= span["ended"] <= axis["ended"] for span in drawn["timeline"])
    assert capabilities is not None
    assert capabilities.resources == types.ResourcesCapability()


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("settings", [None, {}, {"mimeTypes": ["text/uri-list"]}, {"mimeTypes": []}])
async def test_any_other_host_sees_what_it_saw_before(settings: dict[str, Any] | None, mode: ConnectMode) -> None:
    extensions = [] if settings is None else [advertise(APPS, settings)]
    async with connect("", mode, extensions) as client:
        tools = (await client.list_tools()).tools
        result = await client.call_tool("respond", {"input": "Hello"})
        refusals = [await refuse(client, method) for method in METHODS]
        capabilities = client.server_capabilities
    assert [set(tool.meta or {}) for tool in tools] == [{"anthropic/maxResultSizeChars"}] * 3
    assert TIMELINE not in (result.meta or {})
    assert refusals == [types.METHOD_NOT_FOUND] * 3
    assert capabilities is not None
    assert capabilities.resources is None
    assert APPS not in (capabilities.extensions or {})


async def refuse(client: Client, method: str) -> int:
    """The code of the error that the method comes to."""
    asks = {
        "resources/list": client.list_resources,
        "resources/templates/list": client.list_resource_templates,
        "resources/read": lambda: client.read_resource(URI),
    }
    with pytest.raises(MCPError) as refused:
        await asks[method]()
    return refused.value.code


@pytest.mark.parametrize("mode", ERAS)
async def test_what_the_model_reads_is_the_same_to_the_byte(mode: ConnectMode) -> None:
    shown = list[Any]()
    for extensions in (NO_EXTENSIONS, [SHOWS_APPS]):
        async with connect("", mode, extensions) as client:
            tools = [tool.model_dump(exclude={"meta"}) for tool in (await client.list_tools()).tools]
            result = await client.call_tool("respond", {"input": "Hello"})
            assert result.structured_content
            kept = {name: type(value) for name, value in result.structured_content.items()}
            shown.append((tools, result.content[0], kept))
    assert shown[0] == shown[1]


async def test_the_page_costs_a_listing_thirty_tokens_at_most_even_where_all_of_it_is_shown() -> None:
    """Hosts show their models name, description and schema, of which nothing changes; this counts `_meta` too."""
    prices = list[int]()
    for extensions in (NO_EXTENSIONS, [SHOWS_APPS]):
        async with connect("", "auto", extensions) as client:
            tools = [tool.model_dump(by_alias=True, mode="json") for tool in (await client.list_tools()).tools]
        prices.append(estimate_tokens(json.dumps(tools, ensure_ascii=False, separators=(",", ":"))))
    assert prices[0] < prices[1] <= prices[0] + MOST_MORE_TOKENS


@pytest.mark.parametrize("mode", ERAS)
async def test_another_address_is_refused(mode: ConnectMode) -> None:
    async with connect("", mode, [SHOWS_APPS]) as client:
        for uri in ("ui://responses/other", "file:///etc/passwd", URI + "?x", URI.upper()):
            with pytest.raises(MCPError, match="there is no such resource") as refused:
                await client.read_resource(uri)
            assert refused.value.code == types.INVALID_PARAMS


async def test_the_handshake_announces_the_extension_to_a_host_that_asks_for_it() -> None:
    """The SDK's own answer has no place for it, and readers of the handshake take it for a server without apps."""
    opening: Json = {"protocolVersion": "2025-11-25", "clientInfo": {"name": "host", "version": "1"}}
    shows_apps: Json = {"extensions": {APPS: {"mimeTypes": [APP_TYPE]}}}
    none: Json = {}
    answers = list[Any]()
    async with open_without_host(None) as bridge, serving(bridge) as served:
        for capabilities in (shows_apps, none):
            params = opening | {"capabilities": capabilities}
            body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}).encode()
            kinds = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
            reply = await served.send("POST", "/mcp", [*served.right, *kinds], body)
            answers.append(json.loads(reply.body[reply.body.index("{") : reply.body.rindex("}") + 1]))
    asked, other = (answer["result"]["capabilities"] for answer in answers)
    assert (asked["extensions"], asked["resources"]) == ({APPS: {}}, {})
    assert "extensions" not in other
    assert "resources" not in other


async def test_a_task_brings_the_times_with_its_result() -> None:
    gate = anyio.Event()

    async def answer(_seconds: float) -> None:
        gate.set()

    polling = Polling(answer)
    async with (
        ScriptedUpstream([gated(responds(message("done")), gate)]) as upstream,
        open_without_host(upstream) as bridge,
        Client(bridge.server, extensions=[polling, SHOWS_APPS]) as client,
    ):
        await client.call_tool("respond", {"input": "x"})
    assert polling.handles[0]["taskId"]
    assert [span["kind"] for span in polling.polls[-1]["result"]["_meta"][TIMELINE]["timeline"]] == ["turn"]


async def test_hostile_names_are_safe_to_look_at_and_a_long_run_is_cut() -> None:
    """A model that calls tools nobody has, with names that hide or reorder what stands beside them."""
    names = ["a\u202eexe.gnp", "b" * 4000, "<img src=x onerror=alert(1)>"]
    calls = [call(names[n % 3], {}) for n in range(MOST_SPANS + 50)]
    script = [responds(*calls), responds(message("done"))]
    async with (
        ScriptedUpstream(script) as upstream,
        open_without_host(upstream, limits={"max_tool_calls": 1000}) as bridge,
        Client(bridge.server, extensions=[SHOWS_APPS]) as client,
    ):
        result = await client.call_tool("respond", {"input": "x"})
    drawn = (result.meta or {})[TIMELINE]
    shown = {span["name"] for span in drawn["timeline"]}
    assert len(drawn["timeline"]) == MOST_SPANS
    assert drawn["left_out"] >= 50
    assert not any("\u202e" in name or len(name) > 128 for name in shown)
    assert names[2] in shown, "it is text, and the page takes it for nothing else"


def test_nothing_of_the_page_is_imported_before_a_host_declares_that_it_shows_apps() -> None:
    program = "import sys, bridge.host.server, bridge.host.stdio; print(*[m for m in sys.modules if '.mcp_app.' in m])"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert set(loaded.split()) == {"bridge.host.mcp_app.extension", "bridge.host.mcp_app.names"}
