"""The engine that keeps runs in memory: each in a task of its own, with its list of events."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self, TypeAlias, TypeVar

import anyio
from anyio.abc import TaskGroup

from bridge.items import ErrorInfo, JsonObject
from bridge.run.limits import Ending

logger = logging.getLogger(__name__)

T = TypeVar("T")
Listener: TypeAlias = Callable[[JsonObject], None]


@dataclass(eq=False)
class Run:
    """One run and everything it has told; also its Context."""

    run_id: str
    owner: str | None
    """The principal it belongs to; nobody else gets to see it."""
    events: list[JsonObject] = field(default_factory=list)
    """Numbered by `seq`, without the deltas of streamed text."""
    ending: Ending | None = None
    ended: anyio.Event = field(default_factory=anyio.Event)
    _scope: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    _listeners: list[Listener] = field(default_factory=list)

    async def step(self, key: str, fn: Callable[[], Awaitable[T]], *, once: bool = False) -> T:  # noqa: ARG002
        """Nothing is remembered here: the process that would resume is the one that has ended."""
        return await fn()

    def emit(self, event: JsonObject) -> None:
        """Record an event and tell the listeners; streamed text is told only."""
        if event["type"] != "text":
            self.events.append({"seq": len(self.events)} | event)
        for listener in list(self._listeners):
            try:
                listener(event)
            except Exception:
                logger.exception("run %s: a listener broke and hears no more", self.run_id)
                self._listeners.remove(listener)

    def listen(self, listener: Listener) -> None:
        """Call `listener` for every event from now on; it must not block."""
        self._listeners.append(listener)

    def cancel(self) -> None:
        """Stop the run: its upstream request and its running calls end with it."""
        self._scope.cancel()


Body: TypeAlias = Callable[[Run, JsonObject], Awaitable[Ending]]


class MemoryEngine(anyio.AsyncContextManagerMixin):
    """Starts runs of `body` for as long as it is entered; leaving it cancels those that still run."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._tasks: TaskGroup | None = None

    @asynccontextmanager
    async def __asynccontextmanager__(self) -> AsyncGenerator[Self]:
        async with anyio.create_task_group() as self._tasks:
            yield self
            self._tasks.cancel_scope.cancel()

    def start(self, run_id: str, arguments: JsonObject, *, owner: str | None, listener: Listener | None = None) -> Run:
        """Start a run; `arguments` are `respond`'s, checked already."""
        assert self._tasks
        run = Run(run_id, owner)
        if listener:
            run.listen(listener)
        self._tasks.start_soon(self._execute, run, arguments, name=f"run {run_id}")
        return run

    async def _execute(self, run: Run, arguments: JsonObject) -> None:
        ending: Ending = {"status": "cancelled", "reason": None, "error": None}
        try:
            with run._scope:
                ending = await self._body(run, arguments)
        except Exception:
            logger.exception("run %s broke", run.run_id)
            ending = {"status": "failed", "reason": None, "error": INTERNAL_ERROR}
        finally:
            run.ending = ending
            run.emit({"type": "run.ended", "status": ending["status"]})
            run.ended.set()


INTERNAL_ERROR: ErrorInfo = {
    "code": "internal_error",
    "message": "The bridge itself failed; its log has the cause.",
    "who": "operator",
    "status": None,
    "request_id": None,
}
