"""The transport to a connected server, built from its config entry; it reports when the connection is lost."""

import ssl
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
from mcp_types import (
    INVALID_REQUEST,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCRequest,
    JSONRPCResponse,
)

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.config.values import is_loopback
from bridge.hub.transports.choices import Choice
from bridge.hub.transports.credentials import Credentials
from bridge.hub.transports.guard import LIMITS, GuardedClient
from bridge.hub.transports.http_sse import MAX_QUEUED, names_endpoint, open_http_sse
from bridge.hub.transports.need import Need
from bridge.hub.transports.replies import OLDER_TRANSPORT
from bridge.hub.transports.sessions import Renewals, Session
from bridge.hub.transports.stdio import Process
from bridge.hub.transports.traffic import Incoming, Outgoing, Repair
from bridge.jsonrpc.backlog import Backlog, Flooded
from bridge.jsonrpc.messages import write_message
from bridge.jsonrpc.pipes import Streams
from bridge.jsonrpc.requests import OpenRequests
from bridge.processes.children import Child
from bridge.telemetry import Redactor

READ_TIMEOUT_S = 300.0
"""How long an HTTP server may be silent on an open response that no result is expected on: the SDK's figure."""

SILENCE_S = 2.0
"""How long a server of a guessed transport may be silent at first, until it is looked whether another was meant."""


@dataclass(frozen=True)
class Connectors:
    """The means to reach servers outside this process: to start one, and to send HTTP (None = over the network)."""

    start: Callable[[ServerConfig, Mapping[str, str], Child | None], Process] = Process
    transport: httpx2.AsyncBaseTransport | None = None


class WatchedTransport(AbstractAsyncContextManager[Streams]):
    """A transport for `mcp.Client` that sets `lost` when the stream has ended or the session is gone.

    Every request but a call is passed to `prepare` before it is sent, and every result but those of calls to `repair`,
    with the method that it answers, before the SDK reads it; both change what they get in place.
    """

    def __init__(
        self,
        server: ServerConfig,
        choice: Choice,
        *,
        process: Process | None,
        limit: int,
        lost: anyio.Event,
        prepare: Callable[[JSONRPCRequest], None],
        repair: Repair,
        clock: Clock,
        renewals: Renewals,
        redact: Redactor,
        transport: httpx2.AsyncBaseTransport | None,
        credentials: Credentials,
    ) -> None:
        self.flood: str | None = None
        """Why the server was given up, if it sent more than can be answered."""
        self._backlog = Backlog(is_bounded=True)
        self._server = server
        self._choice = choice
        self._process = process
        self._limit = limit
        self._lost = lost
        self._prepare = prepare
        self._repair = repair
        self._clock = clock
        self._renewals = renewals
        self._redact = redact
        self._transport = transport
        self._credentials = credentials
        self._requests = OpenRequests()
        self._has_heard = anyio.Event()
        self._session: Session | None = None
        self._auth = credentials.build() if choice.transport != "stdio" else None

    def complain(self) -> str | None:
        """Say what was wrong with the last reply, if it could not be given to a call."""
        return self._requests.complaint

    @property
    def refused_with(self) -> int | None:
        """The HTTP status of the last refusal, if there was one."""
        return self._session.refused_with if self._session else None

    @property
    def need(self) -> Need | None:
        """The sign-in that the last refusal asks for, if it does."""
        return self._session.need if self._session else None

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
            watched = Incoming(incoming, self._requests, self._repair, self._lost, self._has_heard, accept=self._accept)
            yield watched, Outgoing(outgoing, self._requests, self._prepare, self._lost)

    def _accept(self, message: JSONRPCMessage) -> bool:
        """Return False if the server has too many open requests. The pipes of a process count them themselves."""
        try:
            if not self._process:
                self._backlog.note(message, lambda: len(write_message(message)))
        except Flooded as flood:
            self._note_flood(str(flood))
        return self.flood is None

    def _note_sent(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCResponse | JSONRPCError):
            self._backlog.settle(message.id)

    def _note_flood(self, reason: str) -> None:
        self.flood = reason
        self._lost.set()

    def _open(self) -> AbstractAsyncContextManager[Streams]:
        match self._choice.transport:
            case "stdio":
                assert self._process
                return self._process.connect(limit=self._limit, on_end=self._lost.set, on_flood=self._note_flood)
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
                    _queue(outgoing, self._note_sent) as to_queue,
                    self._looking_for_sse(),
                ):
                    yield incoming, to_queue  # type: ignore[misc]
            finally:
                await client.end_session(self._server.url)

    @asynccontextmanager
    async def _open_sse(self) -> AsyncIterator[Streams]:
        assert self._server.url
        timeout = httpx2.Timeout(30, read=None)  # calls have timeouts of their own
        options = self._client_options() | {"timeout": timeout, "limits": LIMITS}
        async with (
            httpx2.AsyncClient(**options) as client,
            open_http_sse(
                client,
                self._server.url,
                limit=self._limit,
                clock=self._clock,
                session=self._open_session(is_stream=True),
                redact=self._redact,
                on_sent=self._note_sent,
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
        self._session = Session(
            self._renewals,
            self._clock,
            self._redact,
            is_stream=is_stream,
            on_doubt=self._lost.set,
            judge=self._credentials.judge,
        )
        return self._session

    def _client_options(self) -> dict[str, Any]:
        assert self._server.url
        return {
            # a small compressed body could fill the memory
            "headers": {"accept-encoding": "identity"} | dict(self._server.headers),
            "timeout": httpx2.Timeout(30, read=READ_TIMEOUT_S),
            "trust_env": not is_loopback(self._server.url),
            "verify": _load_certificates(self._server.url),
            "auth": self._auth,
            "transport": self._transport,
        }


def _load_certificates(url: str) -> ssl.SSLContext | bool:
    """Load the certificates that a server is trusted by: also on this machine those that SSL_CERT_FILE names, though
    proxies are not used there."""
    return httpx2.create_ssl_context() if url.lower().startswith("https:") and is_loopback(url) else True


class _Sender(Protocol):
    async def send(self, item: SessionMessage, /) -> None: ...


@asynccontextmanager
async def _queue(
    outgoing: _Sender, on_sent: Callable[[JSONRPCMessage], None]
) -> AsyncIterator[ObjectSendStream[SessionMessage]]:
    """Put a queue in front of `outgoing` that accepts messages at once.

    The SDK's HTTP transport sends notifications one after the other, and a cancelled call waits, shielded, until its
    notification is accepted.
    """
    to_queue, queue = anyio.create_memory_object_stream[SessionMessage](MAX_QUEUED)
    with to_queue, queue:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(_send_on, queue, outgoing, on_sent)
            try:
                yield to_queue
            finally:
                tasks.cancel_scope.cancel()


async def _send_on(
    queue: ObjectReceiveStream[SessionMessage], outgoing: _Sender, on_sent: Callable[[JSONRPCMessage], None]
) -> None:
    with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
        async with queue:
            async for message in queue:
                await outgoing.send(message)
                on_sent(message.message)
