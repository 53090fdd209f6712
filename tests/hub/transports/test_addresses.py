"""A URL behind which there is no MCP for us: people are told what answers there, and what would be right."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bridge.hub.transports.addresses import explain_unreachable
from tests.fakes.aloud import tell
from tests.fakes.http import HttpServer
from tests.fakes.servers import OrderedServer

pytestmark = pytest.mark.anyio

SECRET = "s3cret-of-the-shop"
BEARER = 'WWW-Authenticate: Bearer resource_metadata="https://corp.example/.well-known/oauth-protected-resource"'
HTML, JSON, TEXT = (f"Content-Type: {kind}" for kind in ("text/html", "application/json", "text/plain"))


def reply(status: str, body: str = "", *headers: str) -> bytes:
    head = "".join(f"{header}\r\n" for header in headers)
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{head}\r\n{body}".encode()


@asynccontextmanager
async def answering(data: bytes, tls: ssl.SSLContext | None = None, *, ends: bool = True) -> AsyncIterator[int]:
    """A port on which everything is answered with these bytes, and then with the end of the connection if it `ends`."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.read(65_536)
            writer.write(data)
            await writer.drain()
            if not ends:
                await reader.read()
            writer.close()
        except ConnectionError:
            pass

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    yield server.sockets[0].getsockname()[1]
    server.close()


PAGE = "<!doctype html><html><head><title>{}</title></head><body>Traceback (most recent call last)</body></html>"
ANSWERS = [
    pytest.param(
        reply("401 Unauthorized", "", BEARER),
        "wants a sign-in (HTTP 401 Unauthorized); `mcp-responses-bridge login far`, or "
        'set "headers": {"Authorization": "Bearer <token>"}, '
        'as its WWW-Authenticate asks: Bearer resource_metadata="https://corp.example/',
        id="401: microsoft/agent-framework#7699",
    ),
    pytest.param(
        reply("401 Unauthorized", "who are you?", TEXT),
        "wants a sign-in (HTTP 401 Unauthorized: who are you?); `mcp-responses-bridge login far`, or "
        'set "headers": {"Authorization": "Bearer <token>"}',
        id="401, a text",
    ),
    pytest.param(
        reply("401 Unauthorized", '{"error": "invalid_token", "error_description": "it has expired"}', JSON),
        "wants a sign-in (HTTP 401 Unauthorized: invalid_token: it has expired)",
        id="401, JSON: apache/superset#40309",
    ),
    pytest.param(
        reply(
            "401 Unauthorized",
            '{"jsonrpc": "2.0", "id": null, "error": {"code": -32001, "message": "no token"}}',
            JSON,
        ),
        "wants a sign-in (HTTP 401 Unauthorized: no token)",
        id="401, JSON-RPC",
    ),
    pytest.param(
        reply("401 Unauthorized", "", 'WWW-Authenticate: Basic realm="corp"'),
        '"Authorization": "Basic <base64 of user:password>"}, as its WWW-Authenticate asks: Basic realm="corp"',
        id="401, Basic",
    ),
    pytest.param(
        reply("403 Forbidden", PAGE.format("403 Forbidden"), HTML), "wants a sign-in (HTTP 403 Forbidden);", id="403"
    ),
    pytest.param(
        reply("403 Forbidden", '{"detail": "not in your plan"}', JSON),
        "wants a sign-in (HTTP 403 Forbidden: not in your plan);",
        id="403, JSON",
    ),
    pytest.param(
        reply("200 OK", PAGE.format("Sign in &middot; Corp"), HTML),
        "wants a sign-in: it answers with a web page (Sign in · Corp), not with MCP; set",
        id="a login page: omnigent-ai/omnigent#6309",
    ),
    pytest.param(
        reply("302 Found", "", "Location: https://login.example/sso?state=s3cret-of-the-shop"),
        "wants a sign-in: it redirects to https://login.example/sso; set",
        id="a redirect to a login page",
    ),
    pytest.param(
        reply("200 OK", PAGE.format("Welcome"), HTML),
        "answers with a web page (Welcome), not with MCP; correct the path in url, which often ends in /mcp or /sse",
        id="a web page: sjzar/chatlog#116",
    ),
    pytest.param(
        reply("200 OK", '{"code": 1, "msg": "no api key"}', JSON),
        "; correct the path in url, which often ends in /mcp or /sse",
        id="JSON of another kind",
    ),
    pytest.param(reply("200 OK", '{"ok": true}', JSON), "; correct the path in url", id="JSON"),
    pytest.param(reply("200 OK"), "; correct the path", id="nothing"),
    pytest.param(reply("204 No Content"), "; correct the path", id="204"),
    pytest.param(
        reply("404 Not Found", "Not Found", TEXT),
        "is not the address of an MCP server (HTTP 404 Not Found); correct the path in url",
        id="404",
    ),
    pytest.param(
        reply("405 Method Not Allowed"),
        "is not the address of an MCP server (HTTP 405 Method Not Allowed); correct the path",
        id="405",
    ),
    pytest.param(
        reply("500 Internal Server Error", 'Traceback (most recent call last):\n  File "a", line 1\nKeyError: x', TEXT),
        "answered with HTTP 500 Internal Server Error: KeyError: x;",
        id="a traceback",
    ),
    pytest.param(
        reply("404 Not Found", "<html><title>Error</title><body><pre>Cannot POST /x</pre></body></html>", HTML),
        "(HTTP 404 Not Found: Error); correct the path",
        id="404 of Express",
    ),
    pytest.param(
        reply("400 Bad Request", '{"jsonrpc": "2.0", "id": null, "error": {"code": -32000, "message": "no"}}', JSON),
        "no",
        id="400, JSON-RPC",
    ),
    pytest.param(
        reply("429 Too Many Requests", "", "Retry-After: 30"),
        "answered with HTTP 429 Too Many Requests (try again in 30 s);",
        id="429",
    ),
    pytest.param(reply("200 OK", "OK", TEXT), "; correct the path", id="a text"),
    pytest.param(
        reply("502 Bad Gateway", PAGE.format("502 Bad Gateway"), HTML),
        "answered with HTTP 502 Bad Gateway;",
        id="502: pgEdge/pgedge-postgres-mcp#47",
    ),
    pytest.param(
        reply("400 Bad Request", PAGE.format("400 The plain HTTP request was sent to HTTPS port"), HTML),
        "speaks TLS (HTTP 400 Bad Request: The plain HTTP request was sent to HTTPS port); write https://",
        id="http to nginx with TLS",
    ),
    pytest.param(
        reply("407 Proxy Authentication Required"), "the proxy wants a sign-in (HTTP 407", id="a proxy that asks"
    ),
    pytest.param(b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "cannot be reached: it answered, but not in HTTP;", id="not HTTP"),
    pytest.param(
        b"\x15\x03\x01\x00\x02\x02\x46\r\n\r\n", "it answered in TLS; write https:// instead", id="http to TLS"
    ),
    pytest.param(b"", "it closed the connection without an answer; if it speaks TLS there, write https", id="silence"),
]


