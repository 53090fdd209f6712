"""A collector of traces and metrics: OTLP over HTTP on loopback, and what it was sent, read.

async with Collector() as collector:
    ...  # a process with the environment of `collector.variables`
    await collector.wait_for(lambda: "turn 1" in collector.names)
"""

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import anyio
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from bridge.host.web_server import build_web
from bridge.signals.passage import TracingTransport
from bridge.signals.traces import Traces
from bridge.upstream.transport import Transport
from tests.fakes.bridges import configure
from tests.fakes.clock import PATIENCE_S


@dataclass(frozen=True)
class Span:
    """One span, ids in hexadecimal digits."""

    trace: str
    id: str
    parent: str
    name: str
    kind: str
    scope: str
    attributes: dict[str, Any]
    events: list[tuple[str, dict[str, Any]]]
    links: list[tuple[str, str]]
    is_error: bool
    words: str
    """The description of its status."""
    began: int
    ended: int


@dataclass(frozen=True)
class Metric:
    """What was sent of one metric last: for each combination of labels, its value, or the count of a histogram."""

    unit: str
    points: dict[tuple[tuple[str, Any], ...], float]


class Spans:
    """Spans, found by their names."""

    def __init__(self) -> None:
        self.spans: list[Span] = []

    @property
    def names(self) -> list[str]:
        return [span.name for span in self.spans]

    def one(self, name: str) -> Span:
        """The only span of this name."""
        [span] = self.all(name)
        return span

    def all(self, name: str) -> list[Span]:
        """The spans of this name, in the order in which they began."""
        return sorted((span for span in self.spans if span.name == name), key=lambda span: span.began)

    def parent_of(self, span: Span) -> Span:
        [found] = [each for each in self.spans if each.id == span.parent]
        return found

    def chain(self, span: Span) -> list[str]:
        """The names from a span up to the last parent that was sent."""
        above = [each for each in self.spans if each.id == span.parent]
        return [span.name, *(self.chain(above[0]) if above else [])]


class Traced(Spans):
    """The spans of this process: what a bridge is given, so that its runs are traced here.

    traced = Traced()
    async with open_bridge(**traced.options) as bridge:
        ...
    """

    def __init__(self) -> None:
        super().__init__()
        self._exporter = InMemorySpanExporter()
        self._provider = TracerProvider(shutdown_on_exit=False)
        self._provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracer = self._provider.get_tracer("tests")
        self.traces = Traces(self.tracer, lambda: configure({}))
        self.transport = TracingTransport(Transport(), self.tracer)

    @property
    def options(self) -> dict[str, Any]:
        return {"observers": [self.traces], "tracing": self.traces, "transport": self.transport}

    def read(self) -> Self:
        """Read what has ended by now."""
        sent = encode_spans(self._exporter.get_finished_spans())
        scopes = [scope for group in sent.resource_spans for scope in group.scope_spans]
        self.spans = [_read_span(span, scope.scope.name) for scope in scopes for span in scope.spans]
        return self


class Collector(Spans):
    """Takes what is sent to it, with a status of its own if a test says so."""

    def __init__(self) -> None:
        super().__init__()
        self.metrics: dict[str, Metric] = {}
        self.resources: list[dict[str, Any]] = []
        self.raw: list[bytes] = []
        """The bodies, as they came."""
        self.status = 200
        self.requests = 0
        self._changed = anyio.Event()

    async def __aenter__(self) -> Self:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        routes = [
            Route("/v1/traces", self._take_traces, methods=["POST"]),
            Route("/v1/metrics", self._take_metrics, methods=["POST"]),
        ]
        self._web = build_web(Starlette(routes=routes))
        self._tasks = await anyio.create_task_group().__aenter__()
        self._tasks.start_soon(self._web.serve, [self._listening])
        return self

    async def __aexit__(self, *error: Any) -> None:
        self._web.should_exit = True
        await self._tasks.__aexit__(None, None, None)
        self._listening.close()

    @property
    def variables(self) -> dict[str, str]:
        """The environment of a process that sends here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "50",
            "OTEL_METRIC_EXPORT_INTERVAL": "200",
        }

    async def wait_for(self, condition: Callable[[], bool]) -> None:
        """Until it holds; TimeoutError after PATIENCE_S."""
        with anyio.fail_after(PATIENCE_S):
            while not condition():
                await self._changed.wait()

    async def wait_for_spans(self, *wanted: str) -> None:
        """Until spans of all these names have come."""
        await self.wait_for(lambda: set(wanted) <= set(self.names))

    def _note(self, body: bytes) -> Response:
        self.requests += 1
        self.raw.append(body)
        self._changed.set()
        self._changed = anyio.Event()
        return Response(b"", self.status, media_type="application/x-protobuf")

    async def _take_traces(self, request: Request) -> Response:
        sent = ExportTraceServiceRequest.FromString(body := await request.body())
        for group in sent.resource_spans if self.status == 200 else ():
            self.resources.append(_read_attributes(group.resource.attributes))
            for scope in group.scope_spans:
                self.spans += [_read_span(span, scope.scope.name) for span in scope.spans]
        return self._note(body)

    async def _take_metrics(self, request: Request) -> Response:
        sent = ExportMetricsServiceRequest.FromString(body := await request.body())
        for group in sent.resource_metrics if self.status == 200 else ():
            for scope in group.scope_metrics:
                self.metrics |= {metric.name: _read_metric(metric) for metric in scope.metrics}
        return self._note(body)


def _read_span(span: Any, scope: str) -> Span:
    return Span(
        span.trace_id.hex(),
        span.span_id.hex(),
        span.parent_span_id.hex(),
        span.name,
        {1: "internal", 2: "server", 3: "client"}.get(span.kind, str(span.kind)),
        scope,
        _read_attributes(span.attributes),
        [(event.name, _read_attributes(event.attributes)) for event in span.events],
        [(link.trace_id.hex(), link.span_id.hex()) for link in span.links],
        span.status.code == 2,
        span.status.message,
        span.start_time_unix_nano,
        span.end_time_unix_nano,
    )


def _read_metric(metric: Any) -> Metric:
    kind = metric.WhichOneof("data")
    points = getattr(metric, kind).data_points
    found: dict[tuple[tuple[str, Any], ...], float] = {}
    for point in points:
        labels = tuple(sorted(_read_attributes(point.attributes).items()))
        found[labels] = point.count if kind == "histogram" else point.as_double or point.as_int
    return Metric(metric.unit, found)


def _read_attributes(attributes: Sequence[Any]) -> dict[str, Any]:
    return {attribute.key: _read_value(attribute.value) for attribute in attributes}


def _read_value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    return getattr(value, kind) if kind else None
