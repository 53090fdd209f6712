"""Requests as bytes: what can be read in two ways or is too large is refused unread, and counted."""

import logging
from collections.abc import AsyncIterator
from contextlib import suppress

import anyio
import pytest

from bridge.host.tally import EVERY_S
from bridge.host.wire import MAX_HEAD_BYTES, MAX_HEADERS
from tests.fakes.bridges import open_without_host
from tests.fakes.clock import VirtualClock
from tests.fakes.service import TOKEN, Served, parse, serving

pytestmark = [pytest.mark.anyio, pytest.mark.external]

REFUSED = "Invalid HTTP request received."


@pytest.fixture(scope="module")
async def served() -> AsyncIterator[Served]:
    async with open_without_host(None) as bridge, serving(bridge) as served:
        yield served


def write(served: Served, target: str = "/healthz", *lines: str, method: str = "GET", host: str | None = None) -> bytes:
    """A request that is let in, with these further lines in its head."""
    own = (f"Host: {host or f'127.0.0.1:{served.port}'}", f"Authorization: Bearer {TOKEN}")
    return "\r\n".join([f"{method} {target} HTTP/1.1", *own, *lines, "", ""]).encode()


SMUGGLED = b"GET /nothing HTTP/1.1\r\nHost: evil\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        ("Content-Length: 5", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: chunked", "Content-Length: 0"),
        ("transfer-encoding: Chunked", "CONTENT-LENGTH: 38"),
        ("Content-Length: 5", "Content-Length: 6"),
        ("Content-Length: 5, 6",),
        ("Content-Length: +5",),
        ("Content-Length: 0x5",),
        ("Transfer-Encoding: gzip, chunked",),
        ("Transfer-Encoding: chunked", "Transfer-Encoding: chunked"),
        ("Transfer-Encoding: xchunked",),
        ("Content-Length : 5",),
        (" Content-Length: 5",),
    ],
)
async def test_a_request_with_two_lengths_is_refused_and_nothing_behind_it_is_read(
    served: Served, lines: tuple[str, ...]
) -> None:
    """As unbit/uwsgi#2560, pgjones/hypercorn#279 and crystal-lang/crystal#16862."""
    data = await served.exchange(write(served, "/mcp", *lines, method="POST") + b"0\r\n\r\n" + SMUGGLED)
    assert data.count(b"HTTP/1.1 ") == 1, "one reply, and then the end"
    reply = parse(data)
    assert (reply.status in (400, 501), reply.headers["connection"]) == (True, "close")


@pytest.mark.rule("REL28")
@pytest.mark.parametrize(
    "lines",
    [
        [f"X-{number}: 1" for number in range(10_000)],
        [f"X-{number}: 1" for number in range(MAX_HEADERS + 1)],
        [":" for _ in range(10_000)],
        ["X: " + "y" * MAX_HEAD_BYTES],
        ["X: " + "y" * 5_000_000],
        ["Cookie: a=b"] * 1000,
    ],
    ids=["10,000", "one too many", "10,000 that are none", "too long", "5 MB", "cookies"],
)
async def test_too_many_or_too_long_headers_are_refused_and_the_client_is_told(
    served: Served, lines: list[str]
) -> None:
    reply = parse(await served.exchange(write(served, "/healthz", *lines)))
    assert (reply.status, reply.body, reply.headers["connection"]) == (431, REFUSED, "close")


async def test_a_head_that_comes_in_pieces_is_bounded_too(served: Served) -> None:
    with anyio.fail_after(30):
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(write(served)[:-2])
            for number in range(MAX_HEADERS):
                await stream.send(f"X-{number}: 1\r\n".encode())
            assert parse(await stream.receive()).status == 431


async def test_as_many_headers_as_any_honest_client_sends_are_let_in(served: Served) -> None:
    lines = [*(f"X-{number}: {'y' * 200}" for number in range(100)), "Connection: close"]
    assert parse(await served.exchange(write(served, "/healthz", *lines))).status == 200


@pytest.mark.parametrize("scheme", ["http", "HTTP", "https"])
async def test_a_whole_url_of_our_own_is_a_target_like_any_other(served: Served, scheme: str) -> None:
    """RFC 9112, 3.2.2; as Kludex/uvicorn#3097 and unbit/uwsgi#958."""
    for host in (f"127.0.0.1:{served.port}", f"LOCALHOST:{served.port}"):
        for path, status in (("/healthz", 200), ("/healthz?x=http://y/", 200), ("", 200), ("/nothing", 404)):
            request = write(served, f"{scheme}://{host}{path}", "Connection: close", host=host.lower())
            assert parse(await served.exchange(request)).status == status


@pytest.mark.parametrize(
    ("target", "host"),
    [
        ("http://evil.com/healthz", None),
        ("http://evil.com@127.0.0.1:{port}/healthz", None),
        ("http://127.0.0.1:{port}@evil.com/healthz", None),
        ("http://127.0.0.1:{port}/healthz", "evil.com"),
        ("http://127.0.0.1/healthz", None),
        ("http:///healthz", None),
        ("http://evil.com/healthz", "evil.com"),
        ("ftp://127.0.0.1:{port}/healthz", None),
        ("127.0.0.1:{port}", None),
        ("*", None),
    ],
)
async def test_a_url_of_somebody_else_is_not_let_in_by_our_host_header(
    served: Served, target: str, host: str | None
) -> None:
    request = write(served, target.format(port=served.port), "Connection: close", host=host)
    assert parse(await served.exchange(request)).status in (400, 404, 421)


async def test_bad_requests_are_counted_and_told_of_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Not one by one, as in sabnzbd/sabnzbd#3565."""
    clock = VirtualClock()
    bad = (b"\x16\x03\x01\x00\xee\r\n\r\n", b"GET\r\n\r\n", b"BREW / COFFEE/1.1\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n")
    async with open_without_host(None) as bridge, serving(bridge, clock=clock) as served:
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            for number in range(50):
                assert parse(await served.exchange(bad[number % 4])).status == 400
            upgrade = write(served, "/healthz", "Connection: Upgrade, close", "Upgrade: websocket")
            assert parse(await served.exchange(upgrade)).status == 200
            await clock.advance(EVERY_S)
            await served.exchange(bad[0])
    words = "requests were refused unread: they were not valid HTTP, or too large"
    assert [record.getMessage() for record in caplog.records] == [f"1 {words}", f"50 {words}"]


async def test_a_body_that_goes_wrong_after_the_answer_is_no_error_of_ours(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    lines = ("Transfer-Encoding: chunked", "Content-Type: application/json")
    request = write(served, "/nothing", *lines, method="POST")
    with anyio.fail_after(30):
        async with await anyio.connect_tcp("127.0.0.1", served.port) as stream:
            await stream.send(request)
            assert parse(await stream.receive()).status == 404
            await stream.send(b"this is no chunk\r\n")
            with suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await stream.receive()
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
