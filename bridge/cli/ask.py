"""`ask`: one run from the terminal, the answer alone on stdout."""

import argparse
import os
import sys
from collections.abc import Mapping
from contextlib import ExitStack, nullcontext
from pathlib import Path
from typing import Any

import anyio

from bridge.app import Bridge, choose_transport
from bridge.cli.exits import COMPLETED, FAILED, INCOMPLETE
from bridge.cli.output import print_json, print_text, tell
from bridge.cli.screen.terminal import Terminal
from bridge.cli.watchers import Watchers, open_watchers
from bridge.config.settings import Config
from bridge.json_text import Json, JsonObject
from bridge.processes.children import Child
from bridge.questions import say_yes
from bridge.recording.record import RecordingTransport
from bridge.recording.tape import Tape
from bridge.run.engine import Listener
from bridge.run.receipt import build_receipt, has_pictures
from bridge.run.run import Run
from bridge.run.store.choice import choose_engine
from bridge.telemetry import Redactor


def ask(
    options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child], arguments: JsonObject
) -> int:
    """Run once, with the already started `children`. Raises ConfigError if the recording cannot be written."""
    with ExitStack() as ends:
        tape = ends.enter_context(Tape(options.record, redact)) if options.record else None
        watchers = open_watchers(config, redact)
        ends.callback(watchers.end)
        terminal = Terminal(redact, is_streaming=not options.json)
        try:
            run, is_shown = anyio.run(_run, options, config, redact, children, arguments, tape, terminal, watchers)
        except KeyboardInterrupt:
            if words := terminal.describe_interruption():
                tell(words)
            raise
        code = print_run(run, config, options.images, as_json=options.json, is_shown=is_shown)
    if tape and (words := tape.explain_loss()):
        sys.stderr.write(f"! {words}\n")
    return code


def print_run(run: Run, config: Config, images: Path | None, *, as_json: bool, is_shown: bool) -> int:
    """Print what came of a run, with its pictures in this folder, and return the exit code."""
    receipt = build_whole(run)
    lines = _add_pictures(receipt, run, images) if config.limits.result_images else []
    code = print_result(receipt, as_json=as_json, is_shown=is_shown)
    for line in lines:
        tell(line)
    return code


def _add_pictures(receipt: JsonObject, run: Run, folder: Path | None) -> list[str]:
    """Save the pictures of the run, and name their files in its result; returns lines that tell of them."""
    if not has_pictures(run.events):
        return []
    from bridge.cli.pictures import save_pictures  # late: few runs have any

    images, lines = save_pictures(run, folder)
    receipt["images"] = list[Json](images)
    return lines


def _record(tape: Tape, config: Config) -> dict[str, Any]:
    from bridge.recording.runs import record_runs  # late: few runs are recorded

    return record_runs(lambda _: nullcontext(tape), config)


async def _run(
    options: argparse.Namespace,
    config: Config,
    redact: Redactor,
    children: Mapping[str, Child],
    arguments: JsonObject,
    tape: Tape | None,
    terminal: Terminal,
    watchers: Watchers,
) -> tuple[Run, bool]:
    """Return the run, and whether its text stands on the screen already."""
    recording = _record(tape, config) if tape else {}
    transport = RecordingTransport(choose_transport(config.upstream)) if tape and config.upstream else None
    with terminal:
        bridge = Bridge(
            config,
            environ=os.environ,
            children=children,
            ask=say_yes if options.yes else terminal.ask,
            redact=redact,
            transport=transport,
            build_engine=choose_engine(config, os.environ, default="sqlite", **recording),
            **watchers.parts,
        )
        watchers.attach(bridge)
        terminal.wait_for(lambda: [member.key for member in bridge.hub.members if not member.settled.is_set()])
        run = await run_alone(bridge, arguments, terminal.show)
        return run, terminal.finish(str(build_whole(run)["output_text"] or ""))


async def run_once(
    bridge: Bridge, arguments: JsonObject, listener: Listener | None = None, *, run_id: str | None = None
) -> JsonObject:
    """Do one run in a bridge of its own, and return the whole result."""
    return build_whole(await run_alone(bridge, arguments, listener, run_id=run_id))


async def run_alone(
    bridge: Bridge, arguments: JsonObject, listener: Listener | None = None, *, run_id: str | None = None
) -> Run:
    """Do one run in a bridge of its own, to its end."""
    await bridge.admit(arguments)  # before any server is waited for
    async with bridge:
        return await bridge.run(arguments, listener, run_id=run_id)


def build_whole(run: Run) -> JsonObject:
    """Build the whole result of a run, however long it is."""
    assert run.ending
    return build_receipt(run.run_id, run.events, run.ending, limit_chars=sys.maxsize)


def print_result(receipt: JsonObject, *, as_json: bool, is_shown: bool = False) -> int:
    """Print the answer on stdout, if it was not shown as it came, or the reason for its absence on stderr; return the
    exit code."""
    error, details = receipt["error"], receipt["incomplete_details"]
    if as_json:
        print_json(receipt)
    elif receipt["output_text"] and not is_shown:
        print_text(str(receipt["output_text"]))
    if isinstance(error, dict):
        tell(f"failed: {error['message']}")
        return FAILED
    if isinstance(details, dict):
        tell(f"incomplete: {details['reason']}")
        return INCOMPLETE
    if receipt["status"] == "cancelled":
        tell("cancelled")
        return INCOMPLETE
    return COMPLETED
