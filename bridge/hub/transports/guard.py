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
from bridge.hub.transports.bodies import Revise, mend_messages, read_body
from bridge.hub.transports.need import transmit_signed
from bridge.hub.transports.openings import Opening
from bridge.hub.transports.redirects import Elsewhere, Redirects
from bridge.hub.transports.refusals import describe_status
from bridge.hub.transports.replies import (
    NOT_SENT,
    REFUSED,
    UNREACHABLE,
    build_failure,
    build_reply,
    drop_body,
    end_stream,
    read_media_type,
)
from bridge.hub.transports.sessions import SESSION_HEADER, Session
from bridge.hub.transports.streams import ServerStreams
from bridge.json_text import JsonObject
from bridge.jsonrpc.lines import Overlong
from bridge.network import explain_network

if TYPE_CHECKING:  # private names, needed to state the signature that is overridden
    from httpx2._client import UseClientDefault
    from httpx2._types import AuthTypes

Send: TypeAlias = Callable[[], Awaitable[httpx2.Response]]
"""Sends the request at hand, on to where the server wants it."""

BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
KEPT_S = 2.0
"""How long an idle connection is kept. Servers close theirs after five seconds (uvicorn, Node), and a request sent at
that moment is lost; httpx2's own figure is five too."""
LIMITS = httpx2.Limits(max_connections=100, max_keepalive_connections=20, keepalive_expiry=KEPT_S)
NOTIFICATION_S = 5.0
"""How long a server may take to accept a notification: the SDK sends nothing else meanwhile."""
END_S = 0.5
"""How long a server may take to accept the end of a session."""
SESSION_HEADERS = (SESSION_HEADER, "mcp-protocol-version")


