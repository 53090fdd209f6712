"""A server's need of a sign-in: how a refusal says it, and how it is handed on from what signs in the requests."""

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

import httpx2

from bridge.config.settings import ServerConfig
from bridge.errors import NeedsSignIn, SignInFailed
from bridge.hub.transports.redirects import Transmit

FOLDER = "signins"
"""The folder of all sign-ins in the state folder: while there is none, nobody has signed in anywhere."""
NEED = "mcp-responses-bridge.need"
"""The extension of a reply of ours that stands for a request which was not sent, as it cannot be signed in."""
CREDENTIALS = re.compile(r"authorization|cookie|key|token|secret", re.IGNORECASE)
"""Headers of the config that sign in by themselves."""
_OAUTH = re.compile(r"\bbearer\b|\bresource_metadata\b", re.IGNORECASE)

OnNeed: TypeAlias = Callable[[NeedsSignIn], Awaitable[bool]]
"""Lets a person sign in; False if nobody did."""


@dataclass(frozen=True)
class Need:
    """A sign-in that a person has to give."""

    words: str
    """For people and models; they name the command."""
    is_certain: bool = True
    """False if it may as well be a key that is missing: the server names no way to sign in."""
    is_of_all: bool = False
    """True if no request can be signed in any more; False if only one was refused."""

    def is_told(self, words: str) -> bool:
        """Tell whether other words name the command too."""
        return self.words.rpartition(": ")[2] in words


def can_sign_in(server: ServerConfig) -> bool:
    """Tell whether a sign-in would be sent to a server: not beside an `Authorization` of the user's own."""
    return server.url is not None and not server.has_own_authorization


def names_oauth(challenge: str) -> bool:
    """Tell whether the `WWW-Authenticate` of a refusal names a way to sign in."""
    return bool(_OAUTH.search(challenge))


def wants_sign_in(server: ServerConfig, status: int, challenge: str) -> bool:
    """Tell whether a refusal asks for a sign-in, and not for a key of the config or another one."""
    if not can_sign_in(server):
        return False
    if status in (400, 401, 403) and names_oauth(challenge):
        return True
    return status == 401 and not challenge and not any(map(CREDENTIALS.search, server.headers))


async def transmit_signed(transmit: Transmit, request: httpx2.Request) -> httpx2.Response:
    """Send a request; where it cannot be signed in, return a refusal with the need: others may go on."""
    try:
        return await transmit(request)
    except NeedsSignIn as need:
        said = Need(str(need), is_of_all=need.scope is None)
        return httpx2.Response(401, request=request, extensions={NEED: said})
    except SignInFailed as failure:
        status = 503 if failure.is_transient else 403
        return httpx2.Response(status, request=request, extensions={NEED: failure})
