"""A person signs in to a server: from its first refusal to tokens in the state folder."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import anyio
import httpx2
from mcp.client.auth.utils import build_protected_resource_metadata_discovery_urls
from mcp_types import LATEST_PROTOCOL_VERSION

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.errors import SignInFailed
from bridge.hub.sign_in.browser import Callback, open_callback
from bridge.hub.sign_in.flow import Person, SignInFlow
from bridge.hub.sign_in.guard import Resolve, Visitor
from bridge.hub.sign_in.kept import Kept, SignedIn, SignInFile
from bridge.hub.sign_in.provider import describe
from bridge.hub.sign_in.words import explain_answer, find_target
from bridge.json_text import JsonObject
from bridge.state import StateFolder
from bridge.telemetry import Redactor
from bridge.visible import quote_name

_INITIALIZE: JsonObject = {
    "protocolVersion": "2025-11-25",
    "capabilities": {},
    "clientInfo": {"name": "mcp-responses-bridge", "version": "0"},
}
PERSON_S = 600.0
"""How long a person may take."""

Show = Callable[[str], Awaitable[None]]
"""Shows somebody the address to open in a browser. It may raise, which ends the sign-in."""
Paste = Callable[[], Awaitable[str]]
"""Waits for an address that somebody pastes."""
Complain = Callable[[str], Awaitable[None]]
"""Says what is wrong with the address that was pasted."""


async def sign_in(
    server: ServerConfig,
    folder: StateFolder,
    show: Show,
    *,
    clock: Clock,
    redact: Redactor,
    paste: Paste | None = None,
    complain: Complain | None = None,
    resolve: Resolve | None = None,
    timeout_s: float = PERSON_S,
) -> SignedIn:
    """Sign in to a server, and keep that; `show` gets the address for the browser, which comes back by itself.

    Raises SignInFailed in one sentence. With the grant "client_credentials" nobody is shown anything.
    """
    name = quote_name(server.key)
    if server.url is None:
        raise SignInFailed(f"{name} is a command of this machine; only a server with url can be signed in to")
    if server.has_own_authorization:
        raise SignInFailed(f"{name} has an Authorization in its headers, which is sent as it is; remove it to sign in")
    file, visitor = SignInFile(server, folder), Visitor(server, clock, resolve)
    kept = _read(file)
    refusal = await _ask_server(server, visitor)

    def keep(new: Kept) -> None:
        redact.learn(new.list_secrets())
        file.write(new)

    def build_flow(person: Person | None) -> SignInFlow:
        return SignInFlow(server, kept, clock=clock, visitor=visitor, on_tokens=keep, person=person)

    if server.oauth and server.oauth.grant == "client_credentials":
        await build_flow(None).begin(refusal)
    else:
        failure: SignInFailed | None = SignInFailed(f"nobody signed in to {name} in {timeout_s / 60:g} minutes")
        async with _open_callback(server, kept) as callback:
            person = Person(callback.redirect_uri, _showing(show, callback), callback.wait)
            with clock.scope(clock.now() + timeout_s):
                failure = await _run(build_flow(person), refusal, callback, paste, complain)
        if failure:
            raise failure
    signed_in = describe(server, folder)
    assert signed_in
    return signed_in


async def _run(
    flow: SignInFlow, refusal: httpx2.Response, callback: Callback, paste: Paste | None, complain: Complain | None
) -> SignInFailed | None:
    """Go through the flow; return what it failed of, which a task group would wrap if it were raised."""
    failure: SignInFailed | None = None
    async with anyio.create_task_group() as tasks:
        if paste:
            tasks.start_soon(_take_pasted, callback, paste, complain)
        try:
            await flow.begin(refusal)
        except SignInFailed as error:
            failure = error
        tasks.cancel_scope.cancel()
    return failure


async def _take_pasted(callback: Callback, paste: Paste, complain: Complain | None) -> None:
    while fault := callback.take(await paste()):
        if complain:
            await complain(fault)


def _showing(show: Show, callback: Callback) -> Show:
    async def show_expecting(url: str) -> None:
        callback.expect(url)
        await show(url)

    return show_expecting


@asynccontextmanager
async def _open_callback(server: ServerConfig, kept: Kept | None) -> AsyncIterator[Callback]:
    """Listen on the port of the config, or where the registration of an earlier time says, or on any."""
    if server.oauth and server.oauth.callback_port:
        async with open_callback(server.oauth.callback_port) as callback:
            yield callback
        return
    async with AsyncExitStack() as stack:
        callback: Callback | None = None
        for port in (_find_port(kept), None):
            with suppress(SignInFailed):
                callback = callback or await stack.enter_async_context(open_callback(port))
        if callback is None:
            raise SignInFailed("no port of this machine is free for the browser to come back to")
        yield callback


def _find_port(kept: Kept | None) -> int | None:
    places = (kept.client.redirect_uris if kept and kept.client else None) or []
    return next((place.port for place in places if place.host == "localhost"), None)


def _read(file: SignInFile) -> Kept | None:
    """Read what is kept, such as the scopes that are wanted; a file that cannot be relied on is replaced."""
    try:
        return file.read()
    except SignInFailed:
        return None


async def _ask_server(server: ServerConfig, visitor: Visitor) -> httpx2.Response:
    """Return the refusal that tells how to sign in. Raises SignInFailed where the server wants no sign-in."""
    assert server.url
    name = quote_name(server.key)
    response = await _post(server, visitor, "initialize", _INITIALIZE)
    if response.is_success or response.status_code == 400:  # some want a token for what comes after alone
        later = await _post(server, visitor, "tools/list", {})
        response = later if later.status_code in (401, 403) else response
    if response.status_code >= 500 or response.status_code == 429:
        raise SignInFailed(f"{name} is not well: {explain_answer(response)}", is_transient=True)
    if response.is_redirect:
        raise SignInFailed(f"{name} redirects to {find_target(response)}; if that is right, make it its url")
    wants = response.status_code in (400, 401, 403) or server.oauth is not None
    if not wants and not await _has_metadata(server.url, visitor):
        if response.status_code in (404, 405, 410):
            raise SignInFailed(
                f"{name} has no MCP at its url (HTTP {response.status_code}); correct the url in its entry"
            )
        raise SignInFailed(f"{name} wants no sign-in: it answers without one (HTTP {response.status_code})")
    return response


async def _post(server: ServerConfig, visitor: Visitor, method: str, params: JsonObject) -> httpx2.Response:
    assert server.url
    body = {"jsonrpc": "2.0", "id": 0, "method": method, "params": params}
    headers = dict(server.headers) | {"accept": "application/json, text/event-stream"}
    return await visitor.visit(httpx2.Request("POST", server.url, json=body, headers=headers))


async def _has_metadata(url: str, visitor: Visitor) -> bool:
    """Tell whether a server that answers without a token tells all the same who gives one."""
    for place in build_protected_resource_metadata_discovery_urls(None, url):
        request = httpx2.Request("GET", place, headers={"mcp-protocol-version": LATEST_PROTOCOL_VERSION})
        response = await visitor.visit(request)
        if response.status_code == 200 and b"authorization_servers" in response.content:
            return True
    return False
