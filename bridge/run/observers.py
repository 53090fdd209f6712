"""Observers of every run of a bridge: its log, its page, its traces and its audit."""

from typing import Protocol

from bridge.events import Event
from bridge.questions import Answer
from bridge.run.run import Run


class Observer(Protocol):
    """Hears of every run that this process drives, as it happens. What it raises is logged, and ends no run.

    Whoever begins a run tells of it in its own context (`contextvars`), and an event is told in that of the task that
    goes on: of a turn, in the task that sends its request; of a call, in the one that runs it.
    """

    def begin(self, run: Run) -> None:
        """A run begins here, or is taken up from another process, with the events that it has by then. It may have to
        wait for its place."""
        ...

    def hear(self, run: Run, event: Event) -> None:
        """An event is told: one that is kept, which is `run.events[-1]`, or one of the moment. `RunEnded` is the
        last."""
        ...

    def settle(self, run: Run, question: str, answer: Answer | None, sender: str) -> None:
        """A question of the run, by its id, waits no more. `answer` is None where nobody gave one; `sender` is empty
        for a host's, else as in `Settle`."""
        ...


class Tracing(Protocol):
    """Knows which trace a run belongs to. That is kept with the run, for whoever takes it up."""

    def name(self, run_id: str) -> str | None:
        """Name the span of a run that goes on here, as a `traceparent`."""
        ...

    def link(self, run_id: str, earlier: str) -> None:
        """Link a run that was taken up here to the span that it had before."""
        ...
