"""The older HTTP transport: found behind a URL without a type, and its messages go where they can be meant to go."""

import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.hub.transports.connect import SILENCE_S
from bridge.hub.transports.http_sse import ENDPOINT_S
from tests.fakes.bridges import Outcome, open_bridge
from tests.fakes.clock import VirtualClock, until
from tests.fakes.http import HttpServer, answer_with, build_judging
from tests.fakes.items import Json
from tests.fakes.older import NAMED, Older, silence
from tests.fakes.rogue import Rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

FINE = ["nothing has changed"]


async def use(older: Older, **entry: Any) -> Outcome:
    """One run that calls `read`, on a server behind a URL and nothing else."""
    async with HttpServer(older.build, "sse") as served:
        url = served.url.replace("/sse", f"{older.prefix}/sse")
        async with open_bridge({"s": {"url": url, **entry}}) as bridge:
            return await bridge.use(call("s__read"))


async def cut() -> AsyncIterator[bytes]:
    yield b'{"jsonrpc": '
    raise OSError("the cable was pulled")


POSTED: dict[str, Callable[[Older, Request], Response]] = {
    "405": lambda _, __: PlainTextResponse("Method Not Allowed", 405),
    "404": lambda _, __: PlainTextResponse("Not Found", 404),
    "400 in JSON": lambda _, __: JSONResponse({"error": "sessionId is required"}, 400),
    "500 with a page": lambda _, __: HTMLResponse("<h1>Internal Server Error</h1>", 500),
    "401": lambda _, __: JSONResponse({"detail": "who?"}, 401),
    "200 with a page": lambda _, __: HTMLResponse("<!doctype html><title>Home</title>"),
    "200 and nothing": lambda _, __: Response(b""),
    "200 and words": lambda _, __: PlainTextResponse("ok"),
    "202": lambda _, __: Response(status_code=202),
    "204": lambda _, __: Response(status_code=204),
    # microsoft/vscode#249914
    "a stream that names an endpoint": lambda older, request: older.stream(request),
    "a stream that ends": lambda _, __: Response(b": hello\n\n", media_type="text/event-stream"),
    "a body that is cut": lambda _, __: StreamingResponse(cut(), media_type="application/json"),
    "a redirect to a page": lambda _, __: Response(status_code=302, headers={"location": "/"}),
}


@pytest.mark.parametrize("posted", POSTED)
async def test_a_url_without_a_type_is_the_older_transport_whatever_it_answers_a_post(posted: str) -> None:
    outcome = await use(Older(posted=POSTED[posted]))
    assert outcome.outputs == FINE
    assert not outcome.notices


SILENT: dict[str, Callable[[Older, Request], Response]] = {
    "a stream without an event": lambda _, __: StreamingResponse(silence(), media_type="text/event-stream"),
    "a body that never comes": lambda _, __: StreamingResponse(silence(), media_type="application/json"),
}


@pytest.mark.parametrize("protocol", ["auto", "legacy", "2026-07-28"])
@pytest.mark.parametrize("posted", SILENT)
async def test_one_that_stays_silent_is_looked_at_after_two_seconds(posted: str, protocol: str) -> None:
    """omnigent-ai/omnigent#1523, NousResearch/hermes-agent#21227."""
    modes = ("legacy",) if protocol == "legacy" else ()
    clock, older = VirtualClock(), Older(posted=SILENT[posted], modes=modes)
    async with (
        HttpServer(older.build, "sse") as served,
        open_bridge({"s": {"url": served.url, "protocol": protocol}}, clock=clock) as bridge,
    ):
        await until(lambda: clock.pending > 2)
        assert older.gets == 0
        await clock.advance(SILENCE_S)
        assert (await bridge.use(call("s__read"))).outputs == FINE
        assert older.gets == 2


