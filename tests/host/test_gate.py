"""Who is let in to the service: by Host, Origin and token, on every route and method, and only for so long."""

import asyncio
import base64
import functools
import gc
import json
import re
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.routing import Mount

from bridge.host.gate import BODY_TIMEOUT_S, Access, Gate
from bridge.host.http import MAX_BODY_BYTES, Service
from bridge.host.malformed import REFUSAL
from bridge.host.principals import UNAUTHORIZED
from bridge.telemetry import Redactor, configure_logging
from tests.fakes.bridges import open_bridge, open_without_host
from tests.fakes.clock import PATIENCE_S, VirtualClock
from tests.fakes.service import TOKEN, Reply, Served, parse, serving

pytestmark = [pytest.mark.anyio, pytest.mark.external]

ROUTES = ("/mcp", "/sse", "/messages/", "/messages/?session_id=1", "/nothing/here")
METHODS = ("GET", "POST", "DELETE", "OPTIONS", "PUT")
P = 8787
Headers = list[tuple[str, bytes]]
Send = Callable[..., Any]

HOSTS: tuple[Sequence[str], ...] = tuple(
    [value] if isinstance(value, str) else value
    for value in (
        *("", " ", "*", "null", "evil.com", f"evil.com:{P}", f"localhost.evil.com:{P}", f"evil.localhost:{P}"),
        *("localhost", "127.0.0.1", "[::1]", "::1", f"::1:{P}", f"localhost:{P + 1}", "localhost:80", "localhost:0"),
        *("127.0.0.1:evil.com", "localhost:1@evil.com", f"localhost:{P}@evil.com", f"user:word@localhost:{P}"),
        *(f"localhost.:{P}", f"127.0.0.1.:{P}", f".localhost:{P}", f"[::ffff:127.0.0.1]:{P}", f"[::]:{P}"),
        *(f"[0:0:0:0:0:0:0:1]:{P}", f"[::1%lo]:{P}", f"[::1:{P}", f"2130706433:{P}", f"0177.0.0.1:{P}"),
        *(f"0x7f.0.0.1:{P}", f"0x7f000001:{P}", f"127.1:{P}", f"127.0.0.2:{P}", f"0.0.0.0:{P}", f"0:{P}"),
        *(f"localhost:0{P}", f"localhost:+{P}", f"localhost:{P}x", f"localhost: {P}", f"localhost:{P}:{P}"),
        *(f"localhost:{P},evil.com", f"localhost:{P}/evil", f"localhost:{P}#@evil.com", f"localhost:{P}\\@evil.com"),
        *(f"http://localhost:{P}", f"localhost%00:{P}", "localhost:99999", f"l\u00f6calhost:{P}", f"localhost:{P}\xa0"),
        *((), [f"localhost:{P}"] * 2, [f"localhost:{P}", "evil.com"], ["evil.com", f"localhost:{P}"]),
    )
)
ORIGINS: tuple[Sequence[str], ...] = tuple(
    [value] if isinstance(value, str) else value
    for value in (
        *("", "null", "*", "http://evil.com", "https://evil.com", f"http://evil.com:{P}", "http://localhost"),
        *("http://localhost:x.evil.com", f"http://localhost:{P}.evil.com", f"http://localhost:{P}@evil.com"),
        *(f"http://localhost.evil.com:{P}", f"http://localhost.:{P}", f"http://localhost:{P + 1}"),
        *(
            f"https://localhost:{P}",
            f"ws://localhost:{P}",
            f"file://localhost:{P}",
            f"//localhost:{P}",
            f"localhost:{P}",
        ),
        *(f"http:/localhost:{P}", f"http:localhost:{P}", f"http://localhost:{P}/", f"http://localhost:{P}/path"),
        *(f"http://localhost:{P} http://evil.com", f"http://localhost:{P},http://evil.com", "http://", "://"),
        *(f"http://127.1:{P}", f"http://[::ffff:127.0.0.1]:{P}", "chrome-extension://abcdef", "data:text/html,x"),
        *([f"http://localhost:{P}"] * 2, [f"http://localhost:{P}", "http://evil.com"], ["null", "null"]),
    )
)
RIGHT = f"Bearer {TOKEN}"
TOKENS: tuple[Sequence[str], ...] = tuple(
    [value] if isinstance(value, str) else value
    for value in (
        *("", "Bearer", "Bearer ", TOKEN, f"Bearer {TOKEN[:-1]}", f"Bearer {TOKEN}x", f"Bearer x{TOKEN}"),
        *(f"Bearer {TOKEN.upper()}", f"Bearer  {TOKEN}", f"Bearer\t{TOKEN}", f"Bearer {TOKEN}=", f'Bearer "{TOKEN}"'),
        *(f"Bearer {TOKEN}\xa0", "Bearer \u00fc\u00fc\u00fc", f"Bearer {TOKEN}, {TOKEN}", f"Bearer {TOKEN} {TOKEN}"),
        *(f"Basic {base64.b64encode(TOKEN.encode()).decode()}", f"Token {TOKEN}", f"Bearer:{TOKEN}", f"Bearer{TOKEN}"),
        *("Bearer null", "Bearer None", "Bearer *", (), [RIGHT, RIGHT], [RIGHT, "Bearer x"], ["Bearer x", RIGHT]),
    )
)
WORDS = {421: "Unknown host", 403: "Origin not allowed", 401: UNAUTHORIZED}


