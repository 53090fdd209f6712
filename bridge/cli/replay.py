"""`ask --replay`: runs a recording again, without servers, a network or a key."""

import argparse
from typing import cast

import anyio

from bridge.app import Bridge
from bridge.cli.ask import build_whole, print_result
from bridge.cli.screen.terminal import Terminal
from bridge.cli.setup import start_log
from bridge.errors import ArgumentError
from bridge.json_text import JsonObject
from bridge.questions import ask_nobody
from bridge.recording.replay import Replay
from bridge.recording.tape import read_tape
from bridge.telemetry import Redactor


def replay(options: argparse.Namespace) -> int:
    """Run the recording through the present loop and HTTP client.

    Raises ConfigError for an incomplete recording, and ReplayError if the run differs from the recorded one.
    """
    if options.prompt:
        raise ArgumentError("PROMPT: the recording has its own; leave it out")
    start_log(options, Redactor())
    receipt = anyio.run(play, Replay(read_tape(options.replay)))
    return print_result(receipt, as_json=options.json)


async def play(played: Replay) -> JsonObject:
    """Replay a run, and return its result. Raises ReplayError if anything differs."""
    bridge = Bridge(
        played.start.config,
        environ={},
        clock=played.clock,
        ask=ask_nobody,
        transport=played,
        build_engine=played.build_engine,
    )
    arguments = cast("JsonObject", played.start.arguments)
    with Terminal() as terminal:
        async with bridge:  # the run was admitted when it was recorded: one that it goes on from is not here
            run = await bridge.engine.start(played.start.run_id, arguments, principal=None)
            await bridge.see_out(run, terminal.show)
    receipt = build_whole(run)
    played.check(receipt)
    return receipt
