"""One HTTP request to the upstream, and its reply whichever form that has."""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Literal, NoReturn
from urllib.parse import quote

import httpx2

from bridge import __version__
from bridge.clock import Clock
from bridge.errors import UpstreamError
from bridge.items import Response, Turn, encode
from bridge.settings import UpstreamConfig, is_loopback
from bridge.upstream.events import EventSplitter
from bridge.upstream.replies import build_error, read_reply
from bridge.upstream.retries import RETRIED_CODES, Passing, is_passing, read_retry_after
from bridge.upstream.stream import StreamAccumulator
from bridge.upstream.transport import IDLE_S, MAX_IDLE, Transport, needs_proxy

MAX_BODY_BYTES = 64 << 20
MAX_REFUSAL_BYTES = 1 << 20
"""How much of a refusal is read: a few words are told, and it may have no end."""
DRAIN_S = 0.1
"""How long the end of a stream may come after its last event: read to its end, it leaves the connection for reuse."""

Form = Literal["json", "stream"]
ACCEPT = {"json": "application/json", "stream": "application/json, text/event-stream"}


class Wire:
    """The HTTP client of one upstream. Whatever keeps a request from a response is an UpstreamError, or a Passing one
    where a later try may not meet it."""

    def __init__(
        self, config: UpstreamConfig, auth: str, *, clock: Clock, transport: httpx2.AsyncBaseTransport | None
    ) -> None:
        self._config = config
        self._clock = clock
        is_direct = is_loopback(config.base_url) or not needs_proxy(config.base_url)
        self._http = httpx2.AsyncClient(
            headers=_build_headers(config, auth),
            params=config.query or None,
            timeout=httpx2.Timeout(config.idle_timeout_s, connect=config.connect_timeout_s, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE, keepalive_expiry=IDLE_S),
            transport=transport or (Transport() if is_direct else None),
            trust_env=not is_direct,
        )

    async def close(self) -> None:
        """End all connections."""
        await self._http.aclose()

    async def post(self, turn: Turn, stream: StreamAccumulator, *, form: Form) -> tuple[Response, Form]:
        """Create a response, asked for in this form; it comes in the form that the upstream likes."""
        return await self._request("POST", "/responses", stream, form, join_body(turn, stream=form == "stream"))

    async def get(self, response_id: str, stream: StreamAccumulator, *, after: int | None = None) -> Response:
        """A response as it is by now; or, as a stream, its events `after` this one."""
        query = "" if after is None else f"?stream=true&starting_after={after}"
        form: Form = "json" if after is None else "stream"
        path = f"/responses/{quote(response_id, safe='')}{query}"
        response, _ = await self._request("GET", path, stream, form)
        return response

    async def ask(self, method: str, path: str, body: bytes | None, *, timeout_s: float) -> httpx2.Response:
        """A reply as it is, whatever it says; only its absence is an error."""
        try:
            return await self._http.request(method, f"{self._config.base_url}{path}", content=body, timeout=timeout_s)
        except httpx2.RequestError as error:
            raise _explain_transport(error, self._config.model_copy(update={"idle_timeout_s": timeout_s})) from error

    async def _request(
        self, method: str, path: str, stream: StreamAccumulator, form: Form, body: bytes | None = None
    ) -> tuple[Response, Form]:
        url, headers = f"{self._config.base_url}{path}", {"Accept": ACCEPT[form]}
        try:
            async with self._http.stream(method, url, content=body, headers=headers) as reply:
                if not reply.is_success:
                    await _refuse(reply)
                if _is_event_stream(reply):
                    return await self._read_stream(reply, stream), "stream"
                body = await _read_body(reply)
                return read_reply(body, status=reply.status_code, request_id=_request_id(reply)), "json"
        except httpx2.RequestError as error:
            raise Passing(_explain_transport(error, self._config)) from error

    async def _read_stream(self, reply: httpx2.Response, stream: StreamAccumulator) -> Response:
        events = EventSplitter(MAX_BODY_BYTES)
        chunks = reply.aiter_bytes()
        try:
            async for chunk in chunks:
                for data in events.feed(chunk):
                    if data != "[DONE]" and not stream.final:
                        stream.feed(data)
                if stream.final:
                    await self._drain(chunks)
                    return stream.final
        except UpstreamError as error:
            if error.code in RETRIED_CODES and not stream.has_output:
                raise Passing(error) from error
            raise
        message = "The upstream's stream ended before the response did"
        raise Passing(
            UpstreamError(message, code="stream_cut", status=reply.status_code, request_id=_request_id(reply))
        )

    async def _drain(self, chunks: AsyncIterator[bytes]) -> None:
        with self._clock.scope(self._clock.now() + DRAIN_S), suppress(httpx2.RequestError):
            async for _ in chunks:
                pass


def join_body(turn: Turn, *, stream: bool) -> bytes:
    """The request body: a join of texts that are encoded already."""
    parts = [encode(dict(turn.parameters))[:-1]]
    if turn.tools:  # before the input, so that the body of one turn is the beginning of the next one's
        parts += [',"tools":[', ",".join(turn.tools), "]"]
    parts += [',"input":[', ",".join(turn.items), "]"]
    parts.append(',"stream":true}' if stream else "}")
    return "".join(parts).encode()


def _build_headers(config: UpstreamConfig, auth: str) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": f"mcp-responses-bridge/{__version__}"}
    if config.api_key and auth != "none":
        headers |= {"Authorization": f"Bearer {config.api_key}"} if auth == "bearer" else {auth: config.api_key}
    return headers | config.headers


def _is_event_stream(reply: httpx2.Response) -> bool:
    """By what the reply says it is: relays stream unasked, and answer with JSON when asked for a stream."""
    return reply.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


async def _refuse(reply: httpx2.Response) -> NoReturn:
    error = build_error(reply.status_code, await _read_refusal(reply), _request_id(reply))
    if is_passing(reply, error):
        raise Passing(error, read_retry_after(reply.headers))
    raise error


async def _read_body(reply: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in reply.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise UpstreamError(f"The upstream's reply is over {MAX_BODY_BYTES:,} bytes", code="reply_too_large")
    return bytes(body)


async def _read_refusal(reply: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in reply.aiter_bytes():
        body += chunk
        if len(body) >= MAX_REFUSAL_BYTES:
            break
    return bytes(body)


def _request_id(reply: httpx2.Response) -> str | None:
    return reply.headers.get("x-request-id")


def _explain_transport(error: httpx2.RequestError, config: UpstreamConfig) -> UpstreamError:
    """Which timeout fired, or what kept the request from an answer."""
    url = httpx2.URL(config.base_url)
    where = f"{url.scheme}://{url.netloc.decode()}"
    match error:
        case httpx2.ConnectTimeout():
            text, code = f"No connection to {where} within {config.connect_timeout_s:g} s", "connect_timeout"
        case httpx2.TimeoutException():
            text, code = f"{where} sent nothing for {config.idle_timeout_s:g} s", "idle_timeout"
        case httpx2.ConnectError():
            text, code = f"{where} cannot be reached: {error}", "unreachable"
        case _:
            text, code = f"The connection to {where} was cut: {str(error) or type(error).__name__}", "connection_cut"
    return UpstreamError(text, code=code, who="operator" if code in ("unreachable", "connect_timeout") else "upstream")
