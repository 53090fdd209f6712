"""`runs`: the runs that are kept, to look back at, to stop and to forget."""

import argparse
import os
import shutil
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import anyio

from bridge.cli.exits import COMPLETED, FAILED
from bridge.cli.kept import NONE_YET, ask_store, find_run, has_runs, load_run, locate, pick
from bridge.cli.output import print_json, tell
from bridge.cli.screen.run_list import list_runs, shorten
from bridge.config.settings import Config
from bridge.errors import ArgumentError
from bridge.json_text import Json, JsonObject, decode
from bridge.run.description import describe, describe_whole
from bridge.run.store.choice import build_store, find_file
from bridge.run.summary import Summary
from bridge.telemetry import Redactor

if TYPE_CHECKING:
    from bridge.run.store.store import Store, Stored

STOP_S = 10.0
"""How long to wait until the process that drives a run has stopped it."""
LOOK_S = 0.2
EVERYTHING = -1
"""A limit that is none."""


def look_back(options: argparse.Namespace, config: Config, redact: Redactor) -> int:
    """Run one of the commands that need neither servers nor the upstream. Raises ArgumentError or BridgeError."""
    match options.action:
        case None:
            return _list(options, config, redact)
        case "show":
            return _show(options, config, redact)
        case "follow":
            from bridge.cli.follow import follow

            return follow(find_run(options.ids[0], config), config, redact, as_json=options.json)
        case "export":
            summary, stored = load_run(options.ids[0], config)
            print_json(redact.clean(_export(summary, stored)))
            return COMPLETED
        case "cancel":
            return _cancel(find_run(options.ids[0], config), config)
        case _:
            return _forget(options, config)


def check_words(options: argparse.Namespace) -> None:
    """Raise ArgumentError where a command has too few ids, or too many."""
    action, count = options.action, len(options.ids)
    if options.all and action != "forget":
        raise ArgumentError("runs: --all belongs to forget")
    if options.html and action != "show":
        raise ArgumentError("runs: --html belongs to show")
    if action == "forget":
        if bool(count) == options.all:
            raise ArgumentError("runs forget: name the runs by their ids, or say --all")
    elif action in ("approve", "deny"):
        if count not in (1, 2):
            raise ArgumentError(f"runs {action}: it takes the ID of one run, and perhaps a CALL of it that waits")
    elif action and count != 1:
        raise ArgumentError(f"runs {action}: it takes the ID of one run; `runs` lists them")


def _list(options: argparse.Namespace, config: Config, redact: Redactor) -> int:
    if not has_runs(config):
        tell(f"{NONE_YET.capitalize()} ({locate(config)}).")
        if options.json:
            print_json([])
        return COMPLETED
    runs = ask_store(config, lambda store: store.list_recent(limit=options.limit + 1))
    shown = runs[: options.limit]
    if options.json:
        print_json(redact.clean([describe(run) for run in shown]))
    elif not shown:
        tell("No runs are kept.")
    else:
        print_lines(list_runs(shown, find_columns(), redact))
        if len(runs) > len(shown):
            tell(f"There are older ones: --limit {options.limit * 5} shows more.")
    return COMPLETED


def find_columns() -> int | None:
    """Find how wide stdout is; None where nobody looks."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def print_lines(lines: Iterable[str]) -> None:
    """Print lines on stdout."""
    for line in lines:
        sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _show(options: argparse.Namespace, config: Config, redact: Redactor) -> int:
    from bridge.cli.show import list_lines

    summary, stored = load_run(options.ids[0], config)
    if options.html:
        from bridge.cli.html import write_page

        write_page(options.html, stored.run, summary, redact)
    elif options.json:
        print_json(redact.clean(describe(summary) | describe_whole(stored.run)))
    else:
        print_lines(list_lines(summary, stored.run, find_columns() or 80, redact))
    return COMPLETED


def _export(summary: Summary, stored: "Stored") -> JsonObject:
    from bridge.events import write_event

    run = stored.run
    items: list[Json] = [decode(text) for text in run.transcript.list_items()] if run.transcript else []
    events = list[Json](write_event(event) for event in run.events)
    whole = {"result": describe_whole(run)["result"], "arguments": run.arguments, "events": events, "items": items}
    return describe(summary) | whole


def _cancel(run: Summary, config: Config) -> int:
    if run.ended is not None:
        raise ArgumentError(f"runs cancel: it has ended already ({run.status})")
    status = anyio.run(_stop, run.run_id, config)
    if status is None:
        tell(f"The process that drives {shorten(run.run_id)} was told to stop it, and has not done so yet.")
        return FAILED
    tell(f"{shorten(run.run_id)}: {status}")
    return COMPLETED


async def _stop(run_id: str, config: Config) -> str | None:
    """Stop a run, whoever drives it; return its status, None while it goes on all the same."""
    from bridge.clock import Clock
    from bridge.run.engine import Stop
    from bridge.run.store.engine import StoredEngine

    open_store = partial(build_store, config, *find_file(config, os.environ))
    async with StoredEngine(_never, Clock(), open_store=open_store, configuration="", orphan_s=STOP_S) as engine:
        if run := await engine.find(run_id, principal=None):
            await engine.send(run, Stop())
        with anyio.move_on_after(STOP_S):
            while run and run.ending is None:
                await anyio.sleep(LOOK_S)
                run = await engine.find(run_id, principal=None)
        return run.ending["status"] if run and run.ending else None


async def _never(*_: object) -> NoReturn:
    raise AssertionError("no run is driven here")


def _forget(options: argparse.Namespace, config: Config) -> int:
    if options.all and not has_runs(config):
        tell(f"{NONE_YET.capitalize()}.")
        return COMPLETED
    listed = ask_store(config, lambda store: _choose(store, options.ids))
    driven = [run for run in listed if run.ended is None and run.is_driven]
    count = len(listed) - len(driven)
    if count and not _confirm(
        f"Forget {_count(count)}, with all that is written of {'it' if count == 1 else 'them'}?", options
    ):
        tell("Nothing was forgotten.")
        return FAILED
    names = [run.run_id for run in listed]
    gone = ask_store(config, lambda store: store.forget(names)) if count else 0
    tell(f"Forgotten: {_count(gone)}.")
    for run in driven:
        name = shorten(run.run_id)
        tell(f"{name} was left, as a process drives it; to end it first: runs cancel {name}")
    return FAILED if driven and options.ids else COMPLETED


async def _choose(store: "Store", ids: Sequence[str]) -> list[Summary]:
    if not ids:
        return await store.list_recent(limit=EVERYTHING)
    found = [await pick(store, beginning) for beginning in ids]
    return list({run.run_id: run for run in found}.values())


def _confirm(question: str, options: argparse.Namespace) -> bool:
    """Ask at the terminal, unless `--yes` was given. Raises ArgumentError where nobody can be asked."""
    if options.yes:
        return True
    if not (sys.stdin and sys.stdin.isatty() and sys.stdout.isatty()):
        raise ArgumentError("runs forget: nobody can be asked here, so nothing was forgotten; --yes forgets")
    sys.stdout.write(f"{question} [y/N] ")
    sys.stdout.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _count(runs: int) -> str:
    return f"{runs:,} run{'' if runs == 1 else 's'}"
