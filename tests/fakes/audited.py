"""Bridges of any tests that keep an audit besides, which is held against the events of their runs.

with audited(folder) as kept:
    ...  # bridges that are opened by `tests.fakes.bridges`
assert kept.lines == kept.ended
"""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bridge.events import CallEnded, Event
from bridge.questions import Answer
from bridge.run.run import Run

Place = tuple[str, int, int]
"""A call: its run, turn and index."""


@dataclass
class Audited:
    """The audit of all bridges that are opened meanwhile, and the calls that have ended in them."""

    file: Path
    ended: list[Place] = field(default_factory=list[Place])

    def begin(self, run: Run) -> None:
        pass

    def hear(self, run: Run, event: Event) -> None:
        if isinstance(event, CallEnded):
            self.ended.append((run.run_id, event.turn, event.index))

    def settle(self, run: Run, question: str, answer: Answer | None, sender: str) -> None:
        pass

    @property
    def lines(self) -> list[Place]:
        """The calls that have a line, in their order."""
        return [(line["run"], line["turn"], line["index"]) for line in read_audit(self.file)]


def read_audit(file: Path) -> list[dict[str, Any]]:
    """The lines of an audit file, oldest first."""
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []


wanted: list[Audited] = []


@contextlib.contextmanager
def audited(folder: Path) -> Iterator[Audited]:
    """Bridges that are opened meanwhile keep an audit in this folder."""
    wanted.append(Audited(folder / "audit.jsonl"))
    try:
        yield wanted[-1]
    finally:
        wanted.pop()
