"""Writes down one run: each request with its reply, what every other step came to, and all that is told."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Literal

import anyio
import httpx2
from typing_extensions import override

from bridge import __version__
from bridge.config.settings import Config
from bridge.events import Event, Kept, write_event
from bridge.json_text import scrub
from bridge.network import explain_network
from bridge.recording.tape import End, Replied, Sent, Start, Step, Tape, Told
from bridge.run.engine import Execute
from bridge.run.memory import MemoryEngine
from bridge.run.receipt import build_receipt
from bridge.run.task import RunTask
from bridge.telemetry import Redactor

CANCELLED = "cancelled"
"""In place of an error's name: the run gave it up."""
_SECTIONS = {"upstream", "limits", "tool_search", "prices", "builtin_tools"}
_SECRET = {"upstream": {"api_key", "headers", "query"}}
_LEFT_OUT = {"content-encoding", "content-length", "set-cookie"}
"""Headers of a reply: bodies are written down uncompressed."""


class RecordingTask(RunTask):
    """Drives one run, and writes down everything but its exchanges."""

    def __init__(self, *task: Any, tape: Tape, config: Config, **options: Any) -> None:
        """`task` and `options` as for every RunTask."""
        super().__init__(*task, **options)
        self._tape = tape
        self._config = config

    @override
    async def execute(self, body: Execute) -> None:
        run, time = self.run, datetime.now(UTC).isoformat(timespec="seconds")
        played = self._config.model_copy(update={"builtin_tools": False})  # no server is there when it is played
        config = played.model_dump(mode="json", include=_SECTIONS, exclude=_SECRET)
        self._tape.write(Start(__version__, time, run.run_id, run.arguments, config))
        await super().execute(body)
        assert run.ending
        self._tape.write(End(build_receipt(run.run_id, run.events, run.ending, limit_chars=sys.maxsize)))

    @override
    async def step(self, key: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        outcome = None
        try:
            outcome = await super().step(key, fn)
        finally:
            if not key.startswith("turn:"):
                self._tape.write(Step(key, outcome))
        return outcome

    @override
    def emit(self, event: Event) -> None:
        super().emit(event)
        if isinstance(event, Kept):  # text that comes in pieces may be a secret in pieces
            self._tape.write(Told(write_event(self.run.events[-1])))


def record_runs(tape: Tape, config: Config) -> Callable[..., MemoryEngine]:
    """Make what builds an engine whose runs are written down."""
    return partial(MemoryEngine, build_task=partial(RecordingTask, tape=tape, config=config))


@dataclass
class RecordingTransport(httpx2.AsyncBaseTransport):
    """Writes down each request as it leaves, and its reply when it ends."""

    inner: httpx2.AsyncBaseTransport
    tape: Tape
    count: int = 0

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = await request.aread()
        self.count = n = self.count + 1
        self.tape.write(Sent(n, request.method, request.url.path, body.decode("utf-8", "replace")))
        try:
            reply = await self.inner.handle_async_request(request)
        except BaseException as error:
            self.tape.write(Replied(n, None, [], "", "utf-8", None, _describe(error)))
            raise
        stream = _RecordedBody(n, reply, self.tape, self.tape.now())
        return httpx2.Response(reply.status_code, headers=reply.headers, stream=stream, extensions=reply.extensions)

    @override
    async def aclose(self) -> None:
        await self.inner.aclose()


@dataclass
class _RecordedBody(httpx2.AsyncByteStream):
    """Hands on a reply's body as it comes, and writes the reply down when it is closed."""

    n: int
    reply: httpx2.Response
    tape: Tape
    head_s: float
    data: bytearray = field(default_factory=bytearray)
    error: list[str] | None = None

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self.reply.aiter_raw():
                self.data += chunk
                yield chunk
        except (Exception, anyio.get_cancelled_exc_class()) as error:
            self.error = _describe(error)
            raise

    @override
    async def aclose(self) -> None:
        headers, data = self.reply.headers, b""
        try:
            data = httpx2.Response(200, headers=headers, content=bytes(self.data)).content
        except httpx2.DecodingError as error:
            self.error = _describe(error)
        text, encoding = _read_text(data, self.tape.redact)
        pairs = [[name, value] for name, value in headers.multi_items() if name not in _LEFT_OUT]
        self.tape.write(Replied(self.n, self.reply.status_code, pairs, text, encoding, self.head_s, self.error))
        await self.reply.aclose()


def _describe(error: BaseException) -> list[str]:
    if isinstance(error, anyio.get_cancelled_exc_class()):
        return [CANCELLED, ""]
    return [type(error).__name__, scrub(explain_network(error))]


def _read_text(data: bytes, redact: Redactor) -> tuple[str, Literal["utf-8", "latin-1"]]:
    """The text of a body without secrets, and how to make bytes of it again."""
    clean = redact.clean_stream(data.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
    try:
        return clean.decode(), "utf-8"
    except UnicodeDecodeError:
        return clean.decode("latin-1"), "latin-1"
