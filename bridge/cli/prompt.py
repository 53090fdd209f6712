"""What `ask` sends, and what keeps it from asking: looked at before any server is started."""

import argparse
import sys

from bridge.config.settings import NO_MODEL, NO_UPSTREAM_HERE, Config
from bridge.errors import ArgumentError, NotConfigured
from bridge.json_text import JsonObject


def build_arguments(options: argparse.Namespace, config: Config) -> JsonObject:
    """The arguments of `respond` that the command line makes. Raises NotConfigured or ArgumentError."""
    if not options.offline and config.upstream is None:
        raise NotConfigured(NO_UPSTREAM_HERE)
    if not (options.offline or options.model or (config.upstream and config.upstream.model)):
        raise ArgumentError(NO_MODEL)
    arguments: JsonObject = {"input": _read_text(options.prompt)}
    if options.model:
        arguments["model"] = options.model
    if options.previous:
        arguments["previous_response_id"] = options.previous
    return arguments


def _read_text(prompt: str | None) -> str:
    if prompt is None:
        raise ArgumentError("PROMPT: it is missing; say what to ask, or - to read it from stdin")
    text = prompt if prompt != "-" else sys.stdin.read() if sys.stdin else ""
    if not text.strip():
        raise ArgumentError("PROMPT: there is nothing to ask; it is empty")
    return text
