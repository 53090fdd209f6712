"""One flow of the SDK's OAuth provider (mcp 2.3): it begins with what is kept, and we send its requests.

The provider that the SDK attaches to a client holds a lock until a call's response has come, sends what it asks the
authority over the server's own connection, forgets when a token ends, and never looks at what another process has
stored. So each flow has a provider of its own here, which is driven by hand and left as soon as it yields the call.
"""

import json
import logging
import re
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Any, TypeAlias, cast
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import httpx2
from mcp.client.auth import OAuthClientProvider, OAuthFlowError
from mcp.client.auth.utils import (
    extract_resource_metadata_from_www_auth,
    extract_scope_from_www_auth,
    union_scopes,
)
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken
from mcp.shared.auth_utils import check_resource_allowed, resource_url_from_server_url
from mcp_types import LATEST_PROTOCOL_VERSION
from pydantic import AnyUrl, ValidationError

from bridge.clock import Clock
from bridge.config.settings import OAuthConfig, ServerConfig
from bridge.errors import NeedsSignIn, SignInFailed
from bridge.hub.sign_in.guard import Visitor
from bridge.hub.sign_in.kept import Kept, count_life
from bridge.hub.sign_in.words import FORM, advise, explain_answer, explain_flow, read_error, say_login
from bridge.telemetry import BLANK
from bridge.visible import quote_name

logging.getLogger("mcp.client.auth").setLevel(logging.CRITICAL + 1)  # tracebacks with what authorities say, secrets too
REVISION = "mcp-protocol-version"
_RESOURCE_MARK = "/.well-known/oauth-protected-resource"
_REFUSALS = (400, 401)
"""Statuses with which an authority refuses to renew a token for good."""
_LATER = ("server_error", "temporarily_unavailable", "slow_down")
"""Errors that may be over the next time."""
_UNREADABLE = (OAuthFlowError, ValidationError, ValueError, OverflowError, RecursionError)
"""What the SDK raises over answers that it cannot use."""
_TOKEN = re.compile(r"[\x21-\x7e]{1,65536}")
"""What can stand in a header."""

Flow: TypeAlias = AsyncGenerator[httpx2.Request, httpx2.Response]


class Person:
    """Somebody who can sign in: `show` gets the address for the browser, `wait` returns what that came back with."""

    def __init__(
        self,
        redirect_uri: str,
        show: Callable[[str], Awaitable[None]],
        wait: Callable[[], Awaitable[AuthorizationCodeResult]],
    ) -> None:
        self.redirect_uri = redirect_uri
        self.show = show
        self.wait = wait


class Keeper:
    """What the SDK's provider reads and writes: what is kept, and what has come of a flow."""

    def __init__(
        self,
        kept: Kept,
        client: OAuthClientInformationFull | None,
        on_tokens: Callable[[Kept], None],
        *,
        own_id: str | None,
    ) -> None:
        """`own_id`: the client of the config, whose secret stays there."""
        self.kept = kept
        self._own_id = own_id
        self._client = client
        self._on_tokens = on_tokens
        self.provider: OAuthClientProvider | None = None
        self.now = 0.0

    async def get_tokens(self) -> OAuthToken | None:
        return self.kept.tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self._client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self._client = client_info

    async def set_tokens(self, tokens: OAuthToken) -> None:
        """Keep tokens as soon as they have come, with all that is needed to renew them: there may be no later."""
        assert self.provider
        if not _TOKEN.fullmatch(tokens.access_token):
            raise SignInFailed("the authority gave a token that cannot be sent: it is empty, or no plain text")
        context, client = self.provider.context, self.provider.context.client_info
        if client and client.client_id == self._own_id:
            client = client.model_copy(update={"client_secret": None})
        renew_at, ends_at = count_life(tokens, self.now)
        self.kept = self.kept.model_copy(
            update={
                "tokens": tokens,
                "renew_at": renew_at,
                "ends_at": ends_at,
                "client": client,
                "metadata": context.oauth_metadata,
                "resource": context.protected_resource_metadata,
                "authority": context.auth_server_url,
                "wanted": None,
                "is_refused": False,
                "asked": context.client_metadata.scope or self.kept.asked,
            }
        )
        self._on_tokens(self.kept)