async def test_a_slow_server_of_streamable_http_is_not_lost_by_that() -> None:
    """Its POST is sent once and its answer waited for, and the stream that GET opens meanwhile is closed again."""
    clock, looked, go_on, closed = VirtualClock(), anyio.Event(), anyio.Event(), anyio.Event()
    asked: list[str] = []

    async def slowly(message: Json) -> Response | None:
        asked.append(message["method"])
        await go_on.wait()
        return None

    async def hold() -> AsyncIterator[bytes]:
        looked.set()
        try:
            yield b": hello\n\n"
            await anyio.sleep_forever()
        finally:
            closed.set()

    def build() -> Starlette:
        app = build_judging(lambda _, message: slowly(message))
        app.add_route("/mcp", lambda _: StreamingResponse(hold(), media_type="text/event-stream"), methods=["GET"])
        return app

    async with HttpServer(build) as served, open_bridge({"s": {"url": served.url}}, clock=clock) as bridge:
        await until(lambda: bool(asked))
        await clock.advance(SILENCE_S)
        await looked.wait()
        go_on.set()
        assert (await bridge.use(call("s__read"))).outputs == FINE
        await closed.wait()
    assert asked[:2] == ["server/discover", "tools/list"]


ENDPOINTS: dict[str, bytes] = {
    "a path": NAMED,
    "a whole URL": b"event: endpoint\ndata: ORIGIN/messages/?session_id=ID\n\n",
    # mark3labs/mcphost#26
    "an encoded URL": b"event: endpoint\ndata: http%3A//localhost%3APORT/messages/?session_id=ID\n\n",
    "localhost": b"event: endpoint\ndata: http://localhost:PORT/messages/?session_id=ID\n\n",
    "every address": b"event: endpoint\ndata: http://0.0.0.0:PORT/messages/?session_id=ID\n\n",
    "the other loopback": b"event: endpoint\ndata: http://[::1]:PORT/messages/?session_id=ID\n\n",
    "a relative path": b"event: endpoint\ndata: messages/?session_id=ID\n\n",
    "two slashes": b"event: endpoint\ndata: //messages/?session_id=ID\n\n",
    "white space behind it": b"event: endpoint\ndata:   /messages/?session_id=ID  \t\n\n",
    "CR LF": b"event: endpoint\r\ndata: /messages/?session_id=ID\r\n\r\n",
    "CR": b"event: endpoint\rdata: /messages/?session_id=ID\r\r",
    "a byte order mark": b"\xef\xbb\xbf" + NAMED,
    "comments": b": hello\n\n:\n: again\n" + NAMED + b": ping\n\n",
    "its name behind its data": b"data: /messages/?session_id=ID\nid: 1\nevent: endpoint\n\n",
    "its name with a blank": b"event:endpoint \ndata:/messages/?session_id=ID\n\n",
    "no name": b"data: /messages/?session_id=ID\n\n",
    "several lines": b"event: endpoint\ndata: /messages/\ndata: ?session_id=ID\n\n",
    "JSON": b'event: endpoint\ndata: {"endpoint": "/messages/?session_id=ID"}\n\n',
    "nested JSON": b'event: endpoint\ndata: {"type": "endpoint", "params": {"uri": "/messages/?session_id=ID"}}\n\n',
    "a JSON text": b'event: endpoint\ndata: "/messages/?session_id=ID"\n\n',
    "another event before it": b"event: session\ndata: 5\n\nevent: ping\ndata: {}\n\n" + NAMED,
    "named twice": NAMED + NAMED,
    "what nobody can read, then its name": b"event: endpoint\ndata: " + b"[" * 100_000 + b"\n\n" + NAMED,
}


@pytest.mark.parametrize("named", ENDPOINTS)
async def test_an_endpoint_is_read_as_it_was_meant(named: str) -> None:
    older = Older(first=lambda request: ENDPOINTS[named].replace(b"PORT", str(request.url.port).encode()))
    outcome = await use(older)
    assert outcome.outputs == FINE
    assert not outcome.notices


PREFIXES: dict[str, tuple[str, str]] = {
    # modelcontextprotocol/python-sdk#412, PrefectHQ/fastmcp#562
    "the proxy's prefix is left out": ("/prefix", "/messages/"),
    "a long one": ("/a/b/c", "/messages/"),
    # modelcontextprotocol/python-sdk#2255
    "it knows a part of it": ("/api/v1", "/v1/messages/"),
    "it knows all of it": ("/prefix", "/prefix/messages/"),
    "it is relative": ("/prefix", "messages/"),
    "it is relative to the parent": ("/prefix/x", "../x/messages/"),
    "what is at the root leads elsewhere": ("/prefix", "/elsewhere/"),
    "what is at the root is a page": ("/prefix", "/page/"),
    "a slash was forgotten": ("/servers/github", "/servers/githubmessages/"),  # sparfenyuk/mcp-proxy#71
}


