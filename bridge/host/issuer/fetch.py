"""Documents of the issuer, fetched within bounds: of bytes, of time, and of where a redirect may lead."""

from urllib.parse import urljoin, urlsplit

import httpx2

from bridge.clock import Clock
from bridge.config.values import is_loopback
from bridge.json_text import JsonObject, decode
from bridge.network import explain_network

TIMEOUT_S = 5.0
"""Seconds for one document, redirects included."""
MOST_BYTES = 1 << 19
MOST_REDIRECTS = 3
_REDIRECTS = (301, 302, 303, 307, 308)
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class IssuerFault(Exception):
    """What the issuer says, or that it says nothing, is of no use; the message is a part of a sentence for people."""


class Unreachable(IssuerFault):
    """Nobody answers there."""


async def fetch(url: str, clock: Clock) -> JsonObject:
    """Fetch a JSON object. Raises Unreachable or IssuerFault. A proxy is never used for loopback."""
    with clock.scope(clock.now() + TIMEOUT_S):
        try:
            async with httpx2.AsyncClient(headers=_HEADERS, timeout=None, trust_env=not is_loopback(url)) as http:
                return _read(url, await _follow(http, url))
        except (httpx2.TransportError, OSError) as error:
            raise Unreachable(f"{url} cannot be reached: {explain_network(error)}") from error
        except (httpx2.InvalidURL, ValueError):
            raise IssuerFault(
                f"{url} is no possible URL, or the environment names a proxy that cannot be used"
            ) from None
    raise Unreachable(f"{url} did not answer within {TIMEOUT_S:g} s")


async def _follow(http: httpx2.AsyncClient, url: str) -> bytes:
    """Get the body, also after redirects that stay where they came from."""
    target = url
    for _ in range(MOST_REDIRECTS + 1):
        async with http.stream("GET", target) as reply:
            if reply.status_code not in _REDIRECTS:
                return await _take(reply, target)
            following = urljoin(target, reply.headers.get("location", ""))
        if find_origin(following) != find_origin(url):
            raise IssuerFault(f"{url} redirects to another origin, which is not followed")
        target = following
    raise IssuerFault(f"{url} redirects more than {MOST_REDIRECTS} times")


async def _take(reply: httpx2.Response, url: str) -> bytes:
    if reply.status_code != 200:
        raise IssuerFault(f"{url} answered {reply.status_code}")
    if reply.headers.get("content-encoding", "identity") != "identity":
        raise IssuerFault(f"{url} answered with a compressed body, which was not asked for")
    body = bytearray()
    async for chunk in reply.aiter_raw():
        body += chunk
        if len(body) > MOST_BYTES:
            raise IssuerFault(f"{url} answered with more than {MOST_BYTES >> 10} KiB")
    return bytes(body)


def _read(url: str, body: bytes) -> JsonObject:
    try:
        document = decode(body)
    except ValueError:
        raise IssuerFault(f"{url} did not answer with JSON") from None
    if not isinstance(document, dict):
        raise IssuerFault(f"{url} did not answer with a JSON object")
    return document


def find_origin(url: str) -> tuple[str, str | None, int | None]:
    """Return scheme, host and port of a URL; None for the port of one that has an impossible one."""
    try:
        parts = urlsplit(url)
        return parts.scheme, parts.hostname, parts.port or {"https": 443, "http": 80}.get(parts.scheme)
    except ValueError:
        return "", None, None


def is_safe(url: str) -> bool:
    """Tell whether what comes from this URL can be trusted to come from there: by TLS, or from this machine."""
    scheme, host, _ = find_origin(url)
    return bool(host) and (scheme == "https" or (scheme == "http" and is_loopback(host or "")))