@pytest.mark.parametrize("kind", ["auto", pytest.param("sse", marks=pytest.mark.external)])
@pytest.mark.parametrize(("answer", "told"), ANSWERS)
async def test_what_answers_there_is_told(answer: bytes, told: str, kind: str) -> None:
    async with answering(answer) as port:
        url = f"http://127.0.0.1:{port}/mcp"
        words = await tell({"url": f"{url}?token={SECRET}", **({} if kind == "auto" else {"type": kind})})
    assert told in words
    assert url in words or "the proxy" in words or words.endswith("failed: no; its tools are missing")
    assert SECRET not in words


REPLIES = {
    "an empty JSON body": (reply("200 OK", "", JSON), "{} answers with nothing; correct the path"),
    "half a JSON body": (
        reply("200 OK", '{"jsonrpc": "2.0", ', JSON),
        "{} does not answer in MCP: not readable as JSON: ",
    ),
    "a notification": (
        reply("200 OK", '{"jsonrpc": "2.0", "method": "notifications/x"}', JSON),
        "{} does not answer in MCP: the body does not contain a reply; correct the path",
    ),
    "a cut": (
        reply("200 OK", '{"jsonrpc": "2.0", ', JSON).replace(b"Length: 19", b"Length: 99"),
        "the reply of {} was cut: ",
    ),
    "a circle": (reply("307 Temporary Redirect", "", "Location: /mcp"), "{} redirects again and again, the last time"),
}


@pytest.mark.parametrize("kind", REPLIES)
async def test_a_reply_that_is_none_is_told_with_its_address(kind: str) -> None:
    answer, told = REPLIES[kind]
    async with answering(answer) as port:
        url = f"http://127.0.0.1:{port}/mcp"
        words = await tell({"url": f"{url}?token={SECRET}", "type": "http"})
    assert told.format(url) in words
    assert "; " in words.removesuffix("; its tools are missing")
    assert SECRET not in words


@pytest.mark.external
async def test_one_that_never_ends_its_answer_is_explained_all_the_same() -> None:
    async with answering(reply("401 Unauthorized", "x" * 90).replace(b"x" * 90, b"x"), ends=False) as port:
        assert "wants a sign-in (HTTP 401 Unauthorized: x);" in await tell({"url": f"http://127.0.0.1:{port}/mcp"})


async def test_one_that_answers_nothing_is_late_and_named() -> None:
    async with answering(b"", ends=False) as port:
        url = f"http://127.0.0.1:{port}/mcp"
        words = await tell({"url": url, "connect_timeout_s": 0.5})
    assert f"is late: not ready after 0.5 s: {url} does not answer, or not in MCP; its tools" in words


