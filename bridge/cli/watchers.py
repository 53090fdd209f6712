"""Log, audit, traces and metrics of the runs of one command. Each is imported only where it is wanted."""

import errno
import logging
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.config.settings import Config
from bridge.errors import ConfigError
from bridge.telemetry import Redactor

if TYPE_CHECKING:
    from starlette.middleware import Middleware
    from starlette.routing import BaseRoute

    from bridge.app import Bridge
    from bridge.run.audit import Audit
    from bridge.run.observers import Observer
    from bridge.signals.choice import Signals


@dataclass(frozen=True)
class Watchers:
    """Log, audit, traces and metrics of one bridge."""

    signals: "Signals | None" = None
    """Traces and metrics; None where nobody could see any."""
    audit: "Audit | None" = None
    log: "Observer | None" = None

    @property
    def parts(self) -> dict[str, Any]:
        """Arguments with which the bridge is built, so that they hear of its runs."""
        log = [self.log] if self.log else []
        if self.signals is None:
            return {"observers": log, "audit": self.audit}
        traces = {"tracing": self.signals.traces, "carry": self.signals.carry}
        return {"observers": [*log, *self.signals.observers], "audit": self.audit, **traces}

    @property
    def routes(self) -> "list[BaseRoute]":
        """Routes of the service that show what they know."""
        return [*self.signals.routes] if self.signals else []

    @property
    def layers(self) -> "list[Middleware]":
        """Middleware that they put around the service, the outermost first."""
        return [*self.signals.layers] if self.signals else []

    def attach(self, bridge: "Bridge") -> None:
        """Let them read the state of this bridge from now on."""
        if self.signals:
            self.signals.attach(bridge)

    def end(self) -> None:
        """Send what there still is, for a moment at most."""
        if self.signals:
            self.signals.end()


def open_watchers(config: Config, redact: Redactor) -> Watchers:
    """Open those of a command that a person waits for."""
    return Watchers(_open_signals(config, redact, is_service=False))


def open_serving(config: Config, redact: Redactor, *, is_service: bool) -> Watchers:
    """Open those of `serve`. Raises ConfigError."""
    audit = open_audit(config, redact)
    return Watchers(_open_signals(config, redact, is_service=is_service), audit, _open_log())


def _open_signals(config: Config, redact: Redactor, *, is_service: bool) -> "Signals | None":
    """Open what the environment asks for; a service counts in any case."""
    if not is_service and not any(name.startswith("OTEL_") for name in os.environ):
        return None
    from bridge.signals.choice import choose_signals

    return choose_signals(config, os.environ, redact, is_service=is_service)


def open_audit(config: Config, redact: Redactor) -> "Audit | None":
    """Open the audit file, where one is configured. Raises ConfigError."""
    if config.serve.audit is None:
        return None
    from bridge.audit_file import AuditFile
    from bridge.run.audit import Audit

    path = Path(config.serve.audit).expanduser()
    try:
        file = AuditFile(path, config.serve.audit_bytes)
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise ConfigError(f"serve.audit: {path} cannot be written: {why}; name another file, or none") from None
    return Audit(file, redact, is_required=config.serve.audit_required)


def _open_log() -> "Observer | None":
    """Open the log of runs, where its lines are wanted."""
    if not logging.getLogger("bridge.run.run_log").isEnabledFor(logging.INFO):
        return None
    from bridge.run.run_log import RunLog

    return RunLog()
