"""Traces of runs: an observer that makes spans of a run, its turns, their requests to the upstream, and their calls.

The SDK makes the spans of MCP messages, to hosts and to servers. It finds our spans as its parents by the context of
the task that a message is sent from: an event is told within the task that goes on, and so it is set there.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from opentelemetry import trace
from opentelemetry.context import Context, attach, get_current
from opentelemetry.trace import Link, Span, SpanContext, SpanKind, StatusCode, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from bridge.config.settings import Config
from bridge.events import (
    CallEnded,
    CallStarted,
    Event,
    QuestionAsked,
    Retrying,
    RunEnded,
    TextArrived,
    TurnEnded,
    TurnStarted,
)
from bridge.items import read_usage
from bridge.json_text import JsonObject
from bridge.questions import Answer
from bridge.run.run import Run
from bridge.signals import names
from bridge.signals.labels import choose_naming, name_error, name_failure

NANOSECONDS = 1_000_000_000
_FORM = TraceContextTextMapPropagator()
"""Propagation of a span beyond its process, whatever `OTEL_PROPAGATORS` says."""


@dataclass
class _Open:
    """The spans of one run that have not ended."""

    run: Span
    context: Context
    """That of the run's span."""
    turn: Span | None = None
    turn_context: Context | None = None
    number: int = 0
    request: Span | None = None
    asked: float = 0.0
    is_silent: bool = False
    """True until the first text of an answer."""
    at: float = 0.0
    """Last time at which something of the turn happened."""
    calls: dict[int, Span] = field(default_factory=dict[int, Span])
    """The calls of the turn that go on, by index."""


class Traces:
    """Makes spans of everything that runs tell. There are no prompts, arguments, outputs or messages in them."""

    def __init__(self, tracer: Tracer, find_config: Callable[[], Config]) -> None:
        self._tracer = tracer
        self._name_principal = choose_naming(find_config)
        self._open: dict[str, _Open] = {}

    def begin(self, run: Run) -> None:
        """Begin the span of a run: a child of the request that it is begun by, where there is one."""
        links = list[Link]()
        if left := self._open.get(run.run_id):
            links.append(Link(left.run.get_span_context()))
            self._leave(run.run_id)
        parent = get_current()
        span = self._tracer.start_span(
            f"{names.INVOKE_AGENT} {names.SCOPE}",
            context=parent,
            links=links,
            start_time=None if run.events else _convert(run.created),
            attributes={
                names.OPERATION: names.INVOKE_AGENT,
                names.PROVIDER: names.OPENAI,
                names.AGENT: names.SCOPE,
                names.RUN: run.run_id,
                names.PRINCIPAL: self._name_principal(run.principal),
            },
        )
        self._open[run.run_id] = _Open(span, trace.set_span_in_context(span, parent))

    def name(self, run_id: str) -> str | None:
        """Name the span of a run that goes on."""
        spans = self._open.get(run_id)
        return _write(spans.run.get_span_context()) if spans else None

    def link(self, run_id: str, earlier: str) -> None:
        """Link a run that was taken up to the span that it had before."""
        spans, known = self._open.get(run_id), _read(earlier)
        if spans and known and known.span_id != spans.run.get_span_context().span_id:
            spans.run.add_link(known)

    def hear(self, run: Run, event: Event) -> None:
        """Begin or end spans, as the event says."""
        spans = self._open.get(run.run_id)
        if spans is None:
            return
        match event:
            case TextArrived():
                _note_text(spans, event.at)
            case TurnStarted():
                self._start_turn(spans, event)
            case TurnEnded():
                _end_request(spans, event)
            case CallStarted():
                self._start_call(spans, event)
            case CallEnded():
                _end_call(spans, event)
            case Retrying():
                (spans.request or spans.run).add_event(
                    names.RETRY, {names.RETRY_PAUSE: event.pause_s}, _convert(event.at)
                )
            case QuestionAsked():
                spans.run.add_event(names.QUESTION, {names.SERVER: event.server}, _convert(event.at))
            case RunEnded():
                _end_run(self._open.pop(run.run_id), event)
            case _:
                pass

    def settle(self, run: Run, question: str, answer: Answer | None, sender: str) -> None:
        """Take no note of answers."""

    def close(self) -> None:
        """End the spans of the runs that this process leaves to others."""
        for run_id in list(self._open):
            self._leave(run_id)

    def _leave(self, run_id: str) -> None:
        spans = self._open.pop(run_id)
        for span in (*spans.calls.values(), spans.request, spans.turn):
            if span:
                span.end()
        spans.run.set_attribute(names.RUN_STATUS, "in_progress")
        spans.run.end()

    def _start_turn(self, spans: _Open, event: TurnStarted) -> None:
        """Begin a request to the upstream, and its turn if it is the first of that."""
        at = _convert(event.at)
        _fail_request(spans, names.OTHER, event.at)
        if event.turn != spans.number or spans.turn is None:
            _end_turn(spans)
            spans.turn = self._tracer.start_span(
                f"turn {event.turn}",
                context=spans.context,
                start_time=at,
                attributes={names.TURN: event.turn, names.TOOLS_OFFERED: event.tools},
            )
            spans.number, spans.turn_context = event.turn, trace.set_span_in_context(spans.turn, spans.context)
        spans.request = self._tracer.start_span(
            f"{names.CHAT} {event.model}",
            context=spans.turn_context,
            kind=SpanKind.CLIENT,
            start_time=at,
            attributes={
                names.OPERATION: names.CHAT,
                names.PROVIDER: names.OPENAI,
                names.API: "responses",
                names.REQUEST_MODEL: event.model,
            },
        )
        spans.asked = spans.at = event.at
        spans.is_silent = True
        attach(trace.set_span_in_context(spans.request, spans.turn_context))

    def _start_call(self, spans: _Open, event: CallStarted) -> None:
        name = event.name if event.server else names.OTHER  # else the model has made it up
        span = self._tracer.start_span(
            f"{names.EXECUTE_TOOL} {name}",
            context=spans.turn_context or spans.context,
            start_time=_convert(event.at),
            attributes={
                names.OPERATION: names.EXECUTE_TOOL,
                names.TOOL: name,
                names.TOOL_TYPE: names.FUNCTION,
                names.CALL_ID: event.call_id,
                **({names.SERVER: event.server} if event.server else {}),
            },
        )
        spans.calls[event.index] = span
        attach(trace.set_span_in_context(span, spans.turn_context or spans.context))