@pytest.fixture(scope="module")
async def app() -> AsyncIterator[Send]:
    """Sends a request straight to the application, so that every combination can be tried; port 8787 is right."""
    addresses = frozenset((name, P) for name in ("localhost", "127.0.0.1", "[::1]"))
    access = Access(TOKEN, addresses, frozenset(("http", address) for address in addresses))
    async with open_without_host(None) as bridge:
        service = Service(bridge.server, access, VirtualClock())

        async def send(method: str, target: str, headers: Headers) -> Reply:
            path, _, query = target.partition("?")
            scope = {"type": "http", "method": method, "path": path, "query_string": query.encode()}
            scope |= {"headers": [(name.encode(), value) for name, value in headers], "root_path": ""}
            scope |= {"http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", P), "client": ("127.0.0.1", 5)}
            return await call(service.app, scope)

        async with service.run():
            yield send


async def call(app: Any, scope: dict[str, Any]) -> Reply:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    messages = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        return next(messages, {"type": "http.disconnect"})

    with anyio.fail_after(PATIENCE_S):
        await app(scope, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return Reply(sent[0]["status"], headers, b"".join(message.get("body", b"") for message in sent).decode())


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Served]:
    async with open_without_host(None) as bridge, serving(bridge, head_timeout_s=0.2) as served:
        yield served


async def count_refused(app: Send, status: int, routes: Sequence[str], variants: Sequence[Headers]) -> tuple[int, str]:
    """How many of the variants got the whole refusal and nothing but the refusal everywhere; and that in words."""
    refused = tried = 0
    for headers in variants:
        replies = [await app(method, route, headers) for method in METHODS for route in routes]
        refused += all(map(functools.partial(is_refusal, status), replies))
        tried += len(replies)
    return refused, f"{refused}/{len(variants)} values in {tried} requests"


def is_refusal(status: int, reply: Reply) -> bool:
    own = {"content-length", "content-type", "www-authenticate"}
    return (reply.status, reply.body) == (status, WORDS[status]) and reply.headers.keys() <= own


def write(headers: Sequence[tuple[str, str | bytes]]) -> bytes:
    return b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)


def headers_of(name: str, values: Sequence[str]) -> Headers:
    return [(name, value.encode("latin-1")) for value in values]


@pytest.mark.rule("S2")
async def test_every_hostile_host_is_refused_on_every_route_and_method(
    app: Send, record_testsuite_property: Any
) -> None:
    variants = [[*headers_of("host", host), ("authorization", RIGHT.encode())] for host in HOSTS]
    refused, figure = await count_refused(app, 421, (*ROUTES, "/healthz"), variants)
    record_testsuite_property("hostile hosts refused", figure)
    assert refused == len(HOSTS) >= 30


