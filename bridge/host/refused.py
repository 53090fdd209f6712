"""Tells the log which requests are refused, and what would admit them: clients only hear that they are refused."""

import logging

from starlette.datastructures import Headers
from starlette.responses import Response

from bridge.clock import Clock
from bridge.host.tally import Tally, Told
from bridge.host.unknown_hosts import LONGEST, MOST, UnknownHosts
from bridge.telemetry import COUNTED
from bridge.visible import quote_name

logger = logging.getLogger(__name__)

UNAUTHORIZED, FORBIDDEN, UNKNOWN_HOST = 401, 403, 421
NO_TOKEN = (
    "%s requests were refused that had no token: give their clients one (serve.token, or `tokens add NAME`), which "
    "they send as Authorization: Bearer"
)
WRONG_TOKEN = (
    "%s requests were refused whose token opens nothing here: compare what their clients send with serve.token, or "
    "with `tokens list`"
)


class RefusedRequests:
    """Tells each host and each origin once a minute, and counts tokens."""

    def __init__(self, clock: Clock, *, expects_token: bool) -> None:
        """`expects_token`: a request without one is no way to find out where tokens come from."""
        self._hosts = UnknownHosts(clock)
        self._origins = Told(MOST, clock)
        self._expects_token = expects_token
        self._without = Tally(logger, NO_TOKEN, clock)
        self._wrong = Tally(logger, WRONG_TOKEN, clock)

    def tell(self, reply: Response, headers: Headers, name: str | None) -> None:
        """Tell that this reply refuses a request with these headers. `name`: its host without the port; None if it is
        no name."""
        status = reply.status_code
        if status == UNKNOWN_HOST:
            self._hosts.tell(headers, name)
        elif status == UNAUTHORIZED and "authorization" in headers:
            self._wrong.add()
        elif status == UNAUTHORIZED and self._expects_token:
            self._without.add()
        elif status == FORBIDDEN and "www-authenticate" not in reply.headers:
            self._tell_origin(headers.get("origin", "")[:LONGEST])

    def _tell_origin(self, origin: str) -> None:
        if origin and self._origins.take(origin):
            advice = "if its pages are to use the service, add it to serve.allowed_origins"
            logger.warning("a request from the Origin %s was refused: %s", quote_name(origin), advice, extra=COUNTED)
