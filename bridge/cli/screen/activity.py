"""What a run is doing right now: as rows that change, for somebody who waits."""

import time
from collections.abc import Callable, Sequence

from bridge.events import (
    CallEnded,
    CallProgressed,
    CallStarted,
    Event,
    InBackground,
    Retrying,
    RunEnded,
    TextArrived,
    TurnEnded,
    TurnStarted,
)
from bridge.run.progress import describe_event
from bridge.visible import show_line, show_name

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
MAX_ROWS = 3
"""How many running calls, or servers that are waited for, have a row of their own."""


class Activity:
    """Follows the events of a run; `render` says at any moment what it waits for, and for how long."""

    def __init__(self, redact: Callable[[str], str] = str, now: Callable[[], float] = time.monotonic) -> None:
        self._redact = redact
        self._now = now
        self._began = self._since = now()
        self._turn = 0
        self._what = ""
        self._calls: dict[tuple[int, int], tuple[str, float]] = {}
        self._frame = 0
        self.list_servers: Callable[[], Sequence[str]] = tuple
        """Lists the servers that are waited for."""

    def set_status(self, what: str) -> None:
        """Note what is being done now."""
        self._what, self._since = show_line(self._redact(what)), self._now()

    def hear(self, event: Event) -> None:
        """Note what an event tells."""
        match event:
            case TurnStarted():
                self._turn = event.turn
                self.set_status(f"asking {event.model}")
            case TextArrived():
                self._what = "answering"
            case TurnEnded():
                self.set_status("calling")
            case CallStarted():
                self._calls[event.turn, event.index] = f"→ {show_name(self._redact(event.name))}", self._now()
            case CallProgressed() if (event.turn, event.index) in self._calls:
                since = self._calls[event.turn, event.index][1]
                self._calls[event.turn, event.index] = (describe_event(event, self._redact) or "").strip(), since
            case CallEnded():
                self._calls.pop((event.turn, event.index), None)
            case Retrying():
                self.set_status("waiting to ask again")
            case InBackground():
                self.set_status("made in the background")
            case RunEnded():
                self.set_status("ending the servers")
            case _:
                pass

    def render(self) -> list[str]:
        """Return the rows: how long it has taken so far and what goes on, then each thing that is waited for."""
        self._frame = (self._frame + 1) % len(FRAMES)
        now = self._now()
        servers = self.list_servers() if not self._turn else ()
        details = [(f"· {show_name(self._redact(name))}", self._began) for name in servers] or [*self._calls.values()]
        turn = f" · turn {self._turn}" if self._turn else ""
        head = f"{FRAMES[self._frame]} {show_seconds(now - self._began)}{turn} · {self._describe_wait(len(details))}"
        rows = [f"  {show_seconds(now - since):>4} {what}" for what, since in details[:MAX_ROWS]]
        left_out = len(details) - MAX_ROWS
        return [head, *rows, *([f"       … and {left_out:,} more"] if left_out > 0 else [])]

    def _describe_wait(self, count: int) -> str:
        if self._calls:
            return f"{count:,} call{'' if count == 1 else 's'}"
        waited = self._now() - self._since
        long = f" {show_seconds(waited)}" if self._turn and waited >= 1 and self._what != "answering" else ""
        return f"{self._what}{long}"


def show_seconds(seconds: float) -> str:
    """Show a time in whole seconds, of one minute and more as minutes and seconds."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}:{rest:02}" if minutes else f"{rest} s"
