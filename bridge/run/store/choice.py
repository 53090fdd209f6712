"""Chooses where runs are kept, by the configuration and by who runs the bridge."""

import hashlib
import sqlite3
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bridge.config.settings import Config
from bridge.errors import ConfigError
from bridge.run.memory import BuildTask, MemoryEngine
from bridge.run.shelf import KEPT, KEPT_EACH, Shelf
from bridge.run.task import RunTask
from bridge.state import StateFolder, Unusable, find_state_folder

if TYPE_CHECKING:
    from bridge.run.store.store import Store

BuildEngine = Callable[..., MemoryEngine]
"""Builds the engine of a bridge; called with the arguments of `MemoryEngine`."""
KIND, FILE = "runs", "runs.sqlite"
_SETUP = ("upstream", "servers", "limits", "prices", "builtin_tools")


def choose_engine(
    config: Config,
    environ: Mapping[str, str],
    *,
    default: Literal["sqlite", "memory"],
    is_service: bool = False,
    build_task: BuildTask = RunTask,
    **options: Any,
) -> BuildEngine:
    """Choose how the runs of a bridge are kept; `default` holds where the configuration says nothing. `build_task` is
    for both engines, `options` for that of the store.

    Raises ConfigError where a file or a database that the configuration names cannot be used.
    """
    if (config.runs.store or default) == "memory":
        shelf = Shelf(KEPT_EACH, KEPT._replace(bytes=config.runs.keep_bytes), config.runs.keep_s)
        return partial(MemoryEngine, shelf=shelf, build_task=build_task)
    if (config.runs.store or "").startswith("postgresql://"):
        from bridge.run.cluster.choice import choose_cluster

        is_plain = build_task is RunTask and not options
        return choose_cluster(config, identify(config), is_service=is_service, is_plain=is_plain)
    from bridge.run.store.engine import StoredEngine  # late: not everybody keeps runs

    file, prepare = find_file(config, environ)
    if config.runs.store:
        check_file(file, prepare)
    return partial(
        StoredEngine,
        open_store=partial(build_store, config, file, prepare),
        configuration=identify(config),
        resumes=is_service,
        build_task=build_task,
        **options,
    )


def build_store(config: Config, file: Path, prepare: Callable[[], None], **tells: Any) -> "Store":
    """Build the store of one process; `tells` as for `Store`."""
    from bridge.run.store.store import Store

    keep = config.runs
    return Store(
        file, prepare=prepare, secrets=config.secrets(), keep_s=keep.keep_s, keep_bytes=keep.keep_bytes, **tells
    )


def find_file(config: Config, environ: Mapping[str, str]) -> tuple[Path, Callable[[], None]]:
    """Find the file that keeps runs, and what makes its folder; that raises Unusable or OSError where it cannot."""
    name = config.runs.store or "sqlite"
    if name != "sqlite":
        return Path(name.removeprefix("sqlite://")), lambda: None
    try:
        folder = StateFolder(find_state_folder(environ), KIND)
    except Unusable as unusable:
        return Path(FILE), partial(_raise, unusable)
    return folder.path / FILE, folder.prepare


def check_file(file: Path, prepare: Callable[[], None]) -> None:
    """Raise ConfigError where the file cannot be used."""
    from bridge.run.store.database import Unreadable, open_database

    try:
        prepare()
        open_database(file).close()
    except (Unusable, Unreadable, OSError, sqlite3.Error) as error:
        raise ConfigError(f'runs.store: {error}; name another file, or "memory"') from None


def identify(config: Config) -> str:
    """Identify a configuration, as far as it has a part in what comes of a call."""
    text = config.model_dump_json(include=set(_SETUP))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _raise(error: Exception) -> None:
    raise error