@pytest.mark.rule("S2")
async def test_every_hostile_origin_is_refused_on_every_route_and_method(
    app: Send, record_testsuite_property: Any
) -> None:
    right: Headers = [("host", b"localhost:8787"), ("authorization", RIGHT.encode())]
    variants = [[*right, *headers_of("origin", origin)] for origin in ORIGINS]
    refused, figure = await count_refused(app, 403, (*ROUTES, "/healthz"), variants)
    record_testsuite_property("hostile origins refused", figure)
    assert refused == len(ORIGINS) >= 25


@pytest.mark.rule("S1")
async def test_every_wrong_token_is_refused_on_every_route_and_method(
    app: Send, record_testsuite_property: Any
) -> None:
    variants = [[("host", b"localhost:8787"), *headers_of("authorization", token)] for token in TOKENS]
    refused, figure = await count_refused(app, 401, ROUTES, variants)
    record_testsuite_property("wrong tokens refused", figure)
    assert refused == len(TOKENS) >= 15


@pytest.mark.rule("S2")
@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", "LocalHost"])
async def test_a_right_name_is_let_in_with_and_without_its_own_origin(app: Send, host: str) -> None:
    headers = headers_of("host", [f"{host}:{P}"]) + headers_of("authorization", [RIGHT])
    for origin in ((), [f"http://{host}:{P}"], [f"HTTP://localhost:{P}"]):
        sent = [*headers, *headers_of("origin", origin), ("content-type", b"application/json")]
        for route, words in (("/mcp", "Not Acceptable: Client must accept"), ("/messages/", "session_id is required")):
            assert words in (await app("POST", route, sent)).body


async def test_the_scheme_of_a_token_may_be_written_in_any_case(app: Send) -> None:
    headers = headers_of("host", [f"localhost:{P}"]) + headers_of("authorization", [f"bEARER {TOKEN}"])
    assert (await app("GET", "/nothing", headers)).status == 404


@pytest.mark.rule("S31")
async def test_health_needs_no_token_and_says_nothing_else(app: Send) -> None:
    reply = await app("GET", "/healthz", headers_of("host", [f"localhost:{P}"]))
    assert (reply.status, json.loads(reply.body)) == (200, {"status": "ok"})
    assert reply.headers.keys() == {"content-length", "content-type"}


async def test_health_names_the_servers_and_their_states_to_those_who_may_use_them() -> None:
    host = headers_of("host", [f"localhost:{P}"])
    addresses = frozenset([("localhost", P)])
    async with open_bridge({"absent": {"command": "no-such-command-anywhere"}}, builtin_tools=True) as bridge:
        await bridge.hub.catalogue()
        service = Service(bridge.server, Access(TOKEN, addresses, frozenset()), VirtualClock())
        scope: dict[str, Any] = {
            "type": "http",
            "method": "GET",
            "path": "/healthz",
            "query_string": b"",
            "root_path": "",
        }
        scope |= {"http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", P), "client": ("127.0.0.1", 5)}
        async with service.run():
            for authorization in TOKENS:
                given = [*host, *headers_of("authorization", authorization)]
                scope["headers"] = [(name.encode(), value) for name, value in given]
                reply = await call(service.app, dict(scope))
                expected = (401, UNAUTHORIZED) if authorization else (200, '{"status":"ok"}')
                assert (reply.status, reply.body) == expected
            given = [*host, *headers_of("authorization", [RIGHT])]
            scope["headers"] = [(name.encode(), value) for name, value in given]
            builtin, absent = json.loads((await call(service.app, scope)).body)["servers"]
    assert builtin == {"name": "builtin_tools", "state": "ready", "reason": None}
    assert (absent["name"], absent["state"]) in (("absent", "failed"), ("absent", "quarantined"))
    assert "command not found: no-such-command-anywhere" in absent["reason"]


