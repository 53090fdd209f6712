"""From a config entry to a transport of the SDK's client that knows when it is lost."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self, TypeAlias

import anyio
import httpx2
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest, JSONRPCResponse

from bridge.children import Child
from bridge.clock import Clock
from bridge.hub.guard import GuardedClient
from bridge.hub.replies import SESSION_GONE
from bridge.hub.stdio import Process
from bridge.hub.ways import Way
from bridge.pipes import Streams
from bridge.settings import ServerConfig
from bridge.values import is_loopback

READ_TIMEOUT_S = 300.0
"""How long an HTTP server may be silent on an open response: the SDK's figure. Calls have deadlines besides."""

MAX_QUEUED = 1000
SSE_BYTES = (1 << 20) - 4096
"""Bytes of one message over the SSE transport."""

Ends: TypeAlias = tuple[
    MemoryObjectReceiveStream[SessionMessage | Exception], "MemoryObjectSendStream[SessionMessage] | _Offer"
]


@dataclass(frozen=True)
class Outside:
    """How servers beyond this process are reached: what starts one, and what HTTP is sent over (None = the network)."""

    start: Callable[[ServerConfig, Mapping[str, str], Child | None], Process] = Process
    transport: httpx2.AsyncBaseTransport | None = None


class WatchedTransport(AbstractAsyncContextManager[Ends]):
    """A transport for `mcp.Client` that knows when it is lost, and shows every result to `repair` on its way.

    `lost` is set when the stream has ended or the session is gone.
    """

    def __init__(
        self,
        server: ServerConfig,
        way: Way,
        *,
        process: Process | None,
        limit: int,
        lost: anyio.Event,
        repair: Callable[[Mapping[str, object]], None],
        clock: Clock,
        transport: httpx2.AsyncBaseTransport | None,
    ) -> None:
        self._server = server
        self._way = way
        self._process = process
        self._limit = limit
        self._lost = lost
        self._repair = repair
        self._clock = clock
        self._transport = transport

    async def __aenter__(self) -> Ends:
        self._scope = self._watch()
        return await self._scope.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._scope.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _watch(self) -> AsyncIterator[Ends]:
        """The transport's streams, with every incoming message seen once on its way."""
        async with self._open() as (incoming, outgoing):
            to_session, to_client = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            with to_session, to_client:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._pass_on, incoming, to_session)
                    if self._way.wire == "sse":
                        outgoing = self._queue(outgoing, tasks)
                    try:
                        yield to_client, _Offer(outgoing, self._way.offer) if self._way.offer else outgoing
                    finally:
                        tasks.cancel_scope.cancel()

    def _queue(
        self, outgoing: MemoryObjectSendStream[SessionMessage], tasks: TaskGroup
    ) -> MemoryObjectSendStream[SessionMessage]:
        """A stream that takes messages at once: the SDK's SSE transport sends one after the other, and what it cancels
        waits, shielded, until its notice of that is taken."""
        to_queue, queue = anyio.create_memory_object_stream[SessionMessage](MAX_QUEUED)

        async def send_on() -> None:
            with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
                async with queue:
                    async for message in queue:
                        await outgoing.send(message)

        tasks.start_soon(send_on)
        return to_queue

    async def _pass_on(
        self,
        incoming: MemoryObjectReceiveStream[SessionMessage | Exception],
        to_session: MemoryObjectSendStream[SessionMessage | Exception],
    ) -> None:
        try:
            async with to_session:
                async for message in incoming:
                    reply = message.message if isinstance(message, SessionMessage) else None
                    if isinstance(reply, JSONRPCResponse):
                        self._repair(reply.result)
                    await to_session.send(message)
                    if isinstance(reply, JSONRPCError) and reply.error.code == SESSION_GONE:
                        return
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
        finally:
            self._lost.set()

    def _open(self) -> AbstractAsyncContextManager[Streams]:
        match self._way.wire:
            case "stdio":
                assert self._process
                return self._process.connect(limit=self._limit, on_end=self._lost.set)
            case "http":
                return self._open_http()
            case "sse":
                assert self._server.url
                return sse_client(  # type: ignore[return-value]
                    self._server.url,
                    headers=dict(self._server.headers),
                    sse_read_timeout=READ_TIMEOUT_S,
                    httpx_client_factory=self._build_client,
                )

    @asynccontextmanager
    async def _open_http(self) -> AsyncIterator[Streams]:
        assert self._server.url
        async with (
            self._build_client(headers=dict(self._server.headers)) as client,
            streamable_http_client(
                self._server.url, http_client=client, max_sse_event_size=None, terminate_on_close=False
            ) as streams,
        ):
            yield streams  # type: ignore[misc]

    def _build_client(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> httpx2.AsyncClient:
        assert self._server.url
        return GuardedClient(
            # The SDK's SSE transport has a limit for an event that cannot be set, and ends over one that is larger.
            limit=min(self._limit, SSE_BYTES) if self._way.wire == "sse" else self._limit,
            clock=self._clock,
            on_end=self._lost.set,
            # The SDK's SSE transport sends nothing more after one POST that failed.
            on_failure=self._lost.set if self._way.wire == "sse" else lambda: None,
            headers={"accept-encoding": "identity"} | (headers or {}),  # what is small on the wire is small in memory
            timeout=timeout or httpx2.Timeout(30, read=READ_TIMEOUT_S),
            auth=auth,
            trust_env=not is_loopback(self._server.url),
            transport=self._transport,
        )


class _Offer:
    """Passes messages on, and in a handshake asks for `revision`: the SDK (mcp 2.3) asks for its newest one only."""

    def __init__(self, inner: MemoryObjectSendStream[SessionMessage], revision: str) -> None:
        self._inner = inner
        self._revision = revision

    async def send(self, item: SessionMessage, /) -> None:
        request = item.message
        if isinstance(request, JSONRPCRequest) and request.method == "initialize" and request.params is not None:
            request.params["protocolVersion"] = self._revision
        await self._inner.send(item)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, exc_type: object, exc_val: object, exc_tb: object) -> None:
        await self.aclose()