class GuardedClient(httpx2.AsyncClient):
    """An HTTP client that turns a refused, cut or failed POST into one failed call, with the reason.

    The SDK's client ends its whole session over a connection error of a single POST (python-sdk#3560), never opens a
    new session when the server has forgotten the old one (python-sdk#1676), and does not report HTTP statuses.
    `on_end` is called when the server is gone.
    """

    def __init__(
        self,
        *,
        limit: int,
        clock: Clock,
        session: Session,
        on_end: Callable[[], None],
        headers: dict[str, str],
        timeout: httpx2.Timeout,
        trust_env: bool,
        verify: ssl.SSLContext | bool = True,
        auth: httpx2.Auth | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        super().__init__(
            headers=headers,
            timeout=timeout,
            trust_env=trust_env,
            verify=verify,
            auth=auth,
            transport=transport,
            limits=LIMITS,
        )
        self._limit = limit
        self._clock = clock
        self._session = session
        self._on_end = on_end
        self._streams = ServerStreams(limit, clock, session.redact)
        self._redirects = Redirects()
        self._session_headers: dict[str, str] = {}
        self._open: dict[RequestId, anyio.CancelScope] = {}
        """The requests whose reply has not come, or not as a whole, and is no stream."""

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
        plainly = partial(super().send, stream=True, auth=auth, follow_redirects=False)
        transmit = partial(transmit_signed, plainly)
        send = partial(self._redirects.follow, request, transmit)
        response = await (self._post(request, send) if request.method == "POST" else self._get(request, send))
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
            transmit = partial(transmit_signed, partial(super().send, stream=True))
            await (await self._redirects.follow(request, transmit)).aclose()

    async def _post(self, request: httpx2.Request, send: Send) -> httpx2.Response:
        message = cast("JsonObject", json.loads(request.content))
        call = cast("RequestId | None", message.get("id") if "method" in message else None)
        if call is None:
            return await self._notify(request, message, send)
        if message["method"] == "tools/call":
            _allow_silence(request)
        with anyio.CancelScope() as self._open[call]:
            try:
                return await self._request(request, message, call, send)
            finally:
                del self._open[call]
        return build_failure(request, call, 503, UNREACHABLE, "it was not waited for any longer")

    async def _request(
        self, request: httpx2.Request, message: JsonObject, call: RequestId, send: Send
    ) -> httpx2.Response:
        try:
            response = await send()
        except httpx2.TransportError as error:
            code = NOT_SENT if isinstance(error, BEFORE_SENDING) else UNREACHABLE
            return build_failure(request, call, 503, code, f"the server cannot be reached: {explain_network(error)}")
        except Elsewhere as error:
            return build_failure(request, call, 502, REFUSED, f"the server {error}")
        if not response.is_success:
            return await self._session.explain(request, message, response)
        self._session.note_success()
        revise = partial(self._session.revise, request, message)
        if read_media_type(response) == "text/event-stream":
            return self._streams.follow(request, call, response, revise)
        return await self._read_reply(request, call, response, revise)

    async def _notify(self, request: httpx2.Request, message: JsonObject, send: Send) -> httpx2.Response:
        """Send a message that has no reply, and do not wait longer than NOTIFICATION_S."""
        params = message.get("params")
        if message.get("method") == "notifications/cancelled" and isinstance(params, dict):
            self._abandon(cast("RequestId", params.get("requestId")))
        with self._clock.scope(self._clock.now() + NOTIFICATION_S):
            try:
                return await drop_body(request, await send())
            except Elsewhere as error:
                return build_failure(request, None, 502, REFUSED, f"the server {error}")
            except httpx2.TransportError as error:
                return build_failure(
                    request, None, 503, UNREACHABLE, f"the server cannot be reached: {explain_network(error)}"
                )
        return httpx2.Response(202, request=request)

    def _abandon(self, call: RequestId) -> None:
        """Stop waiting for a reply. In the handshake era the SDK goes on waiting for the one to a cancelled call."""
        if scope := self._open.get(call):
            scope.cancel()
        self._streams.abandon(call)

    async def _read_reply(
        self, request: httpx2.Request, call: RequestId, response: httpx2.Response, revise: Revise
    ) -> httpx2.Response:
        """Read a reply by what it is, whatever its type: a message, several of them, or a stream."""
        opening = Opening(response, self._session.redact)
        try:
            await opening.begin()
            if opening.is_stream:
                return self._streams.follow(request, call, opening.as_response(), revise)
            body = await read_body(opening, self._limit)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            return build_failure(request, call, 200, UNREACHABLE, f"the reply was cut: {explain_network(error)}")
        finally:
            if not opening.is_stream:
                await response.aclose()
        if isinstance(body, Overlong):
            return build_failure(
                request, call, 200, PARSE_ERROR, f"the reply is over the limit of {self._limit:,} bytes"
            )
        body = opening.find_json(body)
        if fault := opening.explain(body):
            return build_failure(request, call, 200, PARSE_ERROR, fault)
        messages, is_reply = mend_messages(body, call, self._session.redact, revise)
        if not is_reply:
            return build_failure(request, call, 200, PARSE_ERROR, "the body does not contain a reply")
        return build_reply(request, response, messages)

    async def _get(self, request: httpx2.Request, send: Send) -> httpx2.Response:
        """Open a stream of server-initiated messages, or fetch the rest of the reply to a call."""
        call = self._streams.take_call(request)
        if call is not None:
            _allow_silence(request)
        await self._streams.wait()
        try:
            response = await send()
            opening = Opening(response, self._session.redact)
            is_stream = response.is_success and read_media_type(response) == "text/event-stream"
            if response.is_success and not is_stream:
                await opening.begin()
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            if SESSION_HEADER in request.headers and isinstance(error, httpx2.ConnectError):
                self._on_end()
            if call is None:
                raise
            return end_stream(request, call, f"the server cannot be reached: {explain_network(error)}")
        except Elsewhere as error:
            return _lack(request, call, f"the server {error}")
        if is_stream:
            return self._streams.follow(request, call, response)
        if opening.is_stream:
            return self._streams.follow(request, call, opening.as_response())
        await response.aclose()
        return _lack(request, call, describe_status(response))


def _lack(request: httpx2.Request, call: RequestId | None, words: str) -> httpx2.Response:
    """Return a reply that says that there is no stream here; that tells nothing of the session."""
    return httpx2.Response(405, request=request) if call is None else end_stream(request, call, words)


def _allow_silence(request: httpx2.Request) -> None:
    """Remove the read timeout of a request: its call has a timeout of its own."""
    request.extensions["timeout"] = request.extensions.get("timeout", {}) | {"read": None}
