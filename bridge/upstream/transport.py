"""HTTP/1.1 as a transport of httpx2: connections that are kept, and replies parsed by llhttp.

httpx2's own (2.16) parses in Python and asks the kernel, for every request, about each connection of its pool that is
idle: with 64 runs at once that was half of all the time spent. It still serves where a proxy stands between, which
this one knows nothing of.
"""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeAlias, cast
from urllib.request import getproxies, proxy_bypass

import anyio
import httpx2
from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser
from typing_extensions import override

from bridge.values import is_loopback

MAX_IDLE, IDLE_S = 64, 60.0
"""How many connections to one origin are kept for the next request, and for how long."""
MAX_HEAD_BYTES = 262_144
MAX_WAITING_BYTES = 1 << 20
"""How much of a reply may wait to be read before no more is taken from the network."""

Origin: TypeAlias = tuple[str, str, int]


def open_transport(url: str) -> httpx2.AsyncBaseTransport:
    """For requests to `url`: ours, or httpx2's where the environment names a proxy for it; loopback needs none."""
    parts = httpx2.URL(url)
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if proxy is None or is_loopback(url) or proxy_bypass(parts.host):
        return Transport()
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE, keepalive_expiry=IDLE_S)
    return httpx2.AsyncHTTPTransport(proxy=httpx2.Proxy(proxy), limits=limits)


class Transport(httpx2.AsyncBaseTransport):
    """Sends requests over kept connections. A request on one that closes without a byte of a reply is sent again, on
    another: it was being closed as the request was written.

    Raises httpx2's errors: ConnectTimeout, ConnectError, ReadTimeout, ReadError, RemoteProtocolError.
    """

    def __init__(self) -> None:
        self._idle: dict[Origin, list[_Connection]] = {}

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        timeouts = cast("Mapping[str, float | None]", request.extensions.get("timeout", {}))
        message = _write_head(request) + await request.aread()
        if kept := self._take_idle(_find_origin(request.url)):
            try:
                return self._answer(kept, await kept.ask(message, timeouts.get("read")))
            except (httpx2.ReadError, httpx2.RemoteProtocolError):
                if kept.has_answered:
                    raise  # else it was closed before a byte came, most likely before the request was read
        connection = await self._connect(request.url, timeouts.get("connect"))
        return self._answer(connection, await connection.ask(message, timeouts.get("read")))

    def _answer(self, connection: "_Connection", reply: "_Reply") -> httpx2.Response:
        return httpx2.Response(reply.status, headers=reply.headers, stream=_Body(connection, reply, self._keep))

    @override
    async def aclose(self) -> None:
        for connections in self._idle.values():
            for connection in connections:
                connection.close()
        self._idle.clear()

    def _take_idle(self, origin: Origin) -> "_Connection | None":
        connections = self._idle.get(origin, [])
        while connections:
            connection = connections.pop()
            if connection.is_usable():
                return connection
            connection.close()
        return None

    def _keep(self, connection: "_Connection") -> None:
        connections = self._idle.setdefault(connection.origin, [])
        connections.append(connection)
        if len(connections) > MAX_IDLE:
            connections.pop(0).close()

    async def _connect(self, url: httpx2.URL, patience_s: float | None) -> "_Connection":
        scheme, host, port = origin = _find_origin(url)
        context = self._context if scheme == "https" else None
        try:
            with anyio.fail_after(patience_s):
                _, connection = await asyncio.get_running_loop().create_connection(
                    lambda: _Connection(origin), host, port, ssl=context, happy_eyeballs_delay=0.25
                )
        except TimeoutError as error:
            raise httpx2.ConnectTimeout(f"no connection within {patience_s} s") from error
        except OSError as error:
            raise httpx2.ConnectError(_explain(error)) from error
        return connection

    @cached_property
    def _context(self) -> ssl.SSLContext:
        """Made for the first connection that needs it: the certificates take 24 ms to load."""
        return httpx2.create_ssl_context()


@dataclass
class _Reply:
    """What has come of one reply."""

    status: int = 0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list[tuple[bytes, bytes]])
    chunks: list[bytes] = field(default_factory=list[bytes])
    head_bytes: int = 0
    waiting_bytes: int = 0
    has_head: bool = False
    is_complete: bool = False

    @property
    def ends_itself(self) -> bool:
        """Whether it says where it ends; else it ends with the connection."""
        return any(name.lower() in (b"content-length", b"transfer-encoding") for name, _ in self.headers)


