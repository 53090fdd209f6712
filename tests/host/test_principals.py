"""Whose a run is over HTTP: a token's, or a session's that the caller really has; naming one proves nothing.

As DitriXNew/EDT-MCP#564, glslang/windbg-mcp#166, chandshy/mailpouch#264 and campfirein/byterover-cli#330: an id of a
session that only has to be named opens the work of others.
"""

import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.sse import sse_client
from mcp.server.mcpserver import MCPServer

from bridge.questions import YES
from tests.fakes.bridges import open_without_host
from tests.fakes.httphost import HttpHost, http_host
from tests.fakes.items import Json
from tests.fakes.service import Served, connect, serving
from tests.fakes.upstream import Request, ScriptedUpstream, call, message, responds

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"),
]

UNKNOWN = "run_id: there is no such run; it may have expired, and must be that of a result"
CAN_ASK: Json = {"elicitation": {}}
ACCEPTED: Json = {"action": "accept", "content": {"answer": YES}}


class Place:
    """A service whose model says a secret, or writes where that is asked; `written` is how often."""

    def __init__(self, served: Served, written: list[str]) -> None:
        self.served, self.written = served, written

    def host(self, mode: str, **options: Any) -> Any:
        return http_host(self.served.port, mode, **options)


def _answer(request: Request) -> Any:
    items = request.json["input"]
    if items[0]["content"] == "write" and not any("output" in item for item in items):
        return responds(call("desk__write", {}))
    return responds(message("a secret"), id="resp_1")


@asynccontextmanager
async def place(**options: Any) -> AsyncIterator[Place]:
    server, written = MCPServer("desk"), list[str]()

    @server.tool()
    async def write() -> str:
        written.append("written")
        return "written"

    desk: Json = {"desk": {"command": server, "require_approval": "always"}}
    async with (
        ScriptedUpstream(_answer) as upstream,
        open_without_host(upstream, desk) as bridge,
        serving(bridge, **options) as served,
    ):
        yield Place(served, written)
    gc.collect()  # the SDK does not close the channels of a stream of SSE


async def receipt_of(host: HttpHost, input: str, **options: Any) -> Json:
    return await (await host.call(input, **options)).receipt()


async def read_all(host: HttpHost, run_id: str) -> list[str]:
    """What comes of everything by which a caller reads, stops or goes on with a run."""
    told = [await receipt_of(host, run_id, tool=tool) for tool in ("respond_wait", "respond_cancel")]
    for arguments in ({"input": "go on", "run_id": run_id}, {"input": "go on", "previous_response_id": "resp_1"}):
        told.append(await receipt_of(host, "", arguments=arguments))
    told.append(await receipt_of(host, "write", requestState=run_id, inputResponses={"approval:1": ACCEPTED}))
    return [str((receipt.get("error") or {}).get("message")) for receipt in told]


def reads_nothing(told: list[str]) -> bool:
    by_id, by_response = [*told[:3], told[4]], told[3]
    return by_id == [UNKNOWN] * 4 and by_response.startswith("previous_response_id: ")


async def post(served: Served, path: str, name: str, arguments: Json, **headers: str) -> httpx2.Response:
    """A call of a tool as one message, with exactly these headers."""
    request = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": arguments}}
    url = f"http://127.0.0.1:{served.port}{path}"
    accept = {"Accept": "application/json, text/event-stream"}
    async with httpx2.AsyncClient(timeout=60, verify=False) as http:
        return await http.post(url, json=request, headers=accept | headers)


async def test_a_token_is_one_principal_however_its_scheme_is_spelt() -> None:
    async with place() as at, at.host("auto") as host:
        run_id = (await receipt_of(host, "hello"))["run_id"]
        for scheme in ("bearer", "BEARER", "BeArEr"):
            host._http.headers["Authorization"] = host._http.headers["Authorization"].replace("Bearer", scheme)
            assert (await receipt_of(host, run_id, tool="respond_wait"))["output_text"] == "a secret"


@pytest.mark.rule("S28")
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_two_tokens_are_two_principals_and_neither_reads_what_is_the_others(mode: str) -> None:
    """Without a check of tokens, as behind a proxy that has checked them."""
    async with (
        place(no_auth=True) as at,
        at.host(mode, token="ada's own token", capabilities=CAN_ASK) as ada,
        at.host(mode, token="bob's own token", capabilities=CAN_ASK) as bob,
    ):
        run_id = (await receipt_of(ada, "hello"))["run_id"]
        assert reads_nothing(await read_all(bob, run_id))
        assert (await receipt_of(ada, run_id, tool="respond_wait"))["output_text"] == "a secret"


