"""A line of the log for each request of the service: what was asked, by whom, how it was answered, and in which run."""

import logging
import re
from dataclasses import dataclass

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bridge.clock import Clock
from bridge.host.tally import EVERY_S
from bridge.telemetry import tell
from bridge.visible import quote_name, show_name

logger = logging.getLogger(__name__)

NOTE = "bridge.request"
"""The key, in the scope of a request, of what its line will say. No header reaches it."""
QUIET = frozenset({"/", "/healthz", "/metrics"})
"""Paths that programs ask for all the time, or that anybody may open: told of at DEBUG, but for what is refused."""
REFUSALS = frozenset({400, 401, 403, 405, 421, 429})
MOST_REFUSED = 20
"""Most refused requests a minute that have a line of their own: anybody can send any number."""
LONGEST = 100
_PLAIN = re.compile(r"[!#-+\--~]+")
"""A path that is shown as it is: a space or a comma could look like what follows it in the line."""


@dataclass
class Note:
    """Notes on a request, made while it is answered."""

    principal: str | None = None
    """The name of its principal; None where requests are not told apart by name."""
    run_id: str | None = None
    """The run that it began, or waits for."""
    is_poll: bool = False
    """True for one of many that ask how far a run is."""
    status: int | None = None
    """None where the client left before an answer."""


def read_note(scope: Scope) -> Note:
    """Return the note of a request; one that nobody reads where its line is not written."""
    found = scope.get(NOTE)
    return found if isinstance(found, Note) else Note()


class RequestLog:
    """ASGI middleware around all others, so that it sees their refusals too. A stream has its line when it ends."""

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._refused = 0
        self._anew_at = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not logger.isEnabledFor(logging.INFO):
            await self._app(scope, receive, send)
            return
        note, began = Note(), self._clock.now()

        async def heed(message: Message) -> None:
            if message["type"] == "http.response.start":
                note.status = message["status"]
            await send(message)

        try:
            await self._app({**scope, NOTE: note}, receive, heed)
        finally:
            self._tell(scope, note, (self._clock.now() - began) * 1000)

    def _tell(self, scope: Scope, note: Note, milliseconds: float) -> None:
        if note.status in REFUSALS and self._is_one_too_many():
            return
        is_quiet = note.status == 200 and (note.is_poll or scope["path"] in QUIET)
        method, path = scope["method"][:LONGEST], scope["path"][:LONGEST]  # the query may hold a secret
        words = [f"{show_name(method)} {path if _PLAIN.fullmatch(path) else quote_name(path)}"]
        words.append(str(note.status) if note.status else "left by its client")
        words += [f"{milliseconds:.0f} ms"]
        words += [f"principal {show_name(note.principal)}"] if note.principal else []
        words += [note.run_id] if note.run_id else []
        fields = tell(
            method=method,
            path=path,
            status=note.status,
            ms=round(milliseconds, 1),
            principal=note.principal,
            run=note.run_id,
            client=_find_client(scope),
        )
        logger.log(logging.DEBUG if is_quiet else logging.INFO, "%s", ", ".join(words), extra=fields)

    def _is_one_too_many(self) -> bool:
        now = self._clock.now()
        if now >= self._anew_at:
            if self._refused > MOST_REFUSED:
                logger.info("%d more requests were refused", self._refused - MOST_REFUSED)
            self._refused, self._anew_at = 0, now + EVERY_S
        self._refused += 1
        return self._refused > MOST_REFUSED


def _find_client(scope: Scope) -> str | None:
    client = scope.get("client")
    return str(client[0]) if client else None
