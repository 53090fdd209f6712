"""The token of one server, which is put into its requests: at once while it holds, else renewed once for all."""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

import anyio
import httpx2
from mcp.client.auth.utils import extract_field_from_www_auth, union_scopes
from typing_extensions import override

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.errors import NeedsSignIn, SignInFailed
from bridge.hub.sign_in.kept import Kept, SignedIn, SignInFile, Stamp
from bridge.hub.sign_in.words import say_login, say_scope
from bridge.hub.transports.need import OnNeed, can_sign_in
from bridge.state import StateFolder
from bridge.telemetry import Redactor

if TYPE_CHECKING:
    from bridge.hub.sign_in.guard import Resolve

logger = logging.getLogger(__name__)

MOST_READ = 1 << 16
"""The most of a refusal's body that is read before the call is sent again."""


class _Lack(NamedTuple):
    """What a refused request lacks."""

    scopes: str | None
    """Scopes: those that the server names, "" where it names none. None: a token that holds."""


class SignIn(httpx2.Auth):
    """Adds the token of one server to its requests, and only to those to its origin.

    `ask` lets a person sign in where that is needed; without it, a request raises NeedsSignIn. It raises SignInFailed
    where the token cannot be renewed at the moment.
    """

    def __init__(
        self,
        server: ServerConfig,
        folder: StateFolder,
        *,
        clock: Clock,
        redact: Redactor,
        ask: OnNeed | None = None,
        resolve: "Resolve | None" = None,
    ) -> None:
        assert server.url
        self._server = server
        self._file = SignInFile(server, folder)
        self._clock = clock
        self._redact = redact
        self._ask = ask
        self._resolve = resolve
        self._origin = _find_origin(httpx2.URL(server.url))
        self._renewing = anyio.Lock()
        self._rounds = 0
        """How often it was tried to renew the token."""
        self._failure: NeedsSignIn | SignInFailed | None = None
        """What the last of these failed of; None if it did not."""
        self.left: Stamp | None = None
        """The file as it was left here: nobody has signed in or out by that."""
        self._kept: Kept | None = None
        self._stamp: Stamp | None = None

    @override
    async def async_auth_flow(self, request: httpx2.Request) -> AsyncGenerator[httpx2.Request, httpx2.Response]:
        if _find_origin(request.url) != self._origin or not self._is_wanted():
            yield request
            return
        sent = await self._find_token()
        response = yield _sign(request, sent)
        mended = set[_Lack]()
        for _ in range(3):
            lack = _find_lack(response)
            is_vain = lack == _Lack(None) and self._is_of_no_use(sent)
            if lack is None or lack in mended or is_vain:
                break
            mended.add(lack)
            response.stream = _Bounded(response.stream)  # it is read before the request is sent again
            sent = await (self._find_token(refused=sent) if lack.scopes is None else self._widen(lack.scopes))
            response = yield _sign(request, sent)
        if _find_lack(response) == _Lack(None):
            await self._note_refused(sent, is_refused=True)
            raise NeedsSignIn(say_login(self._server.key, "it refuses the token"))
        if response.is_success and self._kept is not None and self._kept.is_refused:
            await self._note_refused(sent, is_refused=False)

    def _is_wanted(self) -> bool:
        return self._server.oauth is not None or self._look() is not None

    def _look(self) -> Kept | None:
        """Return what is kept, as another process may have left it. Raises SignInFailed."""
        stamp = self._file.stamp()
        if stamp != self._stamp:
            self._kept = self._file.read()
            self._stamp = stamp
            self._redact.learn(self._kept.list_secrets() if self._kept else ())
        return self._kept

    async def _find_token(self, *, refused: str | None = None) -> str:
        """Return a token that holds and is not the one that was refused. Raises NeedsSignIn or SignInFailed."""
        kept = self._look()
        if (token := self._take(kept, refused)) is not None:
            return token
        try:
            return await self._renew(refused)
        except NeedsSignIn as need:
            if self._ask is None or not await self._ask(need):
                raise
        if (token := self._take(self._look(), refused)) is None:
            raise NeedsSignIn(say_login(self._server.key))
        return token

    def _take(self, kept: Kept | None, refused: str | None) -> str | None:
        if kept is None or kept.tokens is None:
            return None
        can_renew = kept.tokens.refresh_token is not None or not _needs_person(self._server)
        if can_renew and kept.is_due(self._clock.time()):  # else the server decides: our clock may be wrong
            return None
        return kept.tokens.access_token if kept.tokens.access_token != refused else None

    async def _renew(self, refused: str | None) -> str:
        """Renew the token, once for all who wait for it, in all processes."""
        round_ = self._rounds
        async with self._renewing:
            if (token := self._take(self._look(), refused)) is not None:
                return token
            if self._rounds != round_ and self._failure is not None:
                raise self._failure.with_traceback(None)
            # the authority may take back the old token before the new one has come
            renewed: list[str] = []
            with anyio.CancelScope(shield=True):
                renewed.append(await self._renew_alone(refused))
            return renewed[0]

    async def _renew_alone(self, refused: str | None) -> str:
        self._failure = None
        try:
            async with self._file.locked(self._clock):
                kept = self._look()
                if (token := self._take(kept, refused)) is not None:
                    return token
                return await self._ask_authority(kept)
        except (NeedsSignIn, SignInFailed) as failure:
            self._failure = failure
            raise
        finally:
            self._rounds += 1

    async def _ask_authority(self, kept: Kept | None) -> str:
        if kept is None and _needs_person(self._server):
            raise NeedsSignIn(say_login(self._server.key))
        from bridge.hub.sign_in.flow import SignInFlow  # late: tokens are renewed once an hour, if at all
        from bridge.hub.sign_in.guard import Visitor

        visitor = Visitor(self._server, self._clock, self._resolve)
        flow = SignInFlow(self._server, kept, clock=self._clock, visitor=visitor, on_tokens=self._keep)
        try:
            renewed = await flow.renew()
        except NeedsSignIn:
            if kept is not None and kept.tokens is not None:
                self._keep(kept.model_copy(update={"tokens": None, "renew_at": None, "ends_at": None}))
            raise
        assert renewed.tokens
        logger.info("%s: its sign-in was renewed", self._server.key)
        return renewed.tokens.access_token

    def _is_of_no_use(self, token: str) -> bool:
        """Tell whether a token was refused as soon as it had come, here or in another process."""
        kept = self._look()
        return kept is not None and kept.is_refused and kept.tokens is not None and kept.tokens.access_token == token

    async def _note_refused(self, token: str, *, is_refused: bool) -> None:
        """Note that the server refuses a token that has just come, so that nobody asks for one again and again; or that
        it takes it after all."""
        with suppress(SignInFailed):
            async with self._file.locked(self._clock):
                kept = self._look()
                if kept and kept.tokens and kept.tokens.access_token == token and kept.is_refused != is_refused:
                    self._keep(kept.model_copy(update={"is_refused": is_refused}))

    async def _widen(self, scopes: str) -> str:
        """Let the person grant scopes that a call needs. Raises NeedsSignIn where nobody can, or it was no use."""
        if not scopes:
            raise NeedsSignIn(say_scope(self._server.key, scopes, was_asked=False), scope=scopes)
        async with self._file.locked(self._clock):
            kept = self._look()
            was_asked = kept is not None and set(scopes.split()) <= set((kept.asked or "").split())
            if kept is not None and not was_asked:
                self._keep(kept.model_copy(update={"wanted": union_scopes(kept.wanted, scopes)}))
        need = NeedsSignIn(say_scope(self._server.key, scopes, was_asked=was_asked), scope=scopes)
        if was_asked or self._ask is None or not await self._ask(need):
            raise need
        return await self._find_token()

    def _keep(self, kept: Kept) -> None:
        """Keep what has come, unless somebody has signed in or out meanwhile: that counts. Where it cannot be written,
        at least this process goes on with it."""
        self._redact.learn(kept.list_secrets())
        if self._file.stamp() != self._stamp:
            return
        self._kept = kept
        try:
            self._file.write(kept)
        except SignInFailed as failure:
            logger.warning("%s", failure)
        self._stamp = self.left = self._file.stamp()