@pytest.mark.parametrize("kind", PREFIXES)
async def test_the_prefix_of_a_proxy_is_kept(kind: str) -> None:
    prefix, path = PREFIXES[kind]
    older = Older(first=f"event: endpoint\ndata: {path}?session_id=ID\n\n".encode(), prefix=prefix)
    outcome = await use(older, type="sse")
    assert outcome.outputs == FINE
    assert {post.partition(" ")[0].rpartition("/")[0].rpartition("/")[0] for post in older.posts} == {prefix}


ELSEWHERE: dict[str, tuple[str, str]] = {
    "another host": ("http://inner.example:8000/messages/?session_id=SECRET", "http://inner.example:8000"),
    "another scheme": ("https://127.0.0.1:PORT/messages/?session_id=SECRET", "https://127.0.0.1:PORT"),
    "another port": ("http://127.0.0.1:1/messages/?session_id=SECRET", "http://127.0.0.1:1"),
    "a host without a scheme": ("//inner.example/messages/?session_id=SECRET", "http://inner.example"),
}


@pytest.mark.rule("S9")
@pytest.mark.parametrize("kind", ELSEWHERE)
@pytest.mark.parametrize("type", ["sse", None])
async def test_an_endpoint_on_another_origin_is_told_and_nothing_is_sent(kind: str, type: str | None) -> None:
    """modelcontextprotocol/python-sdk#965, heymrun/heym#78, apache/apisix#12138."""
    named, shown = ELSEWHERE[kind]
    older = Older(
        first=lambda request: f"event: endpoint\ndata: {named}\n\n".replace("PORT", str(request.url.port)).encode()
    )
    async with HttpServer(older.build, "sse") as served:
        entry = {"url": served.url, **({"type": type} if type else {})}
        async with open_bridge({"s": entry}) as bridge:
            [notice] = (await bridge.use()).notices
    origin = served.url.removesuffix("/sse")
    there = shown.replace("PORT", origin.rpartition(":")[2])
    words = (
        f"its stream wants messages sent to {there}, another origin than that of its URL, {origin}: "
        "behind a proxy, a server must name its public address or only a path; its tools are missing"
    )
    assert notice.endswith(words)
    assert "SECRET" not in notice
    assert not older.posts


async def test_a_refused_call_keeps_its_words_and_costs_no_other() -> None:
    def accept(_: Request, message: Json) -> Response | None:
        arguments = message.get("params", {}).get("arguments")
        return JSONResponse({"detail": "too long"}, 413) if arguments == {"text": "no"} else None

    older = Older(accept=accept)
    async with HttpServer(older.build, "sse") as served, open_bridge({"s": {"url": served.url}}) as bridge:
        refused, fine = (await bridge.use(call("s__echo", {"text": "no"}), call("s__echo", {"text": "yes"}))).outputs
        assert (await bridge.use(call("s__read"))).outputs == FINE
    assert "HTTP 413" in json.loads(refused)["message"]
    assert "too long" in json.loads(refused)["message"]
    assert fine == "yes"
    assert older.gets == 1


@pytest.mark.parametrize("status", [200, 400])
async def test_a_refused_revision_is_asked_again_over_it_too(status: int) -> None:
    asked: list[str] = []

    def accept(_: Request, message: Json) -> Response | None:
        if message["method"] != "initialize":
            return None
        asked.append(message["params"]["protocolVersion"])
        words = "Unsupported protocol version (supported versions: 2024-11-05)"
        refused = {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32602, "message": words}}
        refusal = JSONResponse(refused) if status == 200 else PlainTextResponse(words, status)
        return None if asked[-1] == "2024-11-05" else refusal

    assert (await use(Older(accept=accept))).outputs == FINE
    assert asked == ["2025-11-25", "2024-11-05"]


