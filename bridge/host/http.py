"""The MCP server on the network: Streamable HTTP and SSE on one port, for any number of clients."""

import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from itertools import starmap
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

import anyio
from mcp.server.sse import SseServerTransport
from mcp.server.streamable_http_manager import StreamableHTTPASGIApp, StreamableHTTPSessionManager
from mcp.server.transport_security import TransportSecuritySettings
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Mount, Route

from bridge.clock import Clock
from bridge.config.settings import IssuerConfig, ServeConfig
from bridge.config.values import is_loopback
from bridge.errors import ConfigError
from bridge.host.bulky import BulkLimit
from bridge.host.endings import EndingFilter
from bridge.host.gate import OPEN_PATH, Access, Address, Gate, parse_host, parse_origin
from bridge.host.malformed import MalformedFilter
from bridge.host.page.entry import Entry
from bridge.host.presence import PresenceNotes
from bridge.host.principals import Verifier
from bridge.host.request_log import RequestLog
from bridge.host.revision_header import RevisionHeader
from bridge.host.server import BridgeServer
from bridge.host.standing import SHARE, Standing
from bridge.host.web_server import HEAD_TIMEOUT_S, Endable, build_web, choose_room, open_socket
from bridge.json_text import Json, JsonObject

if TYPE_CHECKING:
    from bridge.host.issuer.verifier import IssuerVerifier

LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
EVERYWHERE = ("0.0.0.0", "::")
EXAMPLES = {
    "serve.allowed_hosts": "bridge.example.com",
    "serve.allowed_origins": "https://app.example.com",
    "serve.oauth.public_url": "https://bridge.example.com",
}
LAST_WORDS_S, STREAM_WORDS_S = 2.0, 0.1
"""Seconds for requests to be answered once all runs have ended, and for streams to write what was said on them."""
MAX_BODY_BYTES = 32 << 20
"""The most bytes of one request's body: room for a few images in `input`."""


@dataclass(frozen=True)
class Listening:
    """A listening socket, and the rules for who may use the service behind it."""

    socket: socket.socket
    access: Access
    issuer: "IssuerVerifier | None" = None
    no_auth: bool = False

    @property
    def url(self) -> str:
        """The URL of the Streamable HTTP endpoint."""
        host, port = self.socket.getsockname()[:2]
        return f"http://{f'[{host}]' if ':' in host else host}:{port}/mcp"

    def readmit(self, before: ServeConfig, settings: ServeConfig, verifiers: tuple[Verifier, ...]) -> None:
        """Let in from the next request on whom these settings let in, and nobody else. `before`: the settings that held
        until now. Raises ConfigError, like `listen`, and changes nothing then."""
        _check(settings, no_auth=self.no_auth, verifiers=verifiers)
        if self.no_auth:
            return
        made = None if before.token or before.principals else self.access.token
        self.access.token = _choose_token(settings, verifiers, made)
        self.access.verifiers = (*verifiers, *([self.issuer] if self.issuer else []))


def listen(
    settings: ServeConfig, *, no_auth: bool, verifiers: tuple[Verifier, ...] = (), clock: Clock | None = None
) -> Listening:
    """Open the port. Where neither a token nor an issuer is configured, make a token and print it once on stderr.

    Raises ConfigError, before anything listens, for an address that is not loopback while token or host names are
    missing, and for an address that cannot be listened on.
    """
    _check(settings, no_auth=no_auth, verifiers=verifiers)
    is_local = is_loopback(settings.host)
    hosts = [_parse("serve.allowed_hosts", host, parse_host) for host in settings.allowed_hosts]
    if settings.oauth:
        hosts.append(_parse("serve.oauth.public_url", urlsplit(settings.oauth.public_url).netloc, parse_host))
    origins = [_parse("serve.allowed_origins", page, parse_origin) for page in settings.allowed_origins]
    listening = open_socket(settings.host, settings.port)
    address, port = listening.getsockname()[:2]
    is_everywhere = address in EVERYWHERE
    own = _name_loopback(LOOPBACK[0] if is_everywhere else address, port) if is_local or is_everywhere else []
    hosts += [(name, port) for name, shown in hosts if shown is None]
    token = None if no_auth else _choose_token(settings, verifiers)
    own_origins = (("http", address) for address in own)
    access = Access(token, frozenset([*own, *hosts]), frozenset([*origins, *own_origins]), verifiers)
    if settings.oauth is None:
        return Listening(listening, access, no_auth=no_auth)
    return _accept_issuer(settings.oauth, listening, access, clock or Clock())


