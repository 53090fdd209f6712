"""What HTTP servers do wrong, one fault at a time: each costs the call at hand at most, in words and at once."""

import gzip
import json
import math
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from typing_extensions import override

from bridge.config.settings import Config, Limits, ServerConfig
from bridge.hub.hub import Hub
from bridge.hub.transports.connect import Connectors
from bridge.hub.transports.streams import FIRST_PAUSE_S
from bridge.items import CallOutput
from bridge.jsonrpc.messages import MENDED_WORDS
from bridge.telemetry import Redactor
from tests.fakes.clock import PATIENCE_S, VirtualClock, until
from tests.fakes.peers import Peer
from tests.fakes.rogue import Rogue
from tests.fakes.simulation import call, open_hub

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
Answer = Callable[[Json], httpx2.Response | Awaitable[httpx2.Response]]
LIMIT = 100_000


class Body(httpx2.AsyncByteStream):
    """The chunks, and then a cut, an end, or silence for ever; `is_closed` when nobody reads it any more."""

    def __init__(self, *chunks: bytes, end: str = "end") -> None:
        self._chunks = chunks
        self._end = end
        self.is_closed = False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self._chunks:
            yield chunk
        if self._end == "cut":
            raise httpx2.ReadError("the cable was pulled")
        if self._end == "silence":
            await anyio.sleep(math.inf)

    @override
    async def aclose(self) -> None:
        self.is_closed = True


def stream(*chunks: bytes, end: str = "end") -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Body(*chunks, end=end))


def plain(body: bytes, **headers: str) -> httpx2.Response:
    return httpx2.Response(200, headers={"content-type": "application/json", **headers}, content=body)


def reply(message: Json, text: str = "fine", **fields: Any) -> bytes:
    result = {"content": [{"type": "text", "text": text}], "isError": False}
    return json.dumps({"jsonrpc": "2.0", "id": message["id"], "result": result, **fields}).encode()


class Play(httpx2.AsyncBaseTransport):
    """A server of the handshake era, with a session: `answer` answers its calls, `get` opens its streams."""

    def __init__(self, answer: Answer, get: Callable[[httpx2.Request], httpx2.Response] | None = None) -> None:
        self.gets = 0
        self.posts: list[str] = []
        self._answer = answer
        self._get = get or (lambda _: httpx2.Response(405))
        self._rogue = Rogue({"legacy": ""})

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            self.gets += 1
            return self._get(request)
        if request.method == "DELETE":
            return httpx2.Response(204)
        message: Json = json.loads(request.content)
        self.posts.append(message["method"])
        if message["method"] == "tools/call" or "id" not in message:
            answered = self._answer(message)
            return answered if isinstance(answered, httpx2.Response) else await answered
        found = self._rogue.answer(message["method"], message.get("params") or {}, message)
        body = json.dumps({"jsonrpc": "2.0", "id": message["id"], **(found or {})}).encode()
        return plain(body, **{"mcp-session-id": "one"})


@asynccontextmanager
async def hub_of(
    transport: httpx2.AsyncBaseTransport, clock: VirtualClock | None = None, redact: Redactor | None = None
) -> AsyncIterator[Hub]:
    server = ServerConfig(
        key="far", url="http://far/mcp", transport="http", protocol="legacy", require_approval="never"
    )
    config = Config(servers=(server,), builtin_tools=False, limits=Limits(message_bytes=LIMIT))
    clock = clock or VirtualClock()
    async with Hub(
        config,
        clock=clock,
        environ={},
        redact=redact or Redactor(),
        in_process={},
        connectors=Connectors(transport=transport),
    ) as hub:
        with anyio.fail_after(PATIENCE_S):
            await hub.catalogue()
        yield hub


def accepting(answer: Answer) -> Answer:
    """`answer` for calls; notifications are accepted."""
    return lambda message: answer(message) if message["method"] == "tools/call" else httpx2.Response(202)


async def ask(answer: Answer, get: Callable[[httpx2.Request], httpx2.Response] | None = None) -> CallOutput:
    """One call, in no time at all; where streams are opened, in that of a second one."""
    clock, outputs = VirtualClock(), list[CallOutput]()

    async def use() -> None:
        outputs.append(await call(hub, "far__echo", "hello", math.inf))

    async with hub_of(Play(accepting(answer), get), clock) as hub, anyio.create_task_group() as tasks:
        tasks.start_soon(use)
        with anyio.fail_after(PATIENCE_S):
            while not outputs:
                await anyio.sleep(0.001)
                await clock.advance(FIRST_PAUSE_S if get else 0)
    return outputs[0]


