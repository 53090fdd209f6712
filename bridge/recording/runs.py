"""Recordings of all runs of a bridge, kept in a store or not: what its engine needs for them, and their files."""

import logging
import os
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bridge.config.settings import Config
from bridge.errors import ConfigError
from bridge.recording.record import OpenTape, RecordingTask
from bridge.recording.tape import Tape
from bridge.run.store.task import StoredTask
from bridge.telemetry import Redactor

logger = logging.getLogger(__name__)


class RecordingStoredTask(RecordingTask, StoredTask):
    """A run that is written to its store, and recorded beside."""


def record_runs(open_tape: OpenTape, config: Config) -> dict[str, Any]:
    """Return the options of `choose_engine` by which runs are recorded. One that is taken up is not: another process
    has sent its first requests."""
    options = {"open_tape": open_tape, "config": config}
    return {"build_task": partial(RecordingTask, **options), "build_stored": partial(RecordingStoredTask, **options)}


@dataclass(frozen=True)
class TapeFolder:
    """A folder of recordings, one for each run."""

    path: Path
    redact: Redactor

    def prepare(self) -> None:
        """Make the folder where there is none. Raises ConfigError where nothing can be written there."""
        try:
            self.path.mkdir(mode=0o700, exist_ok=True)
        except OSError as error:
            raise ConfigError(f"--record {self.path}: is no folder to write to: {error.strerror}") from None
        if not os.access(self.path, os.W_OK | os.X_OK):
            raise ConfigError(f"--record {self.path}: cannot be written to")

    @contextmanager
    def open_tape(self, run_id: str) -> Generator[Tape | None]:
        """Open the file of a run, named by its time and id; yield None, and log why, where that cannot be."""
        time = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        try:
            tape = Tape(self.path / f"{time}-{run_id}.jsonl", self.redact)
        except ConfigError as error:
            logger.warning("run %s is not recorded: %s", run_id, error.message)
            yield None
            return
        with tape:
            yield tape
        if words := tape.explain_loss():
            logger.warning("%s", words)
