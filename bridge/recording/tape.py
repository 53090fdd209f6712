"""A recording as a file: JSON lines, private, without secrets, written as things happen; and read again."""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from pydantic import ValidationError

from bridge.clock import Clock
from bridge.config.faults import Fault, join_path, validate
from bridge.config.settings import Config
from bridge.errors import ConfigError
from bridge.json_text import Json, JsonObject, encode
from bridge.recording.lines import READER, VERSION, End, Line, Start
from bridge.telemetry import Redactor

PRIVATE = 0o600


class Tape:
    """Writes a recording. A line is in the file once `write` has returned, whatever happens then."""

    def __init__(self, path: Path, redact: Redactor, clock: Clock | None = None) -> None:
        """Raises ConfigError where the file cannot be made; an existing one is not overwritten."""
        self.redact = redact
        self._clock = clock or Clock()
        self._began: float | None = None
        self._path = path
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE)
        except FileExistsError:
            raise ConfigError(f"--record {path}: it is there already, and nothing is overwritten") from None
        except OSError as error:
            raise ConfigError(f"--record {path}: cannot be written: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        if self._began is None:  # what it was made for never began
            self._path.unlink()

    def now(self) -> float:
        """Seconds since it was first asked: since the first line."""
        now = self._clock.now()
        self._began = now if self._began is None else self._began
        return round(now - self._began, 6)

    def write(self, line: Line) -> None:
        """Add a line, at this time and without secrets."""
        fields = cast("JsonObject", asdict(replace(line, at_s=self.now())))
        cleaned: JsonObject = {name: self.redact.clean(value) for name, value in fields.items()}
        left = memoryview((encode(cleaned | {"kind": line.kind}) + "\n").encode())
        while left:
            left = left[os.write(self._file, left) :]


@dataclass(frozen=True)
class Recording:
    """A whole recording."""

    start: Start
    config: Config
    """That of its start."""
    lines: Sequence[Line]
    """Those between."""
    end: End


def read_tape(path: Path) -> Recording:
    """The recording in a file. Raises ConfigError: one sentence on what is wrong with it."""
    try:
        texts = path.read_bytes().removesuffix(b"\n").split(b"\n")
    except OSError as error:
        raise ConfigError(f"--replay {path}: cannot be read: {error.strerror}") from None
    _check_version(path, texts[0])
    lines = [_read_line(path, number, text, is_last=number == len(texts)) for number, text in enumerate(texts, 1)]
    start, end = lines[0], lines[-1]
    if not (isinstance(start, Start) and isinstance(end, End)):
        raise _broken_off(path, len(texts))
    try:
        config = validate(Config, start.config, ("config",))
    except Fault as fault:
        raise ConfigError(f"--replay {path}: line 1: {join_path(fault.path)}: {fault.message}") from None
    return Recording(start, config, lines[1:-1], end)


def _check_version(path: Path, first: bytes) -> None:
    head = _parse(first)
    if not isinstance(head, dict) or head.get("kind") != "recording":
        raise ConfigError(f"--replay {path}: it is not a recording of `ask`")
    if head.get("version") != VERSION:
        message = f"it is a recording of version {encode(head.get('version'))}, and only version {VERSION} can be read"
        raise ConfigError(f"--replay {path}: {message}")


def _read_line(path: Path, number: int, text: bytes, *, is_last: bool) -> Line:
    try:
        return READER.validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if is_last and first["type"] == "json_invalid":
            raise _broken_off(path, number) from None
        place = ".".join(map(str, first["loc"][1:]))
        message = f"line {number} is not one of a recording: {place + ': ' if place else ''}{first['msg']}"
        raise ConfigError(f"--replay {path}: {message}") from None


def _parse(text: bytes) -> Json:
    try:
        return cast("Json", json.loads(text))
    except (ValueError, RecursionError):
        return None


def _broken_off(path: Path, number: int) -> ConfigError:
    return ConfigError(f"--replay {path}: it breaks off at line {number}, before its run had ended")
