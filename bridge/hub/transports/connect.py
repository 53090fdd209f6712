"""The transport to a connected server, built from its config entry; it reports when the connection is lost."""

import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

import anyio
import httpx2
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCRequest, JSONRPCResponse
from typing_extensions import override

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.config.values import is_loopback
from bridge.hub.transports.choices import Choice
from bridge.hub.transports.guard import GuardedClient
from bridge.hub.transports.large_messages import LargeMessages
from bridge.hub.transports.replies import SESSION_GONE
from bridge.hub.transports.stdio import Process
from bridge.json_text import Json
from bridge.jsonrpc.pipes import Streams
from bridge.processes.children import Child

if TYPE_CHECKING:
    from bridge.hub.transports.answers import Refusal

READ_TIMEOUT_S = 300.0
"""How long an HTTP server may be silent on an open response that no result is expected on: the SDK's figure."""

MAX_QUEUED = 1000


@dataclass(frozen=True)
class Connectors:
    """The means to reach servers outside this process: to start one, and to send HTTP (None = over the network)."""

    start: Callable[[ServerConfig, Mapping[str, str], Child | None], Process] = Process
    transport: httpx2.AsyncBaseTransport | None = None


class WatchedTransport(AbstractAsyncContextManager[Streams]):
    """A transport for `mcp.Client` that sets `lost` when the stream has ended or the session is gone.

    Every result is passed to `repair`, which changes it in place, before the SDK reads it.
    """

    def __init__(
        self,
        server: ServerConfig,
        choice: Choice,
        *,
        process: Process | None,
        limit: int,
        lost: anyio.Event,
        repair: Callable[[dict[str, Json]], None],
        clock: Clock,
        transport: httpx2.AsyncBaseTransport | None,
    ) -> None:
        self._server = server
        self._choice = choice
        self._process = process
        self._limit = limit
        self._lost = lost
        self._repair = repair
        self._clock = clock
        self._transport = transport
        self._large_messages = LargeMessages() if choice.transport == "sse" else None
        self._client: GuardedClient | None = None
        self.refusal: Refusal | None = None
        """What the server answered last, if that was not MCP; noted until `trust`."""

    def trust(self) -> None:
        """Note no more refusals: the server has spoken MCP, and each call tells its own failure."""
        if self._client:
            self._client.on_refusal = None

    async def __aenter__(self) -> Streams:
        self._scope = self._watch()
        return await self._scope.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._scope.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _watch(self) -> AsyncIterator[Streams]:
        async with self._open() as (incoming, outgoing):
            watched = _Watched(incoming, self._repair, self._lost, self._large_messages)
            yield watched, _Handshake(outgoing, self._choice.revision) if self._choice.revision else outgoing

    def _open(self) -> AbstractAsyncContextManager[Streams]:
        match self._choice.transport:
            case "stdio":
                assert self._process
                return self._process.connect(limit=self._limit, on_end=self._lost.set)
            case "http":
                return self._open_http()
            case "sse":
                return self._open_sse()

    @asynccontextmanager
    async def _open_http(self) -> AsyncIterator[Streams]:
        assert self._server.url
        async with self._build_client(headers=dict(self._server.headers)) as client:
            try:
                async with (
                    streamable_http_client(
                        self._server.url, http_client=client, max_sse_event_size=None, terminate_on_close=False
                    ) as (incoming, outgoing),
                    _queue(outgoing) as to_queue,
                ):
                    yield incoming, to_queue  # type: ignore[misc]
            finally:
                await client.end_session(self._server.url)

    @asynccontextmanager
    async def _open_sse(self) -> AsyncIterator[Streams]:
        assert self._server.url
        async with (
            sse_client(
                self._server.url,
                headers=dict(self._server.headers),
                sse_read_timeout=READ_TIMEOUT_S,
                httpx_client_factory=self._build_client,
            ) as (incoming, outgoing),
            _queue(outgoing) as to_queue,
        ):
            yield incoming, to_queue  # type: ignore[misc]

    def _build_client(
        self,
        headers: dict[str, str] | None = None,
        timeout: httpx2.Timeout | None = None,
        auth: httpx2.Auth | None = None,
    ) -> GuardedClient:
        assert self._server.url
        self._client = GuardedClient(
            limit=self._limit,
            clock=self._clock,
            on_end=self._lost.set,
            # The SDK's SSE transport sends nothing more after one POST that failed.
            on_failure=self._lost.set if self._choice.transport == "sse" else lambda: None,
            headers={"accept-encoding": "identity"} | (headers or {}),  # a small compressed body could fill the memory
            timeout=timeout or httpx2.Timeout(30, read=READ_TIMEOUT_S),
            auth=auth,
            large_messages=self._large_messages,
            trust_env=not is_loopback(self._server.url),
            verify=_load_certificates(self._server.url),
            transport=self._transport,
            on_refusal=self._note_refusal,
        )
        return self._client

    def _note_refusal(self, refusal: "Refusal | None") -> None:
        self.refusal = refusal


