"""Clients with tokens of an issuer: each person on their own, over both transports and in both eras."""

import contextlib
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import httpx2
import pytest
from mcp import Client
from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import OAuthClientInformationFull, OAuthToken
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from tests.fakes.bridges import open_without_host
from tests.fakes.issuer import PUBLIC_URL, SCOPE, ScriptedIssuer, make_key, scripted_issuer
from tests.fakes.items import Json
from tests.fakes.ports import find_port
from tests.fakes.service import TOKEN, Served, connect, serving
from tests.fakes.upstream import ScriptedUpstream, message, responds

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"),
]
WAYS: tuple[tuple[str, Any], ...] = (("/mcp", "auto"), ("/mcp", "legacy"), ("/sse", "legacy"))
UNKNOWN = "there is no such run"


@dataclass(frozen=True)
class Place:
    """A service whose model says a secret to everybody, and its issuer."""

    issuer: ScriptedIssuer
    served: Served

    def host(self, token: str, path: str = "/mcp", mode: Any = "auto") -> Any:
        return connect(self.served.port, path, mode, token=token)

    async def ask(self, token: str) -> Json:
        async with self.host(token) as client:
            return await respond(client)


async def respond(client: Client, tool: str = "respond", **arguments: object) -> Json:
    return (await client.call_tool(tool, arguments or {"input": "hello"})).structured_content or {}


@asynccontextmanager
async def place(
    named: Mapping[str, Any] | None = None, *, port: int = 0, public_url: str = PUBLIC_URL, **oauth: Any
) -> AsyncIterator[Place]:
    async with contextlib.AsyncExitStack() as stack:
        issuer = await stack.enter_async_context(scripted_issuer())
        said = {"issuer": issuer.url, "public_url": public_url, "scopes": [SCOPE], **oauth}
        serve: Json = {"oauth": said, **({"principals": named} if named else {})}
        model = await stack.enter_async_context(ScriptedUpstream(lambda _: responds(message("a secret"))))
        bridge = await stack.enter_async_context(open_without_host(model, serve=serve))
        yield Place(issuer, await stack.enter_async_context(serving(bridge, port=port, **serve)))


@pytest.mark.parametrize(("path", "mode"), WAYS)
@pytest.mark.rule("S28")
async def test_each_person_has_runs_of_their_own_which_a_renewed_token_finds_again(path: str, mode: Any) -> None:
    async with place() as at:
        async with at.host(at.issuer.sign(sub="ada"), path, mode) as ada:
            run = await respond(ada)
            assert run["output_text"] == "a secret"
        async with at.host(at.issuer.sign(sub="bob"), path, mode) as bob:
            told = await respond(bob, "respond_wait", run_id=run["run_id"])
            assert UNKNOWN in told["error"]["message"]
        async with at.host(TOKEN, path, mode) as operator:
            assert UNKNOWN in (await respond(operator, "respond_wait", run_id=run["run_id"]))["error"]["message"]
        renewed = at.issuer.sign({"kid": "one"}, sub="ada", jti="another", client_id="another-client")
        async with at.host(renewed, path, mode) as again:
            assert (await respond(again, "respond_wait", run_id=run["run_id"]))["output_text"] == "a secret"


@pytest.mark.rule("S4")
async def test_a_session_opens_for_nobody_but_whom_it_was_opened_for() -> None:
    """Not for another person's good token, nor for the service's own; for the same person's next one, it does."""
    async with place() as at:
        start: Json = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {"name": "x", "version": "1"}}
        kinds = {"Accept": "application/json, text/event-stream"}
        url = f"http://127.0.0.1:{at.served.port}/mcp"
        async with httpx2.AsyncClient(headers=kinds, timeout=60, verify=False) as http:

            async def post(token: str, method: str, session: str = "", **params: Any) -> httpx2.Response:
                named = {"Authorization": f"Bearer {token}"} | ({"Mcp-Session-Id": session} if session else {})
                request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
                return await http.post(url, json=request, headers=named)

            opened = await post(at.issuer.sign(sub="ada"), "initialize", **start)
            session = opened.headers["mcp-session-id"]
            found = [
                (await post(token, "ping", session)).status_code
                for token in (at.issuer.sign(sub="bob"), TOKEN, "x", at.issuer.sign(sub="ada", jti="2"))
            ]
        assert (opened.status_code, found) == (200, [404, 404, 401, 200])