async def is_lost_on_the_sdk(body: Callable[[Json], bytes]) -> bool:
    """Whether the SDK alone makes an error of it."""
    answer = accepting(lambda message: plain(body(message)))
    async with (
        httpx2.AsyncClient(transport=Play(answer)) as http,
        Client(streamable_http_client("http://far/mcp", http_client=http), mode="legacy") as client,
    ):
        with suppress(MCPError):
            await client.call_tool("echo", {"text": "hello"}, read_timeout_seconds=0.2)
            return False
    return True


DEEP = "[" * 240 + "]" * 240
READABLE: dict[str, tuple[Callable[[Json], bytes], str]] = {
    "half an emoji": (lambda m: reply(m, "half \ud83d"), f"half \ufffd\n[{MENDED_WORDS}]"),
    "not utf-8": (lambda m: reply(m, "caf?").replace(b"?", b"\xe9"), f"caf\ufffd\n[{MENDED_WORDS}]"),
    "another id": (lambda _: reply({"id": 999}), "fine"),
    "a bom": (lambda m: b"\xef\xbb\xbf" + reply(m), "fine"),
    "a batch": (lambda m: b"[" + reply(m) + b"]", "fine"),
}
BESIDE: dict[str, str] = {
    "240 levels": DEEP,
    "10,000 levels": "[" * 10_000 + "]" * 10_000,
    "5,000 digits": "7" * 5000,
}
"""Structured content that the SDK cannot read."""
NO_END = ("nothing", "no reply", "a list without a message")
"""What does not end an event stream: no message, or one more before the reply."""
BROKEN: dict[str, tuple[Callable[[Json], bytes], str]] = {
    "no json": (lambda m: reply(m)[:-5], "not readable as JSON"),
    "nothing": (lambda _: b"", "the reply is empty"),
    "a list without a message": (lambda _: b'[5, ["x"]]', "not a JSON-RPC 2.0 message"),
    "no reply": (lambda _: b'{"jsonrpc": "2.0", "method": "notifications/x"}', "reply"),
    "too long": (lambda m: reply(m, "x" * LIMIT), "over the limit"),
}
FRAMES: dict[str, Callable[[bytes], httpx2.Response]] = {
    "json": plain,
    "stream": lambda body: stream(
        b"event: message\ndata: " + body.replace(b"\n", b"\ndata: ") + b"\n\n", end="silence"
    ),
    "zipped": lambda body: plain(gzip.compress(body), **{"content-encoding": "gzip"}),
}


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("fault", READABLE)
async def test_what_can_be_read_is_read(fault: str, frame: str) -> None:
    make, text = READABLE[fault]
    output = await ask(lambda message: FRAMES[frame](make(message)))
    assert output["output"] == text


@pytest.mark.parametrize("frame", FRAMES)
@pytest.mark.parametrize("value", BESIDE.values(), ids=BESIDE)
async def test_a_text_is_read_whatever_is_beside_it(value: str, frame: str) -> None:
    structured = f'"structuredContent": {{"a": {value}}}, "isError"'.encode()
    output = await ask(lambda message: FRAMES[frame](reply(message).replace(b'"isError"', structured)))
    assert str(output["output"]).startswith('fine\n{"a":')


@pytest.mark.rule("REL7")
@pytest.mark.parametrize(
    ("fault", "frame"),
    [(fault, frame) for fault in BROKEN for frame in FRAMES if frame != "stream" or fault not in NO_END],
)
async def test_what_cannot_be_read_fails_its_call_at_once_and_in_words(fault: str, frame: str) -> None:
    make, words = BROKEN[fault]
    output = await ask(lambda message: FRAMES[frame](make(message)))
    assert words in str(output["output"])
    assert "it may have been executed" in str(output["output"])


@pytest.mark.parametrize("end", ["end", "cut"])
async def test_a_stream_that_ends_without_the_reply_fails_its_call_at_once(end: str) -> None:
    output = await ask(lambda _: stream(b": hello\n\n", end=end))
    assert "the reply ended without a reply" in str(output["output"]) or "the reply was cut" in str(output["output"])


