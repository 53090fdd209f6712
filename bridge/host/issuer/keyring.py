"""The keys that are at hand: fetched at the start, again when they are old, and once when a token names one that is not
among them."""

import logging

import anyio

from bridge.clock import Clock
from bridge.host.issuer.fetch import IssuerFault, fetch
from bridge.host.issuer.keys import Key, read_keys
from bridge.host.issuer.metadata import find_keys_url

logger = logging.getLogger(__name__)
FRESH_S = 600.0
"""Seconds after which the keys are fetched again; one that the issuer has withdrawn counts no longer than this."""
KEPT_S = 3600.0
"""Seconds for which the keys are used while the issuer cannot be asked."""
PAUSE_S = 10.0
"""Seconds between two fetches, whatever the tokens say: anybody can send tokens that name any key."""


async def fetch_keys(issuer: str, url: str | None, clock: Clock) -> tuple[str, tuple[Key, ...]]:
    """Fetch the issuer's keys, from `url` if that is known; return from where, and them. Raises IssuerFault."""
    url = url or await find_keys_url(issuer, clock)
    return url, read_keys(await fetch(url, clock))


class NoKeys(Exception):
    """No token can be judged just now, because the issuer cannot be asked for its keys."""


class Keyring:
    """The keys of one issuer. `run` fetches them, one fetch at a time, for whoever `find`s none."""

    def __init__(self, issuer: str, clock: Clock) -> None:
        self._issuer = issuer
        self._clock = clock
        self._keys: tuple[Key, ...] = ()
        self._fetched = self._tried = float("-inf")
        self._url: str | None = None
        self._fault = ""
        self._is_busy = True  # `run` begins with a fetch
        self._wanted = anyio.Event()
        self._done = anyio.Event()

    async def run(self) -> None:
        """Fetch the keys, now and whenever they are wanted."""
        while True:
            await self._fetch()
            self._done.set()
            self._done, self._is_busy = anyio.Event(), False
            await self._wanted.wait()
            self._wanted = anyio.Event()

    async def find(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """Find the keys that may have signed a token. Raises NoKeys.

        Old keys are used while new ones are fetched; only where there are none that fit does the caller wait.
        """
        now = self._clock.now()
        if now - self._fetched > FRESH_S:
            self._want()
        found = self._choose(kid, algorithm)
        if found or not (self._is_busy or self._want()):
            return found
        await self._done.wait()
        return self._choose(kid, algorithm)

    def _choose(self, kid: str | None, algorithm: str) -> tuple[Key, ...]:
        """Choose by name; without a name, only where there is no choice."""
        keys = self._keys if self._clock.now() - self._fetched <= KEPT_S else ()
        if not keys and not self._is_busy and self._clock.now() - self._tried < PAUSE_S:
            raise NoKeys
        fitting = tuple(key for key in keys if algorithm in key.algorithms)
        if kid is None:
            return fitting if len(fitting) == 1 else ()
        return tuple(key for key in fitting if key.kid == kid)

    def _want(self) -> bool:
        """Have the keys fetched, unless that has just been done; tell whether they are."""
        if not self._is_busy and self._clock.now() - self._tried >= PAUSE_S:
            self._is_busy = True
            self._wanted.set()
        return self._is_busy

    async def _fetch(self) -> None:
        try:
            self._url, self._keys = await fetch_keys(self._issuer, self._url, self._clock)
            self._fetched = self._clock.now()
            fault = ""
        except IssuerFault as error:
            self._url, fault = None, str(error)  # it may have moved
        self._tried = self._clock.now()
        if fault and fault != self._fault:
            logger.warning("serve.oauth.issuer: tokens of %s cannot be checked: %s", self._issuer, fault)
        elif self._fault and not fault:
            logger.warning("serve.oauth.issuer: tokens of %s can be checked again", self._issuer)
        self._fault = fault
