"""The thread that alone uses the file: it writes in groups, so that nobody waits for a disk but who asks to."""

import asyncio
import logging
import queue
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from bridge.run.store.database import abandon

logger = logging.getLogger(__name__)

T = TypeVar("T")
LINGER_S = 0.01
"""How long an event waits for others that are written with it."""

Do = Callable[[sqlite3.Connection], Any]


@dataclass
class _Job:
    do: Do
    run_id: str | None = None
    """The run that is written to; None for a question, which is asked outside of any transaction."""
    lingers: bool = False
    must_last: bool = False
    """True for what must be on the disk when it is done, whatever happens to the machine."""
    done: "asyncio.Future[Any] | None" = None


class Broken(Exception):
    """The file cannot be used any more; the message says why."""


class Writer:
    """Does jobs in the order in which they came. Once one has failed, none is done: what is written stays a beginning
    of what happened."""

    def __init__(
        self,
        open_file: Callable[[], sqlite3.Connection],
        *,
        drives: Callable[[sqlite3.Connection, str], bool],
        on_broken: Callable[[str], None],
        on_lost: Callable[[str], None],
    ) -> None:
        """`open_file`: called in the thread, before the first job. `drives`: tells whether this process still drives a
        run. `on_broken`: called once, with the reason. `on_lost`: called for a run that somebody else drives now."""
        self._open = open_file
        self._drives = drives
        self._on_broken = on_broken
        self._on_lost = on_lost
        self._jobs = queue.SimpleQueue[_Job | None]()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._connection: sqlite3.Connection | None = None
        self.broken: str | None = None

    def write(self, run_id: str, do: Do, *, lingers: bool = False) -> None:
        """Write something of a run; nobody waits for it."""
        self._add(_Job(do, run_id, lingers=lingers))

    async def flush(self, run_id: str, do: Do) -> None:
        """Write something of a run, and wait until it is on the disk with all before it, or cannot be."""
        await self._wait(_Job(do, run_id, must_last=True))

    async def ask(self, do: Callable[[sqlite3.Connection], T]) -> T:
        """Ask something, after all that was written before. Raises Broken."""
        if self.broken:
            raise Broken(self.broken)
        return await self._wait(_Job(do))

    async def close(self) -> None:
        """Write what is left, and end the thread."""
        if self._thread is None:
            return
        self._jobs.put(None)
        thread, self._thread = self._thread, None
        await asyncio.to_thread(thread.join)

    async def _wait(self, job: _Job) -> Any:
        job.done = asyncio.get_running_loop().create_future()
        self._add(job)
        return await job.done

    def _add(self, job: _Job) -> None:
        if self._thread is None:
            self._loop = asyncio.get_running_loop()
            self._thread = threading.Thread(target=self._work, name="runs", daemon=True)
            self._thread.start()
        self._jobs.put(job)

    def _work(self) -> None:
        while (first := self._jobs.get()) is not None:
            group, is_last = self._gather(first)
            try:
                self._do(group)
            except Exception as error:  # noqa: BLE001 - boundary: whatever is wrong with the file costs no run
                self._break(error, group)
            if is_last:
                break
        if self._connection:
            self._connection.close()

    def _gather(self, job: _Job) -> tuple[list[_Job], bool]:
        """Return the jobs that are there, and those that come while they linger; and whether that were all."""
        group, until = [job], time.monotonic() + LINGER_S
        while True:
            left_s = until - time.monotonic() if group[-1].lingers else 0.0
            try:
                job_or_end = self._jobs.get(timeout=left_s) if left_s > 0 else self._jobs.get_nowait()
            except queue.Empty:
                return group, False
            if job_or_end is None:
                return group, True
            group.append(job_or_end)
            until = until if job_or_end.lingers else 0.0

    def _do(self, group: list[_Job]) -> None:
        if self.broken:
            raise Broken(self.broken)
        connection = self._connection = self._connection or self._open()
        writes: list[_Job] = []
        for job in group:
            if job.run_id is not None:
                writes.append(job)
                continue
            self._write(connection, writes)
            writes = []
            try:
                self._answer(job, job.do(connection))
            except (sqlite3.Error, OSError):
                raise
            except Exception as error:  # noqa: BLE001 - boundary: a fault of ours, told to who has asked
                connection.rollback()
                self._call(_set_error, job.done, error)
        self._write(connection, writes)

    def _write(self, connection: sqlite3.Connection, jobs: list[_Job]) -> None:
        if not jobs:
            return
        must_last = any(job.must_last for job in jobs)
        if must_last:
            connection.execute("PRAGMA synchronous = FULL")
        connection.execute("BEGIN IMMEDIATE")
        ours: dict[str, bool] = {}
        for job in jobs:
            assert job.run_id is not None
            if job.run_id not in ours:
                ours[job.run_id] = self._drives(connection, job.run_id)
            if ours[job.run_id]:
                job.do(connection)
        connection.execute("COMMIT")
        if must_last:
            connection.execute("PRAGMA synchronous = NORMAL")
        for run_id in (run_id for run_id, is_ours in ours.items() if not is_ours):
            self._call(self._on_lost, run_id)
        for job in jobs:
            self._answer(job, None)

    def _answer(self, job: _Job, value: object) -> None:
        if job.done:
            self._call(_set_result, job.done, value)

    def _break(self, error: Exception, group: list[_Job]) -> None:
        if self._connection:  # first: whoever hears of it may open the file at once
            abandon(self._connection)
            self._connection = None
        if self.broken is None:
            self.broken = _explain(error)
            self._call(self._on_broken, self.broken)
        for job in group:
            if job.done and job.run_id is None:
                self._call(_set_error, job.done, Broken(self.broken))
            else:
                self._answer(job, None)

    def _call(self, do: Callable[..., None], *arguments: object) -> None:
        assert self._loop
        try:
            self._loop.call_soon_threadsafe(do, *arguments)
        except RuntimeError:  # the loop has ended, and nobody waits
            logger.debug("nobody hears of the end of a write")


def _set_result(done: "asyncio.Future[Any]", value: object) -> None:
    if not done.done():
        done.set_result(value)


def _set_error(done: "asyncio.Future[Any]", error: Exception) -> None:
    if not done.done():
        done.set_exception(error)


def _explain(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename or 'its file'}: {error.strerror.lower()}"
    return str(error) or type(error).__name__
