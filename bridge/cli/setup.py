"""First steps of a command, before its large imports: config, log, the arguments of `ask`, the servers' processes."""

import argparse
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bridge.cli.exits import FAILED
from bridge.config.load import load
from bridge.config.settings import NO_MODEL, NO_UPSTREAM_HERE, Config, ServerConfig, UpstreamConfig
from bridge.errors import ArgumentError, ConfigError, NotConfigured
from bridge.json_text import JsonObject
from bridge.processes.children import DEPTH, Child, end_on_signals, start_child
from bridge.telemetry import Redactor, configure_logging

logger = logging.getLogger("bridge")
TOLD_BY_SERVICE = ("bridge.host.request_log", "bridge.run.run_log")
"""Loggers that the service has at INFO where no level is asked for: its own requests and runs, not what servers say."""


def set_up(options: argparse.Namespace) -> tuple[Config, Redactor]:
    """Load the configuration and start the log; return the former and a redactor of its secrets. Raises ConfigError."""
    config = read_config(options)
    redact = Redactor(config.secrets())
    start_log(options, redact)
    for notice in config.notices:
        logger.warning("%s", notice["message"])
    return config, redact


def read_config(options: argparse.Namespace, path: Path | None = None) -> Config:
    """Read the configuration; `path`: the file where the options name none. Raises ConfigError."""
    flags = {"serve.host": getattr(options, "host", None), "serve.port": getattr(options, "port", None)}
    offline = getattr(options, "offline", False)
    path = options.config or path
    return load(path, environ=os.environ, overrides=flags, offline=offline, project=options.project)


def start_log(options: argparse.Namespace, redact: Redactor) -> None:
    """Start the log. Raises ConfigError if its file cannot be written."""
    is_serve = options.command == "serve"
    is_told = is_serve and options.log_level is None and options.transport != "stdio"
    try:
        configure_logging(
            options.log_level or "warning",
            options.log_file,
            redact,
            in_background=is_serve,
            as_json=options.log_format == "json",
            telling=TOLD_BY_SERVICE if is_told else (),
        )
    except OSError as error:
        raise ConfigError(f"--log-file {options.log_file}: cannot be written: {error.strerror}") from None


def check_attended(environ: Mapping[str, str], command: str = "tools accept", what: str = "what is accepted") -> None:
    """Raise ArgumentError where nobody reads what a command shows: what it asks for, only a person may answer."""
    if DEPTH in environ:
        raise ArgumentError(f"{command}: refused in a process that a bridge has started; a person has to run it")
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise ArgumentError(f"{command}: only at a terminal, as somebody has to read {what}")


def find_server(config: Config, key: str) -> ServerConfig:
    """Find the server that has this key in the config. Raises ArgumentError."""
    for server in config.servers:
        if server.key == key:
            return server
    known = ", ".join(server.key for server in config.servers) or "none"
    raise ArgumentError(f"SERVER: there is no server {key!r} in the config; there are: {known}")


def focus(config: Config, name: str | None) -> Config:
    """Leave only the server of this name in the config, where it has one."""
    servers = tuple(server for server in config.servers if server.key == name)
    return config.model_copy(update={"servers": servers, "builtin_tools": False}) if servers else config


def check_upstream(config: Config) -> UpstreamConfig:
    """Return the upstream that is configured. Raises NotConfigured."""
    if config.upstream is None:
        raise NotConfigured(NO_UPSTREAM_HERE)
    return config.upstream


def build_arguments(options: argparse.Namespace, config: Config) -> JsonObject:
    """Build the arguments of `respond` from the options of `ask`. Raises NotConfigured or ArgumentError."""
    upstream = check_upstream(config)
    if not (options.model or upstream.model):
        raise ArgumentError(NO_MODEL)
    arguments: JsonObject = {"input": _read_text(options.prompt)}
    if options.goes_on or options.run is not None:
        from bridge.cli.kept import find_earlier  # late: most questions begin a conversation

        arguments["run_id"] = find_earlier(options.run, config)
    if options.model:
        arguments["model"] = options.model
    if options.previous:
        arguments["previous_response_id"] = options.previous
    return arguments


def _read_text(words: Sequence[str]) -> str:
    """Read what to ask: the words of the command line, which a shell has parted, or stdin."""
    if not words:
        raise ArgumentError("PROMPT: it is missing; say what to ask, or - to read it from stdin")
    prompt = " ".join(words)
    text = prompt if prompt != "-" else sys.stdin.read() if sys.stdin else ""
    if not text.strip():
        raise ArgumentError("PROMPT: nothing to ask; it is empty")
    return text


def start_children(servers: Iterable[ServerConfig]) -> dict[str, Child]:
    """Start the commands of the connected servers, by key: they boot while the large imports run."""
    children: dict[str, Child] = {}
    for server in servers:
        if server.command:
            with suppress(OSError):  # its member tries again, and reports the failure then
                children[server.key] = start_child(server.command, server.args, server.env, server.cwd, os.environ)
    return children


@contextmanager
def booting(servers: Iterable[ServerConfig]) -> Iterator[dict[str, Child]]:
    """Start the children and yield them; large imports go inside. A signal meanwhile ends the children first.

    Afterwards Ctrl-C raises KeyboardInterrupt again, with which the event loop ends a run properly. SIGTERM and SIGHUP
    keep ending the children.
    """
    if threading.current_thread() is not threading.main_thread():  # where signals cannot be handled
        yield start_children(servers)
        return
    end_on_signals(code=FAILED)
    yield start_children(servers)
    signal.signal(signal.SIGINT, signal.default_int_handler)