def _load_certificates(url: str) -> ssl.SSLContext | bool:
    """Load the certificates that a server is trusted by: also on this machine those that SSL_CERT_FILE names, though
    proxies are not used there."""
    return httpx2.create_ssl_context() if url.lower().startswith("https:") and is_loopback(url) else True


class _Sender(Protocol):
    async def send(self, item: SessionMessage, /) -> None: ...


@asynccontextmanager
async def _queue(outgoing: _Sender) -> AsyncIterator[ObjectSendStream[SessionMessage]]:
    """Put a queue in front of `outgoing` that accepts messages at once.

    The SDK's HTTP transports send notifications one after the other (the SSE transport: all messages), and a cancelled
    call waits, shielded, until its notification is accepted.
    """
    to_queue, queue = anyio.create_memory_object_stream[SessionMessage](MAX_QUEUED)
    with to_queue, queue:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_send_on, queue, outgoing)
            try:
                yield to_queue
            finally:
                tasks.cancel_scope.cancel()


async def _send_on(queue: ObjectReceiveStream[SessionMessage], outgoing: _Sender) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with queue:
            async for message in queue:
                await outgoing.send(message)


class _Watched(ObjectReceiveStream[SessionMessage | Exception]):
    """Passes messages on, each result after `repair`, until the stream has ended or the session is gone."""

    def __init__(
        self,
        inner: ObjectReceiveStream[SessionMessage | Exception],
        repair: Callable[[dict[str, Json]], None],
        lost: anyio.Event,
        large_messages: LargeMessages | None,
    ) -> None:
        self._inner = inner
        self._large_messages = large_messages
        self._repair = repair
        self._lost = lost
        self._is_over = False

    @override
    async def receive(self) -> SessionMessage | Exception:
        if self._is_over:
            raise anyio.EndOfStream
        try:
            message = await self._inner.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._lost.set()
            raise anyio.EndOfStream from None
        if self._large_messages and isinstance(message, SessionMessage):
            message.message = self._large_messages.restore(message.message)
        reply = message.message if isinstance(message, SessionMessage) else None
        if isinstance(reply, JSONRPCResponse):
            self._repair(reply.result)
        elif isinstance(reply, JSONRPCError) and reply.error.code == SESSION_GONE:
            self._is_over = True
            self._lost.set()
        return message

    @override
    async def aclose(self) -> None:
        """Do nothing: the transport closes `inner`."""


class _Handshake(ObjectSendStream[SessionMessage]):
    """Passes messages on, and requests `revision` in the handshake: the SDK (mcp 2.3) requests only its newest one."""

    def __init__(self, inner: ObjectSendStream[SessionMessage], revision: str) -> None:
        self._inner = inner
        self._revision = revision

    @override
    async def send(self, item: SessionMessage) -> None:
        request = item.message
        if isinstance(request, JSONRPCRequest) and request.method == "initialize" and request.params is not None:
            request.params["protocolVersion"] = self._revision
        await self._inner.send(item)

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()
