"""Whether runs are kept in PostgreSQL, and what builds the engine for it."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING

from bridge.errors import ConfigError

if TYPE_CHECKING:
    from bridge.run.memory import MemoryEngine

EXTRA = 'runs.store: PostgreSQL needs the extra `cluster`: pip install "mcp-responses-bridge[cluster]"'


def choose_cluster(store: str | None) -> "Callable[..., MemoryEngine] | None":
    """Choose the engine for a database that several processes share; None for every other store.

    Raises ConfigError where the database cannot be used, with what to set. Nothing runs yet then, so that it ends the
    start.
    """
    if store is None or not store.startswith("postgresql://"):
        return None
    if find_spec("dbos") is None:
        raise ConfigError(EXTRA)
    from bridge.run.cluster.database import check_database
    from bridge.run.cluster.engine import ClusterEngine

    check_database(store)
    return partial(ClusterEngine, store=store)
