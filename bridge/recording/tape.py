"""The file of a recording: JSON lines, readable by its owner only and without secrets, written as things happen."""

import os
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal, Self, TypeVar

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from bridge.clock import Clock
from bridge.config.settings import Config
from bridge.errors import ConfigError
from bridge.json_text import Json, JsonObject, decode, encode
from bridge.telemetry import Redactor

VERSION = 3
"""The version of the format, which includes the outcomes of steps. Other versions cannot be read."""


@dataclass(frozen=True)
class Line:
    """A line, as plain data that is checked when it is read."""

    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
    at_s: float = field(default=0.0, kw_only=True)
    """Seconds since the first line."""


@dataclass(frozen=True)
class Start(Line):
    """The first line: all that a replay starts from."""

    program: str
    """The version of the program."""
    time: str
    """The start of the run, ISO 8601."""
    run_id: str
    arguments: dict[str, JsonValue]
    """Arguments of the recorded call of `respond`."""
    config: Config
    """Without servers, and without settings that can hold secrets."""
    version: int = VERSION
    kind: Literal["recording"] = "recording"


@dataclass(frozen=True)
class Sent(Line):
    """A request as it was sent, without its headers and query: they hold keys."""

    n: int
    method: str
    path: str
    body: str
    kind: Literal["request"] = "request"


@dataclass(frozen=True)
class Replied(Line):
    """The reply to a request, written when it has ended."""

    n: int
    status: int | None
    """None without a reply."""
    headers: list[tuple[str, str]]
    body: str
    """Decompressed, with secrets blanked."""
    encoding: Literal["utf-8", "latin-1"]
    """Turns `body` back into bytes; latin-1 for bytes that are not UTF-8."""
    head_s: float | None
    """When its head had arrived; `at_s` is its end."""
    error: list[str] | None
    """The name and message of the error that cut it off."""
    kind: Literal["reply"] = "reply"


@dataclass(frozen=True)
class Step(Line):
    """A step that has ended. Steps that send requests are not recorded: a replay executes them."""

    key: str
    outcome: dict[str, JsonValue] | None
    """None if the run ended before the step did."""
    kind: Literal["step"] = "step"


@dataclass(frozen=True)
class Told(Line):
    """An event of the run, in its JSON form."""

    event: dict[str, JsonValue]
    kind: Literal["event"] = "event"


@dataclass(frozen=True)
class End(Line):
    """The last line: the result of `respond`."""

    receipt: dict[str, JsonValue]
    kind: Literal["end"] = "end"


L = TypeVar("L", bound=Line)
AnyLine = Annotated[Start | Sent | Replied | Step | Told | End, Field(discriminator="kind")]
READER: TypeAdapter[Line] = TypeAdapter(AnyLine)


class Tape:
    """A recording that is being written. Each line is in the file as soon as `write` returns."""

    def __init__(self, path: Path, redact: Redactor, clock: Clock | None = None) -> None:
        """Raises ConfigError if the file exists or cannot be created."""
        self.redact = redact
        self._clock = clock or Clock()
        self._began: float | None = None
        self._path = path
        self._count = 0
        self._loss: str | None = None
        """Why writing has stopped: no run is lost because a disk is full."""
        try:
            self._file: int | None = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            raise ConfigError(f"--record {path}: it is there already, and nothing is overwritten") from None
        except OSError as error:
            raise ConfigError(f"--record {path}: cannot be written: {error.strerror}") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._file is not None
        is_gone = os.fstat(self._file).st_nlink == 0
        self._loss = self._loss or ("it was deleted meanwhile" if is_gone else None)
        try:
            os.close(self._file)
        except OSError as error:  # some network file systems say only here that the disk is full
            self._loss = self._loss or str(error.strerror)
        self._file = None
        if self._began is None:  # what it was made for never began
            with suppress(OSError):
                self._path.unlink()

    def explain_loss(self) -> str | None:
        """Say why the recording is incomplete, for people; None if it is not, as far as is known."""
        return f"The recording {self._path} is incomplete: {self._loss}" if self._loss else None

    def now(self) -> float:
        """Return the seconds since the first line."""
        now = self._clock.now()
        self._began = now if self._began is None else self._began
        return round(now - self._began, 6)

    def count(self) -> int:
        """Return the number of the next request, from 1 on."""
        self._count += 1
        return self._count

    def write(self, line: Line) -> None:
        """Add a line with the present time, its secrets blanked. What comes after the end is left out."""
        if self._file is None:  # its number may be another file's by now
            return
        fields = vars(replace(line, at_s=self.now()))
        fields |= {name: value.model_dump(mode="json") for name, value in fields.items() if isinstance(value, Config)}
        cleaned: JsonObject = {name: self.redact.clean(value) for name, value in fields.items()}
        left = memoryview((encode(cleaned | {"kind": fields["kind"]}) + "\n").encode())
        try:
            while left and not self._loss:
                left = left[os.write(self._file, left) :]
        except OSError as error:
            self._loss = error.strerror or str(error)


def read_tape(path: Path) -> list[Line]:
    """Read a complete recording, from Start to End. Raises ConfigError with one sentence about what is wrong."""
    try:
        return _read(path.read_bytes().removesuffix(b"\n").split(b"\n"))
    except OSError as error:
        raise ConfigError(f"--replay {path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise ConfigError(f"--replay {path}: {error}") from None


def find_all(lines: list[Line], kind: type[L]) -> list[L]:
    """Return the lines of one kind, in order."""
    return [line for line in lines if isinstance(line, kind)]


def _read(texts: list[bytes]) -> list[Line]:
    _check_version(texts[0])
    lines = list[Line]()
    for number, text in enumerate(texts, 1):
        try:
            lines.append(READER.validate_json(text))
        except ValidationError as error:
            first = error.errors()[0]
            if number == len(texts) and first["type"] == "json_invalid":
                break
            place = ".".join(map(str, first["loc"][1:]))
            words = f"{place}: {first['msg']}" if place else first["msg"]
            raise ValueError(f"line {number} is not one of a recording: {words}") from None
    if not (lines and isinstance(lines[-1], End)):
        raise ValueError(f"it breaks off at line {len(texts)}, before its run had ended")
    return lines


def _check_version(first: bytes) -> None:
    start: Json = None
    with suppress(ValueError):
        start = decode(first)
    if not (isinstance(start, dict) and start.get("kind") == "recording"):
        raise ValueError("it is not a recording of `ask`")
    if (version := start.get("version")) != VERSION:
        raise ValueError(f"it is a recording of version {encode(version)}, and only version {VERSION} can be read")
