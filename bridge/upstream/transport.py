"""An HTTP/1.1 transport for httpx2 with keep-alive connections.

httpx2's own transport (2.16) parses in Python and, for every request, asks the kernel about each idle connection of
its pool: with 64 runs at once that was half of all the time spent. It is still used where there is a proxy, which this
one does not support.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from functools import cached_property
from typing import cast
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx2
from typing_extensions import override

from bridge.config.values import is_loopback
from bridge.errors import ConfigError
from bridge.network import explain_network
from bridge.upstream.connection import IDLE_S, Connection, Origin, Reply
from bridge.upstream.dialling import dial

MAX_IDLE = 64
"""Idle connections to one origin that are kept for the next request."""


def open_transport(url: str) -> httpx2.AsyncBaseTransport:
    """Return the transport for `url`: ours, or httpx2's where the environment names a proxy for it. A proxy is never
    used for loopback.

    Raises ConfigError for a proxy that cannot be used; its message does not contain the proxy's credentials.
    """
    parts = httpx2.URL(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is None or is_loopback(url) or proxy_bypass(parts.host):
        return Transport()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE, keepalive_expiry=IDLE_S)
    address = proxy if "://" in proxy else f"http://{proxy}"
    try:
        return httpx2.AsyncHTTPTransport(proxy=httpx2.Proxy(address), limits=limits)
    except (ValueError, ImportError, httpx2.InvalidURL) as error:
        raise ConfigError(
            f"The environment (HTTPS_PROXY, HTTP_PROXY, ALL_PROXY) names a proxy for {parts.host} that cannot be used: "
            "it must be http:// or https://; NO_PROXY can name hosts that need none"
        ) from error


class Transport(httpx2.AsyncBaseTransport):
    """A transport that reuses connections. If a reused one closes before any byte of the reply, the request is sent
    again on a new one: the server was closing the connection as the request was written.

    Raises httpx2's errors: ConnectTimeout, ConnectError, ReadTimeout, ReadError, RemoteProtocolError.
    """

    def __init__(self) -> None:
        self._idle: dict[Origin, list[Connection]] = {}

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        timeouts = cast("Mapping[str, float | None]", request.extensions.get("timeout", {}))
        message = _write_head(request) + await request.aread()
        if kept := self._take_idle(_find_origin(request.url)):
            try:
                return self._answer(kept, await kept.send(message, timeouts.get("read")))
            except (httpx2.ReadError, httpx2.RemoteProtocolError):
                if kept.has_answered:
                    raise  # otherwise it was closed before any reply, most likely before the request was read
        connection = await self._connect(request.url, timeouts.get("connect"))
        return self._answer(connection, await connection.send(message, timeouts.get("read")))

    def _answer(self, connection: Connection, reply: Reply) -> httpx2.Response:
        return httpx2.Response(reply.status, headers=reply.headers, stream=_Body(connection, reply, self._keep))

    @override
    async def aclose(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _take_idle(self, origin: Origin) -> Connection | None:
        connections = self._idle.get(origin, [])
        while connections:
            connection = connections.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    def _keep(self, connection: Connection) -> None:
        connections = self._idle.setdefault(connection.origin, [])
        connections.append(connection)
        if len(connections) > MAX_IDLE:
            connections.pop(0).close()

    async def _connect(self, url: httpx2.URL, timeout_s: float | None) -> Connection:
        scheme, host, port = origin = _find_origin(url)
        context = self._context if scheme == "https" else None
        try:
            with anyio.fail_after(timeout_s):
                dialled = await dial(host, port)
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: Connection(origin), sock=dialled, ssl=context, server_hostname=host if context else None
                )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(f"no connection within {timeout_s} s") from error
        except (OSError, UnicodeError) as error:  # UnicodeError: the host is not a possible name
            raise httpx2.ConnectError(explain_network(error, host)) from error
        return connection

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """The TLS context, created for the first connection that needs it: loading the certificates takes 24 ms."""
        return httpx2.create_ssl_context()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, connection: Connection, reply: Reply, keep: Callable[[Connection], None]) -> None:
        self._connection = connection
        self._reply = reply
        self._keep = keep

    @override
    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._connection.read(self._reply)

    @override
    async def aclose(self) -> None:
        if self._connection.reply is self._reply and self._connection.release():
            self._keep(self._connection)


def _find_origin(url: httpx2.URL) -> Origin:
    return url.scheme, url.host, url.port or (443 if url.scheme == "https" else 80)


def _write_head(request: httpx2.Request) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (request.method.encode(), request.url.raw_path)]
    lines += [b"%b: %b" % header for header in request.headers.raw]
    if any(b"\r" in line or b"\n" in line for line in lines):
        raise httpx2.LocalProtocolError("a header holds a line end")
    return b"\r\n".join([*lines, b"", b""])