class _Bounded(httpx2.AsyncByteStream):
    """A body that ends after MOST_READ bytes."""

    def __init__(self, stream: object) -> None:
        assert isinstance(stream, httpx2.AsyncByteStream)
        self._stream = stream

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = MOST_READ
        async for chunk in self._stream:
            yield chunk[:left]
            left -= len(chunk)
            if left <= 0:
                return

    @override
    async def aclose(self) -> None:
        await self._stream.aclose()


def _find_lack(response: httpx2.Response) -> _Lack | None:
    """Find what the request lacked that this answers; None: nothing that a sign-in could give."""
    error = extract_field_from_www_auth(response, "error")
    if response.status_code == 401 or (response.status_code == 400 and error == "invalid_token"):
        return _Lack(None)
    if response.status_code == 403 and error == "insufficient_scope":
        return _Lack(extract_field_from_www_auth(response, "scope") or "")
    return None


def _sign(request: httpx2.Request, token: str) -> httpx2.Request:
    request.headers["authorization"] = f"Bearer {token}"
    return request


def _find_origin(url: httpx2.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port


def build_auth(
    server: ServerConfig, folder: StateFolder, *, clock: Clock, redact: Redactor, ask: OnNeed | None = None
) -> SignIn | None:
    """Build what signs in the requests to a server; None where it has no URL, or the user has set Authorization."""
    if not can_sign_in(server):
        return None
    return SignIn(server, folder, clock=clock, redact=redact, ask=ask)


def describe(server: ServerConfig, folder: StateFolder) -> SignedIn | None:
    """Describe who is signed in to a server until when; None: nobody. Raises SignInFailed for a file not to be used."""
    kept = SignInFile(server, folder).read() if server.url else None
    if kept is None or kept.tokens is None:
        return None
    is_renewed = kept.tokens.refresh_token is not None or not _needs_person(server)
    authority = kept.authority or (str(kept.metadata.issuer) if kept.metadata else None)
    return SignedIn(kept.ends_at, is_renewed, authority, kept.tokens.scope)


def _needs_person(server: ServerConfig) -> bool:
    return server.oauth is None or server.oauth.grant == "authorization_code"


def stamp(server: ServerConfig, folder: StateFolder) -> Stamp | None:
    """Return what changes whenever somebody signs in or out; None while nobody has."""
    return SignInFile(server, folder).stamp()