def _write(span: SpanContext) -> str:
    carrier: dict[str, str] = {}
    _FORM.inject(carrier, trace.set_span_in_context(trace.NonRecordingSpan(span)))
    return carrier.get("traceparent", "")


def _read(name: str) -> SpanContext | None:
    span = trace.get_current_span(_FORM.extract({"traceparent": name}, Context())).get_span_context()
    return span if span.is_valid else None


def _convert(at: float) -> int:
    """Convert a time of the clock to nanoseconds."""
    return int(at * NANOSECONDS)


def _note_text(spans: _Open, at: float) -> None:
    if spans.is_silent and spans.request:
        spans.request.set_attribute(names.FIRST_CHUNK, at - spans.asked)
    spans.is_silent = False


def _end_request(spans: _Open, event: TurnEnded) -> None:
    spans.at, spans.is_silent = event.at, False
    if span := spans.request:
        span.set_attributes(_describe_answer(event))
        span.end(_convert(event.at))
        spans.request = None
    attach(spans.turn_context or spans.context)


def _describe_answer(event: TurnEnded) -> dict[str, str | int | float]:
    found: dict[str, str | int | float | None] = {
        names.RESPONSE_ID: event.response_id,
        names.RESPONSE_MODEL: event.model,
        names.COST: event.cost,
    }
    if event.usage and not event.is_estimated:
        spent = read_usage(event.usage)
        found |= {names.INPUT_TOKENS: spent["input_tokens"], names.OUTPUT_TOKENS: spent["output_tokens"]}
        found[names.CACHED_TOKENS] = _read_detail(event.usage, "input_tokens_details", "cached_tokens")
        found[names.REASONING_TOKENS] = _read_detail(event.usage, "output_tokens_details", "reasoning_tokens")
    return {name: value for name, value in found.items() if value is not None}


def _read_detail(usage: JsonObject, part: str, name: str) -> int | None:
    details = usage.get(part)
    count = details.get(name) if isinstance(details, dict) else None
    return count if isinstance(count, int) else None


def _end_call(spans: _Open, event: CallEnded) -> None:
    """End a call; one that was never begun has no span. What follows in its task belongs to the turn again."""
    spans.at = event.at
    if span := spans.calls.pop(event.index, None):
        if event.tool:
            span.set_attribute(names.TOOL, event.tool)
        if error := name_failure(event):
            _fail(span, error)
        span.end(_convert(event.at))
    attach(spans.turn_context or spans.context)


def _fail_request(spans: _Open, error: str, at: float) -> None:
    """End a request that got no answer, if there is one."""
    if span := spans.request:
        _fail(span, error)
        span.end(_convert(at))
        spans.request, spans.at = None, at


def _end_turn(spans: _Open) -> None:
    if spans.turn:
        spans.turn.end(_convert(spans.at))
        spans.turn = None


def _end_run(spans: _Open, event: RunEnded) -> None:
    error = name_error(event.error)
    _fail_request(spans, error or event.reason or event.status, event.at)
    for span in spans.calls.values():
        _fail(span, names.OTHER)
        span.end(_convert(event.at))
    if spans.turn and event.error:
        _fail(spans.turn, error)
    _end_turn(spans)
    spans.run.set_attribute(names.RUN_STATUS, event.status)
    if event.reason:
        spans.run.set_attribute(names.RUN_REASON, event.reason)
    if event.error:
        _fail(spans.run, error)
    spans.run.end(_convert(event.at))


def _fail(span: Span, error: str) -> None:
    """Mark a span as failed. There are no words: those of upstreams and servers may repeat what they were sent."""
    span.set_attribute(names.ERROR, error)
    span.set_status(StatusCode.ERROR)
