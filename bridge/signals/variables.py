"""Reading of the standard `OTEL_*` variables. Imported where there is any; it needs none of OpenTelemetry."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from bridge.visible import show_name

Signal = Literal["traces", "metrics"]
DISABLED = "OTEL_SDK_DISABLED"
ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
LOCAL = "http://localhost:4318"
"""Where the standard has a collector, if nothing says so."""
HTTP = "http/protobuf"


@dataclass(frozen=True)
class Asked:
    """What is asked for."""

    traces: bool = False
    metrics: bool = False
    faults: tuple[str, ...] = ()
    """What is asked for and cannot be done, in words for people."""

    @property
    def is_any(self) -> bool:
        return self.traces or self.metrics


def read_variables(environ: Mapping[str, str]) -> Asked:
    """Read what is asked for: a signal is sent where an address or its exporter is named."""
    if _read(environ, DISABLED).lower() == "true":
        return Asked()
    faults = list[str]()
    traces, metrics = (_asks(environ, signal, faults) for signal in ("traces", "metrics"))
    return Asked(traces, metrics, tuple(faults))


def find_endpoint(environ: Mapping[str, str], signal: Signal) -> str:
    """Find the address that a signal is sent to."""
    own = _read(environ, f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    return own or f"{(_read(environ, ENDPOINT) or LOCAL).rstrip('/')}/v1/{signal}"


def _asks(environ: Mapping[str, str], signal: Signal, faults: list[str]) -> bool:
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    exporter = _read(environ, variable).lower()
    if exporter == "none" or not (exporter or _names_endpoint(environ, signal)):
        return False
    if exporter not in ("", "otlp"):
        faults.append(f"{variable}={show_name(exporter)} is not supported: write otlp or none; no {signal} are sent")
        return False
    own = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    name = own if _read(environ, own) else "OTEL_EXPORTER_OTLP_PROTOCOL"
    if (protocol := _read(environ, name)) not in ("", HTTP):
        faults.append(f"{name}={show_name(protocol)} is not supported: write {HTTP}; no {signal} are sent")
        return False
    return True


def _names_endpoint(environ: Mapping[str, str], signal: Signal) -> bool:
    return bool(_read(environ, ENDPOINT) or _read(environ, f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT"))


def _read(environ: Mapping[str, str], name: str) -> str:
    """Read a variable; an empty one is none, as the standard has it."""
    return environ.get(name, "").strip()
