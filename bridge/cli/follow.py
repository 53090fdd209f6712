"""`runs follow`: a run that another process drives, as it goes on."""

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import anyio

from bridge.cli.ask import build_whole, print_result
from bridge.cli.exits import INCOMPLETE
from bridge.cli.kept import ask_store
from bridge.cli.output import print_json, tell
from bridge.cli.screen.run_list import shorten
from bridge.cli.screen.terminal import Terminal
from bridge.config.settings import Config
from bridge.errors import ArgumentError
from bridge.events import Event, write_event
from bridge.json_text import JsonObject
from bridge.run.run import Run
from bridge.run.summary import Summary
from bridge.telemetry import Redactor

if TYPE_CHECKING:
    from bridge.run.store.store import Store

LOOK_S = 0.5
"""How often the file is looked at."""


def follow(summary: Summary, config: Config, redact: Redactor, *, as_json: bool) -> int:
    """Show what a run has told, and what it tells, until it ends; with `as_json` each event as a line on stdout.

    The exit code is that of `ask`; one that is interrupted is incomplete.
    """
    with Terminal(redact) as terminal:

        def show(event: Event) -> None:
            if as_json:
                print_json(redact.clean(write_event(event)))
            else:
                terminal.show(event)

        run = ask_store(config, lambda store: _hear(store, summary.run_id, show))
    if run.ending is None:
        tell(f"interrupted: no process drives it; to take it up: runs resume {shorten(run.run_id)}")
        return INCOMPLETE
    return print_result(cast("JsonObject", redact.clean(build_whole(run))), as_json=False, is_shown=as_json)


async def _hear(store: "Store", run_id: str, show: Callable[[Event], None]) -> Run:
    """Pass on the events of a run until it has ended, or nobody drives it, and return it."""
    after = -1
    while True:
        is_driven = await store.is_driven(run_id)
        for event in await store.read_events(run_id, after=after):
            show(event)
            after = event.seq
        if not is_driven:
            stored = await store.load(run_id)
            if stored is None:
                raise ArgumentError(f"ID: {shorten(run_id)} was forgotten meanwhile")
            return stored.run
        await anyio.sleep(LOOK_S)
