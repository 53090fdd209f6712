"""Listens to one run: what is sent and comes back, what the tools are asked and answer, and how it ends."""

import re
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Generic, Literal

import anyio
import httpx2
from typing_extensions import override

from bridge import __version__
from bridge.call_options import CallOptions
from bridge.config.settings import Config
from bridge.events import CallEnded, Kept
from bridge.items import Call, CallOutput
from bridge.json_text import Json, JsonObject, decode, encode, scrub
from bridge.network import explain_network
from bridge.questions import Ask
from bridge.recording.lines import Called, End, Offered, Ranked, Replied, Returned, Sent, Start, locate_call
from bridge.recording.snapshot import Snapshot
from bridge.recording.tape import Tape
from bridge.run.protocols import C, Send, Tools
from bridge.telemetry import BLANK, Redactor

CANCELLED = "cancelled"
"""In place of an error's name: the run gave it up."""
_LEFT_OUT = {
    "servers": True,
    "serve": True,
    "notices": True,
    "path": True,
    "input_roots": True,
    "upstream": {"api_key", "headers", "query"},
}
_DELTA = re.compile(r'("delta"\s*:\s*")((?:[^"\\]|\\.)*)"')


class Recorder:
    """Writes down one run."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape

    def begin(self, run_id: str, arguments: JsonObject, config: Config) -> None:
        """The first line, before anything happens."""
        replayed = config.model_copy(update={"builtin_tools": False})
        kept = replayed.model_dump(mode="json", exclude=_LEFT_OUT)
        time = datetime.now(UTC).isoformat(timespec="seconds")
        self._tape.write(Start(__version__, time, run_id, arguments, kept))

    def end(self, receipt: JsonObject, events: Iterable[Kept]) -> None:
        """The last line."""
        durations = {locate_call(event): event.duration_ms for event in events if isinstance(event, CallEnded)}
        self._tape.write(End(durations, receipt))

    def listen_over(self, transport: httpx2.AsyncBaseTransport) -> httpx2.AsyncBaseTransport:
        """The transport, with every exchange written down."""
        return RecordingTransport(transport, self._tape)

    def listen_to(self, tools: Tools[C]) -> "RecordingTools[C]":
        """The servers' tools, with every call written down."""
        return RecordingTools(tools, self._tape)


class RecordingTransport(httpx2.AsyncBaseTransport):
    """Writes down each request as it leaves, and its reply when it ends."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, tape: Tape) -> None:
        self._inner = inner
        self._tape = tape
        self._count = 0

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        self._count = n = self._count + 1
        self._tape.write(Sent(n, request.method, request.url.path, body.decode("utf-8", "replace")))
        try:
            reply = await self._inner.handle_async_request(request)
        except BaseException as error:
            self._tape.write(Replied(n, None, [], "", "utf-8", None, _describe(error)))
            raise
        stream = _RecordedBody(n, reply, self._tape)
        return httpx2.Response(reply.status_code, headers=reply.headers, stream=stream, extensions=reply.extensions)

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()


class _RecordedBody(httpx2.AsyncByteStream):
    """Hands on a reply's body as it comes, and writes it down when it is closed."""

    def __init__(self, n: int, reply: httpx2.Response, tape: Tape) -> None:
        self._n = n
        self._reply = reply
        self._tape = tape
        self._head_s = tape.now()
        self._data = bytearray()
        self._error: list[str] | None = None
        self._is_written = False

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._reply.aiter_raw():
                self._data += chunk
                yield chunk
        except GeneratorExit:
            raise
        except BaseException as error:
            self._error = _describe(error)
            raise

    @override
    async def aclose(self) -> None:
        if not self._is_written:
            self._is_written = True
            self._write()
        await self._reply.aclose()

    def _write(self) -> None:
        try:
            headers, data = _uncompress(self._reply, bytes(self._data))
        except httpx2.DecodingError as error:
            headers, data, self._error = httpx2.Headers(), b"", _describe(error)
        body, encoding = _read_text(data, self._tape.redact)
        pairs = [[name, BLANK if name == "set-cookie" else value] for name, value in headers.multi_items()]
        self._tape.write(Replied(self._n, self._reply.status_code, pairs, body, encoding, self._head_s, self._error))