class SignInFlow:
    """Gets the tokens of one server: for the first time, or anew. `on_tokens` is called as soon as they have come."""

    def __init__(
        self,
        server: ServerConfig,
        kept: Kept | None,
        *,
        clock: Clock,
        visitor: Visitor,
        on_tokens: Callable[[Kept], None],
        person: Person | None = None,
    ) -> None:
        assert server.url
        self._server = server
        self._url = server.url
        self._oauth = server.oauth or OAuthConfig()
        self._kept = kept or Kept(server=server.key, url=server.url)
        self._clock = clock
        self._visitor = visitor
        self._on_tokens = on_tokens
        self._person = person
        self._seen: list[str] = []
        """What came of the requests so far, for the sentence if it fails."""
        self._last: httpx2.Response | None = None

    async def renew(self) -> Kept:
        """Renew the tokens, with nobody's help. Raises NeedsSignIn where that cannot be, SignInFailed where not now."""
        if self._oauth.grant == "client_credentials":
            return await self.begin(httpx2.Response(401))
        tokens, client = self._kept.tokens, self._find_client()
        if tokens is None or tokens.refresh_token is None or client is None:
            raise NeedsSignIn(say_login(self._server.key))
        keeper = self._build(tokens=tokens, client=client)
        probe = self._build_probe()
        try:
            async with aclosing(self._start(keeper, probe)) as flow:
                request = await anext(flow)
                if request is probe:
                    raise NeedsSignIn(say_login(self._server.key))
                keeper.now = self._clock.time()
                response = await self._visit_all(request, probe, flow)
        except _UNREADABLE as error:
            raise self._explain(error) from None
        if keeper.kept is not self._kept:
            return keeper.kept
        said = self._blank(explain_answer(response))
        if response.status_code in _REFUSALS and not read_error(response).startswith(_LATER):
            raise NeedsSignIn(say_login(self._server.key, said))
        raise SignInFailed(
            f"the sign-in to {quote_name(self._server.key)} cannot be renewed now: {said}",
            is_transient=True,
        )

    async def begin(self, refusal: httpx2.Response) -> Kept:
        """Get tokens where the server has refused a request without. Raises SignInFailed."""
        keeper = self._build(tokens=None, client=self._choose_client())
        probe = self._build_probe()
        challenge = httpx2.Response(401, headers={"www-authenticate": self._write_challenge(refusal)}, request=probe)
        try:
            async with aclosing(self._start(keeper, probe)) as flow:
                await anext(flow)
                request = await flow.asend(challenge)
                await self._visit_all(request, probe, flow)
        except _UNREADABLE as error:
            raise self._explain(error) from None
        if keeper.kept is self._kept:
            raise SignInFailed(f"{quote_name(self._server.key)}: its authority gave no token")
        return keeper.kept

    async def _visit_all(self, request: httpx2.Request, probe: httpx2.Request, flow: Flow) -> httpx2.Response:
        """Send what the flow asks for, until it would send the call (`probe`); return the last answer."""
        response = httpx2.Response(599)
        while request is not probe:
            response = await self._visit(request)
            try:
                request = await flow.asend(response)
            except StopAsyncIteration:
                break
        return response

    async def _visit(self, request: httpx2.Request) -> httpx2.Response:
        provider = self._keeper.provider
        assert provider
        context = provider.context
        if request.method == "POST" and context.auth_server_url and context.oauth_metadata is None:
            seen = "; ".join(dict.fromkeys(self._seen[-4:]))
            raise SignInFailed(
                f"{quote_name(self._server.key)}: its authority {context.auth_server_url} tells nothing that can be "
                f"read of itself ({seen}); if it is another, write its address into oauth.issuer of the entry"
            )
        sent = await self._with_resource(request)
        await sent.aread()  # one that follows a redirect is a stream; what it sent must not be shown
        response = await self._visitor.visit(sent)
        self._seen.append(explain_answer(response))
        self._last = response
        self._keeper.now = self._clock.time()
        self._fit_client(response, provider)
        if self._oauth.issuer and _RESOURCE_MARK in str(request.url):
            return self._name_issuer(response, request)
        return response

    def _build(self, *, tokens: OAuthToken | None, client: OAuthClientInformationFull | None) -> Keeper:
        """Build a provider of the SDK and what it reads; `tokens` are to be renewed, None: new ones are to be got."""
        kept = self._kept
        self._kept = kept.model_copy(update={"tokens": tokens})
        keeper = self._keeper = Keeper(self._kept, client, self._on_tokens, own_id=self._oauth.client_id)
        provider = keeper.provider = self._build_provider(keeper)
        if tokens is not None:
            context = provider.context
            context.oauth_metadata, context.protected_resource_metadata = kept.metadata, kept.resource
            context.auth_server_url, context.token_expiry_time = kept.authority, 1.0  # long ago: it is to be renewed
        return keeper

    def _build_provider(self, keeper: Keeper) -> OAuthClientProvider:
        oauth, person = self._oauth, self._person
        if oauth.grant == "client_credentials":
            # late: it imports cryptography
            from mcp.client.auth.extensions.client_credentials import ClientCredentialsOAuthProvider

            assert oauth.client_id
            assert oauth.client_secret
            return ClientCredentialsOAuthProvider(
                self._url,
                keeper,
                client_id=oauth.client_id,
                client_secret=oauth.client_secret,
                issuer=oauth.issuer,
            )
        redirect = person.redirect_uri if person else "http://localhost/callback"
        metadata = OAuthClientMetadata(
            redirect_uris=[AnyUrl(redirect)],
            client_name="mcp-responses-bridge",
            token_endpoint_auth_method="none",
            scope=self._list_scopes(),
        )
        return OAuthClientProvider(
            self._url,
            metadata,
            keeper,
            redirect_handler=self._show,
            callback_handler=self._person.wait if self._person else None,
            client_metadata_url=oauth.client_id if oauth.client_id and oauth.client_id.startswith("https://") else None,
            validate_resource_url=self._check_resource,
        )

    def _start(self, keeper: Keeper, probe: httpx2.Request) -> Flow:
        assert keeper.provider
        return keeper.provider.async_auth_flow(probe)

    def _build_probe(self) -> httpx2.Request:
        """Build what stands for the call: it is never sent."""
        return httpx2.Request("POST", self._url, headers={REVISION: LATEST_PROTOCOL_VERSION})

    def _choose_client(self) -> OAuthClientInformationFull | None:
        """Return the client of the config, or the one registered earlier, if it can be sent back to where we listen."""
        oauth, kept = self._oauth, self._kept.client
        if oauth.client_id and not oauth.client_id.startswith("https://"):
            return OAuthClientInformationFull(
                client_id=oauth.client_id,
                client_secret=oauth.client_secret,
                token_endpoint_auth_method="client_secret_basic" if oauth.client_secret else "none",
                issuer=oauth.issuer or (kept.issuer if kept and kept.client_id == oauth.client_id else None),
            )
        is_known = self._kept.tokens is not None  # else the authority may have forgotten it, and nobody would be told
        fits = kept and is_known and self._person and self._person.redirect_uri in map(str, kept.redirect_uris or ())
        return kept if fits else None

    def _find_client(self) -> OAuthClientInformationFull | None:
        """Return the client that the tokens were given to; None where the config has another one by now."""
        own, client = self._oauth, self._kept.client
        if client is None or own.client_id is None:
            return client
        is_same = client.client_id == own.client_id
        return client.model_copy(update={"client_secret": own.client_secret}) if is_same else None

    def _list_scopes(self) -> str | None:
        """List what to ask for beyond what the server says, or in its place."""
        own = " ".join(self._oauth.scopes) if self._oauth.scopes is not None else None
        if not self._kept.wanted:
            return own or None
        return union_scopes(own or self._kept.asked, self._kept.wanted)

    def _write_challenge(self, refusal: httpx2.Response) -> str:
        """Write the server's challenge as the SDK is to read it: with the scopes that are to be asked for."""
        parts = ["Bearer"]
        if (place := extract_resource_metadata_from_www_auth(refusal)) and '"' not in place:
            parts.append(f'resource_metadata="{place}"')
        if scopes := self._list_scopes() or extract_scope_from_www_auth(refusal):
            parts.append(f'scope="{scopes}"'.replace("\\", ""))
        return f"{parts[0]} {', '.join(parts[1:])}".strip()

    def _fit_client(self, response: httpx2.Response, provider: OAuthClientProvider) -> None:
        """Send the client's secret as the authority's metadata says it takes it."""
        client, methods = provider.context.client_info, _read(response).get("token_endpoint_auth_methods_supported")
        if client is None or client.client_id != self._oauth.client_id or not isinstance(methods, list):
            return
        if client.client_secret and "client_secret_basic" not in methods and "client_secret_post" in methods:
            client.token_endpoint_auth_method = "client_secret_post"

    def _name_issuer(self, response: httpx2.Response, request: httpx2.Request) -> httpx2.Response:
        """Let the config's word on the authority take the place of the server's."""
        said = _read(response) if response.status_code == 200 else {}
        resource = said.get("resource") or resource_url_from_server_url(self._url)
        answer = said | {"resource": resource, "authorization_servers": [self._oauth.issuer]}
        return httpx2.Response(200, json=answer, request=request)

    async def _check_resource(self, url: str, named: str | None) -> None:
        """Raise SignInFailed where the server's metadata is about another server: its token could be used there."""
        expected = resource_url_from_server_url(url)
        if not named or named == self._oauth.resource or check_resource_allowed(expected, named):
            return
        raise SignInFailed(
            f"{quote_name(self._server.key)}: its metadata is about {named}, and its url is {expected}; if it is the "
            "same server, write that one as its url, or as oauth.resource"
        )

    async def _show(self, url: str) -> None:
        assert self._person
        if self._oauth.resource:
            url = urlunsplit(urlsplit(url)._replace(query=self._replace_resource(urlsplit(url).query)))
        url = _mend_query(url)
        self._visitor.guard.check_url(url)
        await self._person.show(url)

    async def _with_resource(self, request: httpx2.Request) -> httpx2.Request:
        is_form = request.headers.get("content-type", "").startswith(FORM)
        if not self._oauth.resource or not is_form:
            return request
        body = self._replace_resource((await request.aread()).decode())
        headers = [(name, value) for name, value in request.headers.multi_items() if name != "content-length"]
        return httpx2.Request(request.method, request.url, headers=headers, content=body)

    def _replace_resource(self, form: str) -> str:
        pairs = [pair for pair in parse_qsl(form, keep_blank_values=True) if pair[0] != "resource"]
        return urlencode([*pairs, ("resource", self._oauth.resource or "")])

    def _blank(self, text: str) -> str:
        """Take out what is kept, or will be: an authority may repeat it."""
        assert self._keeper.provider
        client = self._keeper.provider.context.client_info
        known = [*self._keeper.kept.list_secrets(), client.client_secret if client else None]
        for secret in filter(None, known):
            text = text.replace(secret, BLANK)
        return text

    def _explain(self, error: Exception) -> SignInFailed:
        words = self._blank(explain_flow(error, self._last))
        advice = advise(error, self._oauth, self._person.redirect_uri if self._person else None)
        return SignInFailed(f"signing in to {quote_name(self._server.key)} did not work: {words}{advice}")


def _read(response: httpx2.Response) -> dict[str, Any]:
    try:
        found: object = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", found) if isinstance(found, dict) else {}


def _mend_query(url: str) -> str:
    """Mend the address of a page that has a query of its own, to which the SDK adds a second one."""
    head, mark, rest = url.rpartition("?response_type=")
    return f"{head}&response_type={rest}" if mark and "?" in head else url
