"""What every command does first: read the configuration, log where it was told to, and start the servers' commands."""

import argparse
import logging
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from bridge.cli.codes import FAILED
from bridge.config.load import load
from bridge.config.settings import Config, ServerConfig
from bridge.errors import ConfigError
from bridge.processes.children import Child, end_on_signals, start_child
from bridge.telemetry import Redactor, configure_logging

logger = logging.getLogger("bridge")


def set_up(options: argparse.Namespace) -> tuple[Config, Redactor]:
    """The configuration, and what blanks its secrets. Raises ConfigError."""
    flags = {"serve.host": getattr(options, "host", None), "serve.port": getattr(options, "port", None)}
    offline = getattr(options, "offline", False)
    config = load(options.config, environ=os.environ, overrides=flags, with_upstream=not offline)
    redact = Redactor(config.secrets())
    try:
        configure_logging(options.log_level, options.log_file, redact, in_background=options.command == "serve")
    except OSError as error:
        raise ConfigError(f"--log-file {options.log_file}: cannot be written: {error.strerror}") from None
    for notice in config.notices:
        logger.warning("%s", notice.message)
    return config, redact


def start_children(servers: Iterable[ServerConfig]) -> dict[str, Child]:
    """Start the commands of the connected servers, by key: they boot while the large imports run."""
    children: dict[str, Child] = {}
    for server in servers:
        if server.command:
            with suppress(OSError):  # its member tries again, and then has somebody to tell
                children[server.key] = start_child(server.command, server.args, server.env, server.cwd, os.environ)
    return children


@contextmanager
def booting(servers: Iterable[ServerConfig]) -> Iterator[dict[str, Child]]:
    """The started children; what is large is imported inside. A signal that comes meanwhile ends them first.

    Afterwards Ctrl-C is the event loop's again, which ends a run properly. The other two stay as they are.
    """
    if threading.current_thread() is not threading.main_thread():  # where no signals are
        yield start_children(servers)
        return
    end_on_signals(code=FAILED)
    yield start_children(servers)
    signal.signal(signal.SIGINT, signal.default_int_handler)
