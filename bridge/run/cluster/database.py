"""The database that the processes share, and DBOS in it. What DBOS does not promise to keep is used here alone."""

import asyncio
import hashlib
import logging
import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NoReturn

import psycopg
from dbos import DBOS, DBOSConfig, DBOSPortableJSONSerializer, run_dbos_database_migrations
from dbos import _serialization as serialization
from dbos._dbos import _get_dbos_instance
from dbos._utils import INTERNAL_QUEUE_NAME
from psycopg.conninfo import conninfo_to_dict

from bridge.errors import ConfigError

NAME = "mcp-responses-bridge"
VERSION = "respond-1"
"""Changes only when the steps of a run do: runs of another version are left to the processes that know it."""
CONNECT_S, IDLE_S = 5, 5.0
"""`IDLE_S`: a process that was stopped in the middle of a write holds rows for no longer."""
QUEUE_POLL_S = 0.2
"""How often runs that were left are looked for. DBOS looks once a second."""
TCP = (
    "runs.store: name the database by its TCP address, such as postgresql://USER:PASSWORD@127.0.0.1:5432/DATABASE; "
    "over a Unix socket, runs do not go on after a restart of PostgreSQL"
)
PICKLED = "a row of the database is pickled, which nobody here has written; it is not read"

LEFT = """
SELECT executor_id, workflow_uuid FROM dbos.workflow_status
WHERE status = 'PENDING' AND application_name = %s AND application_version = %s
"""
"""The runs that somebody drives, or has driven when it died."""


def check_database(url: str) -> None:
    """Raise ConfigError, in one sentence, for a database that runs cannot be kept in."""
    check_address(url)
    try:
        with psycopg.connect(url, connect_timeout=CONNECT_S):
            pass
    except psycopg.Error as error:
        raise ConfigError(f"runs.store: the database cannot be reached: {explain(error)}. {WHAT_TO_SET}") from None
    _quiet()
    try:
        run_dbos_database_migrations(url)
    except Exception as error:  # noqa: BLE001 - boundary: whatever is wrong there, it ends the start in one sentence
        message = f"runs.store: the tables of DBOS cannot be made there: {explain(error)}. {WHAT_TO_SET}"
        raise ConfigError(message) from None


WHAT_TO_SET = 'Start it, correct its address, or set runs.store to "memory"'


def check_address(url: str) -> None:
    """Raise ConfigError for the address of a Unix socket, and for what is no address."""
    try:
        parts = conninfo_to_dict(url)
    except psycopg.Error as error:
        raise ConfigError(f"runs.store: {explain(error)}; {TCP.removeprefix('runs.store: ')}") from None
    hosts = str(parts.get("hostaddr") or parts.get("host") or "").split(",")
    if any(not host or host.startswith(("/", "@")) for host in hosts):
        raise ConfigError(TCP)


def explain(error: Exception) -> str:
    """Say in one line what is wrong with the database."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return re.sub(r"[.\s]+$", "", lines[-1] if lines else type(error).__name__)


def launch(url: str, executor: str) -> None:
    """Let DBOS run in this process, under a name that no other process has."""
    _refuse_pickles()
    _quiet()
    config: DBOSConfig = {
        "name": NAME,
        "system_database_url": url,
        "application_version": VERSION,
        "executor_id": executor,
        "serializer": DBOSPortableJSONSerializer(),
        "sys_db_idle_transaction_timeout_sec": IDLE_S,
        "log_level": "CRITICAL",
        "enable_otlp": False,
    }
    DBOS(config=config)
    DBOS.launch()
    _get_dbos_instance()._registry.get_internal_queue()._polling_interval_sec = QUEUE_POLL_S


async def leave() -> None:
    """End DBOS in this process. What was driven here stays as it is, for others to take up."""
    _get_dbos_instance()._sys_db._retry_connection_errors = False  # else its threads never end while it is away
    await asyncio.to_thread(DBOS.destroy)
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor())  # it has ended the one it had put there


def requeue(executor: str, run_ids: Iterable[str]) -> None:
    """Let these runs, which a process drove that does so no more, be driven by whoever comes first."""
    database = _get_dbos_instance()._sys_db
    for run_id in run_ids:
        database.reenqueue_for_recovery(run_id, [executor], INTERNAL_QUEUE_NAME)


def find_left(connection: "psycopg.Connection[Any]") -> dict[str, list[str]]:
    """Find the runs that have not ended, by the executor that drives each or did so last."""
    left: dict[str, list[str]] = {}
    for executor, run_id in connection.execute(LEFT, [NAME, VERSION]):
        left.setdefault(executor, []).append(run_id)
    return left


def name_lock(executor: str) -> int:
    """Return the number that the lock of an executor has in PostgreSQL. Two that share one only wait for each other."""
    return int.from_bytes(hashlib.sha256(executor.encode()).digest()[:4]) & 0x7FFFFFFF


def _refuse_pickles() -> None:
    """DBOS reads a row as its row says: whoever can write one could have any code run here."""
    serialization.DefaultSerializer.deserialize = _refuse  # type: ignore[method-assign]


def _refuse(*_: object) -> NoReturn:
    raise ValueError(PICKLED)


def _quiet() -> None:
    """Log nothing of DBOS's own: it would write whole texts, and to stderr past our log."""
    log = logging.getLogger("dbos")
    log.handlers[:] = [logging.NullHandler()]
    log.propagate = False