@pytest.mark.rule("S34")
@pytest.mark.parametrize("origin", [b"https://evil.com", b"http://localhost:8787"])
async def test_no_page_is_granted_anything_by_a_preflight(app: Send, origin: bytes) -> None:
    asked = [("access-control-request-method", b"POST"), ("origin", origin)]
    for route in (*ROUTES, "/healthz"):
        reply = await app("OPTIONS", route, [*headers_of("host", [f"localhost:{P}"]), *asked])
        assert not [name for name in reply.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    ("name", "variants", "refusals"),
    [("Host", HOSTS, {421, 400}), ("Origin", ORIGINS, {403}), ("Authorization", TOKENS, {401})],
    ids=["hosts", "origins", "tokens"],
)
async def test_what_comes_over_a_socket_is_refused_as_well(
    served: Served, name: str, variants: Sequence[Sequence[str]], refusals: set[int]
) -> None:
    """Some of it by the web server itself, with 400."""
    others = [header for header in served.right if header[0] != name]
    let_in = {}
    for values in variants:
        sent = [(name, value.replace(str(P), str(served.port)).encode("latin-1")) for value in values]
        reply = await served.send("GET", "/mcp", [*others, *sent])
        if reply.status not in refusals:
            let_in[tuple(values)] = reply
    assert let_in == {}


async def test_no_reply_names_the_web_server(served: Served) -> None:
    for target in ("/healthz", "/nothing", "/mcp"):
        assert not {"server", "x-powered-by"} & (await served.send("GET", target, served.right)).headers.keys()


async def test_an_upgrade_to_a_websocket_is_a_request_like_any_other(served: Served) -> None:
    upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Key", "eA==")]
    assert (await served.send("GET", "/messages/", [served.right[0], *upgrade])).status == 401


async def test_nothing_but_http_gets_past_the_gate() -> None:
    gate = Gate(Starlette(routes=[Mount("/", app=Starlette())]), Access(None, frozenset(), frozenset()), VirtualClock())
    with pytest.raises(RuntimeError, match="websocket is not served"):
        await call(gate, {"type": "websocket", "path": "/", "headers": []})


@pytest.mark.rule("REL28")
async def test_a_connection_that_does_not_send_its_head_is_closed(served: Served) -> None:
    """Neither the first nor the next one, nor the rest of a body that nobody waits for."""
    host = f"Host: 127.0.0.1:{served.port}\r\n".encode()
    whole = b"GET /healthz HTTP/1.1\r\n" + host + b"\r\n"
    ends = {
        "nothing at all": (b"", 0),
        "half a head": (b"POST /mcp HTTP/1.1\r\n" + host, 0),
        "half a second head": (whole + b"POST /mcp HTTP/1.1\r\n", 200),
        "a refused request without its body": (b"POST /mcp HTTP/1.1\r\n" + host + b"Content-Length: 9\r\n\r\nx", 401),
    }
    got: dict[str, int] = {}

    async def hold(name: str, data: bytes) -> None:
        received = await served.exchange(data)
        got[name] = parse(received).status if received else 0

    async with anyio.create_task_group() as tasks:
        for name, (data, _) in ends.items():
            tasks.start_soon(hold, name, data)
    assert got == {name: status for name, (_, status) in ends.items()}


async def test_a_request_that_takes_long_to_answer_is_not_closed_for_it(served: Served) -> None:
    with anyio.move_on_after(0.3) as patience:
        await served.exchange(
            b"GET /sse HTTP/1.1\r\n" + b"".join(f"{n}: {v}\r\n".encode() for n, v in served.right) + b"\r\n"
        )
    assert patience.cancelled_caught


@pytest.mark.rule("REL28")
async def test_a_body_that_does_not_come_in_time_is_given_up() -> None:
    clock, replies = VirtualClock(), list[Reply]()
    async with (
        open_without_host(None) as bridge,
        serving(bridge, clock=clock) as served,
        anyio.create_task_group() as tasks,
    ):

        async def post(path: str) -> None:
            head = [*served.right, ("Content-Type", "application/json"), ("Content-Length", "10")]
            replies.append(await served.send("POST", path, head))

        tasks.start_soon(post, "/mcp")
        tasks.start_soon(post, "/messages/")
        while len(replies) < 2:
            await clock.advance(1)
    assert clock.now() >= BODY_TIMEOUT_S
    for reply in replies:
        assert (reply.status, reply.body) == (408, "The request took too long")
        assert reply.headers["connection"] == "close"


