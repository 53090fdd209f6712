"""The engine that keeps runs in memory: each in a task of its own, and for a while after its end."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import NamedTuple, Self, TypeAlias

import anyio
from anyio.abc import TaskGroup

from bridge.clock import Clock
from bridge.json_text import JsonObject
from bridge.run.engine import tell
from bridge.run.limits import Ending
from bridge.run.run import Run

KEPT_S = 3600.0
"""How long the result of a run can be asked for after its end."""
KEPT_RUNS, KEPT_CHARS = 100, 64 << 20
"""How many runs that have ended are kept, and how much text of theirs in all; the oldest goes first."""

_WEIGHED = ("output", "item", "text", "value", "message")
"""Parts of events that can be long."""

Execute: TypeAlias = Callable[[Run, JsonObject], Awaitable[Ending]]


class _End(NamedTuple):
    time: float
    chars: int


class MemoryEngine(anyio.AsyncContextManagerMixin):
    """Starts runs of `body` for as long as it is entered; leaving it cancels those that still run.

    A run that somebody waited for, and nobody has for `orphan_s` seconds, is stopped.
    """

    def __init__(self, body: Execute, clock: Clock, *, orphan_s: float) -> None:
        self._body = body
        self._clock = clock
        self._orphan_s = orphan_s
        self._runs: dict[str, Run] = {}
        self._ended: dict[str, _End] = {}
        """In the order of their ends."""
        self._chars = 0
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with anyio.create_task_group() as self._tasks:
            yield self
            self._tasks.cancel_scope.cancel()
        self._tasks = None

    def start(self, run_id: str, arguments: JsonObject, *, owner: str | None) -> Run:
        """Start a run; `arguments` are `respond`'s, checked already."""
        assert self._tasks
        run = Run(run_id, owner, arguments, self._clock, on_parted=self._note_parting)
        self._runs[run_id] = run
        self._tasks.start_soon(self._execute, run, name=f"run {run_id}")
        return run

    def find(self, run_id: str, *, owner: str | None) -> Run | None:
        """A run of this owner that is running or has ended not long ago."""
        self._forget()
        run = self._runs.get(run_id)
        return run if run and run.owner == owner else None

    def find_lost(self, arguments: JsonObject, *, owner: str | None) -> Run | None:
        """The run that an earlier, equal call of this owner began and got no result of: that call was given up by the
        host, and this one repeats it."""
        self._forget()
        lost = (run for run in self._runs.values() if not (run.is_delivered or run.is_stopped or run.is_awaited))
        return next((run for run in lost if run.owner == owner and run.arguments == arguments), None)

    def find_response(self, response_id: str, *, owner: str | None) -> Run | None:
        """The run of this owner that ended with this response."""
        self._forget()
        ended = (run for run in reversed(self._runs.values()) if run.owner == owner and run.ending)  # the newest counts
        return next((run for run in ended if run.response_id == response_id), None)

    async def _execute(self, run: Run) -> None:
        try:
            await run.execute(partial(self._body, run, run.arguments))
        finally:
            end = _End(self._clock.now(), _weigh(run))
            self._ended[run.run_id] = end
            self._chars += end.chars
            self._forget()

    def _forget(self) -> None:
        """Let go of what ended too long ago, and of the oldest where there is too much; the last is always kept."""
        oldest = self._clock.now() - KEPT_S
        while self._ended:
            run_id, end = next(iter(self._ended.items()))
            is_excess = len(self._ended) > KEPT_RUNS or (self._chars > KEPT_CHARS and len(self._ended) > 1)
            if not is_excess and end.time > oldest:
                return
            del self._ended[run_id], self._runs[run_id]
            self._chars -= end.chars

    def _note_parting(self, run: Run) -> None:
        if self._tasks:
            self._tasks.start_soon(self._stop_orphan, run)

    async def _stop_orphan(self, run: Run) -> None:
        joined = run.joined
        with self._clock.scope(self._clock.now() + self._orphan_s):
            await joined.wait()
            return
        message = f"nobody asked for this run for {self._orphan_s:g} s (limits.orphan_s), so it was stopped"
        run.emit(tell({"code": "orphan", "message": message}))
        run.cancel()


def _weigh(run: Run) -> int:
    """About how many characters of text there are in what it was given and has got, however deep."""
    parts = [event[name] for event in run.events for name in _WEIGHED if name in event]
    chars, left = 0, [run.arguments, *parts]
    while left:
        part = left.pop()
        if isinstance(part, str):
            chars += len(part)
        elif isinstance(part, dict):
            left += part.values()
        elif isinstance(part, list):
            left += part
        else:
            chars += 1
    return chars
