"""The events of a run: a closed list of kinds, each a small frozen type, with one way to JSON and back.

A run tells everything through them, once and in order. Progress, the terminal, the receipt, the log and the
conversation are renderings of the list; stores and other programs read its JSON form (docs/events.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, TypeAlias, TypeVar, get_args

from bridge.items import ErrorInfo, Notice
from bridge.json_text import Json, JsonObject

Status: TypeAlias = Literal["completed", "incomplete", "failed", "cancelled", "in_progress", "needs_input"]


@dataclass(frozen=True, kw_only=True)
class _Event:
    type: ClassVar[str]
    at: float = 0.0
    """Wall-clock time, in seconds since 1970."""


@dataclass(frozen=True, kw_only=True)
class _Kept(_Event):
    """An event that is kept, and numbered in its run."""

    seq: int = -1
    """Its number in the run, from 0 on without gaps."""


@dataclass(frozen=True, kw_only=True)
class _OfCall:
    """The call that an event is about."""

    turn: int
    """Number of its turn, from 1 on."""
    index: int
    """Its place among the calls of the turn, from 0 on. `call_id` may repeat, this pair does not."""
    call_id: str
    name: str
    """The model name of the tool."""


@dataclass(frozen=True, kw_only=True)
class TurnStarted(_Kept):
    """A request to the upstream is about to be sent."""

    type: ClassVar[str] = "turn.started"
    turn: int
    """From 1 on."""
    model: str
    tools: int
    """How many tools it carries."""


@dataclass(frozen=True, kw_only=True)
class TurnEnded(_Kept):
    """The upstream has answered a request."""

    type: ClassVar[str] = "turn.ended"
    turn: int
    response_id: str | None
    model: str | None
    """The model that the upstream says it used."""
    usage: JsonObject | None
    """Token counts as the upstream sent them."""
    tokens: int
    """Input and output tokens of the turn."""
    cost: float | None
    """In the unit of the config's `prices`; null without a price."""
    is_estimated: bool
    """True where the upstream counted no tokens."""
    output: list[JsonObject]
    """The items of the response, in order."""


@dataclass(frozen=True, kw_only=True)
class CallStarted(_OfCall, _Kept):
    """A call has got its place among those in flight."""

    type: ClassVar[str] = "call.started"
    arguments: Json
    """As the model wrote them: JSON text, or an object from some upstreams."""
    server: str | None
    """Key of the server that owns the tool; null for a name that nobody owns."""


@dataclass(frozen=True, kw_only=True)
class CallEnded(_OfCall, _Kept):
    """A call has its output, also where it was never run or the run has ended."""

    type: ClassVar[str] = "call.ended"
    arguments: Json
    """As the model wrote them: JSON text, or an object from some upstreams."""
    server: str | None
    """Key of the server that answered; null where none did."""
    tool: str | None
    """The tool's own name on its server."""
    is_error: bool
    duration_ms: float
    """From its place among those in flight to its output."""
    item: JsonObject
    """The item that answers the call."""


@dataclass(frozen=True, kw_only=True)
class Retrying(_Kept):
    """A request is sent again after a failure; the text of the turn begins anew."""

    type: ClassVar[str] = "retry"
    pause_s: float
    reason: str


@dataclass(frozen=True, kw_only=True)
class InBackground(_Kept):
    """A response is made in the background of the upstream."""

    type: ClassVar[str] = "background"
    response_id: str
    what: str
    """What is done about it: "waited for" or "taken up again"."""


@dataclass(frozen=True, kw_only=True)
class Notified(_Kept):
    """Something that the caller should know and that did not end the run."""

    type: ClassVar[str] = "notice"
    code: str
    """Stable, for programs."""
    message: str


@dataclass(frozen=True, kw_only=True)
class QuestionAsked(_Kept):
    """The run waits for a person to answer."""

    type: ClassVar[str] = "question"
    question: str
    """Its id in the run."""
    server: str
    """Key of the server that it is about."""
    message: str


@dataclass(frozen=True, kw_only=True)
class AnswerParsed(_Kept):
    """The answer has the JSON form that `text` asked for."""

    type: ClassVar[str] = "answer"
    value: Json


@dataclass(frozen=True, kw_only=True)
class CutOff(_Kept):
    """A turn was cut off: the text that had come by then."""

    type: ClassVar[str] = "cut_off"
    text: str


@dataclass(frozen=True, kw_only=True)
class RunEnded(_Kept):
    """The run is over: always its last event."""

    type: ClassVar[str] = "run.ended"
    status: Status
    reason: str | None
    """Why it is incomplete or needs input; else null."""
    error: ErrorInfo | None
    """Why it failed; else null."""


@dataclass(frozen=True, kw_only=True)
class TextArrived(_Event):
    """A piece of the text that the model is saying."""

    type: ClassVar[str] = "text"
    delta: str


@dataclass(frozen=True, kw_only=True)
class CallProgressed(_OfCall, _Event):
    """The server of a call says how far it has come."""

    type: ClassVar[str] = "call.progress"
    progress: float
    """In the tool's own unit."""
    total: float | None
    message: str | None


Kept: TypeAlias = (
    TurnStarted
    | TurnEnded
    | CallStarted
    | CallEnded
    | Retrying
    | InBackground
    | Notified
    | QuestionAsked
    | AnswerParsed
    | CutOff
    | RunEnded
)
"""The events that are kept, and have a `seq`."""
Moment: TypeAlias = TextArrived | CallProgressed
"""Events of the moment: told to those who listen, and not kept."""
Event: TypeAlias = Kept | Moment
OnEvent: TypeAlias = Callable[[Event], None]

AnyEvent = TypeVar("AnyEvent", bound=Event)
KINDS: dict[str, type[Event]] = {kind.type: kind for kind in (*get_args(Kept), *get_args(Moment))}


def stamp(event: Kept, *, seq: int, at: float) -> Kept:
    """The event with its number and its time."""
    return replace(event, seq=seq, at=at)


def tell_notice(notice: Notice) -> Notified:
    """Make the event that tells a notice."""
    return Notified(code=notice["code"], message=notice["message"])


def find_all(events: "list[Kept]", kind: type[AnyEvent]) -> list[AnyEvent]:
    """The events of one kind, in order."""
    return [event for event in events if isinstance(event, kind)]


def write_event(event: Event) -> JsonObject:
    """The JSON form of an event: its `type`, then its fields."""
    return {"type": event.type, **vars(event)}


def read_event(value: JsonObject) -> Event:
    """The event of a JSON form. Raises ValueError for a kind or a set of fields that is not known."""
    kind = KINDS.get(str(value.get("type")))
    given = value.keys() - {"type"}
    if kind is None or given != {field.name for field in fields(kind)}:
        raise ValueError(f"not an event of a run: {value.get('type')} with {', '.join(sorted(given)) or 'nothing'}")
    return kind(**{name: value[name] for name in given})  # type: ignore[arg-type]
