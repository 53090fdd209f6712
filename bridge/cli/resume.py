"""`runs resume`: takes up a run that its process has left, and shows it as `ask` does."""

import argparse
import os
from collections.abc import Mapping

import anyio

from bridge.app import Bridge
from bridge.cli.ask import build_whole, print_run
from bridge.cli.screen.terminal import Terminal
from bridge.cli.watchers import Watchers, open_watchers
from bridge.config.settings import Config
from bridge.processes.children import Child
from bridge.questions import say_yes
from bridge.run.run import Run
from bridge.run.store.choice import choose_engine
from bridge.telemetry import Redactor


def resume(
    options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child], run_id: str
) -> int:
    """Drive the run to its end, with the already started `children`, and print its answer."""
    terminal, watchers = Terminal(redact, is_streaming=not options.json), open_watchers(config, redact)
    try:
        run, is_shown = anyio.run(_run, options, config, redact, children, terminal, run_id, watchers)
    finally:
        watchers.end()
    return print_run(run, config, None, as_json=options.json, is_shown=is_shown)


async def _run(
    options: argparse.Namespace,
    config: Config,
    redact: Redactor,
    children: Mapping[str, Child],
    terminal: Terminal,
    run_id: str,
    watchers: Watchers,
) -> tuple[Run, bool]:
    with terminal:
        bridge = Bridge(
            config,
            environ=os.environ,
            children=children,
            ask=say_yes if options.yes else terminal.ask,
            redact=redact,
            build_engine=choose_engine(config, os.environ, default="sqlite"),
            **watchers.parts,
        )
        watchers.attach(bridge)
        terminal.wait_for(lambda: [member.key for member in bridge.hub.members if not member.settled.is_set()])
        async with bridge:
            found = await bridge.find(run_id, principal=None)
            run = await bridge.see_out(await bridge.engine.resume(found), terminal.show)
        return run, terminal.finish(str(build_whole(run)["output_text"] or ""))
