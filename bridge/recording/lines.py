"""What each line of a recording holds: data only, checked when it is read."""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, JsonValue, TypeAdapter

from bridge.events import CallEnded
from bridge.items import Notice

VERSION = 1
"""Of the form of a recording; no other one is read."""


@dataclass(frozen=True)
class _Line:
    __pydantic_config__ = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


@dataclass(frozen=True)
class Start(_Line):
    """The first line: what it takes to run it again."""

    program: str
    """The version of the program."""
    time: str
    """When it was, ISO 8601."""
    run_id: str
    arguments: dict[str, JsonValue]
    """Those of `respond`."""
    config: dict[str, JsonValue]
    """The upstream without key, headers and query; limits, prices and the search for tools. No servers."""
    version: int = VERSION
    kind: Literal["recording"] = "recording"
    at_s: float = 0.0
    """Of every line: seconds since the run began."""


@dataclass(frozen=True)
class Offered(_Line):
    """The tools of the servers, as the run found them."""

    functions: dict[str, str]
    """Each model name with its function tool as JSON text."""
    owners: dict[str, str]
    polling: list[str]
    notices: list[Notice]
    kind: Literal["catalogue"] = "catalogue"
    at_s: float = 0.0


@dataclass(frozen=True)
class Ranked(_Line):
    """The tools that fit a wish."""

    wish: str
    names: list[str]
    kind: Literal["rank"] = "rank"
    at_s: float = 0.0


@dataclass(frozen=True)
class Sent(_Line):
    """A request as it left, without its headers and its query, where keys are."""

    n: int
    method: str
    path: str
    body: str
    kind: Literal["request"] = "request"
    at_s: float = 0.0


@dataclass(frozen=True)
class Replied(_Line):
    """The reply to a request, once it has ended."""

    n: int
    status: int | None
    """None where there was none."""
    headers: list[list[str]]
    body: str
    """As it came, uncompressed."""
    encoding: Literal["utf-8", "latin-1"]
    """How `body` is turned into the bytes that came; latin-1 for bytes that are no UTF-8."""
    head_s: float | None
    """When its head was there; `at_s` is its end."""
    error: list[str] | None
    """What kept it from its end: the name of the error, and its words."""
    kind: Literal["reply"] = "reply"
    at_s: float = 0.0


@dataclass(frozen=True)
class Called(_Line):
    """A call to a server's tool, as it began."""

    n: int
    call_id: str
    name: str
    arguments: JsonValue
    server: str | None
    kind: Literal["call"] = "call"
    at_s: float = 0.0


@dataclass(frozen=True)
class Returned(_Line):
    """What a call came to, and how long it took."""

    n: int
    seconds: float
    output: str | list[dict[str, JsonValue]] | None
    """What the model got; None for a call that ended with the run."""
    is_error: bool
    server: str | None
    tool: str | None
    notices: list[Notice]
    kept: list[str]
    """What had to be cut of it, whole: the model may ask to read it."""
    kind: Literal["result"] = "result"
    at_s: float = 0.0


@dataclass(frozen=True)
class End(_Line):
    """The last line: the result."""

    durations_ms: dict[str, float]
    """Of each call, by turn and index, such as "1:0"."""
    receipt: dict[str, JsonValue]
    kind: Literal["end"] = "end"
    at_s: float = 0.0


@dataclass(frozen=True)
class Tried(_Line):
    """The first line of `check --live`, whose exchanges are no run."""

    program: str
    time: str
    base_url: str
    model: str
    kind: Literal["live"] = "live"
    at_s: float = 0.0


@dataclass(frozen=True)
class Found(_Line):
    """The last line of `check --live`: what each trial came to, and the settings of `upstream` that follow."""

    outcomes: list[dict[str, JsonValue]]
    settings: dict[str, JsonValue]
    kind: Literal["profile"] = "profile"
    at_s: float = 0.0


Line = Start | Offered | Ranked | Sent | Replied | Called | Returned | End | Tried | Found
READER: TypeAdapter[Line] = TypeAdapter(Annotated[Line, Field(discriminator="kind")])


def locate_call(event: CallEnded) -> str:
    """The key in `End.durations_ms` of the call that an event is about."""
    return f"{event.turn}:{event.index}"
