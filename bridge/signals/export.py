"""OpenTelemetry's SDK, set up by the standard variables: what is sent, in threads, and the end of that."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar
from urllib.parse import urlsplit

from mcp_types import CONNECTION_CLOSED
from opentelemetry import metrics, propagate, trace
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.metrics import CallbackOptions, Observation
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Status, Tracer
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.util.types import Attributes, AttributeValue
from typing_extensions import override

from bridge import __version__
from bridge.hub.transports import replies
from bridge.network import explain_network
from bridge.signals import names
from bridge.signals.counts import Counts, Labels, Read
from bridge.signals.names import COUNTED, READ, Instrument
from bridge.signals.variables import Asked, Signal, find_endpoint
from bridge.telemetry import Redactor
from bridge.visible import show_line

logger = logging.getLogger(__name__)

END_S = 0.8
"""Seconds for which what is still to be sent may hold up the end of the process: hosts kill after two seconds."""
LATE = "it does not answer in time"
PROPAGATORS = "OTEL_PROPAGATORS"
SERVICE = "OTEL_SERVICE_NAME"
_CODES = {
    str(replies.UNREACHABLE): "unreachable",
    str(replies.SESSION_GONE): "session_gone",
    str(replies.REFUSED): "refused",
    str(replies.NOT_SENT): "not_sent",
    str(replies.NOT_EXECUTED): "not_executed",
    str(replies.SAID_CLOSED): str(CONNECTION_CLOSED),
}
"""Our own error codes, which the SDK notes of a message: they are other ones in each process, and nobody else's."""
_EXPORTERS: Mapping[Signal, str] = {
    "traces": "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "metrics": "opentelemetry.exporter.otlp.proto.http.metric_exporter",
}
"""Their loggers."""
_NOISY = ("opentelemetry.sdk._shared_internal", "opentelemetry.sdk.metrics", "opentelemetry.attributes")
T = TypeVar("T")


class _Complaints(logging.Filter):
    """Takes every line that an exporter logs, and says once what is wrong: until something was sent again."""

    def __init__(self, signal: Signal, endpoint: str) -> None:
        super().__init__()
        self._signal = signal
        self._where = _show_address(endpoint)
        self._is_told = False

    @override
    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING and isinstance(record.args, tuple):
            self.tell(_explain(record.args))
        return False

    def tell(self, why: str) -> None:
        """Say why something cannot be sent, unless that was said."""
        if not self._is_told:
            self._is_told = True
            logger.warning(
                "%s cannot be sent to %s (%s): start a collector there, or set OTEL_%s_EXPORTER=none; runs go on, and "
                "what is not sent is lost",
                self._signal,
                self._where,
                why,
                self._signal.upper(),
            )

    def note_sent(self) -> None:
        """Note that something was sent: the next fault is told again."""
        self._is_told = False


def _explain(said: tuple[object, ...]) -> str:
    """Explain what an exporter complains of, by the values in its line."""
    for value in said:
        if isinstance(value, Exception):
            return show_line(explain_network(_find_root(value)))
        if isinstance(value, int):
            return f"it answers with status {value}"
    return LATE if len(said) < 2 else show_line(str(said[0] or said[-1]))


