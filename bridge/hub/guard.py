"""An HTTP client that keeps to one call what the SDK's transports (mcp 2.3) let end a whole connection."""

import json
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

import httpx2
from httpx2 import USE_CLIENT_DEFAULT
from mcp_types import PARSE_ERROR, JSONRPCError, RequestId
from typing_extensions import override

from bridge.clock import Clock
from bridge.hub.bodies import UNREACHABLE, EventBody, mend_message, read_body, write_error
from bridge.hub.events import Event
from bridge.items import JsonObject
from bridge.lines import Overlong
from bridge.messages import BadMessage, read_message

if TYPE_CHECKING:  # private names, needed to state the signature that is overridden
    from httpx2._client import UseClientDefault
    from httpx2._types import AuthTypes

Transmit: TypeAlias = Callable[[], Awaitable[httpx2.Response]]
"""Sends the request at hand."""

SESSION_GONE, REFUSED, NOT_SENT = -32011, -32012, -32013
"""JSON-RPC error codes for a POST whose session the server has forgotten, one that was answered with an HTTP error
alone, and one that never left; ours, in the range left to implementations, as is `bodies.UNREACHABLE`."""
BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
KEPT_S = 2.0
"""How long an idle connection is kept. Servers close theirs after five seconds (uvicorn, Node), and a request that
meets the close is lost; httpx2's own figure is five too."""
ERROR_BYTES = 65_536
"""How much is read of a body that holds no message."""
NOTIFICATION_S = 5.0
"""How long a server may take to accept a notification: the SDK sends nothing else meanwhile."""
FIRST_PAUSE_S, LAST_PAUSE_S = 0.5, 5.0
"""Between two streams opened by GET, where the one before brought nothing."""


class GuardedClient(httpx2.AsyncClient):
    """An HTTP client for which one refused, cut or failed POST is one failed call, with words that say why.

    The SDK's client ends its whole session over a connection error of a single POST (python-sdk#3560), never opens
    another session when the server has forgotten its own (python-sdk#1676), opens streams as fast as the server ends
    them (python-sdk#3257), and keeps no HTTP status to itself. `on_failure` is told of every POST that failed, `on_end`
    when there is no session any more.
    """

    def __init__(
        self,
        *,
        limit: int,
        clock: Clock,
        on_failure: Callable[[], None],
        on_end: Callable[[], None],
        headers: dict[str, str],
        timeout: httpx2.Timeout,
        auth: httpx2.Auth | None,
        trust_env: bool,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEPT_S)
        super().__init__(
            headers=headers, timeout=timeout, auth=auth, trust_env=trust_env, transport=transport, limits=limits
        )
        self._limit = limit
        self._clock = clock
        self._on_failure = on_failure
        self._on_end = on_end
        self._pace = _Pace(clock)
        self._replies: dict[RequestId, EventBody] = {}
        self._rests: dict[str, RequestId] = {}

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

        transmit = partial(super().send, request, stream=True, auth=auth, follow_redirects=follow_redirects)
        response = await (self._post(request, transmit) if request.method == "POST" else self._get(request, transmit))
        if not stream:
            await response.aread()
        return response

    async def _post(self, request: httpx2.Request, transmit: Transmit) -> httpx2.Response:
        message = cast("JsonObject", json.loads(request.content))
        call = cast("RequestId | None", message.get("id") if "method" in message else None)
        if call is None:
            return await self._notify(request, message, transmit)
        try:
            response = await transmit()
        except httpx2.TransportError as error:
            self._on_failure()
            code = NOT_SENT if isinstance(error, BEFORE_SENDING) else UNREACHABLE
            return _fail(request, call, 503, code, f"the server cannot be reached: {type(error).__name__}")
        if response.next_request is not None:  # a redirect is the SDK's to judge
            return response
        if response.is_error:
            self._on_failure()
            return await _explain(request, call, response)
        match _kind_of(response):
            case "application/json":
                return await self._read_reply(request, call, response)
            case "text/event-stream":
                return self._follow(request, call, response)
            case _:
                return await _shorten(request, response)

    async def _notify(self, request: httpx2.Request, message: JsonObject, transmit: Transmit) -> httpx2.Response:
        """A message that no reply is due for."""
        params = message.get("params")
        if message.get("method") == "notifications/cancelled" and isinstance(params, dict):
            given_up = self._replies.get(cast("RequestId", params.get("requestId")))
            if given_up:
                given_up.give_up()
        with self._clock.scope(self._clock.now() + NOTIFICATION_S):
            try:
                response = await transmit()
                if response.is_error:
                    self._on_failure()
                return await _shorten(request, response)
            except httpx2.TransportError as error:
                self._on_failure()
                return _fail(request, None, 503, UNREACHABLE, f"the server cannot be reached: {type(error).__name__}")
        return httpx2.Response(202, request=request)

    async def _read_reply(self, request: httpx2.Request, call: RequestId, response: httpx2.Response) -> httpx2.Response:
        try:
            body = await read_body(response, self._limit)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return _fail(request, call, 200, UNREACHABLE, f"the reply was cut: {type(error).__name__}")
        finally:
            await response.aclose()
        if isinstance(body, Overlong):
            return _fail(request, call, 200, PARSE_ERROR, f"the reply is over the limit of {self._limit:,} bytes")
        data, is_reply = mend_message(body, call)
        if not is_reply:
            return _fail(request, call, 200, PARSE_ERROR, "the body holds no reply")
        return httpx2.Response(response.status_code, content=data, headers=_headers_of(response), request=request)

    def _follow(self, request: httpx2.Request, call: RequestId | None, response: httpx2.Response) -> httpx2.Response:
        """A stream, and for that of a call, somebody who knows where the rest of it belongs."""

        def note_rest(last_event: bytes) -> None:
            if call is not None:
                self._rests[last_event.decode("utf-8", "replace")] = call

        def forget() -> None:
            if call is not None:
                self._replies.pop(call, None)

        body = EventBody(
            response, self._limit, request=call, on_rest=note_rest, on_message=self._pace.reset, on_close=forget
        )
        if call is not None:
            self._replies[call] = body
        return httpx2.Response(response.status_code, stream=body, headers=_headers_of(response), request=request)

    async def _get(self, request: httpx2.Request, transmit: Transmit) -> httpx2.Response:
        """A stream of what the server says by itself, or the rest of the reply to a call."""
        call = self._rests.pop(request.headers.get("last-event-id", ""), None)
        has_session = "mcp-session-id" in request.headers
        await self._pace.wait()
        try:
            response = await transmit()
        except httpx2.TransportError as error:
            if has_session and isinstance(error, httpx2.ConnectError):
                self._on_end()
            if call is None:
                raise
            return _end_stream(request, call, f"the server cannot be reached: {type(error).__name__}")
        if response.status_code == 404 and has_session:
            self._on_end()
        if response.is_error and call is not None:
            await response.aclose()
            return _end_stream(request, call, _say_status(response))
        return self._follow(request, call, response) if _kind_of(response) == "text/event-stream" else response


