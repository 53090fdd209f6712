"""`runs resume`: takes up a run that its process has left, and shows it as `ask` does."""

import argparse
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import anyio

from bridge.app import Bridge
from bridge.cli.ask import build_whole, print_run
from bridge.cli.screen.terminal import Terminal
from bridge.cli.setup import open_signals
from bridge.config.settings import Config
from bridge.processes.children import Child
from bridge.questions import say_yes
from bridge.run.run import Run
from bridge.run.store.choice import choose_engine
from bridge.telemetry import Redactor

if TYPE_CHECKING:
    from bridge.signals.choice import Signals


def resume(
    options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child], run_id: str
) -> int:
    """Drive the run to its end, with the already started `children`, and print its answer."""
    terminal, signals = Terminal(redact, is_streaming=not options.json), open_signals(config, redact)
    try:
        run, is_shown = anyio.run(_run, options, config, redact, children, terminal, run_id, signals)
    finally:
        if signals:
            signals.end()
    return print_run(run, config, None, as_json=options.json, is_shown=is_shown)


async def _run(
    options: argparse.Namespace,
    config: Config,
    redact: Redactor,
    children: Mapping[str, Child],
    terminal: Terminal,
    run_id: str,
    signals: "Signals | None",
) -> tuple[Run, bool]:
    transport = signals.carry(None, config.upstream) if signals and config.upstream else None
    with terminal:
        bridge = Bridge(
            config,
            environ=os.environ,
            children=children,
            ask=say_yes if options.yes else terminal.ask,
            redact=redact,
            transport=transport,
            build_engine=choose_engine(config, os.environ, default="sqlite"),
            observers=signals.observers if signals else (),
            tracing=signals.traces if signals else None,
        )
        if signals:
            signals.attach(bridge)
        terminal.wait_for(lambda: [member.key for member in bridge.hub.members if not member.settled.is_set()])
        async with bridge:
            found = await bridge.find(run_id, principal=None)
            run = await bridge.see_out(await bridge.engine.resume(found), terminal.show)
        return run, terminal.finish(str(build_whole(run)["output_text"] or ""))
