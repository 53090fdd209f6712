"""What builds the engine for runs that are kept in PostgreSQL."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

from bridge.config.settings import Config
from bridge.errors import ConfigError
from bridge.run.memory import MemoryEngine

EXTRA = 'runs.store: PostgreSQL needs the extra `cluster`: pip install "mcp-responses-bridge[cluster]"'


OF_THE_SERVICE = (
    "runs.store: PostgreSQL keeps the runs of the service (serve --transport http), which may "
    'be several; set "sqlite" or "memory" here'
)
NOT_RECORDED = "--record: runs that are kept in PostgreSQL are not recorded; set another runs.store"


def choose_cluster(
    config: Config, configuration: str, *, is_service: bool, is_plain: bool = True
) -> Callable[..., MemoryEngine]:
    """Choose the engine for a database that several processes share. `configuration` identifies it, for equal calls.
    `is_plain`: nothing else is wanted of it, such as recordings.

    Raises ConfigError where the database cannot be used, with what to set. Nothing runs yet then, so that it ends the
    start.
    """
    if not is_service:
        raise ConfigError(OF_THE_SERVICE)
    if not is_plain:
        raise ConfigError(NOT_RECORDED)
    if find_spec("dbos") is None:
        raise ConfigError(EXTRA)
    from bridge.run.cluster.database import check_database
    from bridge.run.cluster.engine import ClusterEngine

    store = config.runs.store or ""
    check_database(store)
    return partial(
        ClusterEngine,
        store=store,
        configuration=configuration,
        secrets=config.secrets(),
        keep_s=config.runs.keep_s,
    )
