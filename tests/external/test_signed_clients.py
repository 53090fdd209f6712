"""Other people's clients call `respond` with tokens of an issuer, which they bring or get by signing in."""

import json
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from pydantic import AnyUrl
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from bridge.app import Bridge
from bridge.config.settings import EMBEDDED, Config
from tests.external.conftest import RunNode
from tests.fakes.issuer import SCOPE, ScriptedIssuer, SigningKey, make_key, scripted_issuer
from tests.fakes.ports import find_port
from tests.fakes.service import serving

pytestmark = [pytest.mark.anyio, pytest.mark.external]

QUESTION, ANSWER = "What is 123.5 + 456.7?", "580.2"
CALLBACK = "http://127.0.0.1:9/callback"
"""Nobody listens there: the clients of these tests read where the browser is sent."""


@dataclass
class Authority:
    """What the issuer needs beside its keys, for clients to register and people to sign in."""

    issuer: ScriptedIssuer
    codes: dict[str, str] = field(default_factory=dict[str, str])
    """The resource that each code is for."""

    def answer(self, request: Request) -> Response | None:
        match request.url.path:
            case "/register":
                return JSONResponse({"client_id": "a-client", "redirect_uris": [CALLBACK]}, 201)
            case "/authorization_endpoint":
                code = secrets.token_hex()
                self.codes[code] = request.query_params["resource"]
                back = {"code": code, "state": request.query_params.get("state"), "iss": self.issuer.url}
                told = {name: value for name, value in back.items() if value is not None}
                return RedirectResponse(f"{request.query_params['redirect_uri']}?{urlencode(told)}")
            case "/token_endpoint":
                return _Token(self)
            case _:
                return None


class _Token(Response):
    """The reply to a code: it needs the request's body, which is read when the reply is sent."""

    def __init__(self, authority: Authority) -> None:
        super().__init__()
        self._authority = authority

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        form = {name: values[0] for name, values in parse_qs((await Request(scope, receive).body()).decode()).items()}
        resource = self._authority.codes.pop(form["code"])
        assert form["resource"] == resource
        token = self._authority.issuer.sign(aud=resource)
        body = {"access_token": token, "token_type": "Bearer", "expires_in": 300, "scope": f"openid {SCOPE}"}
        await JSONResponse(body)(scope, receive, send)


@dataclass(frozen=True)
class Signed:
    """A service whose tokens an issuer signs; `url` is that of its MCP endpoint."""

    issuer: ScriptedIssuer
    url: str

    def sign(self, *, aud: str | None = None, key: SigningKey | None = None, **changes: Any) -> str:
        return self.issuer.sign(key=key, aud=aud or self.url, **changes)


@asynccontextmanager
async def signed_service() -> AsyncIterator[Signed]:
    port = find_port()
    public_url = f"http://127.0.0.1:{port}"
    async with scripted_issuer(metadata={"code_challenge_methods_supported": ["S256"]}) as issuer:
        issuer.metadata["registration_endpoint"] = f"{issuer.url}/register"
        issuer.answer = Authority(issuer).answer
        oauth = {"issuer": issuer.url, "public_url": public_url, "scopes": (SCOPE,)}
        async with (
            Bridge(Config(upstream=EMBEDDED), environ=os.environ) as bridge,
            serving(bridge, port=port, oauth=oauth),
        ):
            yield Signed(issuer, f"{public_url}/mcp")


@pytest.fixture
async def service() -> AsyncIterator[Signed]:
    async with signed_service() as signed:
        yield signed


REFUSED: dict[str, dict[str, Any]] = {
    "another audience": {"aud": "https://elsewhere.example.com/mcp"},
    "another issuer": {"iss": "https://elsewhere.example.com"},
    "expired": {"exp": 1},
    "another key": {"key": make_key("stranger")},
}


async def use_typescript(run_node: RunNode, major: str, *target: str) -> dict[str, Any]:
    script = Path(__file__).with_name("signed.mjs").read_text(encoding="utf-8")
    done = await run_node("node", "--input-type=module", "--eval", script, "--", major, *target)
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


