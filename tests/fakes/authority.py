"""An MCP server that wants OAuth, and the authority that gives tokens for it, on one loopback port.

async with Authority() as authority:
    authority.url        # of the server: echo, whoami, admin (needs the scope "admin"), meet (waits for others)
    await browse(url)    # plays the person who is sent to that address, and says yes

Both are real HTTP. `Habits` are how authorities differ. What is not right is refused as the RFCs say: a wrong verifier,
a code or a rotated token used twice, another redirect address, a token for something else.
"""

import base64
import hashlib
import json
import secrets
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import anyio
import httpx2
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.server import Context
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from tests.fakes.http import HttpServer


@dataclass
class Habits:
    """How an authority, and the server before it, behave. Those of a well-behaved one are the defaults."""

    issuer_path: str = ""
    metadata_at: str = "oauth"
    """"oauth", "openid" (before the issuer's path), "appended" (behind it), "none", "broken", "html" or "other issuer".
    """
    named_in: str = "header"
    """Where the server's metadata is: "header" (named there), "path", "root", "nowhere", "broken"."""
    registers: bool = True
    secret_method: str | None = None
    """How a registered client has to show the secret that it gets; None: it gets none."""
    clients: dict[str, str | None] = field(default_factory=dict[str, str | None])
    """Clients that somebody registered by hand, with their secrets."""
    redirects: tuple[str, ...] = ()
    """The only redirect addresses of those, if any are named."""
    methods: tuple[str, ...] = ("none", "client_secret_basic", "client_secret_post")
    rotates: bool = True
    refreshes: bool = True
    life_s: float | str | None = 3600
    says_scope: bool = True
    extra: dict[str, Any] = field(default_factory=dict[str, Any])
    """Fields beside those of a token."""
    refuses_with: int = 401
    challenge: bool = True
    says_iss: bool = True
    iss: str | None = None
    """Another issuer that it claims to be when the browser comes back."""
    down: set[str] = field(default_factory=set[str])
    """Of "prm", "metadata", "register", "authorize", "token": these answer 503."""
    scopes: tuple[str, ...] = ("read", "admin")
    names_scope: bool = True
    """A call that lacks a scope is told which."""
    grants: tuple[str, ...] | None = None
    """The only scopes that it ever grants."""
    denies: bool = False
    """The person says no."""
    resource: str | None = None
    """What the server's metadata says it is about."""
    issuer: str | None = None
    """The authority that the server's metadata names, in place of this one."""
    is_open: bool = False
    """The server wants no token."""
    token_status: int = 200
    refresh_error: tuple[int, str] | None = None
    moved: bool = False
    """Metadata is answered with a redirect, within the origin."""


@dataclass
class Token:
    access: str
    scopes: set[str]
    client: str
    refresh: str | None
    is_valid: bool = True


