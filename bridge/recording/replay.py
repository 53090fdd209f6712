"""Plays a recording to a bridge in place of the world: the same replies, the same outputs of tools, the same time."""

import weakref
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from functools import partial
from typing import NoReturn, cast

import anyio
import anyio.lowlevel
import httpx2
from typing_extensions import override

from bridge.call_options import CallOptions
from bridge.clock import Clock
from bridge.errors import ReplayError
from bridge.events import AnyEvent, CallEnded
from bridge.items import Call, CallOutput, fail_call
from bridge.json_text import JsonObject, encode, scrub
from bridge.questions import Ask
from bridge.recording.lines import Called, Line, Offered, Ranked, Replied, Returned, Sent, locate_call
from bridge.recording.record import CANCELLED, tidy
from bridge.recording.snapshot import Snapshot
from bridge.recording.tape import Recording
from bridge.run.protocols import Send

PATIENCE_S = 30.0
"""How long one step may wait for another that the recording has before it: only for ever, if they differ."""
SHOWN_CHARS = 40


class RecordedClock(Clock):
    """Time as it was: it stands still between the recorded instants, and no pause is waited for."""

    def __init__(self) -> None:
        self._now = 0.0
        self._scopes: list[tuple[float, weakref.ref[anyio.CancelScope]]] = []

    @override
    def now(self) -> float:
        return self._now

    @override
    async def sleep(self, seconds: float) -> None:
        await anyio.lowlevel.checkpoint()

    @override
    def scope(self, deadline: float) -> anyio.CancelScope:
        scope = anyio.CancelScope()
        self._scopes.append((deadline, weakref.ref(scope)))
        return scope

    def reach(self, instant: float) -> None:
        """It is this late by now; what had to end before is cancelled."""
        self._now = max(self._now, instant)
        for deadline, reference in self._scopes:
            if deadline <= self._now and (scope := reference()):
                scope.cancel()
        self._scopes = [each for each in self._scopes if each[0] > self._now and each[1]()]


class Replay:
    """What a bridge needs to run again as recorded. `fault` is the first difference; after one, nothing goes on."""

    def __init__(self, recording: Recording) -> None:
        self.run_id = recording.start.run_id
        self.arguments = cast("JsonObject", recording.start.arguments)
        self.config = recording.config
        self.clock = RecordedClock()
        self.fault: ReplayError | None = None
        self.transport = ReplayTransport(self, recording.lines)
        self.tools = ReplayTools(self, recording.lines)
        self._end = recording.end

    def note(self, message: str) -> None:
        """Something differs."""
        self.fault = self.fault or ReplayError(message)

    def give_back_time(self, event: AnyEvent) -> AnyEvent:
        """An event of the run, with how long it took when it was recorded."""
        if not isinstance(event, CallEnded):
            return event
        return replace(event, duration_ms=self._end.durations_ms.get(locate_call(event), event.duration_ms))

    def check(self, receipt: JsonObject) -> None:
        """Raises ReplayError for anything that differed, the result included."""
        self.transport.check_end()
        recorded = cast("JsonObject", self._end.receipt)
        read = cast("JsonObject", tidy(receipt))
        for name in dict.fromkeys([*read, *recorded]):
            if read.get(name) != recorded.get(name):
                difference = _compare(encode(recorded.get(name)).encode(), encode(read.get(name)).encode())
                self.note(f"the result differs from the recorded one in {name}, {difference}")
        if self.fault:
            raise self.fault


class ReplayTransport(httpx2.AsyncBaseTransport):
    """Compares each request with the recorded one, and gives its reply."""

    def __init__(self, replay: Replay, lines: Sequence[Line]) -> None:
        self._replay = replay
        self._sent = [line for line in lines if isinstance(line, Sent)]
        self._replies = {line.n: line for line in lines if isinstance(line, Replied)}
        self._count = 0

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        sent = self._find(request.method, request.url.path, await request.aread())
        self._replay.clock.reach(sent.at_s)
        reply = self._replies.get(sent.n)
        if reply is None:
            self._fail(f"request {sent.n} has no reply in the recording")
        if reply.status is None:
            await self.end(reply)
        headers = [(name, value) for name, value in reply.headers]
        return httpx2.Response(reply.status or 0, headers=headers, stream=_ReplayedBody(self, reply))

    def check_end(self) -> None:
        """Note what was not asked for."""
        if self._count < len(self._sent):
            self._replay.note(f"{self._count} requests were sent, and {len(self._sent)} are recorded")

    async def end(self, reply: Replied) -> None:
        """What came behind the last byte."""
        self._replay.clock.reach(reply.at_s)
        name, words = reply.error or ["", ""]
        if name == CANCELLED:
            await anyio.sleep(PATIENCE_S)
            self._fail(f"request {reply.n} was given up before its end when it was recorded, and is not now")
        if name:
            raise _find_error(name)(words)

    def _find(self, method: str, path: str, body: bytes) -> Sent:
        if self._replay.fault:
            raise self._replay.fault
        self._count = n = self._count + 1
        if n > len(self._sent):
            self._fail(f"request {n} is sent, and only {len(self._sent)} are recorded")
        sent = self._sent[n - 1]
        if (sent.method, sent.path) != (method, path):
            self._fail(f"request {n} was {sent.method} {sent.path} when it was recorded, and is {method} {path} now")
        if (recorded := sent.body.encode()) != body:
            self._fail(f"request {n} differs from the recorded one {_compare(recorded, body)}")
        return sent

    def _fail(self, message: str) -> NoReturn:
        self._replay.note(message)
        assert self._replay.fault
        raise self._replay.fault


