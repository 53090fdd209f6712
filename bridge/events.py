"""The events of a run: a closed list of kinds, each a small frozen type, with one way to JSON and back.

A run tells everything through them, once and in order. Progress, the terminal, the receipt, the log and the
conversation are renderings of the list; stores and other programs read its JSON form (docs/events.md).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import ClassVar, Literal, TypeAlias, get_args

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
    """Base of the events of one call."""

    turn: int
    """Number of its turn, from 1 on."""
    index: int
    """Its place among the calls of the turn, from 0 on. `call_id` may repeat, this pair does not."""
    call_id: str
    """As the upstream wrote it."""
    name: str
    """The model name of the tool."""


@dataclass(frozen=True, kw_only=True)
class TurnStarted(_Kept):
    """A request to the upstream is about to be sent."""

    type: ClassVar[str] = "turn.started"
    turn: int
    """Its number, from 1 on; the same again where a refused request is sent in another form."""
    model: str
    """The model that is asked."""
    tools: int
    """How many tools it carries."""


@dataclass(frozen=True, kw_only=True)
class TurnEnded(_Kept):
    """The upstream has answered a request."""

    type: ClassVar[str] = "turn.ended"
    turn: int
    """Number of the turn, from 1 on."""
    response_id: str | None
    """As the upstream wrote it; null where it wrote none."""
    model: str | None
    """Model that the upstream says it used."""
    usage: JsonObject | None
    """Token counts as the upstream sent them."""
    tokens: int
    """Input and output tokens of the turn."""
    cost: float | None
    """Money, in the unit of the config's `prices`; null without a price."""
    is_estimated: bool
    """True where the upstream counted no tokens, and `tokens` is an estimate."""
    output: list[JsonObject]
    """Items of the response, in order."""


@dataclass(frozen=True, kw_only=True)
class CallStarted(_OfCall, _Kept):
    """A call has got its slot among those in flight, and begins."""

    type: ClassVar[str] = "call.started"
    arguments: Json
    """As the model wrote them: JSON text, or an object from some upstreams."""
    server: str | None
    """Key of the server that owns the tool; null for a name that nobody owns."""


@dataclass(frozen=True, kw_only=True)
class CallEnded(_OfCall, _Kept):
    """A call has its output, even if it was never run or the run was stopped."""

    type: ClassVar[str] = "call.ended"
    arguments: Json
    """As the model wrote them: JSON text, or an object from some upstreams."""
    server: str | None
    """Key of the server that answered; null where none did."""
    tool: str | None
    """The tool's own name on its server."""
    is_error: bool
    """True for one that failed, and for one that was not run."""
    duration_ms: float
    """Milliseconds from its place among those in flight to its output."""
    item: JsonObject
    """Item that answers the call."""


@dataclass(frozen=True, kw_only=True)
class Retrying(_Kept):
    """A request is sent again after a failure. The text of the turn starts over."""

    type: ClassVar[str] = "retry"
    pause_s: float
    """Seconds until then."""
    reason: str
    """Why it is sent again, for people."""


@dataclass(frozen=True, kw_only=True)
class InBackground(_Kept):
    """A response is made in the background of the upstream."""

    type: ClassVar[str] = "background"
    response_id: str
    """As the upstream wrote it."""
    what: str
    """State of the response: it is "begun" by a stream, "waited for", or "resumed" after the connection was cut."""


@dataclass(frozen=True, kw_only=True)
class Notified(_Kept):
    """Something that the caller should know and that did not end the run."""

    type: ClassVar[str] = "notice"
    code: str
    """Stable, for programs."""
    message: str
    """For people."""


@dataclass(frozen=True, kw_only=True)
class QuestionAsked(_Kept):
    """The run waits for a person to answer."""

    type: ClassVar[str] = "question"
    question: str
    """Its id in the run."""
    server: str
    """Key of the server that it is about."""
    message: str
    """Text that the person is shown."""


@dataclass(frozen=True, kw_only=True)
class Said(_Kept):
    """Somebody spoke to the run while it went on: an interjection, put before a turn."""

    type: ClassVar[str] = "said"
    turn: int
    """Number of the turn whose request has it first, from 1 on."""
    message_id: str
    """Its id in the run; calls that repeat one another bring the same."""
    items: list[JsonObject]
    """Messages, as they enter the conversation: behind the outputs of the turn before."""


@dataclass(frozen=True, kw_only=True)
class AnswerParsed(_Kept):
    """The answer is JSON, as the `text` options asked for."""

    type: ClassVar[str] = "answer"
    value: Json
    """The answer, read."""


@dataclass(frozen=True, kw_only=True)
class CutOff(_Kept):
    """A turn was cut off while the model was saying something."""

    type: ClassVar[str] = "cut_off"
    text: str
    """The text that had come by then."""


@dataclass(frozen=True, kw_only=True)
class RunEnded(_Kept):
    """The run is over. Always its last event."""

    type: ClassVar[str] = "run.ended"
    status: Status
    """How it ended; "in_progress" is not an end, and is never here."""
    reason: str | None
    """Why it is incomplete or needs input; else null."""
    error: ErrorInfo | None
    """Why it failed; else null."""


@dataclass(frozen=True, kw_only=True)
class TextArrived(_Event):
    """A piece of the model's text has arrived."""

    type: ClassVar[str] = "text"
    delta: str
    """Text that is added to what came before."""


@dataclass(frozen=True, kw_only=True)
class CallProgressed(_OfCall, _Event):
    """The server of a call reports progress."""

    type: ClassVar[str] = "call.progress"
    progress: float
    """In the tool's own unit."""
    total: float | None
    """In the same; null where it is not known."""
    message: str | None
    """The server's words, if it has any."""


Kept: TypeAlias = (
    TurnStarted
    | TurnEnded
    | CallStarted
    | CallEnded
    | Retrying
    | InBackground
    | Notified
    | QuestionAsked
    | Said
    | AnswerParsed
    | CutOff
    | RunEnded
)
"""The events that are kept, and have a `seq`."""
Moment: TypeAlias = TextArrived | CallProgressed
"""Events of the moment: told to those who listen, and not kept."""
Event: TypeAlias = Kept | Moment
OnEvent: TypeAlias = Callable[[Event], None]

KINDS: dict[str, type[Event]] = {kind.type: kind for kind in (*get_args(Kept), *get_args(Moment))}


def stamp(event: Kept, *, seq: int, at: float) -> Kept:
    """Return the event with its number and its time."""
    return replace(event, seq=seq, at=at)


def tell_notice(notice: Notice) -> Notified:
    """Make the event that tells a notice."""
    return Notified(code=notice["code"], message=notice["message"])


def write_event(event: Event) -> JsonObject:
    """Return the JSON form of an event: its `type`, then its fields."""
    return {"type": event.type, **vars(event)}


def read_event(value: JsonObject) -> Event:
    """Return the event of a JSON form. Raises ValueError for a kind or a set of fields that is not known."""
    kind = KINDS.get(str(value.get("type")))
    if kind is None:
        raise ValueError(f"no kind of event is called {value.get('type')!r}")
    given, known = value.keys() - {"type"}, {field.name for field in fields(kind)}
    wrong = [f"{name} is missing" for name in sorted(known - given)]
    wrong += [f"{name} is not known" for name in sorted(given - known)]
    if wrong:
        raise ValueError(f"in an event {kind.type!r} {', '.join(wrong)}")
    return kind(**{name: value[name] for name in given})  # type: ignore[arg-type]
