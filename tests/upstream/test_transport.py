"""The connections to the upstream: kept, closed, cut, encrypted or through a proxy, always over real sockets."""

import asyncio
import contextlib
import gc
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import anyio
import httpx2
import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from bridge.errors import ConfigError
from bridge.upstream.dialling import Address, dial
from bridge.upstream.transport import open_transport
from tests.fakes.bridges import ask, open_bridge
from tests.fakes.clock import PATIENCE_S, VirtualClock
from tests.fakes.ports import find_port
from tests.fakes.upstream import Reply, ScriptedUpstream, cut, message, raw, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"), as_json=True)
BODY = b'{"object":"response","output":[{"type":"message","role":"assistant","content":"done"}]}'
HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n"
WHOLE = HEAD + b"content-length: %d\r\n\r\n" % len(BODY) + BODY


async def test_runs_one_after_the_other_share_a_connection() -> None:
    async with open_bridge(script=lambda _: DONE) as bridge:
        for _ in range(5):
            assert (await bridge.respond())["output_text"] == "done"
        assert bridge.upstream.connections == 1


@pytest.mark.parametrize("first", [raw(WHOLE), raw(HEAD + b"connection: close\r\n\r\n" + BODY)])
async def test_a_connection_that_the_upstream_has_closed_is_not_used_again(first: Reply) -> None:
    clock = VirtualClock()
    async with open_bridge(script=[first, DONE], clock=clock) as bridge:
        for _ in range(2):
            assert (await bridge.respond())["output_text"] == "done"
        assert (bridge.upstream.connections, clock.sleeps) == (2, [])


@pytest.mark.parametrize("reset", [False, True], ids=["end", "reset"])
async def test_one_that_closes_as_the_request_is_written_costs_no_pause(reset: bool) -> None:
    clock = VirtualClock()
    async with open_bridge(
        script=[DONE, cut(0, DONE, reset=reset), DONE], clock=clock, upstream={"max_retries": 0}
    ) as bridge:
        for _ in range(2):
            assert (await bridge.respond())["output_text"] == "done"
        assert (bridge.upstream.connections, clock.sleeps) == (2, [])


async def test_a_reply_that_nobody_asked_for_is_not_taken_for_the_next_one() -> None:
    stray = raw(WHOLE + WHOLE.replace(b"done", b"evil"), close=False)
    async with open_bridge(script=[stray, DONE]) as bridge:
        for _ in range(2):
            assert (await bridge.respond())["output_text"] == "done"
        assert bridge.upstream.connections == 2


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 100 Continue\r\n\r\n" + WHOLE,
        b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" * 3 + WHOLE,
        HEAD + b"\r\n" + BODY,
        HEAD.replace(b"1.1", b"1.0") + b"\r\n" + BODY,
        HEAD + b"transfer-encoding: chunked\r\n\r\n%x;ext=1\r\n%b\r\n0\r\ntrailer: x\r\n\r\n" % (len(BODY), BODY),
    ],
    ids=["continue", "early hints", "ended by the connection", "HTTP/1.0", "chunks with extension and trailer"],
)
async def test_a_reply_may_be_framed_in_any_way_http_knows(reply: bytes) -> None:
    receipt, _ = await ask([raw(reply)], upstream={"max_retries": 0})
    assert receipt["output_text"] == "done"


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 300_000,
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 20_000,
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\n",
        HEAD + b"transfer-encoding: chunked\r\n\r\nxyz\r\n",
        HEAD + b"content-length: 100\r\n\r\n" + BODY,
        b"\x16\x03\x01\x00\xee",
    ],
    ids=["head", "hints", "upgrade", "two framings", "two lengths", "chunk size", "too short", "TLS"],
)
async def test_what_is_not_http_is_one_clear_error(reply: bytes) -> None:
    receipt, _ = await ask([raw(reply)], upstream={"max_retries": 0})
    assert receipt["error"]["code"] == "connection_cut"
    assert receipt["error"]["message"].startswith("The connection to http://127.0.0.1:")


