"""One HTTP request to the upstream, and its reply, as JSON or as a stream."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Literal, NoReturn
from urllib.parse import quote as quote_url

import httpx2

from bridge import __version__
from bridge.clock import Clock
from bridge.config.settings import UpstreamConfig
from bridge.errors import UpstreamError
from bridge.items import Response, Turn
from bridge.json_text import encode
from bridge.network import explain_network
from bridge.sse import Event, EventReader
from bridge.upstream.decoding import decode_body
from bridge.upstream.errors import build_error, quote
from bridge.upstream.parse import parse
from bridge.upstream.replies import UNREADABLE, read_reply
from bridge.upstream.retries import Transient, find_pause, is_transient, passes
from bridge.upstream.stream import UNREADABLE_END, StreamAccumulator
from bridge.upstream.transport import open_transport

MAX_BODY_BYTES = 64 << 20
MAX_REFUSAL_BYTES = 1 << 20
"""Bytes of a refusal that are read: only a short message is needed, and it may never end."""
REQUEST_ID_CHARS = 128
EVENT_BEGINNINGS = (b"event:", b"data:", b"id:", b"retry:", b"error:", b":")
BLANK_LINE = b"\n\n"
"""Completes the last event of a stream that ended without a blank line."""
DRAIN_S = 0.1
"""Seconds to wait for the end of a stream after its terminal event: only a stream read to its end frees the
connection for reuse."""

Form = Literal["json", "stream"]
ACCEPT = {"json": b"application/json", "stream": b"application/json, text/event-stream"}


class Wire:
    """The HTTP client of one upstream. A failed request raises UpstreamError, or Transient if a retry may succeed."""

    def __init__(
        self, config: UpstreamConfig, auth: str, *, clock: Clock, transport: httpx2.AsyncBaseTransport | None
    ) -> None:
        self._config = config
        self._clock = clock
        self._transport = transport or open_transport(config.base_url)
        self._headers = _build_headers(config, auth)
        self._create = httpx2.URL(f"{config.base_url}/responses", params=config.query or None)

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.aclose()

    async def post(self, turn: Turn, stream: StreamAccumulator, *, form: Form) -> tuple[Response, Form]:
        """Create a response, asking for it in `form`; return it with the form in which the upstream sent it."""
        return await self._request("POST", self._create, stream, form, join_body(turn, stream=form == "stream"))

    async def get(self, response_id: str, stream: StreamAccumulator, *, after: int | None = None) -> Response:
        """Return the current state of a response; with `after`, read its events after that number as a stream."""
        url = self._locate(f"/responses/{quote_url(response_id, safe='')}")
        form: Form = "json" if after is None else "stream"
        if after is not None:
            url = url.copy_merge_params({"stream": "true", "starting_after": str(after)})
        response, _ = await self._request("GET", url, stream, form)
        return response

    async def fetch(self, method: str, path: str, body: bytes | None, *, timeout_s: float) -> httpx2.Response:
        """Return the reply, whatever its status. Raises UpstreamError where there is none, or it is too large."""
        try:
            async with self._send(method, self._locate(path), ACCEPT["json"], body, timeout_s) as reply:
                kind = reply.headers.get("content-type", "")
                body = await _read_body(reply)
                return httpx2.Response(reply.status_code, headers={"Content-Type": kind}, content=body)
        except httpx2.RequestError as error:
            raise _explain_transport(error, self._config.model_copy(update={"idle_timeout_s": timeout_s})) from error

    def _locate(self, path: str) -> httpx2.URL:
        return httpx2.URL(f"{self._config.base_url}{path}", params=self._config.query or None)

    @asynccontextmanager
    async def _send(
        self, method: str, url: httpx2.URL, accept: bytes, body: bytes | None, idle_timeout_s: float
    ) -> AsyncIterator[httpx2.Response]:
        """Send a request and yield its reply once the head has arrived.

        Uses the transport without httpx2's client: what that adds (redirects, cookies, hooks) is not wanted here.
        """
        headers = [*self._headers, (b"Accept", accept)]
        if body is not None:
            headers.append((b"Content-Length", b"%d" % len(body)))
        timeouts = {"connect": self._config.connect_timeout_s, "read": idle_timeout_s, "write": idle_timeout_s}
        extensions = {"timeout": timeouts}
        # Not `content=`, for which httpx2 computes the same headers again each time.
        request = httpx2.Request(
            method, url, headers=headers, stream=httpx2.ByteStream(body or b""), extensions=extensions
        )
        reply = await self._transport.handle_async_request(request)
        try:
            yield reply
        finally:
            await reply.aclose()

    async def _request(
        self, method: str, url: httpx2.URL, stream: StreamAccumulator, form: Form, body: bytes | None = None
    ) -> tuple[Response, Form]:
        try:
            async with self._send(method, url, ACCEPT[form], body, self._config.idle_timeout_s) as reply:
                if not reply.is_success:
                    await _refuse(reply, url)
                return await self._read_success(reply, stream)
        except httpx2.RequestError as error:
            raise Transient(_explain_transport(error, self._config)) from error

    async def _read_success(self, reply: httpx2.Response, stream: StreamAccumulator) -> tuple[Response, Form]:
        """Read the reply to a request that was not refused. An error in it is transient by its code or its words, but
        not where a retry would do twice what a tool at the upstream has done."""
        try:
            if is_event_stream(reply):
                return await self._read_stream(reply, _read_chunks(reply), stream)
            body = await _read_body(reply)
            if body.lstrip().startswith(EVENT_BEGINNINGS):  # events with the wrong content type
                return await self._read_stream(reply, _yield_once(body), stream)
            if _is_cut(body):
                raise _build_cut("reply", reply)
            return read_reply(body, status=reply.status_code, request_id=_request_id(reply)), "json"
        except UpstreamError as error:
            is_garbled = error.code == UNREADABLE_END
            if is_garbled or (passes(error.code, error.message) and not stream.has_hosted()):
                raise Transient(error, find_pause(reply.headers, error.message)) from error
            raise

    async def _read_stream(
        self, reply: httpx2.Response, chunks: AsyncIterator[bytes], stream: StreamAccumulator
    ) -> tuple[Response, Form]:
        events = EventReader(MAX_BODY_BYTES, stream.feed_stray)
        async for chunk in chunks:
            for event in events.feed(chunk):
                data = _read_data(event)
                if data != "[DONE]" and not stream.final:
                    stream.feed(data, event.name)
            if stream.final:
                await self._drain(chunks)
                return stream.final, "stream"
            if events.is_over:
                raise _build_overflow()
        for event in events.feed(BLANK_LINE):
            stream.feed_last(_read_data(event), event.name)
        return (stream.final, "stream") if stream.final else (_read_rest(reply, stream), "stream")

    async def _drain(self, chunks: AsyncIterator[bytes]) -> None:
        with self._clock.scope(self._clock.now() + DRAIN_S), suppress(httpx2.RequestError):
            async for _ in chunks:
                pass


def _read_data(event: Event) -> str:
    """Return the event's data as text; bytes that are no UTF-8 are kept as surrogates: the next event may go on with
    the same character."""
    if isinstance(event.data, bytes):
        return event.data.decode("utf-8", "surrogateescape")
    raise _build_overflow()


def _build_overflow() -> UpstreamError:
    return UpstreamError(f"An event of the upstream's stream is over {MAX_BODY_BYTES:,} bytes", code="reply_too_large")


def join_body(turn: Turn, *, stream: bool) -> bytes:
    """Build the request body from items and tools that are already encoded."""
    parts = [encode(dict(turn.parameters))[:-1]]
    if turn.tools:  # before the input, so that the body of each turn begins with that of the one before
        parts += [',"tools":[', ",".join(turn.tools), "]"]
    parts += [',"input":[', ",".join(turn.items), "]"]
    parts.append(',"stream":true}' if stream else "}")
    return "".join(parts).encode()


def _build_headers(config: UpstreamConfig, auth: str) -> list[tuple[bytes, bytes]]:
    """Build the headers that all requests share."""
    headers = httpx2.Headers({"Host": httpx2.URL(config.base_url).netloc.decode(), "Content-Type": "application/json"})
    headers["User-Agent"] = f"mcp-responses-bridge/{__version__}"
    headers["Accept-Encoding"] = "identity"  # no compression, so that the size on the wire is the size in memory
    if config.api_key and auth != "none":
        headers |= {"Authorization": f"Bearer {config.api_key}"} if auth == "bearer" else {auth: config.api_key}
    headers |= config.headers
    headers.pop("Accept", None)  # it depends on the request
    return headers.raw


def is_event_stream(reply: httpx2.Response) -> bool:
    """Tell by the content type: relays stream without being asked to, and send JSON when asked for a stream."""
    return reply.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


def _read_rest(reply: httpx2.Response, stream: StreamAccumulator) -> Response:
    """Read what a stream without an end held beside its events: a response or an error as JSON. Raises Transient with
    a quotation of anything else."""
    rest = stream.list_rest()
    for text in rest:
        try:
            return read_reply(_to_bytes(text), status=reply.status_code, request_id=_request_id(reply))
        except UpstreamError as error:
            if error.code != UNREADABLE:
                raise
    unknown = " ".join(text for text in rest if not parse(text).get("type"))
    raise _build_cut("stream", reply, f"; it sent: {quote(_to_bytes(unknown))}" if unknown else "")


def _to_bytes(text: str) -> bytes:
    """Undo what `_read_data` does."""
    return text.encode("utf-8", "surrogateescape")


async def _refuse(reply: httpx2.Response, url: httpx2.URL) -> NoReturn:
    body = await _read_refusal(reply)
    error = build_error(reply.status_code, body, _request_id(reply), _explain_redirect(reply, url))
    if is_transient(reply, error):
        raise Transient(error, find_pause(reply.headers, error.message))
    raise error


def _explain_redirect(reply: httpx2.Response, url: httpx2.URL) -> str:
    """Return where a reply redirects to and what to set, without credentials and parameters; "" where it does not."""
    try:
        target = url.join(reply.headers["location"]) if reply.is_redirect else None
    except (KeyError, httpx2.InvalidURL):
        return ""
    if target is None:
        return ""
    place = f"{target.scheme}://{target.netloc.decode()}{target.path}".rstrip("/")
    base = place.removesuffix("/responses")
    return f" (it redirects to {place}; " + (f"set base_url to {base})" if base != place else "check base_url)")


def _read_chunks(reply: httpx2.Response) -> AsyncIterator[bytes]:
    """Yield the body as it arrives, decoded if it is compressed although that was not asked for."""
    if "Content-Encoding" not in reply.headers and isinstance(reply.stream, httpx2.AsyncByteStream):
        return aiter(reply.stream)
    return decode_body(reply)


async def _read_body(reply: httpx2.Response) -> bytes:
    chunks, size = list[bytes](), 0
    async for chunk in _read_chunks(reply):
        chunks.append(chunk)
        size += len(chunk)
        if size > MAX_BODY_BYTES:
            raise UpstreamError(f"The upstream's reply is over {MAX_BODY_BYTES:,} bytes", code="reply_too_large")
    return b"".join(chunks)


def _is_cut(body: bytes) -> bool:
    """Tell whether a JSON body lacks its end: without a length, a cut connection looks like a complete reply."""
    text = body.strip()
    return text.startswith(b"{") and not text.endswith(b"}")


def _build_cut(what: str, reply: httpx2.Response, sent: str = "") -> Transient:
    message = f"The upstream's {what} ended before the response did{sent}"
    return Transient(
        UpstreamError(message, code=f"{what}_cut", status=reply.status_code, request_id=_request_id(reply))
    )


async def _yield_once(body: bytes) -> AsyncIterator[bytes]:
    yield body


async def _read_refusal(reply: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in _read_chunks(reply):
        body += chunk
        if len(body) >= MAX_REFUSAL_BYTES:
            break
    return bytes(body)


def _request_id(reply: httpx2.Response) -> str | None:
    """Return what the upstream calls the request, cut: every result with an error repeats it."""
    written = reply.headers.get("x-request-id")
    return written if written is None or len(written) <= REQUEST_ID_CHARS else f"{written[:REQUEST_ID_CHARS]}…"


def _explain_transport(error: httpx2.RequestError, config: UpstreamConfig) -> UpstreamError:
    """Build the error for a timeout, or for a connection that failed or was cut."""
    url = httpx2.URL(config.base_url)
    where = f"{url.scheme}://{url.netloc.decode()}"
    match error:
        case httpx2.ConnectTimeout():
            text, code = f"No connection to {where} within {config.connect_timeout_s:g} s", "connect_timeout"
        case httpx2.TimeoutException():
            text, code = f"{where} sent nothing for {config.idle_timeout_s:g} s", "idle_timeout"
        case httpx2.ConnectError():
            text, code = f"{where} cannot be reached: {explain_network(error)}", "unreachable"
        case _:
            text, code = f"The connection to {where} was cut: {explain_network(error)}", "connection_cut"
    return UpstreamError(text, code=code, who="operator" if code in ("unreachable", "connect_timeout") else "upstream")