class _Connection(asyncio.Protocol):
    """One connection, for one request at a time."""

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.reply: _Reply | None = None
        """Of the request that is under way."""
        self._parser = HttpResponseParser(self)
        self._patience_s: float | None = None
        self._news = asyncio.Event()
        self._error: httpx2.TransportError | None = None
        self._can_be_kept = True
        self._idle_since = 0.0

    def is_usable(self) -> bool:
        """Whether another request can be sent on it."""
        idle_s = asyncio.get_running_loop().time() - self._idle_since
        return self._can_be_kept and not self._transport.is_closing() and (not self._idle_since or idle_s < IDLE_S)

    @property
    def has_answered(self) -> bool:
        """Whether a byte of the reply has come."""
        return self.reply is not None and self.reply.head_bytes > 0

    async def ask(self, message: bytes, patience_s: float | None) -> _Reply:
        """Send a request and wait for the head of its reply, for so long after the last byte that came."""
        self.reply = reply = _Reply()
        self._patience_s = patience_s
        self._transport.write(message)
        try:
            while not reply.has_head:
                await self._wait(reply)
        except BaseException:
            self.close()
            raise
        return reply

    async def read(self, reply: _Reply) -> AsyncIterator[bytes]:
        """The body as it arrives."""
        while reply.chunks or not reply.is_complete:
            if not reply.chunks:
                await self._wait(reply)
            elif chunk := b"".join(reply.chunks):
                reply.chunks.clear()
                reply.waiting_bytes = 0
                self._transport.resume_reading()
                yield chunk

    def release(self) -> bool:
        """Its reply is not wanted any more: whether it can be kept for another; else it is ended."""
        is_read = self.reply is not None and self.reply.is_complete and not self.reply.chunks
        self.reply = None
        self._idle_since = asyncio.get_running_loop().time()
        if is_read and self.is_usable():
            return True
        self.close()
        return False

    def close(self) -> None:
        """End it at once, whatever is under way."""
        self._can_be_kept = False
        self._transport.abort()

    async def _wait(self, reply: _Reply) -> None:
        """Until something has come; raises what keeps it from coming."""
        if self._error is None:
            self._news.clear()
            try:
                with anyio.fail_after(self._patience_s):
                    await self._news.wait()
            except TimeoutError as error:
                raise httpx2.ReadTimeout(f"nothing came for {self._patience_s} s") from error
        if self._error and not reply.chunks and not reply.is_complete:
            raise self._error

    def _fail(self, error: httpx2.TransportError) -> None:
        self._error = self._error or error
        self.close()

    # asyncio's side

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    @override
    def data_received(self, data: bytes) -> None:
        if self.reply is None:  # nobody has asked for it
            self.close()
            return
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._fail(httpx2.RemoteProtocolError(f"it does not speak HTTP/1.1: {error}"))
        self._weigh(self.reply, len(data))
        self._news.set()

    def _weigh(self, reply: _Reply, size: int) -> None:
        if reply.has_head:
            reply.waiting_bytes += size
            if reply.waiting_bytes > MAX_WAITING_BYTES:
                self._transport.pause_reading()
        else:
            reply.head_bytes += size
            if reply.head_bytes > MAX_HEAD_BYTES:
                self._fail(httpx2.RemoteProtocolError(f"the head of its reply is over {MAX_HEAD_BYTES:,} bytes"))

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        if self.reply and self.reply.has_head and not self.reply.ends_itself:
            self.reply.is_complete = True
        self._fail(httpx2.ReadError(_explain(exc)) if exc else httpx2.RemoteProtocolError("it closed the connection"))
        self._news.set()

    # the parser's side

    def on_message_begin(self) -> None:
        if self.reply and self.reply.is_complete:  # a second reply to one request
            self._can_be_kept = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.reply and not self.reply.has_head:
            self.reply.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self.reply and not self.reply.has_head:
            self.reply.status = self._parser.get_status_code()
            self.reply.has_head = self.reply.status >= 200  # else an interim one: another follows

    def on_body(self, data: bytes) -> None:
        if self.reply and not self.reply.is_complete:
            self.reply.chunks.append(data)

    def on_message_complete(self) -> None:
        if self.reply and self.reply.has_head:
            self.reply.is_complete = True
            self._can_be_kept &= self._parser.should_keep_alive()
        elif self.reply:
            self.reply.headers.clear()


class _Body(httpx2.AsyncByteStream):
    def __init__(self, connection: _Connection, reply: _Reply, keep: Callable[[_Connection], None]) -> None:
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


def _explain(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not trusted: {error.verify_message}"
        case OSError(errno=int(number)) if number > 0 and not isinstance(error, ssl.SSLError):
            return os.strerror(number).lower()
        case _:
            return str(error)
