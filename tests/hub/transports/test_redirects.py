"""Redirects: followed on the same origin with everything, remembered, and refused by name to any other."""

import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import RedirectResponse
from starlette.routing import Mount, Route
from typing_extensions import override

from tests.fakes.bridges import open_bridge
from tests.fakes.http import HttpServer
from tests.fakes.servers import rendezvous_server
from tests.fakes.sessions import LEGACY, MODERN, Far, visit
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

Where = Callable[[httpx2.Request], str | None]


class Moved(httpx2.AsyncBaseTransport):
    """A server, and in front of it something that sends requests on to where `where` says."""

    def __init__(self, far: httpx2.AsyncBaseTransport, where: Where, status: int = 307) -> None:
        self.asked = list[httpx2.Request]()
        self.redirected = list[str]()
        self.where = where
        self.gone = ""
        self._far = far
        self._status = status

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request)
        if place := self.where(request):
            self.redirected.append(request.method)
            return httpx2.Response(self._status, headers={"location": place}, content=b"moved")
        if request.url.path == self.gone:
            return httpx2.Response(404)
        return await self._far.handle_async_request(request)


def add_slash(request: httpx2.Request) -> str | None:
    """As Starlette does for a mount: an absolute address."""
    return None if request.url.path.endswith("/") else f"{request.url.copy_with(raw_path=request.url.raw_path + b'/')}"


SAME: dict[str, tuple[Where, int]] = {
    "opensearch-project/opensearch-mcp-server-py#271": (add_slash, 307),
    "BerriAI/litellm#23688": (lambda request: None if request.url.path == "/mcp/" else "/mcp/", 307),
    "for good": (add_slash, 308),
    "agentic-community/mcp-gateway-registry#1606": (lambda r: None if r.url.path.endswith("/") else "mcp/", 301),
    "found": (add_slash, 302),
    "another path": (lambda request: None if request.url.path == "/v2/mcp" else "/v2/mcp?a=1#b", 308),
    "no scheme": (lambda request: None if request.url.path == "/mcp/" else "//far/mcp/", 307),
    "the standard port": (lambda request: None if request.url.path == "/mcp/" else "http://FAR:80/mcp/", 307),
    "two steps": (
        lambda request: {"/mcp": "/a", "/a": "/b"}.get(request.url.path),
        307,
    ),
}


@pytest.mark.parametrize("protocol", [MODERN, LEGACY])
@pytest.mark.parametrize("name", SAME)
async def test_a_redirect_on_the_same_origin_is_followed_once_and_for_all(name: str, protocol: str) -> None:
    where, status = SAME[name]
    far = Far(era=protocol)
    moved = Moved(far, where, status)
    async with visit(moved, protocol=protocol) as it:
        assert [await it.call(text) for text in ("a", "b")] == ["a", "b"]
    steps = 2 if name == "two steps" else 1
    assert set(Counter(moved.redirected).values()) == {steps}
    assert "POST" in moved.redirected
    assert {request.headers.get("x-key") for request in moved.asked} == {"ours"}
    assert {request.url.host for request in moved.asked} == {"far"}


async def test_the_end_of_a_session_follows_too() -> None:
    far = Far()
    async with visit(Moved(far, add_slash)) as it:
        assert await it.call() == "hello"
    assert "DELETE /mcp/" in far.asked


async def test_the_older_transport_follows_too() -> None:
    far = Far()
    moved = Moved(far, lambda request: {"/messages/": f"/messages?{request.url.query.decode()}"}.get(request.url.path))
    plain = moved.where
    moved.where = lambda request: "/sse" if request.url.path == "/events" else plain(request)
    async with visit(moved, "sse", url="http://far/events") as it:
        assert await it.call() == "hello"
    assert moved.redirected == ["GET"]


OTHER: dict[str, tuple[str, int, str]] = {
    "another port": ("http://far:9000/mcp", 307, "http://far:9000/mcp, which is another origin and is not followed"),
    "another host": ("http://elsewhere/mcp?key=1", 308, 'make http://elsewhere/mcp its "url" in the config'),
    "modelcontextprotocol/modelcontextprotocol#2755": ("https://far/mcp", 301, 'make https://far/mcp its "url"'),
    "HolmesGPT/holmesgpt#2414": ("http://user:secret@elsewhere/mcp", 307, "redirects to http://elsewhere/mcp,"),
    "a key in its path": (
        "http://elsewhere/mcp/k3y1k3y2k3y3k3y4k3y5k3y6",
        307,
        "redirects to http://elsewhere/mcp/…, which",
    ),
    "a file": (
        "file:///etc/passwd",
        307,
        "to file://far/etc/passwd, which is another origin and is not followed",
    ),
    "a page to sign in": (
        "/login?next=/mcp",
        302,
        "wants a sign-in: it redirects to http://far/login as to a page (HTTP 302);",
    ),
    "see other": ("/done", 303, "http://far/done as to a page (HTTP 303)"),
    "a circle": ("/mcp", 307, "redirects again and again, the last time to http://far/mcp"),
}


