"""An engine that remembers the outcome of every step and nothing else.

After some steps, or after every one, all that a run has in memory is dropped, and the run is taken up again in a fresh
bridge: with another hub, another upstream client, and no event. What a run needs and does not get by a step is missed.
The fresh bridge may have another config, and other servers.
"""

import contextlib
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio
import anyio.lowlevel

from bridge.app import Bridge
from bridge.clock import Clock
from bridge.events import Event
from bridge.json_text import JsonObject
from bridge.questions import Answer, Question
from bridge.run.engine import Context, Execute, Intend, OutcomeUnknown
from bridge.run.limits import Ending
from bridge.run.memory import MemoryEngine
from bridge.run.run import Interjection, Run
from bridge.run.stopwatch import Stopwatch
from bridge.run.transcript import Transcript

T = TypeVar("T")


@dataclass
class Interruptions:
    """When runs are interrupted: `after` tells it of a step that has its outcome, by its number from 1 on and its key;
    `at_intent` of one that is about to be sent, by its key."""

    after: Callable[[int, str], bool] = lambda _number, _key: False
    at_intent: Callable[[str], bool] = lambda _key: False
    between: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint
    """What happens until somebody takes the run up again."""
    later: Mapping[str, Any] = field(default_factory=dict)
    """What is different by then, as for `open_without_host`: `servers`, and sections of the config file."""
    steps: list[str] = field(default_factory=list)
    """The keys of all steps that were done, in their order."""
    count: int = 0
    """How often a run was interrupted."""


_wanted: list[Interruptions] = []
"""Of the test that runs. No context variable: a test and its fixtures do not share them."""


@contextlib.contextmanager
def interrupted(interruptions: Interruptions) -> Iterator[Interruptions]:
    """Bridges that are opened meanwhile forget."""
    _wanted.append(interruptions)
    try:
        yield interruptions
    finally:
        _wanted.pop()


def choose_engine(assemble: Callable[..., Callable[..., Bridge]]) -> Callable[..., Any]:
    """What builds the engine of a bridge: one that forgets where that is wanted. `assemble(**later)` tells how another
    bridge like it is built, with what is different by then."""
    if not _wanted:
        return MemoryEngine
    interruptions = _wanted[-1]
    first, later = assemble(), assemble(**interruptions.later)

    def build(body: Execute, clock: Clock, **limits: Any) -> ForgetfulEngine:  # noqa: ARG001
        return ForgetfulEngine([first, later], interruptions, clock, **limits)

    return build


class ForgetfulEngine(MemoryEngine):
    """Drives each run in as many legs as it is interrupted, each in a bridge of its own."""

    def __init__(
        self, fresh: Sequence[Callable[..., Bridge]], interruptions: Interruptions, clock: Clock, **limits: Any
    ) -> None:
        """`fresh` builds the bridges: of the first leg, and of the others."""
        super().__init__(self._take_up, clock, **limits)
        self._fresh = fresh
        self._interruptions = interruptions

    async def _take_up(self, ctx: Context, arguments: JsonObject) -> Ending:
        memory, [fresh, later] = _Memory(), self._fresh
        while True:
            leg = _Leg(ctx, memory, self._interruptions, self._clock)
            _forget(ctx.run)
            async with fresh(build_engine=lambda *_, **__: _Lent(self)) as bridge:
                with leg.scope:
                    return await bridge.execute(leg, json.loads(json.dumps(arguments)))
            memory.used_s += self._clock.now() - leg.began
            self._interruptions.count += 1
            fresh = later
            await self._interruptions.between()


def _forget(run: Run) -> None:
    run.events.clear()
    run.saying.clear()
    run.transcript = None


class _Lent:
    """The engine for a bridge that does not start and stop it."""

    def __init__(self, engine: MemoryEngine) -> None:
        self._engine = engine

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def __aenter__(self) -> MemoryEngine:
        return self._engine

    async def __aexit__(self, *_: object) -> None:
        pass