async def test_a_person_that_is_named_has_the_rights_of_the_name_and_the_others_those_of_another() -> None:
    principals: Json = {"boss": {}, "staff": {"models": ["small-*"]}}
    async with place(principals, principals={"ada": "boss"}, others="staff") as at:
        assert (await at.ask(at.issuer.sign(sub="ada")))["output_text"] == "a secret"
        for name in ("bob", "boss", "staff", "default"):
            told = await at.ask(at.issuer.sign(sub=name))
            assert "you may ask: small-*" in told["error"]["message"], "the name is the issuer's, not the config's"


async def test_the_others_share_an_entry_and_no_runs() -> None:
    async with place({"staff": {}}, others="staff") as at:
        run = await at.ask(at.issuer.sign(sub="ada"))
        async with at.host(at.issuer.sign(sub="bob")) as bob:
            assert UNKNOWN in (await respond(bob, "respond_wait", run_id=run["run_id"]))["error"]["message"]


async def test_who_is_not_named_is_not_let_in_where_somebody_is() -> None:
    async with place({"boss": {}}, principals={"ada@example.com": "boss"}, principal_claim="email") as at:

        async def status(**claims: Any) -> int:
            token = ("Authorization", f"Bearer {at.issuer.sign(**claims)}")
            host = ("Host", f"127.0.0.1:{at.served.port}")
            return (await at.served.send("GET", "/healthz", [host, token])).status

        assert await status(email="ada@example.com", email_verified=True) == 200
        assert await status(email="bob@example.com", email_verified=True) == 403
        assert await status(email="ada@example.com", email_verified=False) == 401
        assert await status(email="ada@example.com", email_verified="true") == 401
        assert await status(email="ada@example.com") == 401, "anybody can write any into their own entry"
        assert await status(sub="ada@example.com") == 401


@pytest.mark.parametrize("scopes", [{"scope": f"a {SCOPE}"}, {"scp": f"{SCOPE} a"}, {"scp": ["a", SCOPE]}])
async def test_scopes_are_read_in_each_usual_form(scopes: Json) -> None:
    async with place() as at:
        assert (await at.ask(at.issuer.sign(**{"scope": None, **scopes})))["output_text"] == "a secret"


@pytest.mark.parametrize(
    "audience", [PUBLIC_URL, f"{PUBLIC_URL}/", f"{PUBLIC_URL}/sse", ["account", f"{PUBLIC_URL}/mcp"]]
)
async def test_a_token_may_be_for_the_service_by_each_of_its_addresses(audience: Any) -> None:
    async with place() as at:
        assert (await at.ask(at.issuer.sign(aud=audience)))["output_text"] == "a secret"


async def test_an_audience_that_is_configured_is_the_only_one() -> None:
    """As Entra's tokens, which name the application and not its address."""
    async with place(audience=["api://bridge"]) as at:
        assert (await at.ask(at.issuer.sign(aud="api://bridge")))["output_text"] == "a secret"
        with pytest.raises(BaseExceptionGroup):
            await at.ask(at.issuer.sign())


# -- what clients are told of the issuer -------------------------------------------------------------------------------


@dataclass
class Kept:
    """The tokens that a client keeps."""

    tokens: OAuthToken | None = None
    info: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.info

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.info = client_info


async def test_the_python_sdk_finds_the_issuer_by_itself_and_gets_in() -> None:
    """From the 401 by the metadata to the issuer, its token endpoint and back."""
    port, asked = find_port(), list[dict[str, str]]()
    url = f"http://127.0.0.1:{port}"
    async with place(port=port, public_url=url) as at:

        async def answer(request: Request) -> Response | None:
            if request.url.path != "/token_endpoint":
                return None
            asked.append(dict(parse_qsl((await request.body()).decode())))
            token = at.issuer.sign(aud=asked[-1]["resource"], scope=asked[-1]["scope"])
            return JSONResponse({"access_token": token, "token_type": "Bearer", "expires_in": 300})

        at.issuer.answer = answer
        auth = ClientCredentialsOAuthProvider(f"{url}/mcp", Kept(), "a-client", "a-secret", issuer=at.issuer.url)
        async with (
            httpx2.AsyncClient(auth=auth, timeout=60, verify=False) as http,
            Client(streamable_http_client(f"{url}/mcp", http_client=http)) as client,
        ):
            assert (await respond(client))["output_text"] == "a secret"
    assert asked == [{"grant_type": "client_credentials", "resource": f"{url}/mcp", "scope": SCOPE}]


