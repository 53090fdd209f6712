"""Recording a run: its HTTP exchanges, the outcomes of its other steps, its events, and its result."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

import anyio
import httpx2
from typing_extensions import override

from bridge import __version__
from bridge.config.settings import Config
from bridge.events import Event, Kept, write_event
from bridge.json_text import scrub
from bridge.network import explain_network
from bridge.recording.tape import End, Line, Replied, Sent, Start, Step, Tape, Told
from bridge.run.engine import Execute
from bridge.run.receipt import build_receipt
from bridge.run.task import RunTask
from bridge.telemetry import Redactor

OpenTape: TypeAlias = Callable[[str], AbstractContextManager[Tape | None]]
"""Opens the tape of the run of this id."""
_tape_here: ContextVar[Tape | None] = ContextVar("tape", default=None)
"""The tape of the run that the present task belongs to."""
CANCELLED = "cancelled"
"""Stands for the name of the error when the run cancelled a request."""
_OF_CODING = {"content-encoding", "content-length"}


class RecordingTask(RunTask):
    """A run that is recorded, except for its exchanges: those are recorded by RecordingTransport."""

    def __init__(self, *task: Any, open_tape: OpenTape, config: Config, **options: Any) -> None:
        """`open_tape`: called when the run begins; None where it cannot be recorded."""
        super().__init__(*task, **options)
        self._open_tape = open_tape
        self._config = config
        self._tape: Tape | None = None

    @override
    async def execute(self, body: Execute) -> None:
        with self._open_tape(self.run.run_id) as self._tape:
            _tape_here.set(self._tape)  # for this task and those that it starts: several runs go on at once
            time = datetime.now(UTC).isoformat(timespec="seconds")
            config = _leave_out_secrets(self._config)
            self._write(Start(__version__, time, self.run.run_id, self.run.arguments, config))
            await super().execute(body)
            assert self.run.ending
            receipt = build_receipt(self.run.run_id, self.run.events, self.run.ending, limit_chars=sys.maxsize)
            self._write(End(receipt))

    def _write(self, line: Line) -> None:
        if self._tape:
            self._tape.write(line)

    @override
    async def step(self, key: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        outcome = None
        try:
            outcome = await super().step(key, fn)
        finally:
            if not key.startswith("turn:"):
                self._write(Step(key, outcome))
        return outcome

    @override
    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Kept):  # text deltas are left out: a secret could be split between them
            self._write(Told(write_event(self.run.events[-1])))


@dataclass
class RecordingTransport(httpx2.AsyncBaseTransport):
    """A transport that records each request when it is sent, and its reply when that ends."""

    inner: httpx2.AsyncBaseTransport
    tape: Tape | None = None
    """None: that of the run that sends, if it is recorded."""

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        tape = self.tape or _tape_here.get()
        return await self._record(request, tape) if tape else await self.inner.handle_async_request(request)

    async def _record(self, request: httpx2.Request, tape: Tape) -> httpx2.Response:
        body = await request.aread()
        n = tape.count()
        tape.write(Sent(n, request.method, request.url.path, body.decode("utf-8", "replace")))
        try:
            reply = await self.inner.handle_async_request(request)
        except BaseException as error:
            tape.write(Replied(n, None, [], "", "utf-8", None, _describe(error)))
            raise
        headers = [(name, value) for name, value in reply.headers.multi_items() if name not in _OF_CODING]
        stream = _RecordedBody(n, reply, headers, tape, tape.now())
        return httpx2.Response(reply.status_code, headers=headers, stream=stream, extensions=reply.extensions)

    @override
    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass
class _RecordedBody(httpx2.AsyncByteStream):
    """The body of a reply: passed on as it arrives, decompressed so that secrets can be found in it, and recorded when
    it is closed."""

    n: int
    reply: httpx2.Response
    headers: list[tuple[str, str]]
    tape: Tape
    head_s: float
    data: bytearray = field(default_factory=bytearray)
    error: list[str] | None = None

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.reply.aiter_bytes():
                self.data += chunk
                yield chunk
        except (Exception, anyio.get_cancelled_exc_class()) as error:
            self.error = _describe(error)
            raise

    @override
    async def aclose(self) -> None:
        text, encoding = _read_text(bytes(self.data), self.tape.redact)
        headers = [(name, self.tape.redact(value)) for name, value in self.headers if name != "set-cookie"]
        self.tape.write(Replied(self.n, self.reply.status_code, headers, text, encoding, self.head_s, self.error))
        await self.reply.aclose()


def _leave_out_secrets(config: Config) -> Config:
    """Return the part of the config that a replay needs; it has no servers."""
    upstream = config.upstream and config.upstream.model_copy(update={"api_key": None, "headers": {}, "query": {}})
    rest = {name: getattr(config, name) for name in ("limits", "tool_search", "prices")}
    return Config(upstream=upstream, builtin_tools=False, **rest)


def _describe(error: BaseException) -> list[str]:
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return [CANCELLED, ""]
    return [type(error).__name__, scrub(explain_network(error))]


def _read_text(data: bytes, redact: Redactor) -> tuple[str, Literal["utf-8", "latin-1"]]:
    """Decode a body and blank its secrets. Return the text, and the encoding that restores its bytes."""
    clean = redact.clean_stream(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    try:
        return clean.decode(), "utf-8"
    except UnicodeDecodeError:
        return clean.decode("latin-1"), "latin-1"
