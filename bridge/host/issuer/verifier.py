"""Tokens of the issuer, and whose each is."""

import logging

import jwt

from bridge.clock import Clock
from bridge.config.principals import name_person
from bridge.config.settings import IssuerConfig
from bridge.host.issuer.claims import check_audience, check_kind, check_times, find_name, list_scopes
from bridge.host.issuer.keyring import PAUSE_S, Keyring, NoKeys
from bridge.host.issuer.keys import Key
from bridge.host.issuer.resource import Resource
from bridge.host.issuer.token import BadToken, Token, read_token
from bridge.host.principals import Refused, Verified
from bridge.host.tally import EVERY_S
from bridge.json_text import JsonObject
from bridge.telemetry import COUNTED

logger = logging.getLogger(__name__)
SCOPELESS = Refused("Forbidden: the token lacks a scope that is needed here", "insufficient_scope", 403)
UNLISTED = Refused("Forbidden: the owner of this token may not use this service", "", 403)
NO_KEYS = Refused("The issuer cannot be asked whether this token is its own; try again later", "", 503, int(PAUSE_S))


class IssuerVerifier:
    """Tells whose each token is.

    Before its signature is checked, nothing of it counts but the issuer it names and the name of its key, which are
    only compared.
    """

    def __init__(self, settings: IssuerConfig, clock: Clock) -> None:
        self.resource = Resource(settings)
        self._settings = settings
        self._clock = clock
        self._keyring = Keyring(settings.issuer, clock)
        self._told: dict[str, float] = {}
        """Until when each reason is not told again."""

    async def run(self) -> None:
        """Keep the issuer's keys at hand."""
        await self._keyring.run()

    async def verify(self, token: str) -> Verified | Refused | None:
        """Tell whose the token is. Why it is refused is for the log alone."""
        try:
            claims = await self._read(token)
            if missing := set(self._settings.scopes) - list_scopes(claims):
                self._tell(f"it lacks {' '.join(sorted(missing))} (serve.oauth.scopes)")
                return SCOPELESS
            return self._find(find_name(claims, self._settings.principal_claim))
        except BadToken as error:
            self._tell(str(error))
            return None
        except NoKeys:
            return NO_KEYS

    def _find(self, name: str) -> Verified | Refused:
        """Find the principal. Who has no name in the config gets one that nobody can have there."""
        if known := self._settings.principals.get(name):
            return Verified(known)
        if self._settings.lets_others_in:
            return Verified(name_person(self._settings.issuer, name))
        self._tell(f"its {self._settings.principal_claim} is nobody in serve.oauth.principals")
        return UNLISTED

    async def _read(self, text: str) -> JsonObject:
        """Read the claims of a token that the issuer has made for us and that is good now. Raises BadToken, NoKeys."""
        token = read_token(text)
        if token.claims.get("iss") != self._settings.issuer:
            raise BadToken("it is of another issuer (serve.oauth.issuer)")
        keys = await self._keyring.find(token.kid, token.algorithm)
        if not any(_has_signed(key, token) for key in keys):
            raise BadToken("no key of the issuer has signed it" if keys else "the issuer has no key of that name")
        check_times(token.claims, self._clock.time())
        check_kind(token.claims)
        check_audience(token.claims, self.resource.audiences)
        return token.claims

    def _tell(self, reason: str) -> None:
        """Tell the log, each reason once a minute. All of them are words of ours: a token may hold anything."""
        now = self._clock.now()
        if self._told.get(reason, now) <= now:
            self._told[reason] = now + EVERY_S
            logger.warning("a token was refused: %s", reason, extra=COUNTED)


def _has_signed(key: Key, token: Token) -> bool:
    """Check the signature, by an algorithm that the key is for: the keyring finds no other."""
    try:
        jwt.PyJWS().decode(token.text, key.public, [token.algorithm])
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return True
