"""The lock of a process: while it holds it, nobody takes its runs; and it watches the locks of the others.

A lock of PostgreSQL belongs to a session, and is gone with it: at once when the process dies, and also when only the
session does. So a process does nothing new once it has not seen its lock for PAUSE_S, gives its runs up after FENCE_S,
and takes those of others only when their lock was free for GRACE_S, which is longer.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import anyio
import psycopg

from bridge.run.cluster.database import explain, find_left, name_lock, requeue

logger = logging.getLogger(__name__)

SPACE = 0x6D637072
"""Tells our locks in the database from those of others."""
TICK_S, PAUSE_S, FENCE_S, GRACE_S = 0.2, 1.0, 1.5, 2.0
assert PAUSE_S < FENCE_S < GRACE_S  # else two processes could drive one run
CONNECT_S = 2

HELD = """
SELECT objid::bigint FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database
WHERE locktype = 'advisory' AND classid = %s AND objsubid = 2 AND granted AND datname = current_database()
"""


class Lock:
    """The lock of this process, held by a session of its own in a thread of its own."""

    def __init__(
        self, url: str, executor: str, *, on_held: Callable[[set[str]], None], on_lost: Callable[[], None]
    ) -> None:
        """`on_held`: called when the lock is held, at first or again, with the runs that are this process's by then.
        `on_lost`: called when somebody may soon take them. Both are called in the event loop, by `guard`."""
        self._url = url
        self._executor = executor
        self._on_held = on_held
        self._on_lost = on_lost
        self._loop = asyncio.get_running_loop()
        self._session: psycopg.Connection[Any] | None = None
        self._free: dict[str, float] = {}
        """Since when nobody holds the lock of an executor whose runs have not ended."""
        self._found = asyncio.Queue[tuple[Callable[..., None], tuple[Any, ...]]]()
        self._taking: dict[str, threading.Thread] = {}
        """The executors whose runs are being taken up, whose locks are held meanwhile."""
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="lock", daemon=True)
        self._seen = self._fence_at = -1.0
        self._news = anyio.Event()
        self._is_fenced = False
        self._is_told = False

    @property
    def is_held(self) -> bool:
        """True while it is certain that nobody takes the runs of this process."""
        return time.monotonic() < self._seen + PAUSE_S

    async def hold(self) -> None:
        """Wait until it is held. Whatever a run does to the world waits here first."""
        while not self.is_held:
            await self._news.wait()

    def start(self) -> None:
        """Begin to hold it, and to watch the others."""
        self._thread.start()

    async def guard(self) -> None:
        """Do what the thread has found, and say in time that the lock is lost: until cancelled."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._fence)
            while True:
                do, arguments = await self._found.get()
                do(*arguments)

    async def _fence(self) -> None:
        while True:
            await anyio.sleep(max(TICK_S / 2, self._fence_at - time.monotonic()))
            if self._is_overdue and not await self._is_late() and self._is_overdue:
                self._is_fenced = True
                logger.warning("the lock in the database of the runs is lost; what runs here is left to be taken up")
                self._on_lost()

    @property
    def _is_overdue(self) -> bool:
        return self._seen > 0 and time.monotonic() >= self._fence_at and not self._is_fenced

    async def _is_late(self) -> bool:
        """Tell whether this process gets no time to run: then what its thread has seen may be on its way. Nothing new
        is begun meanwhile, and what another process has taken it cannot write to."""
        began = time.monotonic()
        await anyio.sleep(TICK_S)
        return time.monotonic() - began > 2 * TICK_S

    async def close(self) -> None:
        """Let it go."""
        self._closing.set()
        await asyncio.to_thread(self._thread.join)

    def _watch(self) -> None:
        while not self._closing.is_set():
            try:
                self._look()
            except psycopg.Error as error:
                self._note_trouble(error)
            self._closing.wait(TICK_S)
        if self._session:
            self._session.close()

    def _look(self) -> None:
        if self._session is None:
            self._take()
        assert self._session
        now = time.monotonic()
        held = {number for (number,) in self._session.execute(HELD, [SPACE])}
        if name_lock(self._executor) not in held:
            raise psycopg.OperationalError("the lock is gone")
        self._tell(self._confirm, now)
        self._release_taken(self._session)
        left = find_left(self._session)
        left.pop(self._executor, None)
        free = {executor for executor in left if name_lock(executor) not in held}
        self._free = {executor: self._free.get(executor, now) for executor in free}
        for executor, since in self._free.items():
            if now >= since + GRACE_S:
                self._take_over(self._session, executor, left[executor])

    def _take(self) -> None:
        session = psycopg.connect(
            self._url,
            autocommit=True,
            connect_timeout=CONNECT_S,
            keepalives_idle=1,
            tcp_user_timeout=int(PAUSE_S * 1000),
        )
        if not _try(session, self._executor):
            session.close()
            raise psycopg.OperationalError("somebody takes the runs of this process")
        self._session = session
        self._tell(self._note_held, time.monotonic(), set(find_left(session).get(self._executor, ())))

    def _take_over(self, session: "psycopg.Connection[Any]", executor: str, run_ids: list[str]) -> None:
        """Give the runs of a process that has died to whoever comes first. A thread of its own waits for their rows:
        a process that was stopped in the middle of a write holds some for a while."""
        if executor in self._taking or not _try(session, executor):
            return
        logger.warning("a process has died; its %d runs are taken up", len(run_ids))
        self._taking[executor] = threading.Thread(target=requeue, args=(executor, run_ids), daemon=True)
        self._taking[executor].start()

    def _release_taken(self, session: "psycopg.Connection[Any]") -> None:
        for executor in [name for name, thread in self._taking.items() if not thread.is_alive()]:
            del self._taking[executor]
            session.execute("SELECT pg_advisory_unlock(%s, %s)", [SPACE, name_lock(executor)])

    def _note_trouble(self, error: psycopg.Error) -> None:
        """Drop the session, and begin anew. While the database takes nobody in, nobody can take our runs either."""
        self._free.clear()
        self._taking.clear()
        if self._session:
            self._session.close()
            self._session = None
        message = str(error)
        if "refused" in message or "database system is" in message:
            self._tell(self._put_off, time.monotonic())
        self._tell(self._note_fault, explain(error))

    def _tell(self, do: Callable[..., None], *arguments: object) -> None:
        if not self._closing.is_set():
            self._loop.call_soon_threadsafe(self._found.put_nowait, (do, arguments))

    def _note_held(self, at: float, run_ids: set[str]) -> None:
        self._is_fenced = self._is_told = False
        self._on_held(run_ids)
        self._confirm(at)

    def _confirm(self, at: float) -> None:
        self._seen, self._fence_at = at, at + FENCE_S
        self._news.set()
        self._news = anyio.Event()

    def _put_off(self, at: float) -> None:
        self._fence_at = max(self._fence_at, at + FENCE_S)

    def _note_fault(self, reason: str) -> None:
        if not self._is_told:
            self._is_told = True
            logger.warning("the database of the runs: %s; nothing new is begun until it is back", reason)


def _try(session: "psycopg.Connection[Any]", executor: str) -> bool:
    [got] = session.execute("SELECT pg_try_advisory_lock(%s, %s)", [SPACE, name_lock(executor)]).fetchone() or (False,)
    return bool(got)
