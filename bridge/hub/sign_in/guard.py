"""The way to an authority: only to addresses that a server may name, and never for long, nor for much.

What a server names leads anywhere: into a private network, to a cloud's metadata. So each address is judged when it is
connected to, after its name was looked up; the connection goes to what was judged. An answer is read up to a limit.
"""

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import TypeAlias
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx2
from typing_extensions import override

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.config.values import is_loopback
from bridge.errors import SignInFailed
from bridge.network import explain_network
from bridge.visible import quote_name

VISIT_S = 20.0
"""How long one request to an authority may take, its answer included."""
AGENT = "mcp-responses-bridge"
MAX_BYTES = 1 << 20
"""The most that is read of an answer."""

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Awaitable[list[str]]]
"""Looks up the addresses of a host."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_GLOBAL, _OWN = ipaddress.ip_network("2000::/3"), ipaddress.ip_network("fc00::/7")
"""Where the public addresses of IPv6 are, and those that a private network may give itself."""
_METADATA = frozenset({"169.254.169.254", "100.100.100.200", "168.63.129.16", "192.0.0.192", "fd00:ec2::254"})
"""Where clouds tell their machines secrets."""


class Guard:
    """Which addresses are visited to sign in to one server."""

    def __init__(self, server: ServerConfig) -> None:
        self._name = quote_name(server.key)
        self._is_local = is_loopback(server.url or "")
        issuer = server.oauth.issuer if server.oauth else None
        self._own = {urlsplit(url).hostname for url in (server.url, issuer) if url}
        """Hosts that the config names: they may be in a private network."""

    def check_url(self, url: str) -> None:
        """Raise SignInFailed for what is no web address, or not a safe one."""
        try:
            parts = urlsplit(url)
            host = parts.hostname or ""
        except ValueError:
            raise self._refuse(url, "which is no address") from None
        if parts.scheme not in ("http", "https") or not host or "@" in parts.netloc:
            raise self._refuse(url, "which is no address of a web page")
        if parts.scheme == "http" and not (self._is_local and is_loopback(url)):
            raise self._refuse(url, "which is not reached over https")
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            if host == "localhost" and not self._is_local:
                raise self._refuse(url, "which is on this machine, and the server is not") from None
            return
        self.check_address(url, host, address)

    def check_address(self, url: str, host: str, address: Address) -> None:
        """Raise SignInFailed for an address that a server must not lead to."""
        kind = classify(address)
        if kind == "loopback" and not self._is_local:
            raise self._refuse(url, f"which is on this machine ({address}), and the server is not")
        if kind == "private" and host not in self._own:
            advice = "; if that is right, write the authority's address into oauth.issuer of its entry"
            raise self._refuse(url, f"which is in a private network ({address}){advice}")
        if kind == "never":
            raise self._refuse(url, f"which is no place for one ({address})")

    def _refuse(self, url: str, why: str) -> SignInFailed:
        return SignInFailed(f"{self._name} leads to {name_origin(url)} for its sign-in, {why}")


def classify(address: Address) -> str:
    """Tell whether an address is public, private, on this machine, or none that anybody should be led to."""
    inner = address
    if isinstance(address, ipaddress.IPv6Address):
        embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF) if address in _NAT64 else None
        teredo = address.teredo[1] if address.teredo else None
        inner = address.ipv4_mapped or address.sixtofour or teredo or embedded or address
    if str(inner) in _METADATA or inner.is_link_local or inner.is_multicast or inner.is_unspecified:
        return "never"
    if inner.is_loopback:
        return "loopback"
    if isinstance(inner, ipaddress.IPv6Address) and inner not in _GLOBAL:
        return "private" if inner in _OWN else "never"
    if inner.is_global:
        return "public"
    return "never" if inner.is_reserved else "private"


def name_origin(url: str) -> str:
    """Name where a URL leads, without its path and query, which may hold secrets."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        return "an address that is none"
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}{port}" if host else f"{parts.scheme}:"


async def look_up(host: str, port: int) -> list[str]:
    """Look up the addresses of a host."""
    found = await anyio.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]).partition("%")[0] for entry in found))


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Connects to the addresses that were judged, and to no others."""

    def __init__(self, guard: Guard, resolve: Resolve = look_up) -> None:
        self._guard = guard
        self._resolve = resolve
        self._inner = httpx2.AsyncHTTPTransport()

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        url, host = str(request.url), request.url.host
        self._guard.check_url(url)
        if proxy := _find_proxy(request.url):
            async with httpx2.AsyncHTTPTransport(proxy=proxy) as outside:  # its names are looked up by the proxy
                return await _read(await outside.handle_async_request(request))
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        try:
            addresses = [ipaddress.ip_address(address) for address in await self._resolve(host, port)]
        except OSError as error:
            raise httpx2.ConnectError(str(error), request=request) from error
        for address in addresses:
            self._guard.check_address(url, host, address)
        return await self._connect(request, addresses)

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()

    async def _connect(self, request: httpx2.Request, addresses: list[Address]) -> httpx2.Response:
        fault = httpx2.ConnectError("the name has no address", request=request)
        for address in addresses:
            sent = httpx2.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions=request.extensions | {"sni_hostname": request.url.host},
            )
            try:
                return await _read(await self._inner.handle_async_request(sent))
            except httpx2.ConnectError as error:
                fault = error
        raise fault


def _find_proxy(url: httpx2.URL) -> str | None:
    """Find the proxy that the environment names for a URL; never one for this machine."""
    proxy = getproxies().get(url.scheme)
    return None if proxy is None or is_loopback(str(url)) or proxy_bypass(url.host) else proxy


async def _read(response: httpx2.Response) -> httpx2.Response:
    """Read the answer up to MAX_BYTES; what is longer ends there, and is then no JSON."""
    body = bytearray()
    try:
        async for chunk in response.aiter_raw():
            body += chunk[: MAX_BYTES - len(body)]
            if len(body) >= MAX_BYTES:
                break
    finally:
        await response.aclose()
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in _FRAMING]
    return httpx2.Response(response.status_code, headers=headers, content=bytes(body), extensions=response.extensions)


_FRAMING = ("content-length", "transfer-encoding", "content-encoding")


class Visitor:
    """Sends the requests of a sign-in: to addresses that are in order, each in a bounded time."""

    def __init__(self, server: ServerConfig, clock: Clock, resolve: Resolve | None = None) -> None:
        self.guard = Guard(server)
        self._clock = clock
        self._resolve = resolve or look_up

    async def visit(self, request: httpx2.Request) -> httpx2.Response:
        """Send a request and return the answer, read as a whole. Raises SignInFailed."""
        request.headers |= {"accept-encoding": "identity", "user-agent": AGENT}
        request.headers.setdefault("accept", "application/json")  # without it, some send tokens as a form
        where = name_origin(str(request.url))
        with self._clock.scope(self._clock.now() + VISIT_S):
            try:
                transport = GuardedTransport(self.guard, self._resolve)
                async with httpx2.AsyncClient(transport=transport, timeout=VISIT_S, trust_env=False) as client:
                    return await client.send(request, follow_redirects=False)
            except (httpx2.TransportError, httpx2.InvalidURL, OSError) as error:
                raise SignInFailed(f"{where} cannot be reached: {explain_network(error)}", is_transient=True) from None
        raise SignInFailed(f"{where} did not answer in {VISIT_S:g} s", is_transient=True)
