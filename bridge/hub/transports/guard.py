"""An HTTP client for the SDK's transports (mcp 2.3): errors that would end the whole connection fail only one call."""

import json
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, TypeAlias, cast

import anyio
import httpx2
from httpx2 import USE_CLIENT_DEFAULT
from mcp_types import PARSE_ERROR, RequestId
from typing_extensions import override

from bridge.clock import Clock
from bridge.hub.transports.bodies import Revise, mend_message, read_body
from bridge.hub.transports.large_messages import LargeMessages
from bridge.hub.transports.redirects import Elsewhere, Redirects
from bridge.hub.transports.refusals import describe_status
from bridge.hub.transports.replies import (
    NOT_SENT,
    REFUSED,
    UNREACHABLE,
    build_failure,
    drop_body,
    end_stream,
    may_be_mcp,
    read_headers,
    read_media_type,
)
from bridge.hub.transports.sessions import SESSION_HEADER, Session
from bridge.hub.transports.streams import ServerStreams
from bridge.json_text import JsonObject
from bridge.jsonrpc.lines import Overlong
from bridge.network import explain_network

if TYPE_CHECKING:
    # private names, needed to state the signature that is overridden
    from httpx2._client import UseClientDefault
    from httpx2._types import AuthTypes

    from bridge.hub.transports.answers import Refusal

Send: TypeAlias = Callable[[], Awaitable[httpx2.Response]]
"""Sends the request at hand, on to where the server wants it."""

BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
KEPT_S = 2.0
"""How long an idle connection is kept. Servers close theirs after five seconds (uvicorn, Node), and a request sent at
that moment is lost; httpx2's own figure is five too."""
NOTIFICATION_S = 5.0
"""How long a server may take to accept a notification: the SDK sends nothing else meanwhile."""
END_S = 0.5
"""How long a server may take to accept the end of a session."""
SESSION_HEADERS = (SESSION_HEADER, "mcp-protocol-version")