async def test_the_rest_of_a_stream_is_asked_for_where_there_is_one() -> None:
    asked: list[str] = []

    def rest(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.headers.get("last-event-id", ""))
        return stream(b"data: " + reply({"id": 0}) + b"\n\n") if asked[-1] else httpx2.Response(405)

    assert (await ask(lambda _: stream(b"id: 7\ndata:\n\n", end="cut"), rest))["output"] == "fine"
    assert "7" in asked


async def test_a_rest_that_is_cut_before_it_tells_what_it_is_fails_its_call_and_is_closed() -> None:
    body = Body(b"da", end="cut")

    def rest(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, stream=body) if "last-event-id" in request.headers else httpx2.Response(405)

    output = await ask(lambda _: stream(b"id: 7\ndata:\n\n", end="cut"), rest)
    assert "the cable was pulled" in str(output["output"])
    assert "it may have been executed" in str(output["output"])
    assert body.is_closed


async def test_a_stream_that_cannot_be_decoded_is_closed() -> None:
    zip = zlib.compressobj(wbits=31)
    body = Body(zip.compress(b"data:") + zip.flush(zlib.Z_SYNC_FLUSH), b"\xff" * 50)
    output = await ask(lambda _: httpx2.Response(200, headers={"content-encoding": "gzip"}, stream=body))
    assert "the reply was cut" in str(output["output"])
    assert body.is_closed


@pytest.mark.parametrize("gone", [404, 500, None])
async def test_a_call_whose_rest_cannot_be_had_fails_at_once(gone: int | None) -> None:
    def rest(request: httpx2.Request) -> httpx2.Response:
        if gone is None and "last-event-id" in request.headers:
            raise httpx2.ConnectError("refused")
        return httpx2.Response(gone or 405)

    output = await ask(lambda _: stream(b"id: 7\ndata:\n\n", end="cut"), rest)
    assert "it may have been executed" in str(output["output"])


@pytest.mark.rule("REL13")
async def test_streams_are_opened_ever_less_often_however_fast_the_server_ends_them() -> None:
    """python-sdk#3257. The SDK alone opens one after the other: `retry: 0` is its pause."""

    def end_at_once(_: httpx2.Request) -> httpx2.Response:
        return stream(b"id: 1\nretry: 0\n\n")

    fine = accepting(lambda message: plain(reply(message)))
    bare, guarded, clock = Play(fine, end_at_once), Play(fine, end_at_once), VirtualClock()
    async with (
        httpx2.AsyncClient(transport=bare) as http,
        Client(streamable_http_client("http://far/mcp", http_client=http), mode="legacy"),
    ):
        await until(lambda: bare.gets > 50)  # when this fails, `streams.Backoff` can go
    async with hub_of(guarded, clock) as hub:
        await until(lambda: clock.pending > 1)
        for _ in range(10):
            await clock.advance(1)
            await anyio.lowlevel.checkpoint()
        assert (await call(hub, "far__echo", "hello", math.inf))["output"] == "fine"
    assert 1 <= guarded.gets <= 5


@pytest.mark.rule("REL11")
async def test_a_small_body_that_is_large_in_memory_is_refused() -> None:
    bomb = gzip.compress(b" " * 30_000_000)
    output = await ask(lambda _: plain(bomb, **{"content-encoding": "gzip"}))
    assert f"the reply is over the limit of {LIMIT:,} bytes" in str(output["output"])


async def test_blanks_without_end_are_refused() -> None:
    class Blanks(Body):
        @override
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                await anyio.lowlevel.checkpoint()
                yield b" " * 1000

    body = Blanks()
    output = await ask(lambda _: httpx2.Response(200, headers={"content-type": "application/json"}, stream=body))
    assert f"the reply is over the limit of {LIMIT:,} bytes" in str(output["output"])
    assert body.is_closed


async def test_lines_in_place_of_events_are_read_however_many_they_are() -> None:
    log = b'{"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "hello"}}\n'
    assert (await ask(lambda message: stream(*[log] * 9, reply(message), end="silence")))["output"] == "fine"


async def test_a_refusal_is_the_last_one_only_until_a_good_reply() -> None:
    refusals = [httpx2.Response(401)]
    answer = accepting(lambda message: refusals.pop() if refusals else plain(reply(message)))
    async with hub_of(Play(answer)) as hub:
        [far] = hub.members
        seen = list[int | None]()
        for _ in range(2):
            await call(hub, "far__echo", "hello", math.inf)
            assert far._transport is not None
            seen.append(far._transport.refused_with)
    assert seen == [401, None]