@pytest.mark.parametrize("path", ["/mcp", "/messages/"])
async def test_a_body_over_the_limit_is_refused_before_it_comes(served: Served, path: str) -> None:
    head = [*served.right, ("Content-Type", "application/json"), ("Content-Length", str(MAX_BODY_BYTES + 1))]
    assert (await served.send("POST", path, head)).status == 413


@pytest.mark.rule("REL28")
@pytest.mark.external
async def test_a_body_that_grows_over_the_limit_is_refused(served: Served) -> None:
    chunk = b"%x\r\n%s\r\n" % (1 << 20, b" " * (1 << 20))
    head = write(served.right) + b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
    data = await served.exchange(b"POST /mcp HTTP/1.1\r\n" + head + b"\r\n" + chunk * 33)
    assert parse(data).status == 413


TEXTS = st.text(st.characters(codec="latin-1", exclude_categories=["Cc"]), max_size=20)
NAMES = st.sampled_from(
    ["Accept", "Content-Type", "Mcp-Session-Id", "MCP-Protocol-Version", "Mcp-Method", "Expect", "X"]
)
MESSAGES = st.fixed_dictionaries(
    {"jsonrpc": st.sampled_from(["2.0", "1.0", None])},
    optional={
        "id": st.one_of(st.integers(), st.none(), TEXTS),
        "method": st.sampled_from(["tools/list", "tools/call", "initialize", "server/discover", "ping", "x", ""]),
        "params": st.one_of(st.none(), st.just([1]), st.dictionaries(TEXTS, st.integers(), max_size=2)),
    },
)
BODIES = st.one_of(MESSAGES, st.lists(MESSAGES, max_size=2)).map(lambda value: json.dumps(value).encode())


