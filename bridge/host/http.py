"""The face on the network: Streamable HTTP and SSE on one port, for as many clients as come."""

import asyncio
import os
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from typing import TypeVar

import anyio
import uvicorn
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from bridge.clock import Clock
from bridge.config.settings import ServeConfig
from bridge.config.values import is_loopback
from bridge.errors import ConfigError
from bridge.host.gate import OPEN_PATH, Access, Address, Gate, parse_host, parse_origin
from bridge.host.malformed import Reworded
from bridge.host.server import BridgeServer
from bridge.json_text import Json, JsonObject

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
EXAMPLES = {"serve.allowed_hosts": "bridge.example.com:8787", "serve.allowed_origins": "https://app.example.com"}
MAX_BODY_BYTES = 32 << 20
"""Of one request: room for a few images in `input`."""
HEAD_TIMEOUT_S = 10.0
"""How long a connection may take to send the head of its first request, or to end one and send that of the next."""
STOP_S = 1
"""How long open streams may take to end when the service stops; whole seconds, as uvicorn counts."""


@dataclass(frozen=True)
class Listening:
    """A socket that listens, and who may use what is behind it."""

    socket: socket.socket
    access: Access

    @property
    def url(self) -> str:
        """The address of the Streamable HTTP endpoint."""
        host, port = self.socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/mcp"


def listen(settings: ServeConfig, *, no_auth: bool) -> Listening:
    """Open the port. Raises ConfigError, before anything listens, for an address that others reach without a token
    and host names, and for one that cannot be had.

    Without a configured token one is made and told on stderr, once.
    """
    is_local = is_loopback(settings.host)
    if no_auth and not is_local:
        raise ConfigError(f"--no-auth: only on a loopback address, not on {settings.host}")
    if not is_local and not (settings.token and settings.allowed_hosts):
        raise ConfigError(
            f"serve.host: {settings.host} can be reached by others; set serve.token (or MCP_RESPONSES_BRIDGE_TOKEN) "
            "and serve.allowed_hosts, the host names that clients use"
        )
    hosts = [_parse("serve.allowed_hosts", host, parse_host) for host in settings.allowed_hosts]
    origins = [_parse("serve.allowed_origins", page, parse_origin) for page in settings.allowed_origins]
    listening = open_socket(settings.host, settings.port)
    own = _name_loopback(*listening.getsockname()[:2]) if is_local else []
    token = None if no_auth else settings.token or _make_token()
    return Listening(
        listening, Access(token, frozenset([*own, *hosts]), frozenset([*origins, *(("http", a) for a in own)]))
    )


def _name_loopback(host: str, port: int) -> list[Address]:
    """How a Host header names a loopback address; clients leave out port 80."""
    names = {*LOOPBACK, f"[{host}]" if ":" in host else host}
    return [(name, shown) for name in names for shown in ((port, None) if port == 80 else (port,))]