@pytest.mark.rule("S9")
@pytest.mark.parametrize(
    ("name", "wire"),
    [
        (name, wire)
        for name, (_, status, _) in OTHER.items()
        for wire in ("http", "sse", "auto")
        if wire != "sse" or status not in (302, 303)  # a GET may be sent to a page, which is no stream
    ],
)
async def test_a_redirect_to_elsewhere_is_refused_by_name(name: str, wire: str) -> None:
    place, status, words = OTHER[name]
    moved = Moved(Far(), lambda request: place if request.url.path == "/mcp" else None, status)
    url = "http://far/mcp"
    async with visit(moved, wire, protocol="auto", url=url) as it:
        reason = it.hub.members[0].reason
        assert reason
        assert words in reason
        assert reason.count("redirects") == 1
        assert "secret" not in reason
    assert {request.url.host for request in moved.asked} == {"far"}
    assert {request.url.port for request in moved.asked} == {None}


async def test_behind_a_proxy_that_hides_https_the_right_address_is_named() -> None:
    moved = Moved(Far(), lambda _: "http://far/mcp/", 307)
    async with visit(moved, url="https://far/mcp") as it:
        reason = it.hub.members[0].reason
    assert reason
    assert re.search(r'try https://far/mcp/ as its "url"', reason)
    assert {request.url.scheme for request in moved.asked} == {"https"}


async def test_a_stream_that_is_sent_elsewhere_is_no_stream_and_nothing_else() -> None:
    far = Far()
    moved = Moved(far, lambda request: "http://elsewhere/" if request.method == "GET" else None)
    async with visit(moved) as it:
        await it.spend(lambda: "GET" in moved.redirected)
        assert await it.call() == "hello"
        assert it.state == "ready"


async def test_a_place_that_is_gone_is_asked_for_again() -> None:
    moved = Moved(Far(era=MODERN), lambda request: "/one" if request.url.path == "/mcp" else None)
    async with visit(moved, protocol="auto") as it:
        assert await it.call("a") == "a"
        moved.gone = "/one"
        moved.where = lambda request: "/two" if request.url.path == "/mcp" else None
        assert "HTTP 404 Not Found; it may have been executed" in (await it.call("b"))["message"]
        assert await it.call("c") == "c"
    assert len(moved.redirected) == 2


@pytest.mark.external
@pytest.mark.parametrize("protocol", ["auto", "legacy"])
async def test_a_real_server_below_a_mount_is_reached_without_its_slash(protocol: str) -> None:
    """modelcontextprotocol/python-sdk#732, PrefectHQ/fastmcp#1867."""
    asked = list[str]()

    def build() -> Starlette:
        inner = rendezvous_server(1).streamable_http_app(streamable_http_path="/")

        async def note(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                asked.append(f"{scope['method']} {scope['path']}")
            await inner(scope, receive, send)

        app = Starlette(routes=[Mount("/mcp", note)])
        app.router.lifespan_context = inner.router.lifespan_context
        return app

    async with (
        HttpServer(build) as served,
        open_bridge({"far": {"type": "http", "url": served.url, "protocol": protocol}}) as bridge,
    ):
        assert (await bridge.run([[call("far__meet", {"key": "b"})]] * 2)).outputs == ["b", "b"]
    assert {path for _, path in map(str.split, asked)} == {"/mcp/"}


@pytest.mark.rule("S9")
@pytest.mark.external
async def test_nothing_of_ours_is_sent_to_another_port() -> None:
    heard = list[Request]()

    async def hear(request: Request) -> RedirectResponse:
        heard.append(request)
        return RedirectResponse("/")

    def build_stranger() -> Starlette:
        return Starlette(routes=[Route("/mcp", hear, methods=["GET", "POST", "DELETE"])])

    async with HttpServer(build_stranger) as stranger:

        def build() -> Starlette:
            async def send_on(_: Request) -> RedirectResponse:
                return RedirectResponse(stranger.url)

            return Starlette(routes=[Route("/mcp", send_on, methods=["GET", "POST", "DELETE"])])

        async with (
            HttpServer(build) as served,
            open_bridge({"far": {"url": served.url, "headers": {"authorization": "Bearer ours"}}}) as bridge,
        ):
            [notice] = (await bridge.hub.catalogue()).notices
    assert f'make {stranger.url} its "url" in the config' in notice["message"]
    assert not heard
