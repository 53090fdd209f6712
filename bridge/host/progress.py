"""A run's events as progress notifications of the call that waits for it."""

from collections import deque
from collections.abc import Awaitable, Callable

import anyio

from bridge.clock import Clock
from bridge.events import CallProgressed, Event, RunEnded, TextArrived
from bridge.json_text import scrub
from bridge.run.progress import describe_event

HEARTBEAT_S = 10.0
"""Progress is sent at least this often, so that a host that resets its timeout on progress keeps waiting."""
CALL_INTERVAL_S = 1.0
"""A tool call's own progress is passed on at most this often; the last report held back is in the next heartbeat."""
TEXT_INTERVAL_S = 0.1
"""Streamed text is collected for this long: ten notifications a second are enough to read along."""


class ProgressRelay:
    """A queue of a run's events, reported in order until the run has ended."""

    def __init__(
        self,
        report: Callable[[float, str], Awaitable[None]],
        clock: Clock,
        redact: Callable[[str], str],
        *,
        wants_text: bool,
    ) -> None:
        self._report = report
        self._redact = redact
        self._clock = clock
        self._wants_text = wants_text
        self._waiting: deque[tuple[str, bool]] = deque()
        self._wake = anyio.Event()
        self._ended = anyio.Event()
        self._began = clock.now()
        self._sent = 0
        self._next: dict[tuple[int, int], float] = {}
        """By (turn, index) of a call: when its progress may be passed on again."""
        self._last_line = "working"
        self._held = ""
        """The latest progress of a call that came too soon to be passed on; the next heartbeat carries it."""

    def listen(self, event: Event) -> None:
        """Queue an event for `relay`."""
        is_text = isinstance(event, TextArrived)
        line = (scrub(event.delta) if self._wants_text else None) if is_text else describe_event(event, self._redact)
        if line and isinstance(event, CallProgressed) and self._is_too_soon(event):
            self._held = line.strip()
        elif line:
            self._held = ""
            self._waiting.append((line, is_text))
            self._wake.set()
        if isinstance(event, RunEnded):
            self._ended.set()
            self._wake.set()

    def _is_too_soon(self, event: CallProgressed) -> bool:
        call, now = (event.turn, event.index), self._clock.now()
        is_too_soon = now < self._next.get(call, 0.0)
        if not is_too_soon:
            self._next[call] = now + CALL_INTERVAL_S
        return is_too_soon

    async def relay(self) -> None:
        """Report queued events until the run has ended and all are reported."""
        while self._waiting or not self._ended.is_set():
            with self._clock.scope(self._clock.now() + HEARTBEAT_S) as silence:
                await self._wake.wait()
            self._wake = anyio.Event()
            if silence.cancelled_caught:
                seconds = self._clock.now() - self._began
                await self._send(f"{self._held or self._last_line} … {seconds:.0f} s")
            elif await self._flush():
                with self._clock.scope(self._clock.now() + TEXT_INTERVAL_S):
                    await self._ended.wait()

    async def _flush(self) -> bool:
        """Report the queued lines, adjacent pieces of text joined; return whether there was any text."""
        had_text = False
        while self._waiting:
            line, is_text = self._waiting.popleft()
            while is_text and self._waiting and self._waiting[0][1]:
                line += self._waiting.popleft()[0]
            had_text |= is_text
            self._last_line = self._last_line if is_text else line.strip()
            await self._send(line)
        return had_text

    async def _send(self, line: str) -> None:
        self._sent += 1
        await self._report(self._sent, line)
