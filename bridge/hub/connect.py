"""From a config entry to a transport of the SDK's client, guarded where the SDK lets one fault end a connection."""

import math
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import anyio
import httpx2
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from httpx2 import USE_CLIENT_DEFAULT
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCResponse
from typing_extensions import override

from bridge.settings import ServerConfig, is_loopback
from bridge.hub.stdio import Process
from bridge.pipes import Streams

if TYPE_CHECKING:  # private names, needed to state the signature that is overridden
    from httpx2._client import UseClientDefault
    from httpx2._types import AuthTypes

READ_TIMEOUT_S = 300.0
"""How long an HTTP server may be silent on an open response: the SDK's figure. Calls have deadlines besides."""

UNREACHABLE, SESSION_GONE, REFUSED = -32010, -32011, -32012
"""JSON-RPC error codes for a POST that got no reply, one whose session the server has forgotten, and one that was
answered with an HTTP error alone; ours, in the range left to implementations."""

Wire = Literal["stdio", "http", "sse"]


class Connection(AbstractAsyncContextManager[Streams]):
    """A transport for `mcp.Client` that knows when it is lost, and shows every result to `repair` on its way.

    `lost` is set when the stream has ended or the session is gone.
    """

    def __init__(
        self,
        server: ServerConfig,
        wire: Wire,
        *,
        process: Process | None,
        limit: int,
        lost: anyio.Event,
        repair: Callable[[Mapping[str, object]], None],
    ) -> None:
        self._server = server
        self._wire = wire
        self._process = process
        self._limit = limit
        self._lost = lost
        self._repair = repair

    async def __aenter__(self) -> Streams:
        self._scope = self._watch()
        return await self._scope.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._scope.__aexit__(kind, error, trace)

    @asynccontextmanager
    async def _watch(self) -> AsyncIterator[Streams]:
        """The transport's streams, with every incoming message seen once on its way."""
        async with self._open() as (incoming, outgoing):
            to_session, to_client = anyio.create_memory_object_stream[SessionMessage | Exception](0)
            with to_session, to_client:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(self._pass_on, incoming, to_session)
                    try:
                        yield to_client, outgoing
                    finally:
                        tasks.cancel_scope.cancel()

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
        match self._wire:
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
                self._server.url, http_client=client, max_sse_event_size=self._limit, terminate_on_close=False
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
            limit=self._limit,
            # The SDK's SSE transport sends nothing more after one POST that failed.
            on_failure=self._lost.set if self._wire == "sse" else lambda: None,
            headers={"accept-encoding": "identity"} | (headers or {}),  # what is small on the wire is small in memory
            timeout=timeout or httpx2.Timeout(30, read=READ_TIMEOUT_S),
            auth=auth,
            trust_env=not is_loopback(self._server.url),
        )


class GuardedClient(httpx2.AsyncClient):
    """An HTTP client for which one refused, cut or failed POST is one failed call, with words that say why.

    The SDK's client ends its whole session over a connection error of a single POST (python-sdk#3560), never opens
    another session when the server has forgotten its own (python-sdk#1676), and keeps no HTTP status to itself.
    """

    def __init__(
        self,
        *,
        limit: int,
        on_failure: Callable[[], None],
        headers: dict[str, str],
        timeout: httpx2.Timeout,
        auth: httpx2.Auth | None,
        trust_env: bool,
    ) -> None:
        super().__init__(headers=headers, timeout=timeout, auth=auth, trust_env=trust_env)
        self._limit = limit
        self._on_failure = on_failure

    @override
    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: "AuthTypes | UseClientDefault | None" = USE_CLIENT_DEFAULT,
        follow_redirects: "bool | UseClientDefault" = USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        """The reply; for a POST that failed without a JSON-RPC error of the server's own, one that carries ours."""
        try:
            response = await super().send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)
        except httpx2.TransportError as error:
            if request.method != "POST":
                raise
            self._on_failure()
            return _fail(request, 503, UNREACHABLE, f"the server cannot be reached: {type(error).__name__}")
        if request.method != "POST":
            return response
        if response.is_error:
            self._on_failure()
            return await _explain(request, response)
        if stream:
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _GuardedStream(response.stream, self._limit if _is_json(response) else math.inf)
        return response


async def _explain(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    """What an HTTP error means for the call."""
    is_forgotten = response.status_code == 404 and "mcp-session-id" in request.headers
    if _is_json(response) and not is_forgotten:
        return response
    await response.aclose()
    if is_forgotten:
        return _fail(request, 404, SESSION_GONE, "the server has forgotten the session")
    words = f"the server answered with HTTP {response.status_code} {response.reason_phrase}"
    return _fail(request, response.status_code, REFUSED, words)


def _is_json(response: httpx2.Response) -> bool:
    return response.headers.get("content-type", "").lower().startswith("application/json")


def _fail(request: httpx2.Request, status: int, code: int, message: str) -> httpx2.Response:
    failure = {"jsonrpc": "2.0", "id": None, "error": {"code": code, "message": message}}
    return httpx2.Response(status, json=failure, request=request)


class _GuardedStream(httpx2.AsyncByteStream):
    """A body whose cut, or size over `limit` bytes, is a StreamError: the only kind that the SDK takes as the failure
    of one call."""

    def __init__(self, inner: httpx2.AsyncByteStream, limit: float) -> None:
        self._inner = inner
        self._limit = limit

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self._inner:
                size += len(chunk)
                if size > self._limit:
                    raise httpx2.StreamError(f"the reply is over the limit of {self._limit:,} bytes")
                yield chunk
        except httpx2.TransportError as error:
            raise httpx2.StreamError(f"the reply was cut: {type(error).__name__}") from error

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()
