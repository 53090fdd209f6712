"""Tokens of named principals: those in the config, and those that `tokens add` has made."""

import hashlib
import hmac
import logging
from collections.abc import Iterator, Mapping

from bridge.clock import Clock
from bridge.config.principals import DEFAULT, hash_token, list_hashes
from bridge.config.settings import ServeConfig
from bridge.errors import ConfigError
from bridge.host.kept_tokens import KIND, KeptToken, KeptTokens
from bridge.host.principals import Refused, Verified
from bridge.state import StateFolder, Unusable, find_state_folder

logger = logging.getLogger(__name__)

STEADY_S = 2.0
"""For so long after a change, the folder is read each time: another one may come in the same tick of its clock."""


class Tokens:
    """Verifies the tokens in the config and in the state folder. What is added or removed there counts at once."""

    def __init__(self, settings: ServeConfig, kept: KeptTokens, clock: Clock) -> None:
        self._named = frozenset(settings.principals)
        self._configured = list(_list_configured(settings))
        self._kept = kept
        self._clock = clock
        self._read_at: tuple[int, int] | None = None
        self._others: list[tuple[str, str]] = []
        self._told = set[str]()

    async def verify(self, token: str) -> Verified | Refused | None:
        """Tell whose token this is. Every known one is compared, and each in constant time."""
        self._read_changes()
        digest, owner = hashlib.sha256(token.encode("latin-1", "replace")).hexdigest(), None
        for known, name in (*self._configured, *self._others):
            if hmac.compare_digest(known, digest):
                owner = name
        return Verified(owner) if owner else None

    @property
    def is_empty(self) -> bool:
        """True where nobody has a token."""
        self._read_changes()
        return not (self._configured or self._others)

    def check(self) -> None:
        """Raise ConfigError where the state folder holds a token that cannot be relied on."""
        try:
            _, faults = self._kept.read()
        except Unusable as error:
            faults = [str(error)]
        if faults:
            raise ConfigError(f"tokens: {faults[0]}")

    def _read_changes(self) -> None:
        stamp = self._kept.find_stamp()
        if stamp == self._read_at:
            return
        self._others = []
        try:
            tokens, faults = self._kept.read()
        except Unusable as error:
            tokens, faults = list[KeptToken](), [str(error)]
        shared = {token.sha256 for token in tokens if any(_is_other(token, each) for each in tokens)}
        self._others = [
            (token.sha256, token.name) for token in tokens if token.name in self._named and token.sha256 not in shared
        ]
        for fault in faults:
            if fault not in self._told:
                self._told.add(fault)
                logger.warning("%s", fault)
        is_steady = stamp is None or self._clock.time() - stamp[1] / 1e9 > STEADY_S
        self._read_at = stamp if is_steady and not faults else None  # a fault may be over, such as too many open files


def _is_other(token: KeptToken, other: KeptToken) -> bool:
    return token.sha256 == other.sha256 and token.name != other.name


def _list_configured(settings: ServeConfig) -> Iterator[tuple[str, str]]:
    if settings.token:
        yield hash_token(settings.token), DEFAULT
    for name, entry in settings.principals.items():
        for digest in list_hashes(entry):
            yield digest, name


def choose_verifiers(settings: ServeConfig, environ: Mapping[str, str]) -> tuple[Tokens, ...]:
    """Choose who verifies tokens: nobody where one token is for all. Raises ConfigError."""
    return (open_tokens(settings, environ),) if settings.principals else ()


def open_tokens(settings: ServeConfig, environ: Mapping[str, str]) -> Tokens:
    """Open the tokens of all principals. Raises ConfigError where some of them cannot be relied on."""
    tokens = Tokens(settings, KeptTokens(find_folder(environ)), Clock())
    tokens.check()
    if tokens.is_empty and settings.oauth is None:
        logger.warning("serve.principals: nobody has a token; `tokens add NAME` makes one")
    return tokens


def find_folder(environ: Mapping[str, str]) -> StateFolder:
    """Find the folder of the tokens. Raises ConfigError."""
    try:
        return StateFolder(find_state_folder(environ), KIND)
    except Unusable as error:
        raise ConfigError(f"serve.principals: tokens cannot be kept: {error}") from None
