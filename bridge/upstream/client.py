"""`POST /v1/responses` over one kept-alive HTTP client: bodies by joining, replies by content type, retries by rule."""

import re
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import TypeAlias

import httpx2

from bridge import __version__
from bridge.clock import Clock
from bridge.errors import UpstreamError
from bridge.items import Abilities, JsonObject, Notice, Response, Turn, encode
from bridge.settings import UpstreamConfig, is_loopback
from bridge.telemetry import Redactor
from bridge.upstream.events import EventSplitter
from bridge.upstream.probe import Verdict, probe
from bridge.upstream.replies import build_error, read_reply
from bridge.upstream.retries import (
    LONGEST_RETRY_AFTER_S,
    RETRIED_CODES,
    Passing,
    check_response,
    explain_tries,
    find_pause,
    is_passing,
    read_retry_after,
)
from bridge.upstream.stream import StreamAccumulator
from bridge.upstream.transport import IDLE_S, MAX_IDLE, Transport, needs_proxy

OnEvent: TypeAlias = Callable[[JsonObject], None]

MAX_BODY_BYTES = 64 << 20
MAX_REFUSAL_BYTES = 1 << 20
"""How much of a refusal is read: a few words are told, and it may have no end."""
PROBE_S = 15.0
"""How long a probe waits for an answer."""
DRAIN_S = 0.1
"""How long the end of a stream may come after its last event: read to its end, it leaves the connection for reuse."""

_STREAMING = re.compile(r"\bstream(ing)?\b", re.IGNORECASE)


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
        self._redact = redact or Redactor([config.api_key] if config.api_key else [])
        self._streams = config.stream != "never"
        is_local = is_loopback(config.base_url)
        is_direct = is_local or not needs_proxy(config.base_url)
        self._http = httpx2.AsyncClient(
            headers=_build_headers(config),
            params=config.query or None,
            timeout=httpx2.Timeout(config.idle_timeout_s, connect=config.connect_timeout_s, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=MAX_IDLE, keepalive_expiry=IDLE_S),
            transport=transport or (Transport() if is_direct else None),
            trust_env=not is_direct,
        )

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def create(self, turn: Turn, *, deadline: float, on_event: OnEvent) -> Response:
        """Send one turn and return what it came to; `{"type": "text", "delta": …}` events while it streams.

        Repeats the request after a passing failure (408, 409, 429 without a quota code, 5xx, refused, cut, silent),
        as often as `max_retries` says and while a pause fits before `deadline`; a `retry` event comes before each
        pause, and the text begins anew after it. Raises UpstreamError.
        """
        tries, streams = 0, self._streams
        while True:
            tries += 1
            try:
                return self._clean(await self._send(turn, on_event, streams=streams))
            except Passing as failure:
                pause = find_pause(failure, tries)
                if tries > self.config.max_retries or not self._fits(failure, deadline):
                    raise self._finish(failure.error, explain_tries(tries, failure)) from failure
                on_event({"type": "retry", "pause_s": round(pause, 1), "reason": self._redact(str(failure))})
                await self._clock.sleep(pause)
            except UpstreamError as error:
                raise self._finish(error) from error

    async def probe(self) -> Verdict:
        """How it is, what of it works, and what to do about what does not."""
        level, message, hint = await probe(self._ask, self.config.model)
        return level, self._redact(message), hint

    async def _ask(self, method: str, path: str, body: bytes | None) -> httpx2.Response:
        try:
            return await self._http.request(method, f"{self.config.base_url}{path}", content=body, timeout=PROBE_S)
        except httpx2.RequestError as error:
            raise _explain_transport(error, self.config.model_copy(update={"idle_timeout_s": PROBE_S})) from error

    def _fits(self, failure: Passing, deadline: float) -> bool:
        """Whether the pause that the upstream asks for is worth it."""
        pause = failure.pause_s or 0.0
        return pause <= LONGEST_RETRY_AFTER_S and self._clock.now() + pause < deadline

    def _finish(self, error: UpstreamError, tried: str = "") -> UpstreamError:
        """The error as the caller sees it: without secrets, and with what was tried."""
        return UpstreamError(
            self._redact(error.message) + tried,
            code=self._redact(error.code),
            who=error.who,
            status=error.status,
            request_id=error.request_id,
        )

    def _clean(self, response: Response) -> Response:
        """A failed response is told in the upstream's own words too."""
        if error := response["error"]:
            response["error"] = {
                **error,
                "code": self._redact(error["code"]),
                "message": self._redact(error["message"]),
            }
        return response

    async def _send(self, turn: Turn, on_event: OnEvent, *, streams: bool) -> Response:
        """One request and its reply, whichever form that has."""
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
                    return check_response(await self._read_stream(reply, on_event))
                response = read_reply(await _read_body(reply), status=reply.status_code, request_id=_request_id(reply))
        except httpx2.RequestError as error:
            raise Passing(_explain_transport(error, self.config)) from error
        if streams and self.config.stream == "auto":
            response["notices"] = [self._give_up_streaming("it answers with JSON when asked for a stream")]
        return check_response(response)

    async def _refuse(self, reply: httpx2.Response, turn: Turn, on_event: OnEvent, *, streams: bool) -> Response:
        error = build_error(reply.status_code, await _read_refusal(reply), _request_id(reply))
        is_about_streams = reply.status_code in (400, 422) and _STREAMING.search(error.message)
        if streams and self.config.stream == "auto" and is_about_streams:
            response = await self._send(turn, on_event, streams=False)
            response["notices"] = [self._give_up_streaming(error.message)]
            return response
        if is_passing(reply, error):
            raise Passing(error, read_retry_after(reply.headers))
        raise error

    async def _read_stream(self, reply: httpx2.Response, on_event: OnEvent) -> Response:
        events = EventSplitter(MAX_BODY_BYTES)
        stream = StreamAccumulator(lambda delta: on_event({"type": "text", "delta": delta}))
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

    def _give_up_streaming(self, why: str) -> Notice:
        self._streams = False
        message = f"The upstream is asked without streaming now: {self._redact(why)}"
        return {"code": "upstream_does_not_stream", "message": message}


def join_body(turn: Turn, *, stream: bool) -> bytes:
    """The request body: a join of texts that are encoded already."""
    parts = [encode(dict(turn.parameters))[:-1]]
    if turn.tools:  # before the input, so that the body of one turn is the beginning of the next one's
        parts += [',"tools":[', ",".join(turn.tools), "]"]
    parts += [',"input":[', ",".join(turn.items), "]"]
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