@pytest.mark.parametrize("scheme", ["http://", ""])
async def test_requests_go_through_the_proxy_of_the_environment(scheme: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedUpstream([DONE]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", scheme + proxy.base_url.removeprefix("http://").removesuffix("/v1"))
        async with open_bridge(upstream={"base_url": "http://upstream.example/v1"}) as bridge:
            assert (await bridge.respond())["output_text"] == "done"
        assert proxy.requests[0].headers["host"] == "upstream.example"


@pytest.mark.parametrize("proxy", ["socks5://ada:secret@proxy.example", "ftp://ada:secret@proxy.example"])
async def test_a_proxy_that_cannot_be_used_is_one_line_without_its_credentials(
    proxy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALL_PROXY", proxy)
    with pytest.raises(ConfigError, match=r"names a proxy for upstream\.example that cannot be used") as caught:
        open_transport("https://upstream.example/v1")
    assert "secret" not in str(caught.value)


async def test_no_proxy_is_asked_for_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ScriptedUpstream([]) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
        receipt, _ = await ask([DONE])
        assert receipt["output_text"] == "done"
        assert not proxy.requests


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that is its own authority, with its key, as a PEM file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a private authority")])
    now = datetime.now(UTC)
    built = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(secret + built.public_bytes(serialization.Encoding.PEM))
    return path


@asynccontextmanager
async def serve_tls(certificate: Path) -> AsyncIterator[str]:
    """A server that answers every request over TLS with one reply; its base URL."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(WHOLE)
        writer.close()

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"


async def test_a_private_authority_is_trusted_where_the_environment_names_it(
    certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    async with serve_tls(certificate) as url, open_bridge(upstream={"base_url": url, "max_retries": 0}) as bridge:
        for _ in range(2):
            assert (await bridge.respond())["output_text"] == "done"


async def test_a_certificate_that_nobody_vouches_for_is_refused(certificate: Path) -> None:
    async with serve_tls(certificate) as url, open_bridge(upstream={"base_url": url, "max_retries": 0}) as bridge:
        error = (await bridge.respond())["error"]
    assert (error["code"], error["who"]) == ("unreachable", "operator")
    assert "cannot be reached: its certificate is not trusted: self-signed certificate; add it" in error["message"]


async def test_a_reply_of_which_too_much_is_no_body_fails_at_once() -> None:
    body = b'{"object":"response","status":"completed","output":[]}'
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
    trailers = (b"X-More: " + b"x" * 1000 + b"\r\n") * 3000
    reply = raw(head + b"%x\r\n%b\r\n0\r\n" % (len(body), body) + trailers + b"\r\n")
    async with open_bridge(script=[reply], upstream={"max_retries": 0}) as bridge:
        receipt = await bridge.respond()
    assert receipt["error"]["code"] == "connection_cut"
    assert "are not a body" in receipt["error"]["message"]


async def test_of_connects_that_time_out_on_a_busy_loop_none_stays_open() -> None:
    """As python/asyncio#218 and python/cpython#81839. Each has come about, and nobody looked in time."""
    is_over = False

    async def keep_busy() -> None:
        while not is_over:
            time.sleep(0.02)  # noqa: ASYNC251 - that is what keeps it busy
            await asyncio.sleep(0)

    async def connect(number: int) -> None:
        timeouts = {"connect": 0.02 + number / 5000, "read": 0.01}
        request = httpx2.Request("POST", f"http://127.0.0.1:{port}/", extensions={"timeout": timeouts})
        with pytest.raises((httpx2.ConnectTimeout, httpx2.ReadTimeout)):
            await transport.handle_async_request(request)

    with socket.create_server(("127.0.0.1", 0), backlog=1000) as listening:
        port = listening.getsockname()[1]
        before = psutil.Process().num_fds()
        async with anyio.create_task_group() as tasks, open_transport(f"http://127.0.0.1:{port}") as transport:
            gc.disable()
            tasks.start_soon(keep_busy)
            await asyncio.gather(*map(connect, range(200)))
            is_over = True
        left = psutil.Process().num_fds() - before
        gc.enable()
    assert left == 0


async def test_an_address_that_leads_nowhere_does_not_hold_up_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    """The name has two; at the first nothing ever answers, because its queue is full."""
    with socket.create_server(("127.0.0.2", 0), backlog=0) as full:
        port = full.getsockname()[1]
        with contextlib.ExitStack() as crowd:
            for _ in range(3):
                client = crowd.enter_context(socket.socket())
                client.setblocking(False)
                client.connect_ex(("127.0.0.2", port))
            with socket.create_server(("127.0.0.1", port)):
                both = [describe("127.0.0.2", port), describe("127.0.0.1", port)]
                monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve_to(both))
                with anyio.fail_after(PATIENCE_S):
                    connected = await dial("two.example", port)
                with connected:
                    assert connected.getpeername() == ("127.0.0.1", port)


def describe(host: str, port: int) -> Address:
    return socket.AF_INET, socket.SOCK_STREAM, 0, "", (host, port)


def resolve_to(addresses: list[Address]) -> Callable[..., Awaitable[list[Address]]]:
    async def resolve(_host: str, _port: int, **_: object) -> list[Address]:
        return addresses

    return resolve


async def test_where_no_address_answers_the_first_ones_reason_is_told() -> None:
    with pytest.raises(ConnectionRefusedError):
        await dial("localhost", find_port())
