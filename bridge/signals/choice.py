"""Choice of the signals that a bridge gives, and all that has to be done for them."""

import importlib.util
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from bridge.config.settings import Config
from bridge.run.observers import Observer
from bridge.signals import names
from bridge.signals.counts import Counts, Reading
from bridge.signals.figures import Figures
from bridge.signals.variables import Asked, read_variables
from bridge.telemetry import Redactor

if TYPE_CHECKING:
    import httpx2
    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute

    from bridge.app import Bridge
    from bridge.signals.export import Export
    from bridge.signals.traces import Traces

logger = logging.getLogger(__name__)

NEEDED = ("opentelemetry.sdk", "opentelemetry.exporter.otlp.proto.http")
MISSING = (
    "The OTEL_ variables ask for %s, and the packages for that are not installed: pip install "
    "'mcp-responses-bridge[otel]', or set OTEL_SDK_DISABLED=true; nothing is sent"
)


@dataclass
class Signals:
    """The signals of one bridge."""

    config: Config
    """Configuration at the start; `find_config` returns the one that holds now."""
    counts: Counts | None = None
    """Counters; None where nobody could see them."""
    export: "Export | None" = None
    traces: "Traces | None" = None
    _bridge: "Bridge | None" = None

    def find_config(self) -> Config:
        """Return the configuration that holds now."""
        return self._bridge.config if self._bridge else self.config

    @property
    def observers(self) -> Sequence[Observer]:
        """Observers of the runs."""
        figures = [Figures(self.find_config, self.counts)] if self.counts else []
        return [*figures, self.traces] if self.traces else figures

    def carry(self, transport: "httpx2.AsyncBaseTransport") -> "httpx2.AsyncBaseTransport":
        """Have the requests to an upstream carry the trace."""
        if self.export is None or self.export.tracer is None:
            return transport
        from bridge.signals.passage import TracingTransport

        return TracingTransport(transport, self.export.tracer)

    def attach(self, bridge: "Bridge") -> Self:
        """Read the state of this bridge from now on."""
        self._bridge = bridge
        if self.counts:
            from bridge.signals.refusals import build_watch

            bridge.server.middleware.append(build_watch(self.counts))
        return self

    def read(self) -> Iterator[Reading]:
        """Read what the bridge is like now."""
        if bridge := self._bridge:
            places = bridge.engine.places
            yield names.ACTIVE, places.taken, ()
            yield names.WAITING, places.waiting, ()
            yield names.PLACES, places.count, ()
            for member in bridge.hub.members:
                yield names.SERVERS, 1, (member.key, member.state)

    @property
    def routes(self) -> "Sequence[BaseRoute]":
        """The routes of the service."""
        from bridge.signals.page import build_route

        return [build_route(lambda: self.find_config().serve, self.counts, self.read)] if self.counts else []

    @property
    def layers(self) -> "Sequence[Middleware]":
        """Middleware around the service, the outermost first."""
        from starlette.middleware import Middleware

        from bridge.signals.refusals import RefusalCount

        layers = [Middleware(RefusalCount, self.counts)] if self.counts else []
        if self.traces is None:
            return layers
        from bridge.signals.passage import IncomingTrace

        return [*layers, Middleware(IncomingTrace)]

    def end(self) -> None:
        """Send what there still is, for a moment at most."""
        if self.traces:
            self.traces.close()
        if self.export:
            self.export.end()


def choose_signals(config: Config, environ: Mapping[str, str], redact: Redactor, *, is_service: bool) -> Signals | None:
    """Choose the signals that the environment asks for; a service counts in any case. None where there are none."""
    asked = _check(read_variables(environ))
    if not (asked.is_any or is_service):
        return None
    signals = Signals(config, Counts() if asked.metrics or is_service else None)
    if asked.is_any:
        from bridge.signals.export import open_export, relay_counts

        export = signals.export = open_export(asked, environ, redact)
        if export.tracer:
            from bridge.signals.traces import Traces

            signals.traces = Traces(export.tracer, signals.find_config)
        if export.meters and signals.counts:
            relay_counts(export.meters, signals.counts, signals.read)
    return signals


def _check(asked: Asked) -> Asked:
    """Say what cannot be done of what is asked for, and return the rest."""
    for fault in asked.faults:
        logger.warning("%s", fault)
    if asked.is_any and not _is_installed():
        what = [name for name, is_asked in (("traces", asked.traces), ("metrics", asked.metrics)) if is_asked]
        logger.warning(MISSING, " and ".join(what))
        return Asked()
    return asked


def _is_installed() -> bool:
    try:
        return all(importlib.util.find_spec(name) for name in NEEDED)
    except ModuleNotFoundError:  # of the package that one of them is in
        return False