class GuardedClient(httpx2.AsyncClient):
    """An HTTP client that turns a refused, cut or failed POST into one failed call, with the reason.

    The SDK's client ends its whole session over a connection error of a single POST (python-sdk#3560), never opens a
    new session when the server has forgotten the old one (python-sdk#1676), and does not report HTTP statuses.
    `on_failure` is called for every POST that may not have reached the server, `on_end` when the server is gone. For
    the SSE transport, where results come on the stream that GET opened, `large_messages` is given, and `deliver` gets
    the errors of POSTs that failed: the SDK sends nothing more after one that it sees. While `on_refusal` is set, it is
    told of each answer whether it is one that MCP does not know, such as a login page.
    """

    def __init__(
        self,
        *,
        limit: int,
        clock: Clock,
        session: Session,
        on_failure: Callable[[], None],
        on_end: Callable[[], None],
        headers: dict[str, str],
        timeout: httpx2.Timeout,
        auth: httpx2.Auth | None,
        large_messages: LargeMessages | None,
        deliver: Callable[[bytes], Awaitable[None]] | None,
        trust_env: bool,
        verify: ssl.SSLContext | bool = True,
        transport: httpx2.AsyncBaseTransport | None = None,
        on_refusal: "Callable[[Refusal | None], None] | None" = None,
    ) -> None:
        limits = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEPT_S)
        super().__init__(
            headers=headers,
            timeout=timeout,
            auth=auth,
            trust_env=trust_env,
            verify=verify,
            transport=transport,
            limits=limits,
        )
        self.on_refusal = on_refusal
        self._limit = limit
        self._clock = clock
        self._session = session
        self._large_messages = large_messages
        self._deliver = deliver
        self._on_failure = on_failure
        self._on_end = on_end
        self._streams = ServerStreams(limit, clock, large_messages)
        self._redirects = Redirects()
        self._session_headers: dict[str, str] = {}
        self.refused_with: int | None = None
        """The status of the last POST that was answered with an error."""

    @override
    async def send(
        self,
        request: httpx2.Request,
        *,
        stream: bool = False,
        auth: "AuthTypes | UseClientDefault | None" = USE_CLIENT_DEFAULT,
        follow_redirects: "bool | UseClientDefault" = USE_CLIENT_DEFAULT,
    ) -> httpx2.Response:
        """Send a request and return the reply; if a POST fails without a JSON-RPC error, a reply that carries one."""
        self._session_headers = {name: request.headers[name] for name in SESSION_HEADERS if name in request.headers}
        transmit = partial(super().send, stream=True, auth=auth, follow_redirects=False)
        send: Send = partial(self._redirects.follow, request, transmit)
        if self.on_refusal and (request.method == "POST" or self._large_messages):
            send = partial(self._judge, send, self.on_refusal)
        response = await (self._post(request, send) if request.method == "POST" else self._get(request, send))
        if self._deliver and request.method == "POST" and not response.is_success:
            await self._deliver(response.content)
            return httpx2.Response(202, request=request)
        if not stream:
            await response.aread()
        return response

    async def end_session(self, url: str) -> None:
        """Tell the server that the session is no longer needed (MCP 2025-11-25, session management); ignore its reply.

        The SDK's own way is not used: it is cancelled with its transport, and waits without a limit.
        """
        if SESSION_HEADER not in self._session_headers:
            return
        request = self.build_request("DELETE", url, headers=self._session_headers)
        with (
            anyio.CancelScope(shield=True),
            self._clock.scope(self._clock.now() + END_S),
            suppress(httpx2.TransportError, Elsewhere),
        ):
            await (await self._redirects.follow(request, partial(super().send, stream=True))).aclose()

    async def _judge(self, send: Send, note: "Callable[[Refusal | None], None]") -> httpx2.Response:
        """Return the reply, after it was noted whether it is one that MCP does not know."""
        response = await send()
        if may_be_mcp(response):
            note(None)
            return response
        from bridge.hub.transports.answers import read_refusal

        return await read_refusal(response, note, self._limit)

    async def _post(self, request: httpx2.Request, send: Send) -> httpx2.Response:
        message = cast("JsonObject", json.loads(request.content))
        call = cast("RequestId | None", message.get("id") if "method" in message else None)
        if call is None:
            return await self._notify(request, message, send)
        if message["method"] == "tools/call" and not self._large_messages:
            _allow_silence(request)
        try:
            response = await send()
        except httpx2.TransportError as error:
            self._on_failure()
            code = NOT_SENT if isinstance(error, BEFORE_SENDING) else UNREACHABLE
            return build_failure(request, call, 503, code, f"the server cannot be reached: {explain_network(error)}")
        except Elsewhere as error:
            return build_failure(request, call, 502, REFUSED, f"the server {error}")
        if not response.is_success:
            self.refused_with = response.status_code
            return await self._session.explain(request, message, response)
        match read_media_type(response):
            case "application/json":
                return await self._read_reply(request, call, response, partial(self._session.revise, request, message))
            case "text/event-stream":
                return self._streams.follow(request, call, response, partial(self._session.revise, request, message))
            case _:
                return await drop_body(request, response)

    async def _notify(self, request: httpx2.Request, message: JsonObject, send: Send) -> httpx2.Response:
        """Send a message that has no reply, and do not wait longer than NOTIFICATION_S."""
        params = message.get("params")
        if message.get("method") == "notifications/cancelled" and isinstance(params, dict):
            self._streams.abandon(cast("RequestId", params.get("requestId")))
        with self._clock.scope(self._clock.now() + NOTIFICATION_S):
            try:
                return await drop_body(request, await send())
            except Elsewhere as error:
                return build_failure(request, None, 502, REFUSED, f"the server {error}")
            except httpx2.TransportError as error:
                self._on_failure()
                return build_failure(
                    request, None, 503, UNREACHABLE, f"the server cannot be reached: {explain_network(error)}"
                )
        return httpx2.Response(202, request=request)

    async def _read_reply(
        self, request: httpx2.Request, call: RequestId, response: httpx2.Response, revise: Revise
    ) -> httpx2.Response:
        try:
            body = await read_body(response, self._limit)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return build_failure(request, call, 200, UNREACHABLE, f"the reply was cut: {explain_network(error)}")
        finally:
            await response.aclose()
        if isinstance(body, Overlong):
            return build_failure(
                request, call, 200, PARSE_ERROR, f"the reply is over the limit of {self._limit:,} bytes"
            )
        if self.on_refusal and b'"jsonrpc"' not in body:
            from bridge.hub.transports.answers import build_refusal

            self.on_refusal(build_refusal(response, body))
        data, is_reply = mend_message(body, call, revise)
        if not is_reply:
            return build_failure(request, call, 200, PARSE_ERROR, "the body does not contain a reply")
        return httpx2.Response(response.status_code, content=data, headers=read_headers(response), request=request)

    async def _get(self, request: httpx2.Request, send: Send) -> httpx2.Response:
        """Open a stream of server-initiated messages, or fetch the rest of the reply to a call."""
        call = self._streams.take_call(request)
        if call is not None or self._large_messages:
            _allow_silence(request)
        await self._streams.wait()
        try:
            response = await send()
        except httpx2.TransportError as error:
            if SESSION_HEADER in request.headers and isinstance(error, httpx2.ConnectError):
                self._on_end()
            if call is None:
                raise
            return end_stream(request, call, f"the server cannot be reached: {explain_network(error)}")
        except Elsewhere as error:
            if self._large_messages:
                raise ConnectionError(f"the server {error}") from None
            return _lack(request, call, f"the server {error}")
        if response.is_success and read_media_type(response) == "text/event-stream":
            return self._streams.follow(request, call, response)
        if self._large_messages:
            return response
        await response.aclose()
        return _lack(request, call, describe_status(response))


def _lack(request: httpx2.Request, call: RequestId | None, words: str) -> httpx2.Response:
    """Return a reply that says that there is no stream here; that tells nothing of the session."""
    return httpx2.Response(405, request=request) if call is None else end_stream(request, call, words)


def _allow_silence(request: httpx2.Request) -> None:
    """Remove the read timeout of a request: its call has a timeout of its own."""
    request.extensions["timeout"] = request.extensions.get("timeout", {}) | {"read": None}
