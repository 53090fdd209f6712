"""Where the issuer's keys are, by its own metadata (RFC 8414, OpenID Connect Discovery)."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from bridge.clock import Clock
from bridge.config.values import is_loopback
from bridge.host.issuer.fetch import IssuerFault, Unreachable, fetch, is_safe
from bridge.visible import quote_name

LONGEST = 200


def list_places(issuer: str) -> Iterator[str]:
    """Yield where its metadata may be. With a path, the well-known part stands before it or, for OpenID, behind it."""
    parts = urlsplit(issuer)
    root, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    yield f"{root}/.well-known/oauth-authorization-server{path}"
    yield f"{root}/.well-known/openid-configuration{path}"
    if path:
        yield f"{root}{path}/.well-known/openid-configuration"


async def find_keys_url(issuer: str, clock: Clock) -> str:
    """Find the URL of the issuer's keys. Raises Unreachable or IssuerFault, which says what would be right.

    Only metadata counts that names exactly this issuer: another's keys would sign for it.
    """
    told: list[str] = []
    for place in list_places(issuer):
        try:
            document = await fetch(place, clock)
        except Unreachable:
            raise
        except IssuerFault as error:
            told.append(str(error))
            continue
        named, url = document.get("issuer"), document.get("jwks_uri")
        if named != issuer:
            told.insert(0, _tell_other(place, named))
        elif not isinstance(url, str):
            told.insert(0, f"{place} names no jwks_uri")
        elif not is_safe(url) or (is_loopback(url) and not is_loopback(issuer)):
            told.insert(0, f"{place} names a jwks_uri that is not https")
        else:
            return url
    raise IssuerFault(told[0])


def _tell_other(place: str, named: object) -> str:
    if not isinstance(named, str):
        return f"{place} names no issuer"
    shown = quote_name(named[:LONGEST])
    return f"it calls itself {shown}; write serve.oauth.issuer exactly so, if that is the one you mean"
