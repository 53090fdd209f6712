"""`POST /v1/responses` over one kept-alive HTTP client: bodies by joining, replies by content type, retries by rule."""

import random
import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import TypeAlias

import httpx2
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from bridge import __version__
from bridge.clock import Clock
from bridge.config import UpstreamConfig, is_loopback
from bridge.errors import UpstreamError
from bridge.items import Abilities, JsonObject, Notice, Response, Turn, encode
from bridge.telemetry import Redactor
from bridge.upstream.replies import QUOTA_CODES, build_error, read_reply
from bridge.upstream.stream import StreamAccumulator

OnEvent: TypeAlias = Callable[[JsonObject], None]

MAX_BODY_BYTES = 64 << 20
RETRIED_STATUSES = frozenset((408, 409, 429))
FIRST_BACKOFF_S, LAST_BACKOFF_S, LONGEST_RETRY_AFTER_S = 0.5, 8.0, 120.0
"""As the openai package does; an upstream that asks for a longer pause is not waited for."""


class Upstream(AbstractAsyncContextManager["Upstream"]):
    """The Responses endpoint of one bridge. `create` may be called by many runs at once."""

    def __init__(
        self,
        config: UpstreamConfig,
        *,
        clock: Clock,
        redact: Redactor | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.config = config
        self.abilities = Abilities()
        self._clock = clock
        self._redact = redact or Redactor()
        self._streams = config.stream != "never"
        self._http = httpx2.AsyncClient(
            headers=_build_headers(config),
            params=config.query or None,
            timeout=httpx2.Timeout(config.idle_timeout_s, connect=config.connect_timeout_s, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=60),
            transport=transport,
            trust_env=not is_loopback(config.base_url),
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def create(self, turn: Turn, *, deadline: float, on_event: OnEvent) -> Response:
        """Send one turn and return what it came to; `{"type": "text", "delta": …}` events while it streams.

        Repeats the request after a passing failure (408, 409, 429 without a quota code, 5xx, refused, cut, silent),
        as often as `max_retries` says and while a pause fits before `deadline`. Raises UpstreamError.
        """
        retrying = AsyncRetrying(
            sleep=self._clock.sleep,
            stop=stop_after_attempt(self.config.max_retries + 1),
            wait=lambda state: _find_pause(state) or 0.0,
            retry=retry_if_exception(lambda error: isinstance(error, _Passing) and self._fits(error, deadline)),
            reraise=True,
        )
        tries = 0
        try:
            async for attempt in retrying:
                with attempt:
                    tries = attempt.retry_state.attempt_number
                    return await self._send(turn, on_event)
        except _Passing as failure:
            raise self._finish(failure.error, tries) from failure
        except UpstreamError as error:
            raise self._finish(error, tries) from error
        raise AssertionError("unreachable")

    def _fits(self, failure: "_Passing", deadline: float) -> bool:
        pause = failure.pause_s or 0.0
        return pause <= LONGEST_RETRY_AFTER_S and self._clock.now() + pause < deadline

    def _finish(self, error: UpstreamError, tries: int) -> UpstreamError:
        """The error as the caller sees it: without secrets, and with what was tried."""
        tried = f" (tried {tries} times)" if tries > 1 else ""
        error.message = self._redact(error.message) + tried
        error.args = (error.message,)
        return error

    async def _send(self, turn: Turn, on_event: OnEvent) -> Response:
        """One request and its reply, whichever form that has."""
        streams = self._streams
        accept = "application/json, text/event-stream" if streams else "application/json"
        try:
            async with self._http.stream(
                "POST",
                f"{self.config.base_url}/responses",
                content=join_body(turn, stream=streams),
                headers={"Accept": accept},
            ) as reply:
                if not reply.is_success:
                    return await self._refuse(reply, turn, on_event, streams=streams)
                if _is_event_stream(reply):
                    return await _read_stream(reply, on_event)
                response = read_reply(await _read_body(reply), status=reply.status_code, request_id=_request_id(reply))
                if streams and self.config.stream == "auto":
                    response["notices"] = [self._give_up_streaming("it answers with JSON when asked for a stream")]
                return response
        except httpx2.TransportError as error:
            raise _Passing(_explain_transport(error, self.config)) from error

    async def _refuse(self, reply: httpx2.Response, turn: Turn, on_event: OnEvent, *, streams: bool) -> Response:
        error = build_error(reply.status_code, await _read_body(reply), _request_id(reply))
        if streams and self.config.stream == "auto" and reply.status_code == 400 and "stream" in error.message.lower():
            notice = self._give_up_streaming(error.message)
            response = await self._send(turn, on_event)
            response["notices"] = [notice, *response.get("notices", [])]
            return response
        if _is_passing(reply, error):
            raise _Passing(error, _read_retry_after(reply.headers))
        raise error

    def _give_up_streaming(self, why: str) -> Notice:
        self._streams = False
        return {"code": "upstream_does_not_stream", "message": f"The upstream is asked without streaming now: {why}"}


class _Passing(Exception):
    """A failure that a later try may not have; `pause_s` is what the upstream asked to wait, if it did."""

    def __init__(self, error: UpstreamError, pause_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause_s = pause_s


def join_body(turn: Turn, *, stream: bool) -> bytes:
    """The request body: a join of texts that are encoded already."""
    parts = [encode(dict(turn.parameters))[:-1], ',"input":[', ",".join(turn.items), "]"]
    if turn.tools:
        parts += [',"tools":[', ",".join(turn.tools), "]"]
    parts.append(',"stream":true}' if stream else "}")
    return "".join(parts).encode()


def _build_headers(config: UpstreamConfig) -> dict[str, str]:
    headers = {"Content-Type": "application/json", "User-Agent": f"mcp-responses-bridge/{__version__}"}
    if config.api_key:
        headers["Authorization"] = f"Bearer {config.api_key}"
    return headers | config.headers


def _is_event_stream(reply: httpx2.Response) -> bool:
    """By what the reply says it is: relays stream unasked, and answer with JSON when asked for a stream."""
    return reply.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"


async def _read_stream(reply: httpx2.Response, on_event: OnEvent) -> Response:
    stream = StreamAccumulator(lambda delta: on_event({"type": "text", "delta": delta}))
    reply.encoding = "utf-8"
    try:
        async for event in httpx2.EventSource(reply, max_event_size=MAX_BODY_BYTES):
            if event.data and event.data != "[DONE]":
                stream.feed(event.data)
            if stream.final:
                return stream.final
    except httpx2.SSEError as error:
        raise UpstreamError(f"The upstream's stream cannot be read: {error}", code="unreadable_reply") from error
    message = "The upstream's stream ended before the response did"
    raise _Passing(UpstreamError(message, code="stream_cut", status=reply.status_code, request_id=_request_id(reply)))


async def _read_body(reply: httpx2.Response) -> bytes:
    body = bytearray()
    async for chunk in reply.aiter_bytes():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise UpstreamError(f"The upstream's reply is over {MAX_BODY_BYTES:,} bytes", code="reply_too_large")
    return bytes(body)


def _request_id(reply: httpx2.Response) -> str | None:
    return reply.headers.get("x-request-id")


def _is_passing(reply: httpx2.Response, error: UpstreamError) -> bool:
    """Whether a later try may succeed. The upstream's own word (`x-should-retry`) counts most."""
    if error.code in QUOTA_CODES:
        return False
    said = reply.headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return reply.status_code in RETRIED_STATUSES or reply.status_code >= 500


def _read_retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the upstream asks to wait: `retry-after-ms`, else `retry-after` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return None


def _find_pause(state: RetryCallState) -> float | None:
    failure = state.outcome.exception() if state.outcome else None
    if isinstance(failure, _Passing) and failure.pause_s is not None:
        return failure.pause_s
    backoff = min(FIRST_BACKOFF_S * 2 ** (state.attempt_number - 1), LAST_BACKOFF_S)
    return backoff * random.uniform(0.75, 1.0)


def _explain_transport(error: httpx2.TransportError, config: UpstreamConfig) -> UpstreamError:
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
