"""Sign-in at the page: by a token once, and by the session that stands for it."""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.requests import Request

from bridge.clock import Clock
from bridge.host.gate import Access
from bridge.host.page.slowness import Slowness
from bridge.host.principal import name_token
from bridge.host.principals import Refused, Verified
from bridge.host.request_log import read_note
from bridge.host.server import Runner
from bridge.json_text import JsonObject

SESSION_S = 12 * 3600.0
"""For so long a session lasts, used or not."""
MOST, MOST_OF_ONE = 1000, 20
"""Most sessions, in all and of one principal: the oldest ends for a new one."""
CSRF = "X-CSRF"
_OURS = (None, "same-origin", "none")
"""Values of `Sec-Fetch-Site` of requests that no other page has sent. Pages of another port of this machine
are of the same site: their requests carry our cookie."""


@dataclass(frozen=True)
class Visitor:
    """Somebody who looks at the page."""

    principal: str | None
    """Principal, as MCP requests with the same token have it; None where the service is open to everybody here."""
    name: str | None
    is_operator: bool
    may_answer: bool
    csrf: str = ""

    @property
    def whose(self) -> str | None:
        """The principal whose runs it sees; None for everybody's."""
        return None if self.is_operator else self.principal

    def sees(self, principal: str | None) -> bool:
        """Tell whether it may see the runs of that principal."""
        return self.is_operator or self.owns(principal)

    def owns(self, principal: str | None) -> bool:
        """Tell whether it may answer and end the runs of that principal."""
        return self.principal is not None and principal == self.principal

    def describe(self) -> JsonObject:
        """Describe it to the page."""
        return {
            "csrf": self.csrf,
            "principal": self.name,
            "operator": self.is_operator,
            "may_answer": self.may_answer,
        }


ANYBODY = Visitor(None, None, is_operator=True, may_answer=False)
"""Whoever comes to a service without tokens. Any program of the machine could, so it changes nothing."""


@dataclass(frozen=True)
class _Session:
    credential: str
    """The header that its token would be sent in: it is verified again each time."""
    principal: str | None
    csrf: str
    until: float


class Door:
    """Lets visitors in."""

    def __init__(self, runner: Runner, access: Access, clock: Clock) -> None:
        self._runner = runner
        self._access = access
        self._clock = clock
        self._sessions: dict[str, _Session] = {}
        """By the hash of the cookie, the oldest first."""
        self._slowness = Slowness(clock)

    async def sign_in(self, request: Request, token: str) -> tuple[Visitor, str] | None:
        """Let in whoever has this token: the visitor, and the secret of its cookie. None for a wrong one, after a while
        where there were several. Raises Busy where too many wait for that."""
        credential = _write_credential(token)
        verified = await self._access.verify([credential]) if credential else Refused()
        if not credential or isinstance(verified, Refused):
            await self._slowness.refuse(request.client.host if request.client else "")
            return None
        read_note(request.scope).principal = verified.name
        visitor = self._recognise(verified, credential, secrets.token_urlsafe(32))
        self.sign_out(request)  # whoever signs in anew has left the session before
        cookie = secrets.token_urlsafe(32)
        self._make_room(visitor.principal)
        until = self._clock.now() + SESSION_S
        self._sessions[_hash(cookie)] = _Session(credential, visitor.principal, visitor.csrf, until)
        return visitor, cookie

    async def find(self, request: Request) -> Visitor | None:
        """Find who sends a request of the page; None for nobody who is signed in, and for what another page has
        sent."""
        if request.headers.get("sec-fetch-site") not in _OURS:
            return None
        if self._access.is_open:
            return ANYBODY
        key = _hash(request.cookies.get(name_cookie(request), ""))
        session = self._sessions.get(key)
        if session is None:
            return None
        verified = await self._access.verify([session.credential]) if self._clock.now() < session.until else Refused()
        if isinstance(verified, Refused):
            if verified.retry_after_s is None:  # else the token is not at fault
                self._sessions.pop(key, None)
            return None
        read_note(request.scope).principal = verified.name
        visitor = self._recognise(verified, session.credential, session.csrf)
        if visitor.principal != session.principal:
            self._sessions.pop(key, None)
            return None
        return visitor

    def sign_out(self, request: Request) -> None:
        """End the session of a request."""
        self._sessions.pop(_hash(request.cookies.get(name_cookie(request), "")), None)

    def _recognise(self, verified: Verified, credential: str, csrf: str) -> Visitor:
        principal = verified.principal or name_token(credential)
        rights = self._runner.find_rights(principal)
        is_operator = rights is not None and rights.said.operator
        return Visitor(principal, verified.name, is_operator, may_answer=True, csrf=csrf)

    def _make_room(self, principal: str | None) -> None:
        now = self._clock.now()
        for key in [key for key, session in self._sessions.items() if session.until <= now]:
            del self._sessions[key]
        own = [key for key, session in self._sessions.items() if session.principal == principal]
        if len(own) >= MOST_OF_ONE:
            del self._sessions[own[0]]
        elif len(self._sessions) >= MOST:
            del self._sessions[next(iter(self._sessions))]


def is_proven(request: Request, visitor: Visitor) -> bool:
    """Tell whether the page itself has sent a request that changes something: another one cannot read the proof."""
    proof = request.headers.get(CSRF, "").encode("latin-1", "replace")
    return bool(visitor.csrf) and hmac.compare_digest(proof, visitor.csrf.encode())


def is_ours(request: Request) -> bool:
    """Tell whether a browser says that no other page has sent a request, or says nothing."""
    return request.headers.get("sec-fetch-site") in _OURS


def name_cookie(request: Request) -> str:
    """Name the cookie: services on other ports of the same host have others."""
    server = request.scope.get("server") or ("", 0)
    return f"bridge_page_{server[1]}"


def write_cookie(request: Request, value: str, seconds: int) -> Mapping[str, str]:
    """Write the header that sets the cookie, for browsers only and for requests of this site alone. Behind a proxy with
    TLS, only the origin tells that it was used."""
    is_secure = request.url.scheme == "https" or request.headers.get("origin", "").lower().startswith("https://")
    secure = "; Secure" if is_secure else ""
    cookie = f"{name_cookie(request)}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    return {"Set-Cookie": cookie}


def _write_credential(token: str) -> str | None:
    """Write a token as clients send it in a header; None for what no header can hold."""
    try:
        return f"Bearer {token.strip().encode().decode('latin-1')}" if token.strip() else None
    except UnicodeEncodeError:
        return None


def _hash(cookie: str) -> str:
    return hashlib.sha256(cookie.encode("utf-8", "surrogatepass")).hexdigest()
