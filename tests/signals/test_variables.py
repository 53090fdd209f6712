"""What the standard variables ask for."""

import pytest

from bridge.signals.variables import Asked, find_endpoint, read_variables

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environ", "traces", "metrics"),
    [
        ({}, False, False),
        ({"OTEL_SERVICE_NAME": "x", "OTEL_RESOURCE_ATTRIBUTES": "a=b"}, False, False),
        (ENDPOINT, True, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": " "}, False, False),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://x/v1/traces"}, True, False),
        ({"OTEL_TRACES_EXPORTER": "otlp"}, True, False),
        ({"OTEL_METRICS_EXPORTER": "OTLP"}, False, True),
        (ENDPOINT | {"OTEL_METRICS_EXPORTER": "none"}, True, False),
        (ENDPOINT | {"OTEL_TRACES_EXPORTER": "none"}, False, True),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "true"}, False, False),
        (ENDPOINT | {"OTEL_SDK_DISABLED": "1"}, True, True),
        (ENDPOINT | {"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True, True),
    ],
)
def test_signals_are_sent_where_the_standard_says_so(environ: dict[str, str], *, traces: bool, metrics: bool) -> None:
    assert read_variables(environ) == Asked(traces, metrics)


def test_what_would_write_to_stdout_or_speak_otherwise_is_named_with_what_would_be_right() -> None:
    console = read_variables(ENDPOINT | {"OTEL_TRACES_EXPORTER": "console"})
    assert (console.traces, console.metrics) == (False, True)
    assert console.faults == ("OTEL_TRACES_EXPORTER=console is not supported: write otlp or none; no traces are sent",)
    grpc = read_variables(ENDPOINT | {"OTEL_EXPORTER_OTLP_METRICS_PROTOCOL": "grpc"})
    assert (grpc.traces, grpc.metrics) == (True, False)
    assert grpc.faults == (
        "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL=grpc is not supported: write http/protobuf; no metrics are sent",
    )


def test_the_address_is_the_one_that_the_standard_makes() -> None:
    assert find_endpoint({}, "traces") == "http://localhost:4318/v1/traces"
    assert find_endpoint({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:1/x/"}, "metrics") == "http://c:1/x/v1/metrics"
    assert find_endpoint({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t"}, "traces") == "http://t"