async def test_a_forgotten_session_is_opened_anew_and_its_call_sent_again() -> None:
    forgotten: list[str] = []

    def accept(request: Request, message: Json) -> Response | None:
        if message["method"] != "tools/call" or forgotten:
            return None
        forgotten.append(request.query_params["session_id"])
        return PlainTextResponse("Could not find session", 404)

    outcome = await use(Older(accept=accept))
    assert outcome.outputs == FINE


async def test_a_stream_that_ends_is_opened_again() -> None:
    older = Older()
    async with HttpServer(older.build, "sse") as served, open_bridge({"s": {"url": served.url}}) as bridge:
        assert (await bridge.use(call("s__read"))).outputs == FINE
        older.end_streams()
        await bridge.reached("s", "backing off")
        assert (await bridge.use(call("s__read"))).outputs == FINE


@pytest.mark.parametrize("type", ["sse", None])
async def test_a_stream_without_an_endpoint_is_given_up_in_words(type: str | None) -> None:
    """datagouv/datagouv-mcp#68."""
    clock, older = VirtualClock(), Older(first=b": ping\n\n")
    async with (
        HttpServer(older.build, "sse") as served,
        open_bridge({"s": {"url": served.url, **({"type": type} if type else {})}}, clock=clock) as bridge,
    ):
        await until(lambda: older.gets > 0)
        await clock.advance(ENDPOINT_S)
        await bridge.reached("s", "failed")
        reason = bridge.member("s").reason
    assert reason is not None
    assert reason.endswith('its event stream named no endpoint in 30 s; its type may be "http"')


async def test_a_page_in_place_of_the_stream_is_told_by_its_title() -> None:
    async def show(_: Request) -> Response:
        return HTMLResponse("<title>Sign in to Acme</title>")

    app = Starlette(routes=[Route("/sse", show)])
    async with (
        HttpServer(lambda: app, "sse") as served,
        open_bridge({"s": {"type": "sse", "url": served.url}}) as bridge,
    ):
        [notice] = (await bridge.use()).notices
    assert "wants a sign-in: it answers with a web page (Sign in to Acme), not with MCP" in notice


async def test_a_server_of_streamable_http_of_the_wrong_type_is_told() -> None:
    older = Older(posted=lambda older, request: older.stream(request))
    [notice] = (await use(older, type="http")).notices
    assert notice.startswith('server "s" failed: http://')
    assert notice.endswith('/sse speaks the older HTTP+SSE transport: its type is "sse"; its tools are missing')


def frame(reply: object, end: str = "\n", name: str = "", **options: Any) -> bytes:
    data = [f"data: {line}" for line in json.dumps(reply, **options).split("\n")]
    lines = [f"event: {name}", *data] if name else data
    return (end.join(lines) + end * 2).encode()


LOG = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "hello"}}
REPLIES: dict[str, Callable[[Json], bytes]] = {
    "no name": frame,
    "another name": lambda reply: frame(reply, name="response"),
    "a batch": lambda reply: frame([LOG, reply]),
    "several lines": lambda reply: frame(reply, "\r\n", indent=1),
    "words before it": lambda reply: b"data: ping\n\ndata: {}\n\ndata: [DONE]\n\n" + frame(reply),
}


@pytest.mark.parametrize("kind", REPLIES)
async def test_replies_are_read_however_they_are_framed(kind: str) -> None:
    assert (await use(Older(reply=REPLIES[kind]))).outputs == FINE


async def test_an_acceptance_that_cannot_be_read_is_one_all_the_same() -> None:
    older = Older(accepted=lambda: PlainTextResponse("Accepted", 202, {"content-encoding": "gzip"}))
    assert (await use(older, type="sse")).outputs == FINE
    assert older.gets == 1


async def test_a_reply_in_the_reply_to_its_post_is_read() -> None:
    rogue = Rogue({"legacy": ""})
    older = Older(accept=lambda _, message: JSONResponse(answer_with(rogue, message)) if "id" in message else None)
    assert (await use(older, type="sse")).outputs == FINE
