"""A run's events as progress notifications of the call that waits for it."""

from collections import deque
from collections.abc import Awaitable, Callable

import anyio

from bridge.clock import Clock
from bridge.events import CallEnded, CallProgressed, CallStarted, Event, RunEnded, TextArrived
from bridge.json_text import scrub
from bridge.run.progress import describe_event
from bridge.visible import ProseStream

JOINED_CHARS = 256
"""Pieces of text that wait are joined up to about this length."""
HEARTBEAT_S = 10.0
"""Progress is sent at least this often, so that a host that resets its timeout on progress keeps waiting."""
CALL_INTERVAL_S = 1.0
"""A tool call's own progress is passed on at most this often; the last report held back is in the next heartbeat."""
MAX_LINES, LINES_PER_S = 200, 10
"""How many lines about calls are sent at once, and how many in the long run: a response may have ten thousand calls, of
two lines each. What is left out is counted."""
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
        sent: int = 0,
    ) -> None:
        """`sent`: how many were reported to the same call before, since progress must rise."""
        self._report = report
        self._redact = redact
        self._clock = clock
        self._text = ProseStream() if wants_text else None
        self._waiting: deque[tuple[str, bool]] = deque()
        self._wake = anyio.Event()
        self._ended = anyio.Event()
        self._began = clock.now()
        self.sent = sent
        self._next: dict[tuple[int, int], float] = {}
        """By (turn, index) of a call: when its progress may be passed on again."""
        self._last_line = "working"
        self._credit, self._credited = float(MAX_LINES), self._began
        """How many lines about calls may be sent, and since when that holds."""
        self._left_out = 0
        self._held = ""
        """The latest progress of a call that came too soon to be passed on; the next heartbeat carries it."""

    def listen(self, event: Event) -> None:
        """Queue an event for `relay`."""
        if isinstance(event, TextArrived):
            self._queue_text(self._text.add(scrub(event.delta)) if self._text else "")
        else:
            self._queue_text(self._text.end() if self._text else "")
            self._hear(event)

    def _hear(self, event: Event) -> None:
        if isinstance(event, (CallStarted, CallEnded)) and not self._has_room():
            self._left_out += 1
        elif line := describe_event(event, self._redact):
            if isinstance(event, CallProgressed) and (self._is_too_soon(event) or not self._has_room()):
                self._held = line.strip()
            else:
                self._held = ""
                self._queue(line)
        if isinstance(event, RunEnded):
            self.end()

    def end(self) -> None:
        """Have `relay` return once what waits is reported: the run has ended."""
        self._queue_left_out()
        self._ended.set()
        self._wake.set()

    def _queue(self, line: str) -> None:
        self._queue_left_out()
        self._waiting.append((line, False))
        self._wake.set()

    def _queue_left_out(self) -> None:
        if self._left_out:
            self._waiting.append((f"  … {self._left_out:,} more lines about calls", False))
            self._left_out = 0

    def _queue_text(self, text: str) -> None:
        """Queue a piece of text; with the one before it, where that waits too: the host may be slow to take them."""
        if not text:
            return
        last, is_text = self._waiting[-1] if self._waiting else ("", False)
        if is_text and len(last) < JOINED_CHARS:
            self._waiting[-1] = (last + text, True)
        else:
            self._waiting.append((text, True))
        self._wake.set()

    def _has_room(self) -> bool:
        """Tell whether another line about a call may be sent now, and count it."""
        now = self._clock.now()
        self._credit = min(MAX_LINES, self._credit + (now - self._credited) * LINES_PER_S)
        self._credited = now
        has_room = self._credit >= 1
        self._credit -= has_room
        return has_room

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
        self.sent += 1
        await self._report(self.sent, line)