class _ReplayedBody(httpx2.AsyncByteStream):
    def __init__(self, transport: ReplayTransport, reply: Replied) -> None:
        self._transport = transport
        self._reply = reply

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        if self._reply.body:
            yield self._reply.body.encode(self._reply.encoding)
        await self._transport.end(self._reply)


class ReplayTools:
    """The recorded tools: each call gets what it came to, and they end in the order in which they did."""

    def __init__(self, replay: Replay, lines: Sequence[Line]) -> None:
        self._replay = replay
        self._offered = next((line for line in lines if isinstance(line, Offered)), None)
        self._fitting = {line.wish: line.names for line in lines if isinstance(line, Ranked)}
        self._order = [line for line in lines if isinstance(line, (Called, Returned))]
        self._place = 0
        self._moved = anyio.Event()
        self._count = 0

    async def describe(self) -> JsonObject:
        """Nothing: there is one."""
        return {}

    def restore(self, described: JsonObject) -> Snapshot:  # noqa: ARG002
        """The catalogue as it was."""
        offered = self._offered or Offered({}, {}, [], [])
        self._replay.clock.reach(offered.at_s)
        return Snapshot(offered.functions, offered.owners, offered.notices, offered.polling, self._rank)

    def _rank(self, wish: str) -> list[str]:
        if wish not in self._fitting:
            self._replay.note(f"tools are looked for that would {wish[:SHOWN_CHARS]!r}, which is not recorded")
        return self._fitting.get(wish, [])

    async def prepare(self, catalogue: Snapshot, call: Call, ask: Ask) -> Send | CallOutput:  # noqa: ARG002
        """Whatever it is, it may be played."""
        self._count += 1
        return partial(self._play, self._count, call)

    async def _play(self, n: int, call: Call, terms: CallOptions) -> CallOutput:
        """What the call came to."""
        called, returned = self._find(n, call)
        if returned is None:
            return _stop()
        with anyio.move_on_after(PATIENCE_S):
            await self._reach(called)
            await self._reach(returned)
            if self._replay.fault:
                return _stop()
            if returned.output is None:
                await anyio.sleep_forever()  # it ends with the run
            if keep := terms.keep:
                for text in returned.kept:
                    keep(text, text.encode())
            return _read_output(returned)
        self._differ(f"call {n} ({call.name}) does not end where it did when it was recorded")
        return _stop()

    def _find(self, n: int, call: Call) -> tuple[Called, Returned | None]:
        """The recorded call; None for what it came to, where it is another one."""
        now = Called(n, scrub(call.call_id), scrub(call.name), tidy(call.arguments), None)
        called = next((line for line in self._order if isinstance(line, Called) and line.n == n), None)
        returned = next((line for line in self._order if isinstance(line, Returned) and line.n == n), None)
        if called is None or returned is None:
            self._differ(f"call {n} is {_show(now)}, and is not in the recording")
            return now, None
        if (called.call_id, called.name, called.arguments) != (now.call_id, now.name, now.arguments):
            self._differ(f"call {n} was {_show(called)} when it was recorded, and is {_show(now)} now")
            return now, None
        return called, returned

    def _differ(self, message: str) -> None:
        """Note it, and let nobody wait for what will not come."""
        self._replay.note(message)
        self._wake()

    async def _reach(self, line: Called | Returned) -> None:
        while not self._replay.fault and self._order[self._place] is not line:
            await self._moved.wait()
        self._place += 1
        self._replay.clock.reach(line.at_s)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        self._moved = anyio.Event()


def _stop() -> CallOutput:
    """In place of an output that would not be the recorded one."""
    return fail_call("replay", "not as recorded")


def _read_output(line: Returned) -> CallOutput:
    output = line.output if isinstance(line.output, str) else cast("list[JsonObject]", line.output)
    return {
        "output": output,
        "is_error": line.is_error,
        "server": line.server,
        "tool": line.tool,
        "notices": line.notices,
    }


def _show(call: Called) -> str:
    return f"{call.name}({_cut(encode(call.arguments))}) [{call.call_id}]"


def _compare(recorded: bytes, now: bytes) -> str:
    """Where two texts part, and what stands there."""
    pairs = enumerate(zip(recorded, now, strict=False))
    offset = next((place for place, (one, other) in pairs if one != other), min(len(recorded), len(now)))
    return f"at byte {offset:,}: recorded {_excerpt(recorded, offset)}, now {_excerpt(now, offset)}"


def _excerpt(data: bytes, offset: int) -> str:
    start = max(0, offset - SHOWN_CHARS // 2)
    return repr(data[start : offset + SHOWN_CHARS].decode("utf-8", "replace")) if offset < len(data) else "its end"


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN_CHARS else f"{text[:SHOWN_CHARS]}…"


def _find_error(name: str) -> type[httpx2.RequestError]:
    kind = getattr(httpx2, name, None)
    return kind if isinstance(kind, type) and issubclass(kind, httpx2.RequestError) else httpx2.ReadError