RESOURCE = "/.well-known/oauth-protected-resource"


async def look(served: Served, target: str, **headers: str) -> tuple[int, Any]:
    host = ("Host", headers.pop("host", f"127.0.0.1:{served.port}"))
    reply = await served.send(
        "GET", target, [host, *((name.replace("_", "-"), value) for name, value in headers.items())]
    )
    return reply.status, json.loads(reply.body) if reply.body.startswith("{") else reply.headers


@pytest.mark.parametrize("endpoint", ["", "/mcp", "/sse"])
async def test_the_metadata_names_the_very_address_that_it_is_of(endpoint: str) -> None:
    """As modelcontextprotocol/python-sdk#1264 and exa-labs/exa-mcp-server#387: some clients accept no other. Behind a
    proxy, as mesh/mesh-mcp#20, Mnexa-AI/e2a#635, agentgateway/agentgateway#545 and supermemoryai/supermemory#1483: what
    a request says of host and scheme is nothing that goes into it."""
    async with place() as at:
        expected = {
            "resource": PUBLIC_URL + endpoint,
            "authorization_servers": [at.issuer.url],
            "bearer_methods_supported": ["header"],
            "resource_name": "mcp-responses-bridge",
            "scopes_supported": [SCOPE],
        }
        forged = {"X_Forwarded_Host": "evil.example", "X_Forwarded_Proto": "http", "Forwarded": "host=evil.example"}
        named, outdated = {"host": "bridge.example.com"}, {"Authorization": "Bearer out-of-date"}
        for headers in (dict[str, str](), forged, named, outdated):
            assert await look(at.served, RESOURCE + endpoint, **headers) == (200, expected)
            status, told = await look(at.served, endpoint or "/mcp", **headers)
            assert status == 401
            address = f"{PUBLIC_URL}{RESOURCE}{endpoint or '/mcp'}"
            assert f'resource_metadata="{address}", scope="{SCOPE}"' in told["www-authenticate"]
        assert (await look(at.served, RESOURCE, host="evil.example"))[0] == 421


async def test_a_path_of_the_public_address_stands_where_the_specification_has_it() -> None:
    """Behind the well-known part, whether the proxy passes it on or takes it away."""
    async with place(public_url="https://example.com/tools/bridge/") as at:
        for prefix in ("/tools/bridge", ""):
            _, document = await look(at.served, f"{RESOURCE}{prefix}/mcp")
            assert document["resource"] == "https://example.com/tools/bridge/mcp"
        _, told = await look(at.served, "/messages/?session_id=1")
        assert f'"https://example.com{RESOURCE}/tools/bridge/sse"' in told["www-authenticate"]


async def test_without_an_issuer_there_are_no_such_routes() -> None:
    async with open_without_host(None) as bridge, serving(bridge) as served:
        for endpoint in ("", "/mcp"):
            status, told = await look(served, RESOURCE + endpoint)
            assert (status, told["www-authenticate"]) == (401, "Bearer")
            assert (await look(served, RESOURCE + endpoint, Authorization=f"Bearer {TOKEN}"))[0] == 404


def test_without_an_issuer_nothing_of_it_is_imported() -> None:
    program = "import sys, bridge.host.http, bridge.cli.serve; print(*[m for m in sys.modules if 'host.issuer' in m])"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout.strip() == b""


async def test_tokens_and_claims_are_in_no_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with place() as at:
        for token in (
            at.issuer.sign(sub="canary-person", jti="canary-id"),
            at.issuer.sign(aud="https://canary.example", sub="canary-person"),
            at.issuer.sign({"kid": "canary-key"}, scope="canary-scope"),
            at.issuer.sign(iss="https://canary.example", key=make_key("evil")),
        ):
            with contextlib.suppress(BaseExceptionGroup):
                await at.ask(token)
            assert token.split(".")[2] not in caplog.text
    assert "canary" not in caplog.text