def _check(settings: ServeConfig, *, no_auth: bool, verifiers: tuple[Verifier, ...]) -> None:
    """Raise ConfigError where anybody could use the service whom nobody has let in."""
    if no_auth and verifiers:
        raise ConfigError("--no-auth: serve.principals says who may use the service; leave out one of the two")
    is_local = is_loopback(settings.host)
    if no_auth and not is_local:
        raise ConfigError(f"--no-auth: only on a loopback address, not on {settings.host}")
    if no_auth and settings.oauth:
        raise ConfigError("--no-auth: serve.oauth says who may use the service; leave out one of the two")
    if not (is_local or settings.oauth or ((settings.token or verifiers) and settings.allowed_hosts)):
        missing = {
            "serve.token (or MCP_RESPONSES_BRIDGE_TOKEN)": settings.token or verifiers,
            "serve.allowed_hosts, the host names that clients use": settings.allowed_hosts,
        }
        wanted = " and ".join(setting for setting, value in missing.items() if not value)
        raise ConfigError(f"serve.host: {settings.host} can be reached by others; set {wanted}")


def _choose_token(settings: ServeConfig, verifiers: tuple[Verifier, ...], made: str | None = None) -> str | None:
    """Choose the one token for all; None where tokens tell who it is. `made`: one that was made here before."""
    if verifiers:
        return None
    return settings.token or (None if settings.oauth else made or _make_token())


def _accept_issuer(settings: IssuerConfig, listening: socket.socket, access: Access, clock: Clock) -> Listening:
    """Accept the issuer's tokens beside all others, and tell clients where they come from."""
    from bridge.host.issuer.verifier import IssuerVerifier  # late: hardly anybody has an issuer

    issuer = IssuerVerifier(settings, clock)
    widened = replace(
        access,
        verifiers=(*access.verifiers, issuer),
        challenge=issuer.resource.challenge,
        public=frozenset(issuer.resource.list_documents()),
    )
    return Listening(listening, widened, issuer)


def _name_loopback(host: str, port: int) -> list[Address]:
    """List the forms in which a Host header names a loopback address; clients leave out port 80."""
    names = {*LOOPBACK, f"[{host}]" if ":" in host else host}
    return [(name, shown) for name in names for shown in ((port, None) if port == 80 else (port,))]


T = TypeVar("T")


def _parse(setting: str, value: str, parse: Callable[[str], T | None]) -> T:
    parsed = parse(value)
    if parsed is None:
        raise ConfigError(f"{setting}: {value!r} is not valid; write it as clients send it, like {EXAMPLES[setting]}")
    return parsed


def _make_token() -> str:
    token = secrets.token_urlsafe(32)
    sys.stderr.write(f"No token is configured. For this run, clients send: Authorization: Bearer {token}\n")
    return token


