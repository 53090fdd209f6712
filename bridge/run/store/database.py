"""The file that keeps runs: its tables, who may read it, and the locks that tell which processes are alive."""

import os
import secrets
import sqlite3
import stat
import sys
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

VERSION = 1
"""`user_version` of the file. Another one is of another release, whose tables nobody here knows."""
WAIT_S = 5.0
"""How long a write waits for another process that is writing."""

JOURNAL_BYTES = 4 << 20
"""How large the journal beside the file stays."""

SCHEMA = """
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, principal TEXT, arguments TEXT NOT NULL, fingerprint TEXT NOT NULL,
    created REAL NOT NULL, ended REAL, ending TEXT, status TEXT NOT NULL, reason TEXT, response_id TEXT, driver TEXT,
    used_s REAL NOT NULL DEFAULT 0, is_delivered INTEGER NOT NULL DEFAULT 0, seen REAL NOT NULL,
    prompt TEXT NOT NULL, model TEXT, turns INTEGER NOT NULL DEFAULT 0, calls INTEGER NOT NULL DEFAULT 0,
    tokens INTEGER NOT NULL DEFAULT 0, cost REAL, bytes INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;
CREATE INDEX runs_by_time ON runs (created);
CREATE INDEX runs_by_end ON runs (ended);
CREATE INDEX runs_by_use ON runs (seen);
CREATE INDEX runs_by_response ON runs (response_id) WHERE response_id IS NOT NULL;
CREATE INDEX runs_by_arguments ON runs (fingerprint) WHERE is_delivered = 0;
CREATE TABLE steps (
    run_id TEXT NOT NULL, key TEXT NOT NULL, outcome TEXT, PRIMARY KEY (run_id, key)
) WITHOUT ROWID;
CREATE TABLE events (
    run_id TEXT NOT NULL, seq INTEGER NOT NULL, event TEXT NOT NULL, PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
CREATE TABLE catalogues (hash TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE messages (
    number INTEGER PRIMARY KEY, run_id TEXT NOT NULL, message TEXT NOT NULL
);
CREATE TABLE said (
    run_id TEXT NOT NULL, message_id TEXT NOT NULL, items TEXT NOT NULL, PRIMARY KEY (run_id, message_id)
) WITHOUT ROWID;
CREATE TABLE questions (
    run_id TEXT NOT NULL, key TEXT NOT NULL, question TEXT NOT NULL, PRIMARY KEY (run_id, key)
) WITHOUT ROWID;
CREATE TABLE salt (value BLOB NOT NULL);
"""
"""In `steps`, a row without an outcome is an intent. Times are wall-clock seconds since 1970; `seen` is when somebody
last drove the run."""


class Unreadable(Exception):
    """The file cannot be used; the message says why, as the end of a sentence."""


def open_database(file: Path) -> sqlite3.Connection:
    """Open the file, and make it where there is none. Raises Unreadable, OSError or sqlite3.Error."""
    _make_private(file)
    connection = sqlite3.connect(file, timeout=WAIT_S, isolation_level=None, check_same_thread=False)
    connection.text_factory = partial(str, encoding="utf-8", errors="replace")  # one damaged text is not all of them
    try:
        is_new = _check_version(connection, file)  # before anything is changed
        if is_new:
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")  # where that is not possible, the file goes on without
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_BYTES}")
        connection.execute("PRAGMA secure_delete = ON")  # who forgets a run wants it gone
        if is_new:
            connection.execute("BEGIN IMMEDIATE")
            if _check_version(connection, file):  # nobody else has made it meanwhile
                _create(connection)
            connection.execute("COMMIT")
    except BaseException:
        abandon(connection)
        raise
    return connection


def abandon(connection: sqlite3.Connection) -> None:
    """Close a connection in the midst of something. While an error that is being told still refers to its statement,
    `close` alone would leave the file locked for all others."""
    with suppress(sqlite3.Error):
        connection.rollback()
    connection.close()


def _check_version(connection: sqlite3.Connection, file: Path) -> bool:
    """Tell whether the file is new. Raises Unreadable for one that this release does not know."""
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [tables] = connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if version != VERSION and (version or tables):
        raise Unreadable(f"{file} is of another release of the bridge (its version is {version}, not {VERSION})")
    return not tables


def _create(connection: sqlite3.Connection) -> None:
    for statement in SCHEMA.split(";"):
        connection.execute(statement)
    connection.execute("INSERT INTO salt VALUES (?)", [secrets.token_bytes(16)])
    connection.execute(f"PRAGMA user_version = {VERSION}")


def _make_private(file: Path) -> None:
    """Make the file where there is none. Raises Unreadable for one that others may read or have put there."""
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600))
    found = file.lstat()
    if not stat.S_ISREG(found.st_mode):
        raise Unreadable(f"{file} is not a file")
    if sys.platform != "win32" and found.st_uid != os.geteuid():
        raise Unreadable(f"{file} belongs to somebody else")
    if sys.platform != "win32" and stat.S_IMODE(found.st_mode) & 0o077:
        file.chmod(0o600)


class Driver:
    """This process as the one that drives runs: a lock that the system releases when the process ends, however it does.

    No time is part of it: a process that sleeps for an hour keeps its runs, and one whose clock jumps, too.
    """

    def __init__(self, database: Path) -> None:
        self.name = secrets.token_hex(8)
        self._database = database
        self._file = _find_lock(database, self.name)
        # Others remove a lock that nobody holds, so it gets its name when it is held; Windows renames no open file.
        unseen = self._file if sys.platform == "win32" else self._file.with_suffix(".new")
        os.close(os.open(unseen, os.O_CREAT | os.O_EXCL | os.O_RDWR, mode=0o600))
        self._lock = sqlite3.connect(unseen, timeout=0, isolation_level=None, check_same_thread=False)
        self._lock.execute("PRAGMA journal_mode = OFF")
        self._lock.execute("BEGIN EXCLUSIVE")
        if unseen != self._file:
            unseen.rename(self._file)

    def leave(self) -> None:
        """Release the lock: what this process has driven may be taken up."""
        self._lock.close()
        self._file.unlink(missing_ok=True)

    def disown(self) -> None:
        """Have nobody take up the runs of this process: what is written of them is not all that they did."""
        with suppress(OSError):
            self._file.rename(_find_mark(self._database, self.name))


def is_alive(database: Path, driver: str) -> bool:
    """Tell whether a process still drives the runs of this driver."""
    file = _find_lock(database, driver)
    if not file.exists():
        return False
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None)) as lock:
            lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        return True
    return False


def is_disowned(database: Path, driver: str) -> bool:
    """Tell whether the runs of this driver must not be taken up."""
    return _find_mark(database, driver).exists()


def clear_locks(database: Path, used: set[str]) -> None:
    """Remove the locks of processes that have ended and have driven none of the unfinished runs."""
    for file in database.parent.glob(f"{database.name}-*.driver"):
        name = file.name.removeprefix(f"{database.name}-").removesuffix(".driver")
        if name not in used and not is_alive(database, name):
            file.unlink(missing_ok=True)


def _find_lock(database: Path, driver: str) -> Path:
    return database.with_name(f"{database.name}-{driver}.driver")


def _find_mark(database: Path, driver: str) -> Path:
    return database.with_name(f"{database.name}-{driver}.unfit")