class Authority:
    """The server and its authority. `counts` are of requests by endpoint; `executed` are calls of tools, by name."""

    def __init__(self, habits: Habits | None = None, **changes: Any) -> None:
        self.habits = habits or Habits(**changes)
        self.counts = Counter[str]()
        self.executed = Counter[str]()
        self.tokens: dict[str, Token] = {}
        self.refreshable: dict[str, Token] = {}
        self.used: dict[str, Token] = {}
        """Refresh tokens that were taken back."""
        self.codes: dict[str, dict[str, str]] = {}
        self.registered: dict[str, dict[str, Any]] = {}
        self.seen: list[str] = []
        """Every token that the server was sent."""
        self.forms: list[dict[str, str]] = []
        """What the token endpoint was sent."""
        self.asked: list[dict[str, str]] = []
        """What the browser was sent with."""
        self.hold: anyio.Event | None = None
        """While it is there and not set, the token endpoint has given the new token, and does not answer."""
        self.is_asked = anyio.Event()
        """Set when the token endpoint is asked."""
        self.knows_none = False
        """True: the server refuses every token."""
        self.met = Meeting()
        self._http = HttpServer(self._build)

    async def __aenter__(self) -> Self:
        await self._http.__aenter__()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.__aexit__()

    @property
    def url(self) -> str:
        return self._http.url

    @property
    def origin(self) -> str:
        return self._http.url.removesuffix("/mcp")

    @property
    def issuer(self) -> str:
        return self.origin + self.habits.issuer_path

    @property
    def secrets(self) -> list[str]:
        """Every token and secret that it ever gave."""
        registered = [client.get("client_secret") for client in self.registered.values()]
        return [*self.tokens, *self.refreshable, *self.used, *filter(None, registered)]

    async def stop(self) -> None:
        await self._http.stop()

    async def start(self) -> None:
        await self._http.start()

    def expire(self) -> None:
        """Let no access token be valid any more."""
        for token in self.tokens.values():
            token.is_valid = False

    def revoke(self) -> None:
        """Let no token of any kind be valid any more."""
        self.expire()
        self.used |= self.refreshable
        self.refreshable.clear()

    def give(self, client: str = "somebody", scopes: str = "read") -> Token:
        """Make a token."""
        granted = set(scopes.split()) & set(self.habits.grants or scopes.split())
        token = Token(
            f"access-{secrets.token_hex(12)}",
            granted,
            client,
            f"refresh-{secrets.token_hex(12)}" if self.habits.refreshes else None,
        )
        self.tokens[token.access] = token
        if token.refresh:
            self.refreshable[token.refresh] = token
        return token

    def _build(self) -> Starlette:
        app = _build_server(self).streamable_http_app()
        app.router.routes.extend(
            Route(path, endpoint, methods=["GET", "POST"])
            for path, endpoint in (
                ("/.well-known/oauth-protected-resource", self._prm_at_root),
                ("/.well-known/oauth-protected-resource/mcp", self._prm_at_path),
                ("/resource-metadata", self._prm_at_header),
                ("/.well-known/oauth-authorization-server{path:path}", self._metadata_oauth),
                ("/.well-known/openid-configuration{path:path}", self._metadata_openid),
                ("/moved-metadata", self._metadata_moved),
                (f"{self.habits.issuer_path or '/issuer'}/.well-known/openid-configuration", self._metadata_appended),
                ("/register", self._register),
                ("/authorize", self._authorize),
                ("/token", self._token),
            )
        )
        app.add_middleware(_Gate, authority=self)
        return app

    def judge(self, header: str | None) -> Token | None:
        """Return the token that a request came with, if it is valid."""
        token = (header or "").removeprefix("Bearer ")
        if token:
            self.seen.append(token)
        found = self.tokens.get(token)
        return found if found and found.is_valid and not self.knows_none else None

    def refuse(self) -> Response:
        """Refuse a request that came without a valid token."""
        self.counts["refused"] += 1
        parts = ['error="invalid_token"'] if self.counts["served"] else []
        if self.habits.named_in == "header":
            parts.append(f'resource_metadata="{self.origin}/resource-metadata"')
        challenge = {"www-authenticate": f"Bearer {', '.join(parts)}".strip()} if self.habits.challenge else {}
        return JSONResponse({"error": "unauthorized"}, self.habits.refuses_with, headers=challenge)

    # -- what it tells of itself ---------------------------------------------------------------------------------------

    async def _prm_at_root(self, _: Request) -> Response:
        return self._prm({"root"})

    async def _prm_at_path(self, _: Request) -> Response:
        return self._prm({"path", "broken"})

    async def _prm_at_header(self, _: Request) -> Response:
        return self._prm({"header"})

    def _prm(self, here: set[str]) -> Response:
        self.counts["prm"] += 1
        if "prm" in self.habits.down:
            return Response(status_code=503)
        if self.habits.named_in not in here:
            return PlainTextResponse("Not Found", 404)
        if self.habits.named_in == "broken":
            return JSONResponse({"resource": 7, "authorization_servers": "none"})
        named = self.habits.issuer or self.issuer
        return JSONResponse(
            {
                "resource": self.habits.resource or self.url,
                "authorization_servers": [named],
                "scopes_supported": [self.habits.scopes[0]] if self.habits.scopes else [],
                "bearer_methods_supported": ["header"],
                "x_vendor": {"beta": True},
            }
        )

    async def _metadata_oauth(self, request: Request) -> Response:
        is_here = request.path_params["path"].rstrip("/") == self.habits.issuer_path
        if self.habits.moved and is_here:
            return RedirectResponse("/moved-metadata", 307)
        return self._metadata({"oauth", "broken", "html", "other issuer"} if is_here else set())

    async def _metadata_openid(self, request: Request) -> Response:
        is_here = request.path_params["path"].rstrip("/") == self.habits.issuer_path
        return self._metadata({"openid"} if is_here else set())

    async def _metadata_appended(self, _: Request) -> Response:
        return self._metadata({"appended"})

    async def _metadata_moved(self, _: Request) -> Response:
        return self._metadata({"oauth"})

    def _metadata(self, here: set[str]) -> Response:
        self.counts["metadata"] += 1
        if "metadata" in self.habits.down:
            return Response(status_code=503)
        if self.habits.metadata_at not in here:
            return PlainTextResponse("Not Found", 404)
        if self.habits.metadata_at == "broken":
            return Response('{"issuer": ', media_type="application/json")
        if self.habits.metadata_at == "html":
            return Response("<html><title>Sign in</title></html>", media_type="text/html")
        told: dict[str, Any] = {
            "issuer": "https://other.example" if self.habits.metadata_at == "other issuer" else self.issuer,
            "authorization_endpoint": f"{self.origin}/authorize",
            "token_endpoint": f"{self.origin}/token",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
            "token_endpoint_auth_methods_supported": list(self.habits.methods),
            "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials"],
            "authorization_response_iss_parameter_supported": self.habits.says_iss,
            "scopes_supported": list(self.habits.scopes),
            "x_vendor": ["anything"],
        }
        if self.habits.registers:
            told["registration_endpoint"] = f"{self.origin}/register"
        return JSONResponse(told)

    # -- what it does --------------------------------------------------------------------------------------------------

    async def _register(self, request: Request) -> Response:
        self.counts["register"] += 1
        if "register" in self.habits.down:
            return Response(status_code=503)
        if not self.habits.registers:
            return PlainTextResponse("Not Found", 404)
        client = await request.json()
        given: dict[str, Any] = client | {"client_id": f"client-{secrets.token_hex(4)}", "policy_uri": "", "jwks": None}
        if self.habits.secret_method:
            given |= {
                "client_secret": f"secret-{secrets.token_hex(12)}",
                "token_endpoint_auth_method": self.habits.secret_method,
                "client_secret_expires_at": 0,
            }
        self.registered[given["client_id"]] = given
        return JSONResponse(given, 201)

    async def _authorize(self, request: Request) -> Response:
        self.counts["authorize"] += 1
        if "authorize" in self.habits.down:
            return Response(status_code=503)
        asked = dict(request.query_params)
        self.asked.append(asked)
        client, redirect = asked["client_id"], asked["redirect_uri"]
        known = self.registered.get(client, {}).get("redirect_uris") or list(self.habits.redirects)
        if client not in self.registered and client not in self.habits.clients:
            return PlainTextResponse("unknown client", 400)
        if known and redirect not in known:
            return PlainTextResponse("this redirect address is not registered", 400)
        back = {"state": asked["state"]}
        if self.habits.says_iss:
            back["iss"] = self.issuer if self.habits.iss is None else self.habits.iss
        if self.habits.denies:
            back |= {"error": "access_denied", "error_description": "the person said no"}
        else:
            code = f"code-{secrets.token_hex(8)}"
            self.codes[code] = asked
            back["code"] = code
        return RedirectResponse(f"{redirect}?{urlencode(back)}", 302)

    async def _token(self, request: Request) -> Response:
        form = {name: values[0] for name, values in parse_qs((await request.body()).decode()).items()}
        self.forms.append(form)
        self.counts[form.get("grant_type", "token")] += 1
        self.is_asked.set()
        if "token" in self.habits.down:
            return JSONResponse({"error": "temporarily_unavailable"}, 503)
        given = self._exchange(form, request.headers.get("authorization"))
        if self.hold:
            await self.hold.wait()
        return given

    def _exchange(self, form: dict[str, str], header: str | None) -> Response:
        client = self._authenticate(form, header)
        if client is None:
            return JSONResponse({"error": "invalid_client"}, 401)
        if form.get("resource") not in (self.habits.resource or self.url, self.origin, None):
            return JSONResponse({"error": "invalid_target"}, 400)
        match form.get("grant_type"):
            case "authorization_code":
                asked = self.codes.pop(form.get("code", ""), None)
                if asked is None or asked["client_id"] != client or not _fits(asked, form):
                    return JSONResponse({"error": "invalid_grant", "error_description": "no such code"}, 400)
                return self._answer(self.give(client, asked.get("scope", "read")))
            case "refresh_token":
                if self.habits.refresh_error:
                    status, error = self.habits.refresh_error
                    return JSONResponse({"error": error}, status)
                return self._refresh(form["refresh_token"])
            case "client_credentials":
                token = self.give(client, form.get("scope", "read"))
                token.refresh = None
                return self._answer(token)
            case _:
                return JSONResponse({"error": "unsupported_grant_type"}, 400)

    def _refresh(self, refresh: str) -> Response:
        if stolen := self.used.get(refresh):  # used twice: whoever has it is not the only one
            for token in self.tokens.values():
                token.is_valid = token.is_valid and token.client != stolen.client
            self.refreshable = {
                name: token for name, token in self.refreshable.items() if token.client != stolen.client
            }
        old = self.refreshable.get(refresh)
        if old is None:
            return JSONResponse({"error": "invalid_grant", "error_description": "the token is not known"}, 400)
        new = self.give(old.client, " ".join(old.scopes))
        old.is_valid = False
        if self.habits.rotates:
            self.used[refresh] = self.refreshable.pop(refresh)
        else:
            assert new.refresh
            del self.refreshable[new.refresh]
            new.refresh = None
        return self._answer(new)

    def _answer(self, token: Token) -> Response:
        body: dict[str, Any] = {"access_token": token.access, "token_type": "bearer"} | self.habits.extra
        if self.habits.life_s is not None:
            body["expires_in"] = self.habits.life_s
        if self.habits.says_scope:
            body["scope"] = " ".join(sorted(token.scopes))
        if token.refresh:
            body["refresh_token"] = token.refresh
        return JSONResponse(body, self.habits.token_status, headers={"cache-control": "no-store"})

    def _authenticate(self, form: dict[str, str], header: str | None) -> str | None:
        """Return the client, if it has shown its secret as it should."""
        client, shown, how = form.get("client_id"), form.get("client_secret"), "client_secret_post"
        if header and header.startswith("Basic "):
            client, _, shown = base64.b64decode(header.removeprefix("Basic ")).decode().partition(":")
            how = "client_secret_basic"
        known = self.registered.get(client or "", {})
        secret = known.get("client_secret") or self.habits.clients.get(client or "")
        if client is None or (client not in self.registered and client not in self.habits.clients):
            return None
        wanted = known.get("token_endpoint_auth_method", how) if secret else how
        return client if secret is None or (shown == secret and how == wanted and how in self.habits.methods) else None


