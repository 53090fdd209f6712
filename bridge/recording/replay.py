"""A recorded run, done again with the recorded replies, the recorded outcomes of its steps and the recorded time."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any, cast

import anyio
import httpx2
from typing_extensions import override

from bridge.clock import SteppedClock
from bridge.errors import ReplayError
from bridge.events import CallEnded, CallStarted, Event, write_event
from bridge.json_text import JsonObject, encode, scrub
from bridge.recording.record import CANCELLED
from bridge.recording.tape import End, Line, Replied, Sent, Start, Step, Told, find_all
from bridge.run.engine import Stop
from bridge.run.memory import MemoryEngine
from bridge.run.task import RunTask

PATIENCE_S = 30.0
"""Real seconds to wait for what came first when it was recorded; it never comes if the runs differ."""
SHOWN_CHARS = 40
"""Characters that are shown after a difference; half as many are shown before it."""


class Replay(httpx2.AsyncBaseTransport):
    """A recording, ready to be replayed by a bridge. As the transport to the upstream it compares each request with the
    recorded one and returns the recorded reply."""

    def __init__(self, lines: list[Line]) -> None:
        self.start, self._end = find_all(lines, Start)[0], find_all(lines, End)[-1]
        self.clock = SteppedClock()
        self.build_engine = partial(MemoryEngine, build_task=partial(ReplayTask, replay=self, lines=lines))
        self.stop: Callable[[], None] = lambda: None
        """Stops the run; called at the first difference."""
        self._fault: ReplayError | None = None
        self._sent = {line.n: line for line in find_all(lines, Sent)}
        self._replies = {line.n: line for line in find_all(lines, Replied)}
        self._count = 0

    def note(self, message: str) -> ReplayError:
        """Note a difference, and return the error for the first one."""
        self._fault = self._fault or ReplayError(message)
        self.stop()
        return self._fault

    def compare(self, what: str, recorded: str, now: str) -> None:
        """Note the place where two texts differ, if they do."""
        if recorded != now:
            old, new = recorded.encode(), now.encode()
            pairs = enumerate(zip(old, new, strict=False))
            place = next((place for place, (one, other) in pairs if one != other), min(len(old), len(new)))
            texts = f"recorded {_quote(old, place)}, now {_quote(new, place)}"
            self.note(f"{what} differs from the recorded one at byte {place:,}: {texts}")

    def check(self, receipt: JsonObject) -> None:
        """Compare the result too, and raise ReplayError for the first difference of all."""
        if self._count < len(self._sent):
            self.note(f"{self._count} requests were sent, and {len(self._sent)} are recorded")
        recorded = cast("JsonObject", self._end.receipt)
        for name in dict.fromkeys([*receipt, *recorded]):
            self.compare(f"{name} of the result", encode(recorded.get(name)), encode(receipt.get(name)))
        if self._fault:
            raise self._fault

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        body = (await request.aread()).decode("utf-8", "replace")
        self._count = n = self._count + 1
        sent, reply = self._sent.get(n), self._replies.get(n)
        if sent is None:
            raise self.note(f"request {n} is sent, and only {len(self._sent)} are recorded")
        self.clock.reach(sent.at_s)
        whole = f"{body} {request.method} {request.url.path}"
        self.compare(f"request {n}", f"{sent.body} {sent.method} {sent.path}", whole)
        if self._fault or reply is None:
            raise self.note(f"request {n} has no reply in the recording")
        if reply.status is None:
            await self._finish(reply)
        return httpx2.Response(reply.status or 0, headers=reply.headers, content=self._read(reply))

    async def _read(self, reply: Replied) -> AsyncIterator[bytes]:
        if reply.body:
            yield reply.body.encode(reply.encoding)
        await self._finish(reply)

    async def _finish(self, reply: Replied) -> None:
        """End the reply as it ended: at its time, with its error."""
        self.clock.reach(reply.at_s)
        name, words = reply.error or ("", "")
        if name == CANCELLED:
            await anyio.sleep(PATIENCE_S)
            raise self.note(f"request {reply.n} was given up when it was recorded, and is not now")
        if name:
            kind = getattr(httpx2, name, None)
            is_known = isinstance(kind, type) and issubclass(kind, httpx2.RequestError)
            raise kind(words) if is_known else httpx2.ReadError(words)


class ReplayTask(RunTask):
    """A run that is replayed. Steps that send requests are executed; all others return their recorded outcomes, in the
    recorded order."""

    def __init__(self, *task: Any, replay: Replay, lines: list[Line], **options: Any) -> None:
        super().__init__(*task, **options)
        replay.stop = partial(self.receive, Stop())
        self._replay = replay
        events = [line.event for line in find_all(lines, Told)]
        self._calls = {(event.get("type"), event.get("turn"), event.get("index")): event for event in events}
        steps = find_all(lines, Step)
        ends = [anyio.Event() for _ in range(len(steps) + 1)]
        ends[0].set()
        self._steps = {step.key: (step, *pair) for step, pair in zip(steps, pairwise(ends), strict=True)}
        """Each step with two events: the end of the step before it, and its own end."""

    @override
    async def step(self, key: str, fn: Callable[[], Awaitable[Any]]) -> Any:
        if key.startswith("turn:"):
            return await fn()
        if key not in self._steps:
            self._replay.note(f"the step {key} is not in the recording")
            return await anyio.sleep_forever()
        step, before, end = self._steps[key]
        with anyio.move_on_after(PATIENCE_S):
            await before.wait()
            self._replay.clock.reach(step.at_s)
            end.set()
            if step.outcome is not None:
                return step.outcome
            await anyio.sleep_forever()  # it had no outcome: the run ended first
        self._replay.note(f"the step {key} does not end where it did when it was recorded")
        return await anyio.sleep_forever()

    @override
    def has_outcome(self, key: str) -> bool:
        """Tell whether a step is in the recording: what was said to the run is."""
        return key in self._steps

    @override
    def emit(self, event: Event) -> None:
        if isinstance(event, (CallStarted, CallEnded)):
            recorded = self._calls.get((event.type, event.turn, event.index))
            if isinstance(event, CallStarted):
                what, was = f"call {event.index + 1} of turn {event.turn}", _show(recorded) if recorded else ""
                self._replay.compare(what, was, _show(write_event(event)))
            elif recorded:
                event = replace(event, duration_ms=cast("float", recorded.get("duration_ms", 0)))
        super().emit(event)


def _show(call: JsonObject) -> str:
    return scrub(f"{call.get('name')}({encode(call.get('arguments'))}) [{call.get('call_id')}]")


def _quote(text: bytes, place: int) -> str:
    if place == len(text):
        return "its end" if text else "nothing"
    return repr(text[max(0, place - SHOWN_CHARS // 2) : place + SHOWN_CHARS].decode("utf-8", "replace"))