def _find_root(error: BaseException) -> BaseException:
    """Return the first error of a chain: those of the HTTP client of the exporter only repeat it."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error


def _show_address(url: str) -> str:
    parts = urlsplit(url)
    return show_line(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}")


class _SpanExporter(SpanExporter):
    """Sends spans without anybody's words: the SDK writes the messages of errors into its own, which may repeat
    anything. What it names is redacted."""

    def __init__(self, inner: SpanExporter, complaints: _Complaints, redact: Redactor) -> None:
        self._inner = inner
        self._complaints = complaints
        self._redact = redact

    @override
    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export([self._clean(span) for span in spans])
        if result is SpanExportResult.SUCCESS:
            self._complaints.note_sent()
        return result

    @override
    def shutdown(self) -> None:
        self._inner.shutdown()

    def _clean(self, span: ReadableSpan) -> ReadableSpan:
        redact = self._redact
        return ReadableSpan(
            name=redact(span.name),
            context=span.get_span_context(),
            parent=span.parent,
            resource=span.resource,
            attributes=_clean_attributes(span.attributes, redact),
            events=[Event(event.name, _drop_words(event, redact), event.timestamp) for event in span.events],
            links=span.links,
            kind=span.kind,
            status=Status(span.status.status_code),
            start_time=span.start_time,
            end_time=span.end_time,
            instrumentation_scope=span.instrumentation_scope,
        )


def _clean_attributes(attributes: Attributes, redact: Redactor) -> dict[str, AttributeValue]:
    given = attributes or {}
    return {
        name: _CODES.get(value, redact(value)) if isinstance(value, str) else value for name, value in given.items()
    }


def _drop_words(event: Event, redact: Redactor) -> dict[str, AttributeValue]:
    kept = _clean_attributes(event.attributes, redact)
    return {name: value for name, value in kept.items() if name not in ("exception.message", "exception.stacktrace")}


@dataclass
class Export:
    """Exporter that sends in the background."""

    tracer: Tracer | None = None
    meters: MeterProvider | None = None
    _ends: list[tuple[Callable[[], None], _Complaints]] = field(
        default_factory=list[tuple[Callable[[], None], _Complaints]]
    )

    def end(self) -> None:
        """Send what there still is, for at most END_S."""
        until = time.monotonic() + END_S
        ending = [(threading.Thread(target=end, daemon=True), complaints) for end, complaints in self._ends]
        for thread, _ in ending:
            thread.start()
        for thread, complaints in ending:
            thread.join(max(0.0, until - time.monotonic()))
            if thread.is_alive():
                complaints.tell(LATE)
        self._ends.clear()


def open_export(asked: Asked, environ: Mapping[str, str], redact: Redactor) -> Export:
    """Set up what is asked for. There can be one in a process."""
    for name in _NOISY:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    if not environ.get(PROPAGATORS):
        # The standard's default also passes on baggage: a host's words, to an upstream and to servers of others.
        propagate.set_global_textmap(TraceContextTextMapPropagator())
    resource = Resource.create({} if environ.get(SERVICE) else {SERVICE_NAME: names.SCOPE}).merge(
        Resource({SERVICE_VERSION: __version__})
    )
    export = Export()
    if asked.traces:
        complaints = _watch("traces", environ)
        tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        tracers.add_span_processor(BatchSpanProcessor(_SpanExporter(OTLPSpanExporter(), complaints, redact)))
        trace.set_tracer_provider(tracers)
        export.tracer = tracers.get_tracer(names.SCOPE, __version__, names.SCHEMA_URL)
        export._ends.append((tracers.shutdown, complaints))
    if asked.metrics:
        complaints = _watch("metrics", environ)
        reader = PeriodicExportingMetricReader(OTLPMetricExporter())
        export.meters = MeterProvider([reader], resource=resource, shutdown_on_exit=False)
        metrics.set_meter_provider(export.meters)
        export._ends.append((export.meters.shutdown, complaints))
    return export


def _watch(signal: Signal, environ: Mapping[str, str]) -> _Complaints:
    complaints = _Complaints(signal, find_endpoint(environ, signal))
    logging.getLogger(_EXPORTERS[signal]).addFilter(complaints)
    return complaints


def relay_counts(meters: MeterProvider, counts: Counts, read: Read) -> None:
    """Have every number that is counted sent too, and what is read when it is sent."""
    meter = meters.get_meter(names.SCOPE, __version__, names.SCHEMA_URL)
    notes = {instrument: _build(meter, instrument) for instrument in COUNTED}
    counts.relays.append(lambda instrument, amount, labels: notes[instrument](amount, _label(instrument, labels)))
    for instrument in READ:
        meter.create_observable_gauge(
            instrument.name, [_observe(instrument, read)], unit=instrument.unit, description=instrument.text
        )


def _build(meter: metrics.Meter, instrument: Instrument) -> Callable[[float, dict[str, str]], None]:
    if instrument.kind == "counter":
        return meter.create_counter(instrument.name, instrument.unit, instrument.text).add
    return meter.create_histogram(
        instrument.name, instrument.unit, instrument.text, explicit_bucket_boundaries_advisory=instrument.bounds
    ).record


def _observe(instrument: Instrument, read: Read) -> Callable[[CallbackOptions], list[Observation]]:
    def observe(_: CallbackOptions) -> list[Observation]:
        found = list(read())
        return [Observation(value, _label(each, labels)) for each, value, labels in found if each is instrument]

    return observe


def _label(instrument: Instrument, labels: Labels) -> dict[str, str]:
    """Name the labels; one that is empty is none."""
    return {name: value for name, value in zip(instrument.labels, labels, strict=True) if value}
