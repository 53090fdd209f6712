"""`ask`: one run from the terminal, the answer alone on stdout."""

import argparse
import os
import sys
from collections.abc import Mapping

import anyio

from bridge.app import Bridge
from bridge.children import Child
from bridge.cli.codes import COMPLETED, FAILED, INCOMPLETE
from bridge.cli.terminal import Terminal
from bridge.items import JsonObject, encode
from bridge.questions import say_yes
from bridge.run.receipt import build_receipt
from bridge.settings import Config
from bridge.telemetry import Redactor


def ask(
    options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child], arguments: JsonObject
) -> int:
    """Ask once; the servers' commands have been started already."""
    receipt = anyio.run(_run, options, config, redact, children, arguments)
    return _print(receipt, as_json=options.json)


async def _run(
    options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child], arguments: JsonObject
) -> JsonObject:
    with Terminal() as terminal:
        answer = say_yes if options.yes else terminal.ask
        offline: bool = options.offline
        bridge = Bridge(config, environ=os.environ, offline=offline, children=children, ask=answer, redact=redact)
        bridge.check(arguments)
        async with bridge:
            terminal.wait_for("waiting for the servers")
            run = bridge.start(arguments, terminal.show)
            await run.ended.wait()
    assert run.ending
    return build_receipt(run.run_id, run.events, run.ending, detail="summary", limit_chars=sys.maxsize)


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
