"""`ask`: one run from the terminal, the answer alone on stdout."""

import argparse
import os
import sys

import anyio

from bridge.app import Bridge
from bridge.cli.codes import COMPLETED, FAILED, INCOMPLETE
from bridge.cli.terminal import Terminal
from bridge.errors import ArgumentError, NotConfigured
from bridge.hub.hub import Approve
from bridge.items import JsonObject, encode
from bridge.run.receipt import build_receipt
from bridge.settings import NO_UPSTREAM, Config
from bridge.telemetry import Redactor


def ask(options: argparse.Namespace, config: Config, redact: Redactor) -> int:
    """Ask once. Raises NotConfigured or ArgumentError before any server is started."""
    if config.upstream is None and not options.offline:
        raise NotConfigured(NO_UPSTREAM)
    arguments: JsonObject = {"input": _read_prompt(options.prompt)}
    if options.model:
        arguments["model"] = options.model
    if options.previous:
        arguments["previous_response_id"] = options.previous
    receipt = anyio.run(_run, config, redact, arguments, options.offline, options.yes)
    return _print(receipt, as_json=options.json)


def _read_prompt(prompt: str) -> str:
    text = prompt if prompt != "-" else sys.stdin.read() if sys.stdin else ""
    if not text.strip():
        raise ArgumentError("PROMPT: there is nothing to ask; it is empty")
    return text


async def _run(config: Config, redact: Redactor, arguments: JsonObject, offline: bool, yes: bool) -> JsonObject:
    with Terminal() as terminal:
        approve: Approve = _approve_all if yes else terminal.approve
        bridge = Bridge(config, environ=os.environ, offline=offline, approve=approve, redact=redact)
        bridge.check(arguments)
        async with bridge:
            terminal.wait_for("waiting for the servers")
            run = bridge.start(arguments, terminal.show)
            await run.ended.wait()
    assert run.ending
    return build_receipt(run.run_id, run.events, run.ending, detail="summary", limit_chars=sys.maxsize)


async def _approve_all(_server: str, _tool: str, _arguments: JsonObject) -> bool:
    return True


def _print(receipt: JsonObject, *, as_json: bool) -> int:
    """The answer on stdout, why there is none on stderr."""
    error, details = receipt["error"], receipt["incomplete_details"]
    if as_json or receipt["output_text"]:
        sys.stdout.write((encode(receipt) if as_json else str(receipt["output_text"])) + "\n")
        sys.stdout.flush()
    if isinstance(error, dict):
        sys.stderr.write(f"failed: {error['message']}\n")
        return FAILED
    if isinstance(details, dict):
        sys.stderr.write(f"incomplete: {details['reason']}\n")
        return INCOMPLETE
    return COMPLETED