def _fits(asked: dict[str, str], form: dict[str, str]) -> bool:
    """Whether a code was asked for by who shows it: by its verifier, and for the same address."""
    digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
    return (challenge, form.get("redirect_uri")) == (asked["code_challenge"], asked["redirect_uri"])


class Meeting:
    """Calls that wait for each other: `expected` of them have to be there before any is answered."""

    def __init__(self) -> None:
        self.expected = 1
        self.here = 0
        self._all = anyio.Event()

    async def join(self) -> None:
        self.here += 1
        if self.here >= self.expected:
            self._all.set()
        await self._all.wait()


def _build_server(authority: Authority) -> MCPServer:
    server = MCPServer("protected")

    @server.tool()
    def echo(text: str) -> str:
        authority.executed["echo"] += 1
        return text

    @server.tool()
    def whoami(context: Context) -> str:  # type: ignore[type-arg]
        """Repeats the token that it was sent, as no server should."""
        authority.executed["whoami"] += 1
        request = context.request_context.request
        return str(request.headers.get("authorization")) if request else ""

    @server.tool()
    def admin() -> str:
        authority.executed["admin"] += 1
        return "done"

    @server.tool()
    async def meet(who: str) -> str:
        """Waits until everybody who is expected is there."""
        await authority.met.join()
        return who

    return server


