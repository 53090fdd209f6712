"""Claims of a token that its signature does not vouch for: checked one by one (RFC 7519, RFC 9068)."""

from collections.abc import Collection

from bridge.host.issuer.token import BadToken
from bridge.json_text import JsonObject

LEEWAY_S = 60
"""Seconds by which the issuer's clock may differ from ours."""
LONGEST_LIFE_S = 31 * 86_400
"""Seconds that a token may still be good for: one that never ends is a mistake, and could not be taken back."""
LONGEST_NAME = 255
_OF_OTHER_KINDS = ("at_hash", "c_hash", "s_hash", "events", "cnf")
"""What only other tokens hold: those that tell a client who has signed in, those of logouts, and those that are good
only with a proof that is not checked here."""


def check_times(claims: JsonObject, now: float) -> None:
    """Check that the token is good now. Raises BadToken."""
    expiry = _read_time(claims, "exp")
    if expiry is None or not now - LEEWAY_S < expiry <= now + LONGEST_LIFE_S:
        raise BadToken("it has expired, or its exp is missing or too far away")
    for name in ("nbf", "iat"):
        since = _read_time(claims, name)
        if since is not None and since > now + LEEWAY_S:
            raise BadToken(f"its {name} is in the future; do the clocks of the issuer and of this machine agree?")


def _read_time(claims: JsonObject, name: str) -> float | None:
    value = claims.get(name)
    if name in claims and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise BadToken(f"its {name} is not a number")
    return value if isinstance(value, int | float) else None


def check_kind(claims: JsonObject) -> None:
    """Check that it is an access token, so far as that can be seen. Raises BadToken."""
    kind = claims.get("typ", "Bearer")  # Keycloak says it here
    if not isinstance(kind, str) or kind.lower() != "bearer" or any(name in claims for name in _OF_OTHER_KINDS):
        raise BadToken("it is not an access token, or one that is good only with a proof of its holder")


def check_audience(claims: JsonObject, wanted: Collection[str]) -> None:
    """Check that it was made for us. Raises BadToken."""
    named = claims.get("aud")
    several = named if isinstance(named, list) else [named]
    if not any(isinstance(each, str) and each in wanted for each in several):
        raise BadToken(f"its aud names none of {', '.join(sorted(wanted))} (serve.oauth.audience)")


def list_scopes(claims: JsonObject) -> frozenset[str]:
    """List its scopes, as either of the two usual claims says them, as words or as a list."""
    found: set[str] = set()
    for name in ("scope", "scp"):
        value = claims.get(name)
        listed = value.split(" ") if isinstance(value, str) else value if isinstance(value, list) else []
        found |= {each for each in listed if isinstance(each, str) and each}
    return frozenset(found)


def find_name(claims: JsonObject, claim: str) -> str:
    """Find whose token it is, by this claim. Raises BadToken.

    An e-mail address counts only if the issuer has checked it: elsewhere people write any into their own entry.
    """
    name = claims.get(claim)
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME:
        raise BadToken(f"it has no usable {claim} (serve.oauth.principal_claim)")
    if claim == "email" and claims.get("email_verified") is not True:
        raise BadToken("its e-mail address is not marked as verified by the issuer (email_verified)")
    return name
