"""How long a server over HTTP may be silent: for a call, as long as the call's own timeout says."""

import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import anyio
import httpx2
import pytest
from typing_extensions import override

from bridge.config.settings import Config, Limits
from bridge.hub.hub import Hub
from bridge.hub.transports.connect import Connectors
from bridge.items import CallOutput
from bridge.telemetry import Redactor
from tests.fakes.canonical import describe_server, find_modes
from tests.fakes.clock import VirtualClock
from tests.fakes.peers import MemoryHttp, Peer, Trouble
from tests.fakes.simulation import call

pytestmark = pytest.mark.anyio

LONG_S = 2000


@contextmanager
def held_to(clock: VirtualClock, seconds: float | None) -> Iterator[None]:
    with clock.scope(clock.now() + (math.inf if seconds is None else seconds)) as scope:
        yield
    if scope.cancelled_caught:
        raise httpx2.ReadTimeout("")


class Timed(httpx2.AsyncBaseTransport):
    """Holds replies to the read timeouts of their requests, as a network does, in virtual time."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, clock: VirtualClock) -> None:
        self._inner = inner
        self._clock = clock

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        seconds = request.extensions["timeout"]["read"]
        with held_to(self._clock, seconds):
            response = await self._inner.handle_async_request(request)
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _TimedBody(response.stream, self._clock, seconds)
            return response
        raise AssertionError


class _TimedBody(httpx2.AsyncByteStream):
    def __init__(self, inner: httpx2.AsyncByteStream, clock: VirtualClock, seconds: float | None) -> None:
        self._inner = inner
        self._clock = clock
        self._seconds = seconds

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        chunks = aiter(self._inner)
        part: bytes | None = b""
        while part is not None:
            yield part
            with held_to(self._clock, self._seconds):
                part = await anext(chunks, None)

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


@asynccontextmanager
async def open_hub(transport: str, peer: Peer, clock: VirtualClock) -> AsyncIterator[Hub]:
    servers, limits = (describe_server("far", transport),), Limits(call_timeout_s=2 * LONG_S)
    http = MemoryHttp({"far": peer}, framed=["far"] if transport == "http framed" else [])
    connectors = Connectors(transport=Timed(http, clock))
    config = Config(servers=servers, builtin_tools=False, limits=limits)
    async with Hub(config, clock=clock, environ={}, redact=Redactor(), in_process={}, connectors=connectors) as hub:
        await hub.catalogue()
        yield hub


@pytest.mark.parametrize("transport", ["http", "http framed"])
async def test_a_call_may_be_silent_for_as_long_as_its_own_timeout(transport: str) -> None:
    clock, outputs = VirtualClock(), list[CallOutput]()
    peer = Peer("far", clock, find_modes(transport))
    peer.plan = lambda _, step: Trouble("delay", LONG_S) if step == "tools/call" else None

    async def use(hub: Hub) -> None:
        outputs.append(await call(hub, "far__echo", "hello", math.inf))

    async with open_hub(transport, peer, clock) as hub, anyio.create_task_group() as tasks:
        tasks.start_soon(use, hub)
        await clock.drive(lambda: bool(outputs), math.inf)
    assert [output["output"] for output in outputs] == ["hello"]
    assert clock.now() == LONG_S


async def test_a_stream_that_brings_nothing_for_long_is_not_lost() -> None:
    clock = VirtualClock()
    peer = Peer("far", clock, find_modes("sse"))
    async with open_hub("sse", peer, clock) as hub:
        await clock.advance(LONG_S)
        output = await call(hub, "far__echo", "hello", math.inf)
    assert output["output"] == "hello"
    assert peer.starts == 1