class _Gate:
    """Lets requests to the server pass only with a token, and calls of `admin` only with the scope for it."""

    def __init__(self, app: ASGIApp, authority: Authority) -> None:
        self._app = app
        self._authority = authority

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        authority = self._authority
        if scope["type"] != "http" or scope["path"] != "/mcp" or authority.habits.is_open:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        token = authority.judge(request.headers.get("authorization"))
        if token is None:
            await authority.refuse()(scope, receive, send)
            return
        authority.counts["served"] += 1
        body = await request.body()
        if "admin" not in token.scopes and _calls_admin(body):
            named = ', scope="admin"' if authority.habits.names_scope else ""
            challenge = {"www-authenticate": f'Bearer error="insufficient_scope"{named}'}
            await JSONResponse({"error": "insufficient_scope"}, 403, headers=challenge)(scope, receive, send)
            return
        is_read = False

        async def replay() -> Any:
            nonlocal is_read
            if is_read:
                return await receive()
            is_read = True
            return {"type": "http.request", "body": body, "more_body": False}

        await self._app(scope, replay, send)


def _calls_admin(body: bytes) -> bool:
    try:
        message = json.loads(body)
    except ValueError:
        return False
    return message.get("method") == "tools/call" and message["params"]["name"] == "admin"


async def browse(url: str) -> httpx2.Response:
    """Open an address as a browser does, follow it to where it leads, and return the last page."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        page = await client.get(url)
        while page.has_redirect_location:
            place = page.headers["location"]
            host = urlsplit(place).hostname
            page = await client.get(place.replace("//localhost:", "//127.0.0.1:", 1) if host == "localhost" else place)
        return page


async def find_way_back(url: str) -> str:
    """Open an address as a browser does, and return where it is sent back to, which it does not reach."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        return (await client.get(url)).headers["location"]
