"""HTTP refusals of a call: what the server says of them is told, and "not executed" only where that is certain."""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import anyio
import httpx2
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from bridge.hub.transports.refusals import BODY_S
from bridge.hub.transports.words import WORDS_CHARS
from tests.fakes.bridges import open_bridge
from tests.fakes.http import HttpServer
from tests.fakes.rogue import Rogue
from tests.fakes.sessions import LEGACY, MODERN, Far, Visit, visit
from tests.fakes.upstream import call
from tests.hub.transports.test_guard import Body

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
WIRES = {"http": ("http", LEGACY), "http modern": ("http", MODERN), "sse": ("sse", "legacy")}
NOT_EXECUTED, OPEN = "; it was not executed", "; it may have been executed, check before repeating it"
SECRET = "sk-0123456789abcdef"


def refuse(status: int, body: bytes | str = b"", kind: str = "", **headers: str) -> httpx2.Response:
    told = {"content-type": kind} if kind else {}
    told |= {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.Response(status, content=body, headers=told)


def rpc(message: str, code: int = -32000) -> str:
    return f'{{"jsonrpc": "2.0", "id": null, "error": {{"code": {code}, "message": "{message}"}}}}'


JSON, PROBLEM, HTML = "application/json", "application/problem+json", "text/html; charset=utf-8"
TOLD: dict[str, tuple[httpx2.Response, str]] = {
    "punkpeye/mcp-remote#153": (
        refuse(403, rpc("missing scope customers:read"), JSON),
        f"HTTP 403 Forbidden: missing scope customers:read{NOT_EXECUTED}",
    ),
    "wso2/api-platform#2751": (
        refuse(403, '{"error": "Forbidden", "message": "Forbidden: insufficient permissions"}', JSON),
        f"HTTP 403 Forbidden: insufficient permissions{NOT_EXECUTED}",
    ),
    "modelcontextprotocol/java-sdk#713": (
        refuse(401, "", www_authenticate='Bearer resource_metadata="https://a/b", error="invalid"'),
        f'HTTP 401 Unauthorized (it asks for Bearer resource_metadata="https://a/b", error="invalid"); '
        f"it wants a sign-in: `mcp-responses-bridge login far`{NOT_EXECUTED}",
    ),
    "modelcontextprotocol/rust-sdk#559": (
        refuse(401, "Unauthorized: Session not found", "text/plain"),
        f"HTTP 401 Unauthorized: Session not found{NOT_EXECUTED}",
    ),
    "firezone/firezone#15066": (
        refuse(429, '{"error": {"message": "slow down", "retry_after_seconds": 300}}', JSON, retry_after="300"),
        f"HTTP 429 Too Many Requests: slow down (try again in 300 s){NOT_EXECUTED}",
    ),
    "429 without Retry-After": (refuse(429, "slow down"), f"HTTP 429 Too Many Requests: slow down{NOT_EXECUTED}"),
    "429 with nonsense": (
        refuse(429, "slow down", retry_after="soon"),
        f"HTTP 429 Too Many Requests: slow down{NOT_EXECUTED}",
    ),
    "a problem": (
        refuse(409, '{"type": "about:blank", "title": "Conflict", "detail": "it is locked", "status": 409}', PROBLEM),
        f"HTTP 409 Conflict: it is locked{OPEN}",
    ),
    "words that only begin alike": (
        refuse(409, "Conflicting edits", "text/plain"),
        f"HTTP 409 Conflict: Conflicting edits{OPEN}",
    ),
    "fastapi": (
        refuse(422, '{"detail": [{"loc": ["body"], "msg": "field required", "type": "missing"}]}', JSON),
        f": field required{OPEN}",
    ),
    "a list of errors": (
        refuse(400, '{"errors": [{"message": "one"}, {"message": "two"}]}', JSON),
        f"HTTP 400 Bad Request: one: two{OPEN}",
    ),
    "json of no known shape": (refuse(500, '{"why": [1, 2]}', JSON), f': {{"why": [1, 2]}}{OPEN}'),
    "a JSON text": (refuse(500, '"out of memory"', JSON), f": out of memory{OPEN}"),
    "json that is none": (refuse(500, "{oops", JSON), f": {{oops{OPEN}"),
    "json deeper than anybody needs": (refuse(500, "[" * 5000, JSON), OPEN),
    "a text": (refuse(500, "it broke\r\n  here\t!", "text/plain"), f": it broke here !{OPEN}"),
    "no Content-Type": (refuse(500, "it broke"), f"Internal Server Error: it broke{OPEN}"),
    "latin-1": (refuse(500, "caf\xe9".encode("latin-1"), "text/plain; charset=latin-1"), f": caf\xe9{OPEN}"),
    "a wrong charset": (refuse(500, "caf\xe9".encode(), "text/plain; charset=nonsense"), f": caf\xe9{OPEN}"),
    "control characters": (
        refuse(500, "\x1b[31mred\x1b[0m \x07\u202ecilam", "text/plain"),
        f": [31mred [0m cilam{OPEN}",
    ),
    "control characters in JSON": (refuse(500, '{"message": "a\\u001b[2Jb\\ud83d"}', JSON), f": a [2Jb{OPEN}"),
    "a page": (
        refuse(502, "<html><head><title>\n502 Bad  Gateway</title></head><body>nginx &amp; more</body></html>", HTML),
        f"HTTP 502 Bad Gateway{OPEN}",
    ),
    "a page with words": (
        refuse(503, "<!doctype html><TITLE>Down for &quot;maintenance&quot;</TITLE>" + "x" * 500_000, HTML),
        f'HTTP 503 Service Unavailable: Down for "maintenance"{OPEN}',
    ),
    "a page that says it is text": (refuse(502, "<h1>no</h1>", "text/plain"), f"HTTP 502 Bad Gateway{OPEN}"),
    "an image": (refuse(500, b"\x89PNG\r\n\x1a\n" + bytes(range(256)), "image/png"), f"Internal Server Error{OPEN}"),
    "bytes": (refuse(500, bytes(range(256)), "application/octet-stream"), f"Internal Server Error{OPEN}"),
    "nothing": (refuse(504), f"HTTP 504 Gateway Timeout{OPEN}"),
    "a status that has no name": (refuse(520, "origin"), f"HTTP 520: origin{OPEN}"),
    "redirected to nowhere": (refuse(307, "moved"), f"HTTP 307 Temporary Redirect: moved{OPEN}"),
    "not modified": (refuse(304), f"HTTP 304 Not Modified{OPEN}"),
    "503 that lasts": (refuse(503, "busy", retry_after="3600"), f"busy (try again in 3,600 s){OPEN}"),
}


async def fail_once(response: httpx2.Response, wire: str, **options: Any) -> Any:
    transport, protocol = WIRES[wire]
    far = Far(era=protocol)
    far.refuse = lambda message: response if message["method"] == "tools/call" else None
    async with visit(far, transport, protocol=protocol, **options) as it:
        output = await it.call("refused")
        far.refuse = lambda _: None
        assert await it.call() == "hello"
        assert it.state == "ready"
    assert far.executed == {"hello": 1}
    assert far.opened == (0 if protocol == MODERN else 1)
    return output


@pytest.mark.parametrize("wire", WIRES)
@pytest.mark.parametrize("name", TOLD)
async def test_what_a_refusal_says_is_told(name: str, wire: str) -> None:
    response, words = TOLD[name]
    output = await fail_once(response, wire)
    assert output["message"].startswith("far: the server answered with HTTP ")
    assert output["message"].endswith(words)
    assert output["message"].isprintable()


@pytest.mark.parametrize("wire", WIRES)
async def test_a_servers_own_error_stays_what_it_is(wire: str) -> None:
    output = await fail_once(refuse(400, rpc("no", -32050), JSON), wire)
    assert output == {"error": "protocol_error", "message": "far answered with error -32050: no"}


@pytest.mark.parametrize("wire", WIRES)
async def test_secrets_in_a_refusal_are_blanked_before_it_is_cut(wire: str) -> None:
    body = f"x{' ' * 10}{'y' * (WORDS_CHARS - 10)}{SECRET}"
    output = await fail_once(
        refuse(401, body, "text/plain", www_authenticate=f'Bearer token="{SECRET}"'), wire, secrets=[SECRET]
    )
    assert "sk-0" not in output["message"]
    assert 'token="***"' in output["message"]
    assert len(output["message"]) < WORDS_CHARS + 200


@pytest.mark.parametrize("end", ["cut", "silence"])
async def test_of_a_body_that_does_not_end_the_beginning_is_told(end: str) -> None:
    far, outputs = Far(), list[Any]()
    far.refuse = lambda message: (
        httpx2.Response(500, headers={"content-type": "text/plain"}, stream=Body(b"it broke", end=end))
        if message["method"] == "tools/call"
        else None
    )
    async with visit(far) as it:
        outputs = await it.call_all("hello")
        assert it.clock.now() <= BODY_S + 1
    assert ": it broke; it may have been executed" in outputs[0]["message"]


@pytest.mark.rule("REL11")
async def test_a_body_that_is_small_only_while_it_is_packed_is_not_read_whole() -> None:
    import gzip

    bomb = gzip.compress(b"x" * 50_000_000)
    output = await fail_once(refuse(500, bomb, "text/plain", content_encoding="gzip"), "http")
    assert len(output["message"]) < WORDS_CHARS + 200


def soon(clock: Any, seconds: float) -> str:
    return format_datetime(datetime.fromtimestamp(clock.time() + seconds, UTC), usegmt=True)


async def call_with(
    far: Far, replies: list[Callable[[Visit], httpx2.Response]], wire: str = "http", **options: Any
) -> Any:
    """One call, refused with these in turn; with the seconds that it took."""
    transport, protocol = WIRES[wire]
    async with visit(far, transport, protocol=protocol) as it:
        far.refuse = lambda message: replies.pop(0)(it) if replies and message["method"] == "tools/call" else None
        outputs = list[Any]()
        began = it.clock.now()

        async def use() -> None:
            outputs.append(await it.call(**options))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(use)
            await it.spend(lambda: bool(outputs), 0.5)
        return outputs[0], it.clock.now() - began


def told(status: int, wait: str, body: str = "slow down") -> Callable[[Visit], httpx2.Response]:
    return lambda _: refuse(status, body, retry_after=wait)


@pytest.mark.parametrize("wire", WIRES)
async def test_a_short_pause_is_waited_for(wire: str) -> None:
    """basicmachines-co/basic-memory#1378, modelcontextprotocol/typescript-sdk#1892."""
    far = Far(era=WIRES[wire][1])
    output, seconds = await call_with(far, [told(429, "7")], wire)
    assert output == "hello"
    assert 7 <= seconds <= 8.5
    assert far.executed == {"hello": 1}


async def test_a_pause_until_a_date_is_waited_for() -> None:
    output, seconds = await call_with(Far(), [lambda it: refuse(429, retry_after=soon(it.clock, 5))])
    assert output == "hello"
    assert 3 <= seconds <= 6.5


@pytest.mark.parametrize("wait", ["0", "Wed, 21 Oct 2015 07:28:00 GMT", "0.5"])
async def test_a_pause_that_is_over_is_none(wait: str) -> None:
    output, seconds = await call_with(Far(), [told(429, wait)])
    assert output == "hello"
    assert seconds <= 1.5


async def test_a_pause_with_a_json_rpc_error_is_waited_for() -> None:
    output, _ = await call_with(Far(), [told(429, "2", rpc("slow down"))])
    assert output == "hello"


async def test_a_server_that_always_asks_to_wait_is_asked_four_times() -> None:
    far = Far()
    output, seconds = await call_with(far, [told(429, "1")] * 99)
    assert output["message"].endswith("slow down (try again in 1 s); it was not executed")
    assert 3 <= seconds <= 6
    assert not far.executed


async def test_a_pause_longer_than_the_call_has_is_not_waited_for() -> None:
    output, seconds = await call_with(Far(), [told(429, "20")], within_s=10)
    assert output["message"].endswith("slow down (try again in 20 s); it was not executed")
    assert seconds <= 1


@pytest.mark.parametrize("wait", ["300", "1e99", "nan", "-1", "inf", "Tue, 99 Foo"])
async def test_a_long_pause_or_nonsense_is_not_waited_for(wait: str) -> None:
    output, seconds = await call_with(Far(), [told(429, wait)])
    assert output["message"].endswith("it was not executed")
    assert seconds <= 1


async def test_a_server_that_is_unavailable_for_a_moment_is_asked_again_only_where_that_does_no_harm() -> None:
    output, _ = await call_with(Far(), [told(503, "1")])
    assert output["message"].endswith(
        "slow down (try again in 1 s); it may have been executed, check before repeating it"
    )
    output, seconds = await call_with(Far(), [told(503, "1")], tool="read")
    assert output == "nothing has changed"
    assert seconds >= 1


async def test_a_pause_and_then_a_lost_session_are_both_got_over() -> None:
    far = Far()

    def forget(_: Visit) -> httpx2.Response:
        far.forget()
        return refuse(404)

    output, _ = await call_with(far, [told(429, "1"), forget, told(429, "1")])
    assert output == "hello"
    assert far.opened == 2
    assert far.executed == {"hello": 1}


@pytest.mark.external
async def test_a_real_server_that_asks_to_wait_is_waited_for() -> None:
    asked = list[float]()
    rogue = Rogue({})

    async def answer(request: Request) -> Response:
        message = await request.json()
        if "id" not in message:
            return Response(status_code=202)
        if message["method"] == "tools/call":
            asked.append(time.monotonic())
            if len(asked) == 1:
                return PlainTextResponse("slow down", 429, headers={"retry-after": "1"})
        found = rogue.answer(message["method"], message.get("params") or {}, message)
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], **(found or {})})

    def build() -> Starlette:
        return Starlette(routes=[Route("/mcp", answer, methods=["POST"])])

    async with HttpServer(build) as served, open_bridge({"far": {"url": served.url}}) as bridge:
        assert (await bridge.use(call("far__echo", {"text": "hello"}))).outputs == ["hello"]
    assert asked[1] - asked[0] >= 1