async def test_a_header_that_is_not_accepted_is_named() -> None:
    async with answering(reply("401 Unauthorized", f"{SECRET} is no token", TEXT)) as port:
        server = {"url": f"http://127.0.0.1:{port}/mcp", "headers": {"X-Api-Key": SECRET}}
        words = await tell(server)
    assert "(HTTP 401 Unauthorized: *** is no token); it does not accept the X-Api-Key in headers: renew it" in words


async def test_a_transport_that_may_be_the_wrong_one_is_named() -> None:
    async with answering(reply("405 Method Not Allowed")) as port:
        words = await tell({"type": "http", "url": f"http://127.0.0.1:{port}/sse"})
    assert 'which often ends in /mcp or /sse, or leave type out, which is "http"' in words


async def test_what_may_be_a_key_in_the_path_is_not_told() -> None:
    async with answering(reply("404 Not Found")) as port:
        words = await tell({"url": f"http://127.0.0.1:{port}/s/MTIzNDU2Nzg5MDEyMzQ1Njc4/mcp"})
    assert f"http://127.0.0.1:{port}/s/…/mcp is not" in words


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_port_where_nobody_listens_is_told(scheme: str) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"{scheme}://127.0.0.1:{unheard.getsockname()[1]}/mcp"
        words = await tell({"url": url})
    assert f"{url} cannot be reached: connection refused; start it there, or correct url; its tools" in words


@pytest.mark.parametrize(
    ("url", "cause", "told"),
    [
        (
            "http://a.invalid/mcp",
            "the name a.invalid is not known",
            "; correct the host in url, or is there no network",
        ),
        ("http://$HOST/mcp", "the name $host is not known", "; $HOST in url is not filled in: write ${HOST}"),
        ("https://a.example/mcp", "it did not answer in time", "; start it there, or correct url"),
        ("https://a.example/mcp", "it closed the connection without an answer", "; start it there, or correct url"),
    ],
)
def test_what_this_machine_cannot_play_is_told(url: str, cause: str, told: str) -> None:
    assert explain_unreachable(url, cause) == f"{url} cannot be reached: {cause}{told}"


async def test_a_proxy_that_cannot_be_reached_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """mcp-use/mcp-use#26"""
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unheard.getsockname()[1]}"
        monkeypatch.setenv("HTTP_PROXY", f"http://me:{SECRET}@{address}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        words = await tell({"url": "http://corp.example/mcp"})
    assert f"http://corp.example/mcp cannot be reached through the proxy {address}: connection refused" in words
    assert SECRET not in words


async def test_https_to_a_plain_port_is_told() -> None:
    async with HttpServer(lambda: OrderedServer().server) as served:
        words = await tell({"url": served.url.replace("http:", "https:")})
    assert "it does not speak TLS there; write http:// instead of https://" in words


async def test_http_to_a_port_with_tls_is_told(tmp_path: Path) -> None:
    async with answering(reply("200 OK"), make_tls(tmp_path)) as port:
        words = await tell({"url": f"http://127.0.0.1:{port}/mcp"})
    assert "if it speaks TLS there, write https:// instead of http://" in words


@pytest.mark.parametrize(
    ("made_for", "ends", "told"),
    [
        pytest.param(
            "127.0.0.1",
            1,
            "its certificate is not trusted: self-signed certificate; add it to the system's certificates, or to a "
            "bundle of all that SSL_CERT_FILE names",
            id="self-signed: modelcontextprotocol/python-sdk#1370",
        ),
        pytest.param(
            "127.0.0.1",
            -1,
            "certificate has expired; renew it there, or set the clock of this machine",
            id="expired",
        ),
        pytest.param(
            "corp.example",
            1,
            "certificate is not valid for '127.0.0.1'; use the name that it was made for",
            id="another name: microsoft/autogen#8176",
        ),
    ],
)
async def test_a_certificate_is_refused_with_the_reason(
    made_for: str, ends: int, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = make_tls(tmp_path, made_for, ends)
    if "not trusted" not in told:
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    async with answering(reply("200 OK"), tls) as port:
        assert told in await tell({"url": f"https://127.0.0.1:{port}/mcp"})


async def test_a_certificate_is_trusted_as_people_are_told_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PrefectHQ/fastmcp#4302"""
    tls = make_tls(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    async with answering(reply("404 Not Found"), tls) as port:
        assert "HTTP 404 Not Found" in await tell({"url": f"https://127.0.0.1:{port}/mcp"})


def make_tls(folder: Path, made_for: str = "127.0.0.1", ends: int = 1) -> ssl.SSLContext:
    """A server's TLS, with a certificate of its own that ends in so many days."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "corp")])
    alternative = x509.IPAddress(ip_address(made_for)) if made_for[0].isdigit() else x509.DNSName(made_for)
    cert = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=9))
        .not_valid_after(now + timedelta(days=ends))
        .add_extension(x509.SubjectAlternativeName([alternative]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "cert.pem").write_bytes(cert.public_bytes(pem))
    (folder / "both.pem").write_bytes(key.private_bytes(pem, *private) + cert.public_bytes(pem))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "both.pem")
    return context
