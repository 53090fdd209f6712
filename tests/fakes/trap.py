"""A server that wants a sign-in, and its authority, on one loopback port: honest until a test says where it lies.

async with trap() as laid:
    laid.metadata["token_endpoint"] = "http://169.254.169.254/"
    laid.replies["/register"] = lambda request: RedirectResponse("https://elsewhere.example.com/", 307)
"""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import parse_qs, urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from tests.fakes.items import Json
from tests.fakes.service import serving_app

Answer: TypeAlias = Callable[[Request], Response | Awaitable[Response]]
TOKEN, REFRESH, CODE, SECRET = "canary-access", "canary-refresh", "canary-code", "canary-secret"
CANARIES = (TOKEN, REFRESH, CODE, SECRET)
"""What must be seen nowhere but where it belongs."""


@dataclass(frozen=True)
class Asked:
    """One request that has arrived."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: str


@dataclass
class Trap:
    """Whatever is assigned here holds from the next request on."""

    root: str = ""
    replies: dict[str, Answer] = field(default_factory=dict[str, Answer])
    """Replies in place of the honest one, by path."""
    resource: Json = field(default_factory=dict[str, Any])
    """What the server's metadata says beside the usual; so with those below."""
    metadata: Json = field(default_factory=dict[str, Any])
    registered: Json = field(default_factory=dict[str, Any])
    granted: Json = field(default_factory=dict[str, Any])
    answered: Json = field(default_factory=dict[str, Any])
    """Parameters of the address that the browser is sent back to; None takes one away."""
    challenge: str | None = None
    """The `WWW-Authenticate` of a 401."""
    asked: list[Asked] = field(default_factory=list[Asked])
    tokens: set[str] = field(default_factory=lambda: {TOKEN})
    """Those that the server takes."""

    @property
    def url(self) -> str:
        return f"{self.root}/mcp"

    def requests(self, path: str) -> list[Asked]:
        return [asked for asked in self.asked if asked.path == path]

    async def answer(self, request: Request) -> Response:
        path = request.url.path
        body = (await request.body()).decode("latin-1")
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.asked.append(Asked(request.method, path, dict(request.query_params), headers, body))
        if chosen := self.replies.get(path):
            answer = chosen(request)
            return answer if isinstance(answer, Response) else await answer
        return self._be_honest(path, request, body)

    def _be_honest(self, path: str, request: Request, body: str) -> Response:
        match path:
            case "/mcp":
                return self._serve(request, body)
            case "/.well-known/oauth-protected-resource/mcp":
                return JSONResponse({"resource": self.url, "authorization_servers": [self.root]} | self.resource)
            case "/.well-known/oauth-authorization-server":
                return JSONResponse(self.describe())
            case "/register":
                client = {"client_id": "a-client", "client_secret": SECRET} | json.loads(body) | self.registered
                return JSONResponse(client, 201)
            case "/authorize":
                return RedirectResponse(self.send_back(request))
            case "/token":
                usual = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600, "refresh_token": REFRESH}
                return JSONResponse(usual | self.granted)
            case _:
                return PlainTextResponse("Not Found", 404)

    def describe(self) -> Json:
        """The authority's metadata."""
        places = {"authorization_endpoint": "authorize", "token_endpoint": "token", "registration_endpoint": "register"}
        usual: Json = {name: f"{self.root}/{path}" for name, path in places.items()}
        usual |= {"issuer": self.root, "response_types_supported": ["code"]}
        methods = {"token_endpoint_auth_methods_supported": ["client_secret_post", "none"]}
        return usual | methods | {"code_challenge_methods_supported": ["S256"]} | self.metadata

    def send_back(self, request: Request) -> str:
        """The address that the browser is sent back to."""
        told = {"code": CODE, "state": request.query_params.get("state", ""), "iss": self.root} | self.answered
        query = urlencode({name: value for name, value in told.items() if value is not None})
        return f"{request.query_params['redirect_uri']}?{query}"

    def _serve(self, request: Request, body: str) -> Response:
        """A server of the handshake era with one tool."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme != "Bearer" or token not in self.tokens:
            place = f'Bearer resource_metadata="{self.root}/.well-known/oauth-protected-resource/mcp"'
            return PlainTextResponse("who are you?", 401, {"WWW-Authenticate": self.challenge or place})
        if request.method != "POST":
            return PlainTextResponse("", 405)
        asked = json.loads(body)
        if "id" not in asked:
            return Response(status_code=202)
        results: dict[str, Json] = {
            "initialize": {
                "protocolVersion": "2025-11-25",
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "trap", "version": "1"},
            },
            "tools/list": {"tools": [{"name": "peek", "inputSchema": {"type": "object"}}]},
            "tools/call": {"content": [{"type": "text", "text": "peeked"}]},
        }
        if asked["method"] in results:
            return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "result": results[asked["method"]]})
        error = {"code": -32601, "message": "Method not found"}
        return JSONResponse({"jsonrpc": "2.0", "id": asked["id"], "error": error})


def read_form(asked: Asked) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(asked.body).items()}


@asynccontextmanager
async def trap() -> AsyncIterator[Trap]:
    """A trap that is laid."""
    laid = Trap()
    methods = ["GET", "POST", "DELETE"]
    app = Starlette(routes=[Route("/{path:path}", laid.answer, methods=methods)])
    async with serving_app(app) as laid.root:
        yield laid