SECRET = "s3cret-of-the-shop"
SPOKEN: dict[str, tuple[str, bytes]] = {
    "a page": ("text/html", f"<title>{'x' * 95} {SECRET}</title>".encode()),
    "a text": ("text/plain", f"{'x' * 495} {SECRET}".encode()),
    "JSON": ("application/json", json.dumps({"error": f"{'x' * 480} {SECRET}"}).encode()),
}


@pytest.mark.parametrize("kind", SPOKEN)
async def test_a_secret_in_words_that_came_in_place_of_a_message_is_blanked_before_they_are_cut(kind: str) -> None:
    media_type, body = SPOKEN[kind]
    play = Play(accepting(lambda _: httpx2.Response(200, headers={"content-type": media_type}, content=body)))
    async with hub_of(play, redact=Redactor([SECRET])) as hub:
        output = await call(hub, "far__echo", "hello", math.inf)
    assert "xxx" in str(output["output"])
    assert SECRET[:4] not in str(output["output"])


async def test_the_sdk_alone_loses_what_the_guard_reads() -> None:
    """When this fails, `mend_message` can go."""
    assert [fault for fault, (make, _) in READABLE.items() if not await is_lost_on_the_sdk(make)] == []


async def test_a_server_that_accepts_no_notification_holds_up_no_call() -> None:
    async def never(message: Json) -> httpx2.Response:
        if message["method"] == "tools/call":
            return plain(reply(message))
        await anyio.sleep(math.inf)
        raise AssertionError

    clock, play = VirtualClock(), Play(never)
    server = ServerConfig(
        key="far", url="http://far/mcp", transport="http", protocol="legacy", require_approval="never"
    )
    config = Config(servers=(server,), builtin_tools=False)
    connectors = Connectors(transport=play)
    async with Hub(config, clock=clock, environ={}, redact=Redactor(), in_process={}, connectors=connectors) as hub:
        await clock.advance(6)
        with anyio.fail_after(PATIENCE_S):
            await hub.catalogue()
            assert (await call(hub, "far__echo", "hello", math.inf))["output"] == "fine"


BODIES: dict[str, tuple[bytes, str]] = {
    "a stream": (b": still here\n\n", "text/event-stream"),
    "JSON": (b'{"jsonrpc": ', "application/json"),
    "nothing yet": (b"", ""),
    "no headers yet": (b"", "never"),
}


@pytest.mark.parametrize("kind", BODIES)
async def test_a_post_that_is_never_answered_is_closed_when_its_call_is_given_up(kind: str) -> None:
    """The SDK goes on waiting for it in the handshake era."""
    data, media_type = BODIES[kind]
    body = Body(data, end="silence")

    async def answer(_: Json) -> httpx2.Response:
        try:
            await anyio.sleep(math.inf if media_type == "never" else 0)
        except anyio.get_cancelled_exc_class():
            body.is_closed = True
            raise
        return httpx2.Response(200, headers={"content-type": media_type}, stream=body)

    def answer_calls(message: Json) -> httpx2.Response | Awaitable[httpx2.Response]:
        return answer(message) if message["method"] == "tools/call" else httpx2.Response(202)

    clock = VirtualClock()
    async with hub_of(Play(answer_calls), clock) as hub, anyio.create_task_group() as tasks:
        outputs: list[CallOutput] = []

        async def use() -> None:
            outputs.append(await call(hub, "far__echo", "hello", 30))

        tasks.start_soon(use)
        await clock.advance(31)
        await until(lambda: bool(outputs) and body.is_closed)
    assert "no result in time" in str(outputs[0]["output"])


@pytest.mark.parametrize("megabytes", [2, 5])
async def test_a_message_over_the_limit_of_the_sdks_sse_transport_comes_whole(megabytes: int) -> None:
    clock = VirtualClock()
    peer = Peer("far", clock, {"legacy": "", "huge": str(megabytes)})
    async with open_hub({"far": "sse"}, {"far": peer}, clock, limits=Limits(message_bytes=4 << 20)) as hub:
        await hub.catalogue()
        output, after = [await call(hub, f"far__{tool}", "hello", math.inf) for tool in ("huge", "echo")]
    left_out, too_long = f"of {megabytes << 20:,} bytes left out", "5,242,980 bytes is over the limit of 4,194,304"
    assert (left_out if megabytes < 4 else too_long) in str(output["output"])
    assert after["output"] == "hello"
    assert peer.starts == 1
