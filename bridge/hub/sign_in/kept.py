"""What is kept of one sign-in: a file in the state folder, which only its owner may read, and the lock of its renewal.

It is named by the server's key and its URL: what was got for one address is never sent to another.
"""

import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TypeAlias

from mcp.shared.auth import OAuthClientInformationFull, OAuthMetadata, OAuthToken, ProtectedResourceMetadata
from pydantic import BaseModel, ValidationError

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.errors import SignInFailed
from bridge.hub.transports.need import FOLDER
from bridge.state import StateFolder, Suspect, Unusable, find_state_folder
from bridge.visible import quote_name

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

VERSION = 1
LOCK_S, NAP_S = 60.0, 0.05
"""How long another process may take to renew a sign-in, and how long to wait between two looks whether it has."""
LONGEST_LIFE_S = 10 * 365 * 86_400
"""A token that lives longer has no end that anybody would see."""
EARLY_S, EARLY_SHARE = 10.0, 0.1
"""How long before its end a token is renewed, and the share of its life that this may be at most."""

Stamp: TypeAlias = tuple[int, int, int]
"""Tells one state of a file from another."""


class Kept(BaseModel):
    """What is kept of one sign-in."""

    version: int = VERSION
    server: str
    url: str
    """The server's, that the tokens were made for."""
    tokens: OAuthToken | None = None
    """None where the authority does not renew them any more, or nobody has signed in yet."""
    renew_at: float | None = None
    """When the token is to be renewed, by the wall clock; None: it has no end."""
    ends_at: float | None = None
    client: OAuthClientInformationFull | None = None
    """Us, as the authority has registered us."""
    metadata: OAuthMetadata | None = None
    """The authority's."""
    resource: ProtectedResourceMetadata | None = None
    authority: str | None = None
    """The issuer that the server has named."""
    wanted: str | None = None
    """Scopes that the server wants for calls, and that the next sign-in asks for."""
    asked: str | None = None
    """Scopes that were asked for so far."""
    is_refused: bool = False
    """True where the server refuses the token as it has come: another one would be refused too."""

    def is_due(self, now: float) -> bool:
        """Tell whether there is no token, or it has to be renewed."""
        return self.tokens is None or (self.renew_at is not None and now >= self.renew_at)

    def list_secrets(self) -> list[str]:
        """List what must not be shown."""
        tokens, client = self.tokens, self.client
        found = [tokens.access_token, tokens.refresh_token] if tokens else []
        return [secret for secret in (*found, client.client_secret if client else None) if secret]


@dataclass(frozen=True)
class SignedIn:
    """That somebody has signed in, for people."""

    until: float | None
    """When the token ends, by the wall clock; None: it has no end."""
    is_renewed: bool
    """True if the program renews it by itself."""
    authority: str | None
    scopes: str | None

    def describe(self, now: float) -> str:
        """Describe it in a few words."""
        from datetime import datetime  # late: only people read it

        by = f" by {self.authority}" if self.authority else ""
        if self.until is None or self.is_renewed:
            return f"signed in{by}{', renewed by itself' if self.is_renewed else ''}"
        when = datetime.fromtimestamp(self.until).astimezone().isoformat(sep=" ", timespec="minutes")
        return f"signed in{by} until {when}" if now < self.until else f"was signed in{by} until {when}"


def open_folder(environ: Mapping[str, str]) -> StateFolder:
    """Return the folder of all sign-ins. Raises Unusable where there can be none."""
    return StateFolder(find_state_folder(environ), FOLDER)


def count_life(tokens: OAuthToken, now: float) -> tuple[float | None, float | None]:
    """Return when tokens that have just come are to be renewed, and when they end."""
    if tokens.expires_in is None or tokens.expires_in > LONGEST_LIFE_S:
        return None, None
    life = max(0.0, float(tokens.expires_in))
    return now + life - min(EARLY_S, life * EARLY_SHARE), now + life


def forget(key: str, folder: StateFolder) -> int:
    """Remove all files of a server, whatever its URL was; return how many there were. Raises OSError or Unusable."""
    folder.check()
    names = folder.find(f"{_hash(key)}-")
    for name in names:
        (folder.path / name).unlink(missing_ok=True)
    return sum(name.endswith(".json") for name in names)


class SignInFile:
    """The file of one server's sign-in."""

    def __init__(self, server: ServerConfig, folder: StateFolder) -> None:
        self._key = server.key
        self._url = server.url or ""
        self._folder = folder
        self._name = f"{_hash(self._key)}-{_hash(self._url)}"

    @property
    def path(self) -> Path:
        return self._folder.path / f"{self._name}.json"

    def stamp(self) -> Stamp | None:
        """Return what changes whenever the file does; None where there is no file."""
        try:
            found = self.path.lstat()
        except OSError:
            return None
        return found.st_mtime_ns, found.st_ino, found.st_size

    def read(self) -> Kept | None:
        """Read what is kept; None where there is nothing. Raises SignInFailed where it cannot be relied on."""
        try:
            self._folder.check()
            text = self._folder.read(self.path.name, is_secret=True)
        except Unusable as error:
            raise SignInFailed(f"the sign-in to {quote_name(self._key)} cannot be read: {error}") from None
        except Suspect as error:
            raise self._refuse(str(error)) from None
        if text is None:
            return None
        try:
            kept = Kept.model_validate_json(text)
        except ValidationError:  # its message would show tokens
            raise self._refuse("it is damaged") from None
        if (kept.version, kept.server, kept.url) != (VERSION, self._key, self._url):
            raise self._refuse("it is of another version or server")
        return kept

    def write(self, kept: Kept) -> None:
        """Write it, whole or not at all. Raises SignInFailed."""
        try:
            self._folder.replace(self.path.name, kept.model_dump_json(exclude_none=True))
        except (OSError, Unusable) as error:
            raise SignInFailed(f"the sign-in to {quote_name(self._key)} cannot be kept: {error}") from None

    @asynccontextmanager
    async def locked(self, clock: Clock) -> AsyncIterator[None]:
        """Keep other processes, and other connections of this one, from renewing it. Raises SignInFailed.

        A process that is killed lets go of it.
        """
        try:
            self._folder.prepare()
            lock = os.open(self._folder.path / f"{self._name}.lock", _LOCK_FLAGS, mode=0o600)
        except (OSError, Unusable) as error:
            raise SignInFailed(f"the sign-in to {quote_name(self._key)} cannot be renewed: {error}") from None
        try:
            await self._wait_for(lock, clock)
            yield
        finally:
            os.close(lock)

    async def _wait_for(self, lock: int, clock: Clock) -> None:
        deadline = clock.now() + LOCK_S
        while not _try_lock(lock):
            if clock.now() > deadline:
                name = quote_name(self._key)
                raise SignInFailed(f"another process renews the sign-in to {name} and does not end", is_transient=True)
            await clock.sleep(NAP_S)

    def _refuse(self, why: str) -> SignInFailed:
        name = quote_name(self._key)
        return SignInFailed(
            f"the sign-in to {name} is not used: {self.path}: {why}; sign in anew: `logout {self._key}`, "
            f"then `login {self._key}`"
        )


_LOCK_FLAGS = os.O_CREAT | os.O_RDWR | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)


def _try_lock(lock: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(lock, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "replace")).hexdigest()[:20]
