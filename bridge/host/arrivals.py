"""Arrivals: the connections of clients, accepted while there is room for them.

asyncio accepts all that wait, at once. Where descriptors are few, that takes those which the runs need, and at the
last one it logs a traceback for each try. Here the others wait with the system, which keeps some thousand, until one of
those that are accepted has closed; a client that has no request under way makes room for them.
"""

import asyncio
import errno
import logging
import socket
from collections.abc import Callable
from typing import Protocol

from bridge.host.tally import Tally

logger = logging.getLogger(__name__)

AT_ONCE = 64
"""So many are accepted before others get their turn."""
WAITING = 2048
"""So many may wait with the system."""
PATIENCE_S, FIRST_PATIENCE_S = 1.0, 5.0
"""So long a connection may be without a request when others wait for its place; so long before its first one. Clients
that are told that an idle connection is closed open another; one that is busy itself has not sent its first request."""
RETRY_S = 0.1
"""Until it is tried again where the system has no descriptor left."""
SHORTAGES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Visit(Protocol):
    """A connection of a client."""

    leaves_at: float | None
    """When it has to make room for others that wait; None while a request is under way."""

    def leave(self) -> None:
        """Close it, unless a request has come meanwhile."""
        ...


class Arrivals:
    """The connections to one listening socket. Each says by `note_idle` and `note_busy` whether it has a request under
    way, and by `note_gone` that it is closed."""

    def __init__(self, room: int, tally: Tally) -> None:
        """`room`: as many may be open at once."""
        self._room = room
        self._open = 0
        self._idle: dict[Visit, None] = {}
        """Connections that were answered and have no other request yet, the longest idle one first."""
        self._new: dict[Visit, None] = {}
        """Connections that have not sent a first request, the oldest one first."""
        self._tally = tally
        self._timer: asyncio.TimerHandle | None = None
        self._listening: socket.socket | None = None

    @property
    def _loop(self) -> asyncio.AbstractEventLoop:
        return asyncio.get_running_loop()

    @property
    def is_crowded(self) -> bool:
        """True while so many are open that answered ones should not stay."""
        return self._open > self._room // 2

    def begin(self, listening: socket.socket, build: Callable[[], asyncio.Protocol]) -> None:
        """Accept connections from now on; `build` makes the protocol of each."""
        listening.setblocking(False)
        listening.listen(WAITING)
        self._listening, self._build = listening, build
        self._resume()

    def end(self) -> None:
        """Accept no more."""
        self._pause()
        if self._timer:
            self._timer.cancel()
        self._listening = None

    def note_new(self, visit: Visit) -> None:
        """Note that a connection has come about."""
        visit.leaves_at = self._loop.time() + FIRST_PATIENCE_S
        self._new[visit] = None

    def note_idle(self, visit: Visit) -> None:
        """Note that a connection has no request under way any more."""
        visit.leaves_at = self._loop.time() + PATIENCE_S
        self._idle.pop(visit, None)
        self._idle[visit] = None
        self._look_again()

    def note_busy(self, visit: Visit) -> None:
        """Note that a connection has a request under way."""
        self._forget(visit)
        self._look_again()

    def note_gone(self, visit: Visit) -> None:
        """Note that a connection is closed."""
        self._forget(visit)
        self._free()

    def _forget(self, visit: Visit) -> None:
        visit.leaves_at = None
        self._idle.pop(visit, None)
        self._new.pop(visit, None)

    def _look_again(self) -> None:
        """Find out who makes room now, if anybody waits for it."""
        if self._open >= self._room:
            self._resume()

    def _free(self) -> None:
        self._open -= 1
        self._resume()

    def _resume(self) -> None:
        if self._listening:
            self._loop.add_reader(self._listening, self._accept)

    def _pause(self) -> None:
        if self._listening:
            self._loop.remove_reader(self._listening)

    def _resume_in(self, seconds: float) -> None:
        self._pause()
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_later(seconds, self._resume)

    def _accept(self) -> None:
        for _ in range(AT_ONCE):
            if self._open >= self._room:
                self._make_room()
                return
            try:
                assert self._listening
                accepted, _ = self._listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in SHORTAGES:
                    raise
                self._tally.add()
                self._resume_in(RETRY_S)
                return
            accepted.setblocking(False)
            self._open += 1
            self._loop.create_task(self._connect(accepted))

    async def _connect(self, accepted: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(self._build, accepted)
        except Exception:
            accepted.close()
            self._free()
            logger.exception("a connection could not be served")

    def _make_room(self) -> None:
        """Let somebody in once one has closed: of those without a request, whose patience has ended first leaves."""
        oldest = [next(iter(visits)) for visits in (self._idle, self._new) if visits]
        times = {visit: visit.leaves_at for visit in oldest if visit.leaves_at is not None}
        if not times:
            self._pause()  # until one is answered
            return
        visit = min(times, key=times.__getitem__)
        if (left := times[visit] - self._loop.time()) > 0:
            self._resume_in(left)
            return
        self._forget(visit)
        self._pause()
        visit.leave()
