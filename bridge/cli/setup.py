"""What every command does first: read the configuration, and log where it was told to."""

import argparse
import logging
import os

from bridge.config import load
from bridge.errors import ConfigError
from bridge.settings import Config
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
