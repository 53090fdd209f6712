"""The runs in the file, for the commands that look back: found by what is typed of an id."""

import os
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import anyio

from bridge.cli.screen.run_list import shorten
from bridge.config.settings import Config
from bridge.errors import ArgumentError, BridgeError
from bridge.run.store.choice import build_store, find_file
from bridge.run.summary import Summary
from bridge.state import Unusable, find_state_folder

if TYPE_CHECKING:
    from bridge.run.store.store import Store, Stored

T = TypeVar("T")
NONE_YET = "no runs are kept yet"


def has_runs(config: Config) -> bool:
    """Tell whether there is a file of runs; looking makes none. Raises ArgumentError where none can be read here."""
    return locate(config).exists()


def locate(config: Config) -> Path:
    """Locate the file of runs, which need not exist. Raises ArgumentError where runs are not kept in one."""
    store = config.runs.store or "sqlite"
    if store == "memory":
        raise ArgumentError(
            'runs: runs.store is "memory", so no run outlives its process; "sqlite" keeps them in a file'
        )
    if not store.startswith("sqlite"):
        raise ArgumentError("runs: runs.store names a database, and only a file of SQLite can be read here yet")
    if store == "sqlite":
        try:
            find_state_folder(os.environ)
        except Unusable as unusable:
            raise ArgumentError(f"runs: no run is kept here, as there is no state folder: {unusable}") from None
    return find_file(config, os.environ)[0]


@asynccontextmanager
async def opened(config: Config) -> AsyncGenerator["Store"]:
    """Open the file of runs, to ask it. Raises BridgeError where it cannot be used."""
    from bridge.run.store.writer import Broken

    file, prepare = find_file(config, os.environ)
    store = build_store(config, file, prepare, time=time.time, on_broken=_say_nothing, on_lost=_say_nothing)
    try:
        yield store
    except Broken as broken:
        raise BridgeError(f"runs: {file} cannot be used: {broken}; runs.store names another file") from None
    finally:
        await store.close()


def ask_store(config: Config, do: Callable[["Store"], Awaitable[T]]) -> T:
    """Ask the file of runs something. Raises ArgumentError where there is none, and BridgeError where it cannot be
    used."""
    file = locate(config)
    if not file.exists():
        raise ArgumentError(f"ID: {NONE_YET} ({file})")

    async def ask() -> T:
        async with opened(config) as store:
            return await do(store)

    return anyio.run(ask)


def find_run(beginning: str, config: Config) -> Summary:
    """Find the run whose id begins so. Raises ArgumentError where there is none, or more than one."""
    return ask_store(config, lambda store: pick(store, beginning))


def load_run(beginning: str, config: Config) -> tuple[Summary, "Stored"]:
    """Find and read the run whose id begins so. Raises as `find_run` does."""

    async def load(store: "Store") -> tuple[Summary, "Stored"]:
        summary = await pick(store, beginning)
        stored = await store.load(summary.run_id)
        if stored is None:
            raise ArgumentError(f"ID: {shorten(summary.run_id)} was forgotten just now")
        return summary, stored

    return ask_store(config, load)


async def pick(store: "Store", beginning: str) -> Summary:
    """Pick the run whose id begins so, with or without what all ids begin with. Raises ArgumentError."""
    found = await store.find_beginning(beginning, limit=3) if beginning else []
    if not found and not beginning.startswith("run_"):
        found = await store.find_beginning(f"run_{beginning}", limit=3)
    exact = [run for run in found if run.run_id in (beginning, f"run_{beginning}")]
    if not found:
        raise ArgumentError(f"ID: there is no run {beginning!r} here; it may have expired, and `runs` lists them")
    if len(found) > 1 and not exact:
        names = ", ".join(run.run_id.removeprefix("run_") for run in found)
        raise ArgumentError(f"ID: several runs begin with {beginning!r}; give more of it: {names}")
    return (exact or found)[0]


def find_earlier(beginning: str | None, config: Config) -> str:
    """Find the run that `ask` goes on from: the one that is named, else the last that ended with an answer. Raises
    ArgumentError where there is none."""
    if beginning is None:
        last = ask_store(config, lambda store: store.find_last_answer()) if has_runs(config) else None
        if last is None:
            raise ArgumentError(
                "--continue: there is no answer of yours to go on from; leave it out, or name a run by --run"
            )
        return last.run_id
    run = find_run(beginning, config)
    if run.ended is None:
        remedy = "follow" if run.is_driven else "resume"
        raise ArgumentError(f"--run: this run has not ended yet; first: runs {remedy} {shorten(run.run_id)}")
    return run.run_id


def find_resumable(beginning: str, config: Config) -> str:
    """Find the run that is to be taken up. Raises ArgumentError where it has ended, or another process drives it."""
    run = find_run(beginning, config)
    name = shorten(run.run_id)
    if run.ended is not None:
        raise ArgumentError(f"runs resume: it has ended ({run.status}); to look at it: runs show {name}")
    if run.is_driven:
        raise ArgumentError(f"runs resume: another process drives it; to see how it goes: runs follow {name}")
    return run.run_id


def _say_nothing(_: str) -> None:
    """Leave it to who asks: that raises Broken."""
