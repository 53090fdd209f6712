"""A clock that moves only when a test says so."""

import heapq
import itertools
import math
import weakref
from collections.abc import Callable

import anyio
import anyio.lowlevel
from typing_extensions import override

from bridge.clock import Clock

PATIENCE_S = 30
"""Of real time, until what a test waits for is said to hang. That it is fast is never meant: machines are busy."""
_CALM_ROUNDS = 6  # between the writing of a byte to a pipe and the waking of its reader are two
_ROUNDS_BEFORE_A_JUMP = 200  # to connect a server in this process takes fewer; nobody is late before that
_NAP_S = 0.002


async def until(condition: Callable[[], bool]) -> None:
    """Until it holds; TimeoutError after PATIENCE_S. For what no event tells of."""
    with anyio.fail_after(PATIENCE_S):
        while not condition():
            await anyio.lowlevel.checkpoint()


class VirtualClock(Clock):
    """Virtual time: starts at 0 and moves by `advance`, or by each `sleep` itself with `autojump=True`.

    `sleeps` records every duration slept, in the order in which the sleeps began. The deadline of a scope lives here
    and not in the scope: assigning to `scope.deadline` moves nothing.
    """

    def __init__(self, *, autojump: bool = False) -> None:
        self.sleeps: list[float] = []
        self._now = 0.0
        self._autojump = autojump
        self._order = itertools.count()
        self._timers: list[tuple[float, int, Callable[[], object]]] = []
        self._moved = weakref.WeakKeyDictionary[anyio.CancelScope, float]()

    @property
    def pending(self) -> int:
        """How many instants are waited for, those of scopes that have been left included."""
        return len(self._timers)

    @override
    def now(self) -> float:
        return self._now

    @override
    async def sleep(self, seconds: float) -> None:
        self.sleeps.append(seconds)
        if self._autojump:
            for _ in range(_ROUNDS_BEFORE_A_JUMP):
                await anyio.lowlevel.checkpoint()
            self._fire_until(self._now + max(seconds, 0))
            await anyio.lowlevel.checkpoint()
        elif seconds > 0:
            over = anyio.Event()
            self._at(self._now + seconds, over.set)
            await over.wait()
        else:
            await anyio.lowlevel.checkpoint()

    @override
    def scope(self, deadline: float) -> anyio.CancelScope:
        scope = anyio.CancelScope()
        if deadline <= self._now:
            scope.cancel()
        else:
            self._limit(scope, deadline)
        return scope

    @override
    def move(self, scope: anyio.CancelScope, deadline: float) -> None:
        self._moved[scope] = deadline
        self._limit(scope, max(deadline, self._now))

    def _limit(self, scope: anyio.CancelScope, deadline: float) -> None:
        if deadline < math.inf:
            self._at(deadline, self._cancel_if_due(scope))

    def _cancel_if_due(self, scope: anyio.CancelScope) -> Callable[[], object]:
        remembered = weakref.ref(scope)

        def cancel() -> None:
            if (alive := remembered()) and self._moved.get(alive, self._now) <= self._now:
                alive.cancel()

        return cancel

    async def advance(self, seconds: float) -> None:
        """Move time forward; what falls due on the way happens in order, and tasks run in between."""
        await _settle()
        end = self._now + seconds
        while self._timers and self._timers[0][0] <= end:
            self._fire_until(self._timers[0][0])
            await _settle()  # a task that wakes may sleep again, and that may be due before `end` too
        self._now = end

    async def drive(self, is_over: Callable[[], bool], limit_s: float) -> None:
        """Move from one instant at which something is due to the next, until it is over.

        Raises TimeoutError when it is not over at `limit_s`, or nothing is due any more.
        """
        while not is_over():
            await _settle()
            if is_over():
                return
            if not self._timers or self._timers[0][0] > limit_s:
                raise TimeoutError(f"not over at {self._now:g} s of {limit_s:g}")
            self._fire_until(self._timers[0][0])

    def _at(self, instant: float, fire: Callable[[], object]) -> None:
        heapq.heappush(self._timers, (instant, next(self._order), fire))

    def _fire_until(self, instant: float) -> None:
        while self._timers and self._timers[0][0] <= instant:
            self._now, _, fire = heapq.heappop(self._timers)
            fire()
        self._now = instant


async def _settle() -> None:
    """Let every task run until it waits, and what is in a pipe arrive: then nobody is seen running in several rounds of
    the event loop, each of which looks at the pipes.

    anyio's wait naps 0.1 s if it finds one running: it is asked again instead.
    """
    calm = 0
    while calm < _CALM_ROUNDS:
        is_calm = False
        with anyio.move_on_after(_NAP_S):
            await anyio.wait_all_tasks_blocked()
            is_calm = True
        calm = calm + 1 if is_calm else 0
