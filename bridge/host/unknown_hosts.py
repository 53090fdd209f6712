"""Tells the log which `Host` was refused, and what would admit it: clients only hear that it is unknown."""

import logging

from starlette.datastructures import Headers

from bridge.clock import Clock
from bridge.host.tally import Told
from bridge.telemetry import COUNTED
from bridge.visible import quote_name

logger = logging.getLogger(__name__)
MOST = 20
"""How many hosts a minute are told: anybody can send any name."""
LONGEST = 100


class UnknownHosts:
    """Tells each host once a minute."""

    def __init__(self, clock: Clock) -> None:
        self._told = Told(MOST, clock)

    def tell(self, headers: Headers, name: str | None) -> None:
        """Tell that the host of these headers was refused. `name`: it without its port, or None if it is no name."""
        host = headers.get("host", "")[:LONGEST]
        if not self._told.take(host):
            return
        asked = headers.get("x-forwarded-host", "")[:LONGEST]
        advice = _advise(host, name, asked)
        logger.warning("a request for the Host %s was refused: %s", quote_name(host), advice, extra=COUNTED)


def _advise(host: str, name: str | None, asked: str) -> str:
    """Say what would admit such requests. `asked`: the host that a proxy says it was asked for."""
    if asked and asked != host:
        return f"a proxy was asked for {quote_name(asked)}: have it pass Host on, and add that to serve.allowed_hosts"
    return (
        f'if clients are to use that name, add "{name[:LONGEST]}" to serve.allowed_hosts'
        if name
        else "it is no host name"
    )