async def test_no_request_whatever_gets_a_500(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    """Let in by host and token, then anything."""

    @settings(max_examples=40, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(
        method=st.sampled_from([*METHODS, "PATCH", "HEAD", "TRACE", "BREW"]),
        path=st.sampled_from([*ROUTES, "/", "/mcp/", "/healthz", "/mcp/%00", "//", "/messages/%ff?session_id=%00"]),
        headers=st.lists(st.tuples(NAMES, TEXTS), max_size=3),
        body=st.one_of(st.binary(max_size=60), BODIES),
    )
    def try_one(method: str, path: str, headers: list[tuple[str, str]], body: bytes) -> None:
        requests.append((method, path, [(name, value.strip().encode("latin-1")) for name, value in headers], body))

    requests: list[Any] = []
    try_one()
    for method, path, headers, body in requests:
        if (method, path) in {("GET", "/sse"), ("HEAD", "/sse")}:
            continue  # a stream without an end
        kinds = [] if any(name == "Content-Type" for name, _ in headers) else [("Content-Type", b"application/json")]
        reply = await served.send(method, path, [*served.right, *kinds, *headers], body)
        assert reply.status < 500, (method, path, headers, body, reply)
        assert "Traceback" not in reply.body
    assert "Traceback" not in caplog.text


JSON = [("Content-Type", "application/json"), ("Accept", "application/json, text/event-stream")]
MODERN = [*JSON, ("MCP-Protocol-Version", "2026-07-28")]
SHAPES: dict[str, list[tuple[str, str]]] = {
    "no headers": [],
    "text": [("Content-Type", "text/plain"), ("Accept", "*/*")],
    "JSON": JSON,
    "a session that is none": [*JSON, ("Mcp-Session-Id", "nobody")],
    "a revision that is none": [*JSON, ("MCP-Protocol-Version", "1999-01-01")],
    "the modern era": [*MODERN, ("Mcp-Method", "tools/call"), ("Mcp-Name", "respond")],
}
INITIALIZE: dict[str, Any] = {"protocolVersion": "2025-11-25", "capabilities": {}}
INITIALIZE |= {"clientInfo": {"name": "x", "version": "1"}}
BEGIN = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": INITIALIZE}).encode()
MALFORMED = (
    *(b"", b"{not json", b"\xff\xfe", b"null", b"7", b"[]", b"[" * 100_000, b"{}", b'{"jsonrpc":"1.0","method":"x"}'),
    *(b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":[1]}', b'{"jsonrpc":"2.0","id":{},"method":"ping"}'),
    *(b'{"jsonrpc":"2.0","id":"\\ud800","method":"ping"}', b'{"jsonrpc":"2.0","id":%s,"method":"x"}' % (b"9" * 5000)),
    *(b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":{}}}', b"[%s, %s]" % (BEGIN, BEGIN)),
    *(b'{"jsonrpc":"2.0","id":3,"method":"tools/call","params":{"name":7}}', b'{"jsonrpc":"2.0","id":4,"result":5}'),
)
INSIDE = re.compile(r"Traceback|\.py\b|site-packages|pydantic|starlette|uvicorn|JSONRPC[A-Z]|input_value|Exception")
"""What would tell a client how the service is made."""


async def test_every_route_and_method_with_every_shape_of_request_is_answered_and_tells_nothing(
    served: Served, caplog: pytest.LogCaptureFixture, record_testsuite_property: Any
) -> None:
    """Let in by host and token, over a socket: each method on each route with all headers, each body posted to each."""
    methods = (*METHODS, "PATCH", "HEAD", "TRACE", "BREW")
    routes = (*ROUTES, "/", "/mcp/", "/sse/", "/healthz", "/mcp/%00", "//", "/messages/%ff?session_id=%00")
    requests = [(method, route, shape, b"") for method in methods for route in routes for shape in SHAPES]
    requests += [("POST", route, shape, body) for route in ROUTES for shape in SHAPES for body in (*MALFORMED, BEGIN)]
    tried = 0
    for method, route, shape, body in requests:
        if route == "/sse" and method in ("GET", "HEAD"):
            continue  # a stream without an end
        reply = await served.send(method, route, [*served.right, *SHAPES[shape]], body)
        tried += 1
        assert reply.status < 500, (method, route, shape, body[:80], reply)
        assert reply.status < 300 or not INSIDE.search(reply.body), (method, route, shape, body[:80], reply)
        assert reply.status < 300 or len(reply.body.splitlines()) <= 1, (method, route, shape, body[:80], reply)
    assert "Traceback" not in caplog.text
    record_testsuite_property("requests of every shape answered without a 500", f"{tried}/{tried}")


async def test_a_body_that_is_no_message_is_one_error_inside_a_session_too(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    begun = await served.send("POST", "/mcp", [*served.right, *JSON], BEGIN)
    session = [*served.right, *JSON, ("Mcp-Session-Id", begun.headers["mcp-session-id"])]
    for body in MALFORMED:
        reply = await served.send("POST", "/mcp", session, body)
        assert reply.status in (200, 202, 400), (body[:80], reply)
        assert not INSIDE.search(reply.body), (body[:80], reply)
    assert "Traceback" not in caplog.text
    reply = await served.send("POST", "/mcp", session, b"{}")
    assert json.loads(reply.body) == REFUSAL


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """The log file, set up as the program does it."""
    configure_logging("info", tmp_path / "log", Redactor())
    return tmp_path / "log"


@pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning")
async def test_a_body_that_is_no_message_ends_no_stream_and_is_no_traceback_in_the_log(log: Path) -> None:
    async with open_without_host(None) as bridge, serving(bridge) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        with anyio.fail_after(20):
            writer.write(b"GET /sse HTTP/1.1\r\n" + write(served.right) + b"\r\n")
            await reader.readuntil(b"session_id=")
            endpoint = f"/messages/?session_id={(await reader.readexactly(32)).decode()}"
            for body in MALFORMED:
                reply = await served.send("POST", endpoint, [*served.right, *JSON], body)
                assert reply.status in (202, 400), (body[:80], reply)
                assert not INSIDE.search(reply.body), (body[:80], reply)
            await served.send("POST", endpoint, [*served.right, *JSON], BEGIN)
            await reader.readuntil(b'"serverInfo"')
        writer.close()
    gc.collect()  # the SDK does not close the channels of a stream that is cancelled
    assert "Traceback" not in read(log)


def read(log: Path) -> str:
    return log.read_text(encoding="utf-8")
