"""`serve`: runs the MCP server, for the host that started this process or for clients on the network."""

import argparse
import logging
import os
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bridge.cli.exits import COMPLETED, FAILED, note_hangup, watch_signals
from bridge.errors import ConfigError
from bridge.processes.children import end_on_signals
from bridge.processes.open_files import raise_limit
from bridge.processes.own_stdio import claim_stdio

if TYPE_CHECKING:
    import anyio
    import httpx2

    from bridge.app import Bridge
    from bridge.cli.life import Life
    from bridge.cli.watchers import Watchers
    from bridge.config.settings import Config
    from bridge.host.http import Listening
    from bridge.recording.runs import TapeFolder
    from bridge.telemetry import Redactor

logger = logging.getLogger(__name__)


def serve(options: argparse.Namespace) -> int:
    """Serve until the host closes stdin or a signal arrives; no child is left behind.

    The order matters: the descriptors are claimed before anything could write to them, signals are caught before the
    first child is started, and the children boot while the large imports run.
    """
    has_address = options.host is not None or options.port is not None
    if options.transport == "stdio" and (has_address or options.no_auth):
        raise ConfigError("serve: --host, --port and --no-auth belong to --transport http")
    pipes = _claim_stdio(options.closed) if options.transport == "stdio" else None
    has_hangup = note_hangup() if pipes is None else None
    raise_limit()
    from bridge.cli.setup import set_up, start_children

    config, redact = set_up(options)
    from bridge.cli.watchers import open_serving

    is_service = pipes is None
    folder = _prepare_recordings(options.record, redact) if options.record else None
    watchers = open_serving(config, redact, is_service=is_service)
    serve_until, listening = (
        (_prepare_stdio(*pipes, config), None) if pipes else _prepare_http(options, config, watchers)
    )
    end_on_signals(("SIGINT", "SIGTERM", "SIGHUP") if pipes else ("SIGINT", "SIGTERM"))
    children = start_children(config.servers)
    import anyio

    from bridge.app import Bridge
    from bridge.run.store.choice import choose_engine
    from bridge.telemetry import flush_log

    recording, transport = _record(folder, config) if folder else ({}, None)
    build_engine = choose_engine(
        config, os.environ, default="memory" if is_service else "sqlite", is_service=is_service, **recording
    )

    async def run() -> int:
        bridge = Bridge(
            config,
            environ=os.environ,
            children=children,
            redact=redact,
            transport=transport,
            build_engine=build_engine,
            is_service=is_service,
            **watchers.parts,
        )
        watchers.attach(bridge)
        life = _open_life(bridge, listening, options, has_hangup) if listening and has_hangup else None
        return await _serve(bridge, serve_until, life)

    code = anyio.run(run)
    watchers.end()
    flush_log()
    os._exit(code)  # nothing is left to save, and an orderly exit of the interpreter takes longer than hosts wait


async def _serve(bridge: "Bridge", serve_until: "ServeUntil", life: "Life | None") -> int:
    """Serve until the clients are done or a signal comes; return the exit code."""
    import anyio

    stop, code = anyio.Event(), COMPLETED

    def end(with_code: int) -> None:
        nonlocal code
        code = with_code
        stop.set()

    async with anyio.create_task_group() as tasks:
        if life:
            await tasks.start(life.watch, end)
        else:
            tasks.start_soon(watch_signals, end)
        async with bridge:
            if life:
                tasks.start_soon(life.reload_when_asked)
            if fault := await serve_until(bridge, stop):
                sys.stderr.write(f"serve: stdout cannot be written: {fault.strerror}\n")
                code = FAILED
        tasks.cancel_scope.cancel()
    return code


def _open_life(
    bridge: "Bridge", listening: "Listening", options: argparse.Namespace, has_hangup: Callable[[], bool]
) -> "Life":
    from bridge.cli.life import Life  # late: a host over stdio sends no such signals

    return Life(bridge, listening, options, has_hangup)


def _prepare_recordings(path: Path, redact: "Redactor") -> "TapeFolder":
    """Make the folder of the recordings, before a child is started. Raises ConfigError."""
    from bridge.recording.runs import TapeFolder  # late, like all that follows from it: hardly anybody records

    folder = TapeFolder(path, redact)
    folder.prepare()
    return folder


def _record(folder: "TapeFolder", config: "Config") -> tuple[dict[str, Any], "httpx2.AsyncBaseTransport | None"]:
    """Return what the engine and the bridge need, so that every run is recorded."""
    from bridge.app import choose_transport
    from bridge.recording.record import RecordingTransport
    from bridge.recording.runs import record_runs

    transport = RecordingTransport(choose_transport(config.upstream)) if config.upstream else None
    return record_runs(folder.open_tape, config), transport


def _claim_stdio(closed: Sequence[str]) -> tuple[int, int]:
    """Claim stdin and stdout. Raises ConfigError where one of them is closed."""
    if missing := [name for name in closed if name != "stderr"]:
        raise ConfigError(
            f"serve: {' and '.join(missing)} {'are' if len(missing) > 1 else 'is'} closed; the host and the bridge "
            "talk on stdin and stdout, so both must be open"
        )
    return claim_stdio()


ServeUntil = Callable[["Bridge", "anyio.Event"], Awaitable[OSError | None]]
"""Serves until its clients are done or the event is set; returns why it could not go on."""


def _prepare_stdio(source: int, sink: int, config: "Config") -> ServeUntil:
    if os.isatty(source):
        sys.stderr.write("Waiting for a host on stdin (Ctrl-D ends it). To try the bridge by hand: `ask` or `demo`.\n")

    async def serve_until(bridge: "Bridge", stop: "anyio.Event") -> OSError | None:
        import anyio

        from bridge.host.stdio import serve_stdio

        fault: OSError | None = None

        async def cancel_on_stop() -> None:
            await stop.wait()
            tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancel_on_stop)
            fault = await serve_stdio(bridge.server, source, sink, message_bytes=config.limits.message_bytes)
            tasks.cancel_scope.cancel()
        return fault

    return serve_until


def _prepare_http(
    options: argparse.Namespace, config: "Config", watchers: "Watchers"
) -> "tuple[ServeUntil, Listening]":
    """Open the port and check its settings, so that every refusal comes before a child is started."""
    from bridge.clock import Clock
    from bridge.config.settings import NO_UPSTREAM_HERE
    from bridge.host.http import listen, serve_http
    from bridge.host.personal_tokens import choose_verifiers
    from bridge.telemetry import tell

    verifiers = choose_verifiers(config.serve, os.environ)
    listening = listen(config.serve, no_auth=options.no_auth, verifiers=verifiers)
    if config.upstream is None:
        logger.warning("%s", NO_UPSTREAM_HERE)

    async def serve_until(bridge: "Bridge", stop: "anyio.Event") -> None:
        if options.log_format == "json" and not options.log_file:  # else it would be the one line that is no JSON
            words, fields = "Serving on %s (and /sse)", tell(url=listening.url)
            told = logger.makeRecord(logger.name, logging.INFO, "", 0, words, (listening.url,), None, extra=fields)
            logger.handle(told)  # at any level
        else:
            sys.stderr.write(f"Serving on {listening.url} (and /sse)\n")
        routes, layers = watchers.routes, watchers.layers
        await serve_http(bridge.server, listening, Clock(), stop, routes=routes, layers=layers)

    return serve_until, listening
