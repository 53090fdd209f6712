"""The transport to a connected server, built from its config entry; it reports when the connection is lost."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Protocol

import anyio
import httpx2
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp import MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import CONNECTION_CLOSED, INVALID_REQUEST, ErrorData, JSONRPCError, JSONRPCRequest, JSONRPCResponse
from typing_extensions import override

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.config.values import is_loopback
from bridge.hub.transports.choices import Choice
from bridge.hub.transports.guard import GuardedClient
from bridge.hub.transports.http_sse import names_endpoint, open_http_sse
from bridge.hub.transports.replies import OLDER_TRANSPORT, SAID_CLOSED, SESSION_GONE
from bridge.hub.transports.sessions import Renewals, Session
from bridge.hub.transports.stdio import Process
from bridge.json_text import Json
from bridge.jsonrpc.pipes import Streams
from bridge.processes.children import Child
from bridge.telemetry import Redactor

READ_TIMEOUT_S = 300.0
"""How long an HTTP server may be silent on an open response that no result is expected on: the SDK's figure."""

SILENCE_S = 2.0
"""How long a server of a guessed transport may be silent at first, until it is looked whether another was meant."""
MAX_QUEUED = 1000
SDKS_OWN = "SSE stream "
"""How the SDK begins its words for an error -32000 that it puts into the stream itself."""


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
        renewals: Renewals,
        redact: Redactor,
        transport: httpx2.AsyncBaseTransport | None,
    ) -> None:
        self._server = server
        self._choice = choice
        self._process = process
        self._limit = limit
        self._lost = lost
        self._repair = repair
        self._clock = clock
        self._renewals = renewals
        self._redact = redact
        self._transport = transport
        self._has_heard = anyio.Event()

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
            watched = _Watched(incoming, self._repair, self._lost, self._has_heard)
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
        client = GuardedClient(
            limit=self._limit,
            clock=self._clock,
            session=self._open_session(is_stream=False),
            on_end=self._lost.set,
            **self._client_options(),
        )
        async with client:
            try:
                async with (
                    streamable_http_client(
                        self._server.url, http_client=client, max_sse_event_size=None, terminate_on_close=False
                    ) as (incoming, outgoing),
                    _queue(outgoing) as to_queue,
                    self._looking_for_sse(),
                ):
                    yield incoming, to_queue  # type: ignore[misc]
            finally:
                await client.end_session(self._server.url)

    @asynccontextmanager
    async def _open_sse(self) -> AsyncIterator[Streams]:
        assert self._server.url
        options = self._client_options() | {
            "timeout": httpx2.Timeout(30, read=None)
        }  # calls have timeouts of their own
        async with (
            httpx2.AsyncClient(**options) as client,
            open_http_sse(
                client,
                self._server.url,
                limit=self._limit,
                clock=self._clock,
                session=self._open_session(is_stream=True),
                redact=self._redact,
            ) as streams,
        ):
            yield streams

    @asynccontextmanager
    async def _looking_for_sse(self) -> AsyncIterator[None]:
        """Look what GET brings, where a type is guessed and the server stays silent. Raises MCPError if it is another.

        Some servers of the older transport never answer a POST; one that is only slow loses nothing by a GET.
        """
        if not self._choice.is_guess:
            yield
            return
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._look_for_sse)
            yield
            tasks.cancel_scope.cancel()

    async def _look_for_sse(self) -> None:
        assert self._server.url
        with self._clock.scope(self._clock.now() + SILENCE_S) as silence:
            await self._has_heard.wait()
        if not silence.cancelled_caught:
            return
        async with anyio.create_task_group() as tasks, httpx2.AsyncClient(**self._client_options()) as client:
            tasks.start_soon(self._stop_looking, tasks.cancel_scope)
            if await names_endpoint(client, self._server.url):
                raise MCPError(INVALID_REQUEST, OLDER_TRANSPORT)
            tasks.cancel_scope.cancel()

    async def _stop_looking(self, looking: anyio.CancelScope) -> None:
        await self._has_heard.wait()
        looking.cancel()

    def _open_session(self, *, is_stream: bool) -> Session:
        return Session(self._renewals, self._clock, self._redact, is_stream=is_stream, on_doubt=self._lost.set)

    def _client_options(self) -> dict[str, Any]:
        assert self._server.url
        return {
            # a small compressed body could fill the memory
            "headers": {"accept-encoding": "identity"} | dict(self._server.headers),
            "timeout": httpx2.Timeout(30, read=READ_TIMEOUT_S),
            "trust_env": not is_loopback(self._server.url),
            "transport": self._transport,
        }


class _Sender(Protocol):
    async def send(self, item: SessionMessage, /) -> None: ...


@asynccontextmanager
async def _queue(outgoing: _Sender) -> AsyncIterator[ObjectSendStream[SessionMessage]]:
    """Put a queue in front of `outgoing` that accepts messages at once.

    The SDK's HTTP transport sends notifications one after the other, and a cancelled call waits, shielded, until its
    notification is accepted.
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
    """Passes messages on, each result after `repair`, and tells when the stream has ended or the session is gone."""

    def __init__(
        self,
        inner: ObjectReceiveStream[SessionMessage | Exception],
        repair: Callable[[dict[str, Json]], None],
        lost: anyio.Event,
        has_heard: anyio.Event,
    ) -> None:
        self._inner = inner
        self._has_heard = has_heard
        self._repair = repair
        self._lost = lost

    @override
    async def receive(self) -> SessionMessage | Exception:
        try:
            message = await self._inner.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._lost.set()
            raise anyio.EndOfStream from None
        self._has_heard.set()
        reply = message.message if isinstance(message, SessionMessage) else None
        if isinstance(reply, JSONRPCResponse):
            self._repair(reply.result)
        elif isinstance(reply, JSONRPCError):
            self._note(reply.error)
        return message

    def _note(self, error: ErrorData) -> None:
        if error.code == SESSION_GONE:
            self._lost.set()
        elif error.code == CONNECTION_CLOSED and not error.message.startswith(SDKS_OWN):
            error.code = SAID_CLOSED

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
