"""Tokens of the issuer, and who each is of."""

import jwt

from bridge.clock import Clock
from bridge.config.settings import IssuerConfig
from bridge.host.issuer.claims import check_audience, check_kind, check_times, find_name, list_scopes
from bridge.host.issuer.keyring import Keyring
from bridge.host.issuer.keys import Key
from bridge.host.issuer.resource import Resource
from bridge.host.issuer.token import BadToken, Token, read_token
from bridge.json_text import JsonObject


class NotEnough(BadToken):
    """A good token that does not have the scopes it needs, or is of somebody who is not let in."""


class Verifier:
    """Tells of each token who it is of. Before its signature is checked, nothing of it counts but the issuer it names
    and the name of its key, which are only compared."""

    def __init__(self, settings: IssuerConfig, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._audiences = Resource(settings).audiences
        self._keyring = Keyring(settings.issuer, clock)

    async def run(self) -> None:
        """Keep the issuer's keys at hand."""
        await self._keyring.run()

    async def verify(self, text: str) -> str:
        """Return who it is, by the claim that says so. Raises BadToken, NotEnough or NoKeys."""
        token = read_token(text)
        if token.claims.get("iss") != self._settings.issuer:
            raise BadToken("it is of another issuer (serve.oauth.issuer)")
        keys = await self._keyring.find(token.kid, token.algorithm)
        if not any(_has_signed(key, token) for key in keys):
            raise BadToken("no key of the issuer has signed it" if keys else "the issuer has no key of that name")
        self._check(token.claims)
        return find_name(token.claims, self._settings.principal_claim)

    def _check(self, claims: JsonObject) -> None:
        check_times(claims, self._clock.time())
        check_kind(claims)
        check_audience(claims, self._audiences)
        if missing := set(self._settings.scopes) - list_scopes(claims):
            raise NotEnough(f"it lacks the scope {', '.join(sorted(missing))} (serve.oauth.scopes)")


def _has_signed(key: Key, token: Token) -> bool:
    """Check the signature, by an algorithm that the key is for: `Keyring` has looked for no other."""
    try:
        jwt.PyJWS().decode(token.text, key.public, [token.algorithm])
    except (jwt.PyJWTError, ValueError, TypeError):
        return False
    return True