class Service:
    """The web application with the routes `/mcp`, `/sse` with `/messages/`, `/healthz`, and those of the page. No route
    adds servers."""

    def __init__(
        self,
        server: BridgeServer,
        access: Access,
        clock: Clock,
        *,
        most_streams: int = 1000,
        issuer: "IssuerVerifier | None" = None,
        routes: Sequence[BaseRoute] = (),
        layers: Sequence[Middleware] = (),
    ) -> None:
        """`routes`: further ones, behind the gate. `layers`: around everything, the outermost first."""
        security = TransportSecuritySettings(
            allowed_hosts=[_join(address) for address in access.hosts],
            allowed_origins=[f"{scheme}://{_join(address)}" for scheme, address in access.origins],
        )
        self._server = server
        self._access = access
        self._issuer = issuer
        self._sessions = StreamableHTTPSessionManager(
            server, security_settings=security, max_request_body_size=MAX_BODY_BYTES
        )
        self._sse = SseServerTransport("/messages/", security_settings=security, max_request_body_size=MAX_BODY_BYTES)
        mcp = RevisionHeader(MalformedFilter(EndingFilter(StreamableHTTPASGIApp(self._sessions))))
        messages = MalformedFilter(EndingFilter(self._sse.handle_post_message))
        page = Entry(server.runner, access, clock)
        if not access.is_open:
            server.runner.engine.note_page()
        routes = [
            *page.routes,
            Route("/mcp", endpoint=PresenceNotes(BulkLimit(mcp, MAX_BODY_BYTES))),
            Route("/sse", self._serve_sse, methods=["GET"]),
            Mount("/messages/", app=BulkLimit(messages, MAX_BODY_BYTES)),
            Route(OPEN_PATH, self._tell_health),
            *(starmap(_publish, issuer.resource.list_documents().items()) if issuer else ()),
            *routes,
        ]
        layers = [*layers, Middleware(Gate, access, clock), Middleware(Standing, most_streams)]
        self._requests = Endable(Starlette(routes=routes, middleware=layers))
        self.app = RequestLog(self._requests, clock)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Serve requests in this context; on leaving it, end those that are open.

        The application's lifespan would not do: uvicorn ends it last, after waiting for the open streams.
        """
        async with anyio.create_task_group() as tasks, self._sessions.run():
            tasks.start_soon(self._server.tell_changes)
            if self._issuer:
                tasks.start_soon(self._issuer.run)
            yield
            self._requests.end()
            tasks.cancel_scope.cancel()

    async def see_out(self, clock: Clock) -> None:
        """Let the answers go out that are on their way: all runs have ended."""
        with clock.scope(clock.now() + LAST_WORDS_S):
            await self._requests.rest()
        if self._requests.is_in_use:  # by streams; what was said on one a moment ago is not yet written
            await clock.sleep(STREAM_WORDS_S)

    async def _serve_sse(self, request: Request) -> Response:
        with suppress(ValueError):  # the transport has refused the request, and answered it
            async with self._sse.connect_sse(request.scope, request.receive, request._send) as (incoming, outgoing):
                await self._server.run(incoming, outgoing, self._server.create_initialization_options())
        return Response()

    async def _tell_health(self, request: Request) -> Response:
        """Answer `{status: "ok"}`; to those who may use the service also `servers: [{name, state, reason}]`,
        and in `config` why the configuration could not be read again. A service
        that is to end says so with 503: who sends clients here is to send them elsewhere."""
        is_draining = self._server.is_draining
        health: JsonObject = {"status": "draining" if is_draining else "ok"}
        if self._access.is_open or "authorization" in request.headers:  # the gate has refused a wrong one
            health["servers"] = list[Json](self._server.describe_servers())
            if self._server.config_fault:
                health["config"] = self._server.config_fault
        return JSONResponse(health, 503 if is_draining else 200)


def _publish(path: str, document: JsonObject) -> Route:
    async def tell(_: Request) -> Response:
        return JSONResponse(document)

    return Route(path, tell)


def _join(address: Address) -> str:
    host, port = address
    return host if port is None else f"{host}:{port}"


async def serve_http(
    server: BridgeServer,
    listening: Listening,
    clock: Clock,
    stop: anyio.Event,
    *,
    head_timeout_s: float = HEAD_TIMEOUT_S,
    room: int | None = None,
    routes: Sequence[BaseRoute] = (),
    layers: Sequence[Middleware] = (),
) -> None:
    """Serve until `stop` is set, then end the requests that are still open. `room`: so many connections may be open;
    `routes` and `layers` as for `Service`."""
    room = room or choose_room()
    service = Service(
        server,
        listening.access,
        clock,
        most_streams=room // SHARE,
        issuer=listening.issuer,
        routes=routes,
        layers=layers,
    )
    web = build_web(service.app, head_timeout_s=head_timeout_s, room=room, clock=clock)
    async with anyio.create_task_group() as tasks:
        async with service.run():
            tasks.start_soon(web.serve, [listening.socket])
            await stop.wait()
            if server.is_drained:
                await service.see_out(clock)
        web.should_exit = True
