"""The credentials of one server: none, until somebody has signed in to it or its entry says how."""

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import httpx2

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.errors import SignInFailed
from bridge.hub.transports.need import FOLDER, Need, OnNeed, can_sign_in, names_oauth, wants_sign_in
from bridge.telemetry import Redactor

if TYPE_CHECKING:
    from bridge.hub.sign_in.provider import SignIn
    from bridge.state import StateFolder

LOOK_S, LONGEST_LOOK_S = 2.0, 30.0
"""How often it is looked whether somebody has signed in: ever more seldom, and each time that a run begins."""
LOOKS = 300
"""The pause between two looks doubles in so many of them."""


class Credentials:
    """What signs in the requests to one server; nothing for one whose `Authorization` is in the config."""

    def __init__(
        self, server: ServerConfig, environ: Mapping[str, str], clock: Clock, redact: Redactor, ask: OnNeed | None
    ) -> None:
        self._server = server
        self._clock = clock
        self._redact = redact
        self._ask = ask
        self._state_folder = _find_folder(environ) if can_sign_in(server) else None
        self._auth: SignIn | None = None
        """One for all connections, so that a token is renewed once."""
        self._seen: object = None
        self._woken = anyio.Event()

    @property
    def folder(self) -> "StateFolder":
        """The folder of all sign-ins. Raises SignInFailed where there can be none."""
        from bridge.state import StateFolder

        if self._state_folder is None:
            raise SignInFailed("no sign-in can be kept: no home folder is known; set MCP_RESPONSES_BRIDGE_STATE")
        return StateFolder(self._state_folder, FOLDER)

    @property
    def is_kept(self) -> bool:
        """True if something is kept of a sign-in to the server."""
        return self._find_stamp() is not None

    @property
    def holds_token(self) -> bool:
        """True if a token is kept: a server that refuses it may take it again, without anybody's help."""
        if not self.is_kept:
            return False
        from bridge.hub.sign_in.provider import describe

        with suppress(SignInFailed):
            return describe(self._server, self.folder) is not None
        return False

    def build(self) -> httpx2.Auth | None:
        """Build what signs in the requests of one connection, and note what is kept by now; None where nothing is."""
        self._seen, self._woken = self._find_stamp(), anyio.Event()
        if self._state_folder is None or (self._seen is None and self._server.oauth is None):
            return None
        if self._auth is None:
            from bridge.hub.sign_in.provider import build_auth

            self._auth = build_auth(self._server, self.folder, clock=self._clock, redact=self._redact, ask=self._ask)
        return self._auth

    def judge(self, status: int, challenge: str) -> Need | None:
        """Say that a refusal asks for a sign-in that a person can give; None where it does not."""
        if not wants_sign_in(self._server, status, challenge):
            return None
        from bridge.hub.sign_in.words import say_login

        return Need(say_login(self._server.key), is_certain=names_oauth(challenge))

    def look(self) -> bool:
        """Tell whether somebody has signed in, or out, since `build`; whoever waits for that goes on."""
        if (found := self._find_stamp()) != self._seen:
            if self._auth is None or found is None or found != self._auth.left:
                self._woken.set()
            self._seen = found
        return self._woken.is_set()

    async def wait(self, seconds: float) -> bool:
        """Wait until somebody has signed in, at most so long; return whether somebody has."""
        until, pause = self._clock.now() + seconds, LOOK_S
        while not self.look() and (now := self._clock.now()) < until:
            with self._clock.scope(min(until, now + pause)):
                await self._woken.wait()
            pause = min(pause * 2 ** (1 / LOOKS), LONGEST_LOOK_S)
        return self._woken.is_set()

    def _find_stamp(self) -> object:
        if self._state_folder is None or not Path(self._state_folder, FOLDER).is_dir():
            return None
        from bridge.hub.sign_in.provider import stamp

        return stamp(self._server, self.folder)

    def describe(self) -> str | None:
        """Describe who is signed in until when, for people; None where nobody is."""
        try:
            if not self.is_kept:
                return None
            from bridge.hub.sign_in.provider import describe

            signed_in = describe(self._server, self.folder)
        except SignInFailed as error:
            return str(error)
        return signed_in.describe(self._clock.time()) if signed_in else None


def _find_folder(environ: Mapping[str, str]) -> Path | None:
    from bridge.state import Unusable, find_state_folder

    try:
        return find_state_folder(environ)
    except Unusable:
        return None