class RecordingTools(Generic[C]):
    """Writes down what the servers offer, and each call with what it comes to."""

    def __init__(self, inner: Tools[C], tape: Tape) -> None:
        self._inner = inner
        self._tape = tape
        self._count = 0
        self._source: C | None = None

    async def describe(self) -> JsonObject:
        """The servers' own."""
        return await self._inner.describe()

    def restore(self, described: JsonObject) -> Snapshot:
        """The catalogue of the run."""
        self._source = source = self._inner.restore(described)
        functions, owners, notices = dict(source.functions), dict(source.owners), list(source.notices)
        polling = sorted(source.polling)
        self._tape.write(Offered(functions, owners, polling, notices))
        return Snapshot(functions, owners, notices, polling, self._rank)

    def _rank(self, wish: str) -> list[str]:
        assert self._source
        names = list(self._source.rank(wish))
        self._tape.write(Ranked(wish, names))
        return names

    async def prepare(self, catalogue: Snapshot, call: Call, ask: Ask) -> Send | CallOutput:
        """Write down the call as it begins."""
        assert self._source
        self._count = n = self._count + 1
        name, server = scrub(call.name), catalogue.owners.get(call.name)
        self._tape.write(Called(n, scrub(call.call_id), name, tidy(call.arguments), server))
        began, send = self._tape.now(), None
        try:
            send = await self._inner.prepare(self._source, call, ask)
        finally:
            if not callable(send):
                self._tape.write(_describe_end(n, round(self._tape.now() - began, 6), send, []))
        return partial(self._record, n, began, send) if callable(send) else send

    async def _record(self, n: int, began: float, send: Send, terms: CallOptions) -> CallOutput:
        kept, keep, output = list[str](), terms.keep, None

        def note(text: str, data: bytes) -> str:
            kept.append(text)
            return keep(text, data) if keep else ""

        try:
            output = await send(replace(terms, keep=note if keep else None))
        finally:
            self._tape.write(_describe_end(n, round(self._tape.now() - began, 6), output, kept))
        return output


def _describe_end(n: int, seconds: float, output: CallOutput | None, kept: list[str]) -> Returned:
    if output is None:
        return Returned(n, seconds, None, is_error=True, server=None, tool=None, notices=[], kept=kept)
    return Returned(
        n,
        seconds,
        output["output"],
        is_error=output["is_error"],
        server=output["server"],
        tool=output["tool"],
        notices=list(output.get("notices", [])),
        kept=kept,
    )


def tidy(value: Json) -> Json:
    """The value as it is when it was written down and read again."""
    return decode(encode(value))


def _describe(error: BaseException) -> list[str]:
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return [CANCELLED, ""]
    return [type(error).__name__, scrub(explain_network(error))]


def _uncompress(reply: httpx2.Response, data: bytes) -> tuple[httpx2.Headers, bytes]:
    """Nothing can be looked for in what is compressed, secrets neither."""
    headers = reply.headers.copy()
    if (encoding := headers.pop("content-encoding", None)) is None:
        return headers, data
    headers.pop("content-length", None)
    return headers, httpx2.Response(200, headers={"content-encoding": encoding}, content=data).content


def _read_text(data: bytes, redact: Redactor) -> tuple[str, Literal["utf-8", "latin-1"]]:
    """The text of a body without secrets, also those that came in pieces, and how to make bytes of it again."""
    text = redact(data.decode("utf-8", "surrogateescape"))
    pieces = "".join(match[2] for match in _DELTA.finditer(text))
    if redact(pieces) != pieces:
        text = _DELTA.sub(rf'\1{BLANK}"', text)
    clean = text.encode("utf-8", "surrogateescape")
    try:
        return clean.decode(), "utf-8"
    except UnicodeDecodeError:
        return clean.decode("latin-1"), "latin-1"
