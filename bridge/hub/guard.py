"""An HTTP client that keeps to one call what the SDK's transports (mcp 2.3) let end a whole connection."""

import math
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING

import httpx2
from httpx2 import USE_CLIENT_DEFAULT
from typing_extensions import override

if TYPE_CHECKING:  # private names, needed to state the signature that is overridden
    from httpx2._client import UseClientDefault
    from httpx2._types import AuthTypes

UNREACHABLE, SESSION_GONE, REFUSED, NOT_SENT = -32010, -32011, -32012, -32013
"""JSON-RPC error codes for a POST that got no reply, one whose session the server has forgotten, one that was answered
with an HTTP error alone, and one that never left; ours, in the range left to implementations."""

BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
ERROR_BYTES = 65_536
"""How much of the body of an error is read."""


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
            response = await super().send(request, stream=True, auth=auth, follow_redirects=follow_redirects)
        except httpx2.TransportError as error:
            if request.method != "POST":
                raise
            self._on_failure()
            code = NOT_SENT if isinstance(error, BEFORE_SENDING) else UNREACHABLE
            return _fail(request, 503, code, f"the server cannot be reached: {type(error).__name__}")
        if request.method == "POST":
            limit = ERROR_BYTES if response.is_error else self._limit if _is_json(response) else math.inf
            assert isinstance(response.stream, httpx2.AsyncByteStream)
            response.stream = _GuardedStream(response.stream, limit)
            if response.is_error:
                self._on_failure()
                response = await _explain(request, response)
        if not stream:
            await response.aread()
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
