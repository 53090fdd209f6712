"""From a config entry to a transport of the SDK's client, guarded where the SDK lets one fault end a connection."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Literal

import anyio
import httpx2
from httpx2 import USE_CLIENT_DEFAULT
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCResponse, Tool
from pydantic import ValidationError
from typing_extensions import override

from bridge.config import ServerConfig, is_loopback
from bridge.hub.stdio import Process
from bridge.pipes import Streams

if TYPE_CHECKING:  # private names, needed to state the signature that is overridden
    from httpx2._client import UseClientDefault
    from httpx2._types import AuthTypes

READ_TIMEOUT_S = 300.0
"""How long an HTTP server may be silent on an open response: the SDK's figure. Calls have deadlines besides."""

UNREACHABLE = -32010
"""The JSON-RPC error code for a POST that got no reply; ours, in the range left to implementations."""

Wire = Literal["stdio", "http", "sse"]


class Connection(AbstractAsyncContextManager[Streams]):
    """A transport for `mcp.Client` that knows when it is lost and repairs what would cost more than one tool.

    `lost` is set when the stream has ended or the session is gone; `skipped` names the tools of the last listing
    that had to be left out, with the reason.
    """

    def __init__(
        self, server: ServerConfig, wire: Wire, *, process: Process | None, limit: int, lost: anyio.Event
    ) -> None:
        self._server = server
        self._wire = wire
        self._process = process
        self._limit = limit
        self.lost = lost
        self.skipped: dict[str, str] = {}

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
        to_session, to_client = anyio.create_memory_object_stream[SessionMessage | Exception](0)

        async def pass_on() -> None:
            async with to_session:
                try:
                    async for message in incoming:
                        if isinstance(message, SessionMessage) and isinstance(message.message, JSONRPCResponse):
                            self._repair_listing(message.message.result)
                        await to_session.send(message)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass
                finally:
                    self.lost.set()

        async with self._open() as (incoming, outgoing), anyio.create_task_group() as tasks:
            tasks.start_soon(pass_on)
            try:
                yield to_client, outgoing
            finally:
                tasks.cancel_scope.cancel()
                to_client.close()

    def _open(self) -> AbstractAsyncContextManager[Streams]:
        match self._wire:
            case "stdio":
                assert self._process
                return self._process.connect(limit=self._limit, on_end=self.lost.set)
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
            self.lost.set,
            headers=headers,
            timeout=timeout or httpx2.Timeout(30, read=READ_TIMEOUT_S),
            auth=auth,
            trust_env=not is_loopback(self._server.url),
        )

    def _repair_listing(self, result: Mapping[str, object]) -> None:
        """Take out the tools that the SDK would refuse: it loses the whole list over one of them."""
        tools = result.get("tools")
        if not isinstance(tools, list):
            return
        kept: list[object] = []
        for tool in tools:
            name = str(tool.get("name", "?")) if isinstance(tool, dict) else "?"
            try:
                if isinstance(tool, dict):
                    if not _is_object_schema(tool.get("outputSchema")):
                        tool.pop("outputSchema", None)
                    if isinstance(tool.get("inputSchema"), dict):
                        tool["inputSchema"].setdefault("type", "object")
                Tool.model_validate(tool, by_name=False)
                kept.append(tool)
                self.skipped.pop(name, None)
            except ValidationError as error:
                where = ".".join(str(step) for step in error.errors()[0]["loc"])
                self.skipped[name] = f"its definition is not valid at {where or 'its root'}: {error.errors()[0]['msg']}"
        tools[:] = kept


def _is_object_schema(schema: object) -> bool:
    """The only kind of output schema that both protocol eras allow."""
    return isinstance(schema, dict) and schema.get("type") == "object"


class GuardedClient(httpx2.AsyncClient):
    """An HTTP client for which one refused or cut POST is one failed call.

    The SDK's client ends its whole session over a connection error of a single POST (python-sdk#3560), and never
    opens another session when the server has forgotten its own (python-sdk#1676): `on_lost` is called for that.
    """

    def __init__(
        self,
        on_lost: Callable[[], None],
        *,
        headers: dict[str, str] | None,
        timeout: httpx2.Timeout,
        auth: httpx2.Auth | None,
        trust_env: bool,
    ) -> None:
        super().__init__(headers=headers, timeout=timeout, auth=auth, trust_env=trust_env)
        self._on_lost = on_lost

    @override
    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: "AuthTypes | UseClientDefault | None" = USE_CLIENT_DEFAULT,
        follow_redirects: "bool | UseClientDefault" = USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        """The reply, or a 503 that carries a JSON-RPC error where a POST got none."""
        try:
            response = await super().send(request, stream=stream, auth=auth, follow_redirects=follow_redirects)
        except httpx2.TransportError as error:
            if request.method != "POST":
                raise
            message = f"the server cannot be reached: {type(error).__name__}"
            failure = {"jsonrpc": "2.0", "id": None, "error": {"code": UNREACHABLE, "message": message}}
            return httpx2.Response(503, json=failure, request=request)
        if response.status_code == 404 and "mcp-session-id" in request.headers:
            self._on_lost()
        if request.method == "POST" and stream:
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _GuardedStream(response.stream)
        return response


class _GuardedStream(httpx2.AsyncByteStream):
    """A body whose cut is a StreamError: the only kind that the SDK takes as the failure of one call."""

    def __init__(self, inner: httpx2.AsyncByteStream) -> None:
        self._inner = inner

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._inner:
                yield chunk
        except httpx2.TransportError as error:
            raise httpx2.StreamError(f"the reply was cut: {type(error).__name__}") from error

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()