@dataclass
class _Memory:
    """What is left of a run."""

    outcomes: dict[str, str] = field(default_factory=dict)
    """Of each step, as JSON text."""
    intents: set[str] = field(default_factory=set)
    used_s: float = 0.0


class _Leg:
    """The Context of a run from one interruption to the next."""

    def __init__(self, ctx: Context, memory: _Memory, interruptions: Interruptions, clock: Clock) -> None:
        self.scope = anyio.CancelScope()
        self.began = clock.now()
        self.used_s = memory.used_s
        self._ctx = ctx
        self._memory = memory
        self._interruptions = interruptions
        self._keys: set[str] = set()
        self._sent = 0
        """Steps that were sent and have no outcome yet: who ends now ends in the middle of them."""
        self._is_over = False

    @property
    def principal(self) -> str | None:
        return self._ctx.principal

    @property
    def run(self) -> Run:
        return self._ctx.run

    @property
    def stopwatch(self) -> Stopwatch:
        return self._ctx.stopwatch

    @property
    def is_taken_over(self) -> bool:
        return self._ctx.is_taken_over

    @property
    def is_left(self) -> bool:
        return False

    async def step(self, key: str, fn: Callable[[], Awaitable[T]]) -> T:
        async with self._once(key):
            if key in self._memory.outcomes:
                return self._recall(key)
            return await self._remember(key, await fn())

    async def step_once(self, key: str, fn: Callable[[Intend], Awaitable[T]], *, is_harmless: bool = False) -> T:  # noqa: ARG002
        async def intend() -> None:
            if key not in self._memory.intents:
                self._memory.intents.add(key)
                self._sent += 1
                if self._interruptions.at_intent(key):
                    await self._interrupt(in_the_middle=True)

        async with self._once(key):
            if key in self._memory.outcomes:
                return self._recall(key)
            if key in self._memory.intents:
                raise OutcomeUnknown(key)
            try:
                outcome = await fn(intend)
            finally:
                self._sent -= key in self._memory.intents
            return await self._remember(key, outcome)

    def begin(self, transcript: Transcript) -> None:
        self._ctx.begin(transcript)

    def emit(self, event: Event) -> None:
        if not self._is_over:
            self._ctx.emit(event)

    async def ask(self, question: Question, *, approval_s: float | None = None) -> Answer:
        return await self._ctx.ask(question, approval_s=approval_s)

    async def hear(self, turn: int) -> list[Interjection]:
        key = f"said:{turn}"
        async with self._once(key):
            if key in self._memory.outcomes:
                heard: list[Interjection] = self._recall(key)
                return heard
            if f"turn:{turn}" in self._memory.outcomes:
                return []
            heard = await self._ctx.hear(turn)
            return await self._remember(key, heard) if heard else []

    @asynccontextmanager
    async def _once(self, key: str) -> AsyncIterator[None]:
        assert key not in self._keys, f"two steps of one run are called {key}"
        self._keys.add(key)
        if self._is_over:
            await anyio.sleep_forever()
        yield

    def _recall(self, key: str) -> Any:
        return json.loads(self._memory.outcomes[key])

    async def _remember(self, key: str, outcome: Any) -> Any:
        text = json.dumps(outcome)
        assert json.loads(text) == outcome, f"the outcome of {key} is not JSON"
        self._memory.outcomes[key] = text
        self._interruptions.steps.append(key)
        is_wanted = self._interruptions.after(len(self._memory.outcomes), key)
        if is_wanted or self._is_over:
            await self._interrupt()
        return self._recall(key)

    async def _interrupt(self, *, in_the_middle: bool = False) -> None:
        """End here; but not in the middle of another call, of which nobody could say what came of it, unless that is
        wanted."""
        self._is_over = True
        if self._sent == 0 or in_the_middle:
            self.scope.cancel()
        await anyio.sleep_forever()
