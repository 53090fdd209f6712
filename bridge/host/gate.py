"""The gate before every route of the service: checks token, host and origin, and bounds how long a body may take.

The SDK's own check compares prefixes (`127.0.0.1:evil.com` passes it) and knows no tokens; it still runs, after this.
"""

import hmac
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.clock import Clock
from bridge.host.principals import ANYBODY, PRINCIPAL, Challenge, Refused, Verified, Verifier, challenge_plainly
from bridge.host.unknown_hosts import UnknownHosts

OPEN_PATH = "/healthz"
"""The one path that needs no token: without one it only says that the service is up. A wrong token is refused."""
UNKNOWN_HOST = 421
BODY_TIMEOUT_S = 10.0
"""Seconds that a request body may take to arrive. Without a bound, a client that never sends one keeps its request open
for ever."""

PAGE = "/"
"""The path of the page; all others of it begin with `/page/`."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::([1-9]\d{0,4}))?")
T = TypeVar("T")
Address: TypeAlias = tuple[str, int | None]


def parse_host(value: str) -> Address | None:
    """Parse a Host header into host and port; None for anything else."""
    found = _HOST.fullmatch(value.lower())
    return (found[1], int(found[2]) if found[2] else None) if found else None


def parse_origin(value: str) -> tuple[str, Address] | None:
    """Parse an Origin header into scheme, host and port; None for `null` and anything else."""
    scheme, mark, rest = value.lower().partition("://")
    address = parse_host(rest)
    return (scheme, address) if mark and scheme in ("http", "https") and address else None


def is_page(path: str) -> bool:
    """Tell whether a path is one of the page's."""
    return path == PAGE or path.startswith("/page/")


@dataclass(frozen=True)
class Access:
    """The rules for who may use the service."""

    token: str | None
    """The one bearer token that requests must carry, where they are not told apart by name."""
    hosts: frozenset[Address]
    origins: frozenset[tuple[str, Address]]
    verifiers: tuple[Verifier, ...] = ()
    """Asked in turn for the principal of any other token; the first that knows it decides."""
    challenge: Challenge = challenge_plainly
    """Writes the `WWW-Authenticate` of a refusal."""
    public: frozenset[str] = frozenset()
    """Paths whose answer is the same for everybody, so that no token matters there."""

    @property
    def is_open(self) -> bool:
        """True where every request is let in."""
        return self.token is None and not self.verifiers

    async def admit(self, scope: Scope) -> Verified | Response:
        """Return who sends a request, or the reply that refuses it. It does not reveal which value is right.

        The page has a door of its own (`page/door.py`), behind the same rules for host and origin.
        """
        headers = Headers(scope=scope)
        path = scope["path"]
        host = _only(headers, "host", parse_host)
        if host not in self.hosts:
            return PlainTextResponse("Unknown host", UNKNOWN_HOST)
        if headers.getlist("origin") and not self._allows(_only(headers, "origin", parse_origin), host, path):
            return PlainTextResponse("Origin not allowed", 403)
        credentials = headers.getlist("authorization")
        if self.is_open or path in self.public or is_page(path) or (path == OPEN_PATH and not credentials):
            return ANYBODY
        found = await self.verify(credentials)
        return self._refuse(found, path) if isinstance(found, Refused) else found

    def _allows(self, origin: tuple[str, Address] | None, host: Address | None, path: str) -> bool:
        """Tell whether a page of this origin may send the request. Our own may also be behind a proxy with TLS, of
        which only the host is known."""
        return origin in self.origins or (is_page(path) and origin is not None and origin[1] == host)

    async def verify(self, credentials: Sequence[str]) -> Verified | Refused:
        """Find who sends these Authorization headers. A token is read nowhere else, least of all in a query."""
        scheme, _, token = credentials[0].partition(" ") if len(credentials) == 1 else ("", "", "")
        if scheme.lower() != "bearer" or not token:
            return Refused(error="invalid_token" if credentials else "")
        if self.token is not None and hmac.compare_digest(token.encode("latin-1"), self.token.encode()):
            return ANYBODY
        for verifier in self.verifiers:
            if found := await verifier.verify(token):
                return found
        return Refused()

    def _refuse(self, refused: Refused, path: str) -> Response:
        if refused.retry_after_s is not None:
            return PlainTextResponse(refused.message, refused.status, {"Retry-After": str(refused.retry_after_s)})
        challenge = self.challenge(path, refused.error)
        return PlainTextResponse(refused.message, refused.status, {"WWW-Authenticate": challenge})


def _sign(scope: Scope, verified: Verified) -> Scope:
    """Return the scope with the principal in it, in our own words and in the SDK's, which binds sessions to it."""
    if verified.name is None:
        return scope
    user = AuthenticatedUser(AccessToken(token="", client_id=verified.name, scopes=[]))
    return {**scope, PRINCIPAL: verified, "user": user}


def _only(headers: Headers, name: str, parse: Callable[[str], T | None]) -> T | None:
    """Parse the only header of that name; None where there is none, several, or an invalid one."""
    values = headers.getlist(name)
    return parse(values[0]) if len(values) == 1 else None


def _lower_names(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Lower the case of Host and Origin, which has no meaning there, but matters to the SDK's own check."""
    return [(name, value.lower() if name in (b"host", b"origin") else value) for name, value in headers]


class Gate:
    """ASGI middleware that admits what `access` admits, and gives up on bodies that arrive too slowly."""

    def __init__(self, app: ASGIApp, access: Access, clock: Clock) -> None:
        self._app = app
        self._access = access
        self._clock = clock
        self._unknown_hosts = UnknownHosts(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise RuntimeError(f"{scope['type']} is not served")  # it would bypass every check
        admitted = await self._access.admit(scope)
        if isinstance(admitted, Verified):
            signed = _sign(scope, admitted)
            await self._pass_on({**signed, "headers": _lower_names(scope["headers"])}, receive, send)
            return
        if admitted.status_code == UNKNOWN_HOST:
            headers = Headers(scope=scope)
            address = _only(headers, "host", parse_host)
            self._unknown_hosts.tell(headers, address and address[0])
        await admitted(scope, receive, send)

    async def _pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        deadline = self._clock.now() + BODY_TIMEOUT_S
        is_complete = is_late = has_begun = False

        async def receive_in_time() -> Message:
            nonlocal is_complete, is_late
            if is_complete:
                return await receive()
            with self._clock.scope(deadline):
                message = await receive()
                is_complete = not message.get("more_body", False)
                return message
            is_complete = is_late = True
            return {"type": "http.disconnect"}

        async def send_unless_late(message: Message) -> None:
            nonlocal has_begun
            if not is_late or has_begun:
                has_begun = True
                await send(message)

        try:
            await self._app(scope, receive_in_time, send_unless_late)
        except Exception:
            if not is_late:
                raise
        if is_late and not has_begun:
            await PlainTextResponse("The request took too long", 408, {"Connection": "close"})(scope, receive, send)
