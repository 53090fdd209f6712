"""`ask --replay`: runs a recording again, without servers, a network or a key."""

import argparse
import sys

import anyio

from bridge.app import Bridge
from bridge.cli.ask import print_result
from bridge.cli.terminal import Terminal
from bridge.errors import ArgumentError
from bridge.json_text import JsonObject
from bridge.questions import ask_nobody
from bridge.recording.replay import Replay
from bridge.recording.tape import read_tape
from bridge.run.receipt import build_receipt
from bridge.telemetry import Redactor, configure_logging


def replay(options: argparse.Namespace) -> int:
    """Run the recording through the present loop and HTTP client.

    Raises ConfigError for an incomplete recording, and ReplayError if the run differs from the recorded one.
    """
    if options.prompt is not None:
        raise ArgumentError("PROMPT: the recording has its own; leave it out")
    configure_logging(options.log_level, options.log_file, Redactor())
    receipt = anyio.run(_run, Replay(read_tape(options.replay)))
    return print_result(receipt, as_json=options.json)


async def _run(played: Replay) -> JsonObject:
    with Terminal() as terminal:
        bridge = Bridge(
            played.config,
            environ={},
            clock=played.clock,
            ask=ask_nobody,
            transport=played.transport,
            listen_to=lambda _: played.tools,
        )
        await bridge.admit(played.arguments)
        async with bridge:
            run = await bridge.run(
                played.arguments, lambda event: terminal.show(played.give_back_time(event)), run_id=played.run_id
            )
    assert run.ending
    events = [played.give_back_time(event) for event in run.events]
    receipt = build_receipt(run.run_id, events, run.ending, limit_chars=sys.maxsize)
    played.check(receipt)
    return receipt