class _Pace:
    """How soon one more stream may be opened."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._next = -math.inf
        self.reset()

    async def wait(self) -> None:
        """Until the next one may be opened."""
        now = self._clock.now()
        start = max(now, self._next)
        self._next = start + self._pause_s
        self._pause_s = min(self._pause_s * 2, LAST_PAUSE_S)
        if start > now:
            await self._clock.sleep(start - now)

    def reset(self) -> None:
        """A stream has brought something."""
        self._pause_s = FIRST_PAUSE_S


async def _explain(request: httpx2.Request, call: RequestId, response: httpx2.Response) -> httpx2.Response:
    """What an HTTP error means for the call."""
    try:
        body = await read_body(response, ERROR_BYTES) if _kind_of(response) == "application/json" else b""
    except (httpx2.TransportError, httpx2.DecodingError):
        body = b""
    finally:
        await response.aclose()
    if response.status_code == 404 and "mcp-session-id" in request.headers:
        return _fail(request, call, 404, SESSION_GONE, "the server has forgotten the session")
    with suppress(BadMessage):
        error = read_message(body)
        if isinstance(error, JSONRPCError):
            return _fail(request, call, response.status_code, error.error.code, error.error.message, error.error.data)
    return _fail(request, call, response.status_code, REFUSED, _say_status(response))


async def _shorten(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    """A reply whose body nobody needs."""
    try:
        await read_body(response, ERROR_BYTES)  # what is read to its end leaves a connection that can be used again
    except (httpx2.TransportError, httpx2.DecodingError):
        pass
    finally:
        await response.aclose()
    return httpx2.Response(response.status_code, headers=_headers_of(response), request=request)


def _kind_of(response: httpx2.Response) -> str:
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def _headers_of(response: httpx2.Response) -> list[tuple[str, str]]:
    """The headers, without those that describe a body which is another one now."""
    framing = ("content-encoding", "content-length", "transfer-encoding")
    return [(name, value) for name, value in response.headers.multi_items() if name not in framing]


def _say_status(response: httpx2.Response) -> str:
    return f"the server answered with HTTP {response.status_code} {response.reason_phrase}"


def _fail(
    request: httpx2.Request, call: RequestId | None, status: int, code: int, message: str, data: object = None
) -> httpx2.Response:
    content = write_error(call, code, message, data)
    return httpx2.Response(status, content=content, headers={"content-type": "application/json"}, request=request)


def _end_stream(request: httpx2.Request, call: RequestId, message: str) -> httpx2.Response:
    content = Event(data=write_error(call, UNREACHABLE, message)).encode()
    return httpx2.Response(200, content=content, headers={"content-type": "text/event-stream"}, request=request)