@pytest.mark.rule("S4")
async def test_a_session_that_is_only_named_reads_nothing_of_it() -> None:
    async with (
        place(no_auth=True) as at,
        at.host("legacy", token=None) as ada,
        at.host("auto", token=None, name="eve") as eve,
    ):
        run_id = (await receipt_of(ada, "hello"))["run_id"]
        eve.headers["Mcp-Session-Id"] = ada.headers["Mcp-Session-Id"]
        assert reads_nothing(await read_all(eve, run_id))
        assert (await receipt_of(ada, run_id, tool="respond_wait"))["output_text"] == "a secret"


async def test_a_session_that_is_named_in_the_address_reads_nothing_of_it_either() -> None:
    async with place(no_auth=True) as at, at.host("legacy", token=None) as ada:
        run_id = (await receipt_of(ada, "hello"))["run_id"]
        session = ada.headers["Mcp-Session-Id"]
        async with connect(at.served.port, f"/mcp?session_id={session}", "auto", token=None) as eve:
            told = await eve.call_tool("respond_wait", {"run_id": run_id})
            assert (told.structured_content or {})["error"]["message"] == UNKNOWN


async def test_what_a_caller_began_under_an_invented_session_is_found_by_nobody() -> None:
    async with (
        place(no_auth=True) as at,
        at.host("auto", token=None) as ada,
        at.host("auto", token=None) as eve,
    ):
        ada.headers["Mcp-Session-Id"] = eve.headers["Mcp-Session-Id"] = "invented"
        receipt = await receipt_of(ada, "hello")
        assert receipt["output_text"] == "a secret"
        assert reads_nothing(await read_all(eve, receipt["run_id"]))
        del eve.headers["Mcp-Session-Id"]
        assert reads_nothing(await read_all(eve, receipt["run_id"]))


async def test_without_token_and_session_a_run_is_its_own_hosts_by_its_id_and_by_nothing_else() -> None:
    async with (
        place(no_auth=True) as at,
        at.host("auto", token=None, name="ada") as ada,
        at.host("auto", token=None, name="eve") as eve,
    ):
        receipt = await receipt_of(ada, "hello")
        assert reads_nothing(await read_all(eve, receipt["run_id"]))
        told = await receipt_of(ada, "", arguments={"input": "on", "previous_response_id": "resp_1"})
        assert told["error"]["message"] == "previous_response_id: without a token, go on from a result by its run_id"
        told = await receipt_of(ada, "", arguments={"input": "on", "run_id": receipt["run_id"]})
        assert (told["status"], told["output_text"]) == ("completed", "a secret")


@pytest.mark.rule("S28")
@pytest.mark.parametrize("token", ["ada's own token", None])
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_nobody_else_answers_the_question_of_a_run(mode: str, token: str | None) -> None:
    async with (
        place(no_auth=True) as at,
        at.host("auto", token=token, name="ada", capabilities=CAN_ASK) as ada,
        at.host(mode, token=token and "eve's own token", name="eve", capabilities=CAN_ASK) as eve,
    ):
        asked = await (await ada.call("write")).result()
        [key], run_id = asked["inputRequests"], asked["requestState"]
        state = {"inputResponses": {key: ACCEPTED}, "requestState": run_id}
        stolen = await receipt_of(eve, "write", **state)
        assert (stolen["error"]["message"], at.written) == (UNKNOWN, [])
        receipt = await receipt_of(ada, "write", **state)
        assert (receipt["status"], at.written) == ("completed", ["written"])


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_connection_of_sse_is_a_principal_of_its_own_whatever_its_messages_name(mode: Any) -> None:
    ids = list[str]()
    async with place(no_auth=True) as at:
        url = f"http://127.0.0.1:{at.served.port}/sse"
        ada_line = sse_client(url, timeout=60, on_session_created=ids.append)
        async with Client(ada_line, mode=mode) as ada:
            receipt = (await ada.call_tool("respond", {"input": "hello"})).structured_content or {}
            found = await ada.call_tool("respond_wait", {"run_id": receipt["run_id"]})
            assert (found.structured_content or {})["output_text"] == "a secret"
            claim = {"Mcp-Session-Id": ids[0]}
            async with Client(sse_client(url, headers=claim, timeout=60), mode=mode) as eve:
                told = await eve.call_tool("respond_wait", {"run_id": receipt["run_id"]})
                assert (told.structured_content or {})["error"]["message"] == UNKNOWN
            async with at.host("auto", token=None, name="eve") as modern:
                modern.headers["Mcp-Session-Id"] = ids[0]
                assert reads_nothing(await read_all(modern, receipt["run_id"]))


async def test_the_session_of_one_transport_opens_nothing_on_the_other() -> None:
    async with place(no_auth=True) as at, at.host("legacy", token=None) as ada:
        session = ada.headers["Mcp-Session-Id"]
        found = await post(at.served, f"/messages/?session_id={session}", "respond_wait", {"run_id": "run_x"})
        assert found.status_code == 404