def open_socket(host: str, port: int) -> socket.socket:
    """A listening socket. Raises ConfigError when the address is taken or not ours."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        number = error.errno or 0  # below 0 the name was not found
        reason = os.strerror(number).lower() if number > 0 else "no such address is known"
        raise ConfigError(f"{host} port {port} cannot be listened on: {reason}") from None


T = TypeVar("T")


def _parse(place: str, value: str, parse: Callable[[str], T | None]) -> T:
    parsed = parse(value)
    if parsed is None:
        raise ConfigError(f"{place}: {value!r} is not one; write it as clients send it, such as {EXAMPLES[place]}")
    return parsed


def _make_token() -> str:
    token = secrets.token_urlsafe(32)
    sys.stderr.write(f"No token is configured. For this run, clients send: Authorization: Bearer {token}\n")
    return token


class Service:
    """The routes: `/mcp`, `/sse` with `/messages/`, `/healthz`, and nothing that could define a server."""

    def __init__(self, server: BridgeServer, access: Access, clock: Clock) -> None:
        security = TransportSecuritySettings(
            allowed_hosts=[_join(address) for address in access.hosts],
            allowed_origins=[f"{scheme}://{_join(address)}" for scheme, address in access.origins],
        )
        self._server = server
        self._access = access
        self._sessions = StreamableHTTPSessionManager(
            server, security_settings=security, max_request_body_size=MAX_BODY_BYTES
        )
        self._sse = SseServerTransport("/messages/", security_settings=security, max_request_body_size=MAX_BODY_BYTES)
        routes = [
            Route("/mcp", endpoint=Reworded(StreamableHTTPASGIApp(self._sessions))),
            Route("/sse", self._serve_sse, methods=["GET"]),
            Mount("/messages/", app=self._sse.handle_post_message),
            Route(OPEN_PATH, self._tell_health),
        ]
        self.app = _Endable(Starlette(routes=routes, middleware=[Middleware(Gate, access, clock)]))

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """While entered, requests are served; leaving it ends those that are open.

        Not the application's lifespan: uvicorn ends that last, after it has waited for the open streams.
        """
        async with anyio.create_task_group() as tasks, self._sessions.run():
            tasks.start_soon(self._server.tell_changes)
            yield
            self.app.end()
            tasks.cancel_scope.cancel()

    async def _serve_sse(self, request: Request) -> Response:
        with suppress(ValueError):  # refused, and answered, by the transport
            async with self._sse.connect_sse(request.scope, request.receive, request._send) as (incoming, outgoing):
                await self._server.run(incoming, outgoing, self._server.create_initialization_options())
        return Response()

    async def _tell_health(self, request: Request) -> Response:
        """`{status: "ok"}`, and for those who may use the service `servers: [{name, state, reason}]`."""
        health: JsonObject = {"status": "ok"}
        if self._access.knows(request.headers.getlist("authorization")):
            health["servers"] = list[Json](self._server.describe_servers())
        return JSONResponse(health)


def _join(address: Address) -> str:
    host, port = address
    return host if port is None else f"{host}:{port}"


class _Endable:
    """Requests that can be ended, all at once: uvicorn waits for open streams, and cuts them with an error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._requests: set[anyio.CancelScope] = set()
        self._has_ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = is_complete = False

        async def note(message: Message) -> None:
            nonlocal has_begun, is_complete
            has_begun = True
            is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as request:
            self._requests.add(request)
            if self._has_ended:
                request.cancel()
            try:
                await self._app(scope, receive, note)
            finally:
                self._requests.discard(request)
        if request.cancelled_caught and not has_begun:
            await PlainTextResponse("The service is stopping", 503)(scope, receive, send)
        elif request.cancelled_caught and not is_complete:
            await send({"type": "http.response.body", "body": b""})

    def end(self) -> None:
        """Stop answering; a stream that is open ends as if it had nothing more to say."""
        self._has_ended = True
        for request in self._requests:
            request.cancel()


async def serve_http(
    server: BridgeServer,
    listening: Listening,
    clock: Clock,
    stop: anyio.Event,
    *,
    head_timeout_s: float = HEAD_TIMEOUT_S,
) -> None:
    """Serve until `stop`; then requests that are still open are ended."""
    service = Service(server, listening.access, clock)
    web = build_web(service.app, head_timeout_s=head_timeout_s)
    async with anyio.create_task_group() as tasks:
        async with service.run():
            tasks.start_soon(web.serve, [listening.socket])
            await stop.wait()
        web.should_exit = True


def build_web(app: ASGIApp, *, head_timeout_s: float = HEAD_TIMEOUT_S) -> uvicorn.Server:
    """A web server for `app` that leaves signals and logging to us; setting its `should_exit` stops it."""

    class Connection(_Connection):
        patience_s = head_timeout_s

    return _Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_graceful_shutdown=STOP_S,
        )
    )


class _Server(uvicorn.Server):
    """uvicorn takes the process's signals and raises them again at its end; here they are somebody else's."""

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Connection(H11Protocol):
    """A connection on which no request begins in time is closed; uvicorn waits for ever once a byte has come."""

    patience_s: float

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._close_without_request_after(None)

    @override
    def on_response_complete(self) -> None:
        answered = self.cycle  # and not the one of a request that waited behind it, and begins now
        super().on_response_complete()
        self._timer.cancel()
        self._close_without_request_after(answered)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _close_without_request_after(self, last: RequestResponseCycle | None) -> None:
        self._timer = self.loop.call_later(self.patience_s, self._close_if_last, last)

    def _close_if_last(self, last: RequestResponseCycle | None) -> None:
        if self.cycle is last:
            self.transport.close()