@pytest.mark.parametrize("major", ["1", "2"])
async def test_a_typescript_client_calls_with_a_token(major: str, run_node: RunNode, service: Signed) -> None:
    seen = await use_typescript(run_node, major, service.url, service.sign())
    assert ANSWER in seen["answer"]


@pytest.mark.parametrize("major", ["1", "2"])
async def test_a_typescript_client_signs_in_and_calls(major: str, run_node: RunNode, service: Signed) -> None:
    seen = await use_typescript(run_node, major, service.url)
    assert ANSWER in seen["answer"], seen
    assert SCOPE in seen["scope"].split()


@pytest.mark.parametrize("major", ["1", "2"])
@pytest.mark.parametrize("fault", REFUSED)
async def test_a_typescript_client_is_refused(major: str, fault: str, run_node: RunNode, service: Signed) -> None:
    seen = await use_typescript(run_node, major, service.url, service.sign(**REFUSED[fault]))
    assert "answer" not in seen
    assert "401" in seen["refused"] or "nauthorized" in seen["refused"], seen


async def inspect(run_node: RunNode, service: Signed, token: str) -> tuple[int, str]:
    call = ["--method", "tools/call", "--tool-name", "respond", "--tool-arg", f"input={QUESTION}"]
    header = ["--header", f"Authorization: Bearer {token}"]
    done = await run_node("mcp-inspector", "--cli", service.url, *header, *call, "--stored-auth-only", "--quiet")
    return done.returncode, (done.stdout + done.stderr).decode()


async def test_the_inspector_calls_with_a_token(run_node: RunNode, service: Signed) -> None:
    code, said = await inspect(run_node, service, service.sign())
    assert code == 0, said
    assert ANSWER in said


@pytest.mark.parametrize("fault", REFUSED)
async def test_the_inspector_is_refused(fault: str, run_node: RunNode, service: Signed) -> None:
    code, said = await inspect(run_node, service, service.sign(**REFUSED[fault]))
    assert code != 0
    assert ANSWER not in said


class Kept:
    """The Python client's storage, which forgets with its process."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


def sign_in(url: str) -> OAuthClientProvider:
    """The Python client's own sign-in, with a browser that reads where it is sent."""
    answers: list[dict[str, list[str]]] = []

    async def visit(page: str) -> None:
        async with httpx2.AsyncClient() as browser:
            reply = await browser.get(page)
        answers.append(parse_qs(reply.headers["location"].partition("?")[2]))

    async def hear() -> AuthorizationCodeResult:
        answer = {name: values[0] for name, values in answers[-1].items()}
        return AuthorizationCodeResult(code=answer["code"], state=answer["state"], iss=answer["iss"])

    metadata = OAuthClientMetadata(redirect_uris=[AnyUrl(CALLBACK)], token_endpoint_auth_method="none")
    return OAuthClientProvider(url, metadata, Kept(), visit, hear)


async def ask_in_python(url: str, *, token: str | None = None) -> str:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    auth = None if token else sign_in(url)
    async with (
        httpx2.AsyncClient(headers=headers, auth=auth, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        result = await client.call_tool("respond", {"input": QUESTION})
    assert result.structured_content is not None
    return str(result.structured_content["output_text"])


async def test_the_python_client_calls_with_a_token(service: Signed) -> None:
    assert ANSWER in await ask_in_python(service.url, token=service.sign())


async def test_the_python_client_signs_in_and_calls(service: Signed) -> None:
    assert ANSWER in await ask_in_python(service.url)


@pytest.mark.parametrize("fault", REFUSED)
async def test_the_python_client_is_refused(fault: str, service: Signed) -> None:
    with pytest.RaisesGroup(MCPError, allow_unwrapped=True, flatten_subgroups=True):
        await ask_in_python(service.url, token=service.sign(**REFUSED[fault]))
