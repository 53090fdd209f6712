"""The transports and handshakes to try with a server: the likeliest first, and later the one that has worked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from mcp.client.client import ConnectMode
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION

from bridge.config.settings import ServerConfig
from bridge.hub.transports.revisions import find_older, find_spoken

_TRANSPORTS = {"stdio": "stdio", "http": "Streamable HTTP", "sse": "SSE"}


@dataclass(frozen=True)
class Choice:
    """One transport and one handshake."""

    transport: Literal["stdio", "http", "sse"]
    mode: ConnectMode
    revision: str | None = None
    """The protocol revision to request in the handshake; None = the newest."""
    is_guess: bool = False
    """True if another transport may be meant: the config names none."""

    def describe(self) -> str:
        """Describe it to people."""
        handshake = "" if self.mode == "auto" else " with a handshake" if self.mode == "legacy" else f", {self.mode}"
        return f"{_TRANSPORTS[self.transport]}{handshake}"

    @property
    def asks_for(self) -> str:
        """The revision that the server has been asked for when its handshake fails."""
        return self.revision or (LATEST_HANDSHAKE_VERSION if self.mode in ("auto", "legacy") else self.mode)


class Choices:
    """All choices for one server, and the current one."""

    def __init__(self, server: ServerConfig) -> None:
        self._listed = _list_choices(server)
        self._era = server.protocol
        self.start_over()

    @property
    def current(self) -> Choice:
        """The choice for the next attempt to connect."""
        return self._choices[self._number]

    def note_spoken(self, revision: str) -> None:
        """Note the revision that the current choice has led to: what is refused from now on is that."""
        self._spoken = revision

    def remember(self, era: str) -> None:
        """Put the current choice first: it led to the revision `era`. A handshake-era server is not probed again."""
        worked = replace(self.current, mode="legacy") if era in HANDSHAKE_PROTOCOL_VERSIONS else self.current
        self._listed = [worked, *(other for other in self._listed if other != worked)]
        self.start_over()

    def try_next(self) -> bool:
        """Move to the next choice; after the last one, return False and start over."""
        self._spoken = None
        self._number = (self._number + 1) % len(self._choices)
        return self._number > 0

    def try_revision(self, named: Sequence[str]) -> bool:
        """Move on to another revision over the same transport: the newest that a server names, or an older one.

        Return False where none is left: each is asked for once. A revision that is configured is not departed from.
        """
        asked = self._spoken or self.current.asks_for
        self._refused.add((self.current.transport, asked))
        others = [revision for revision in named if revision != asked]
        for revision in find_spoken(others) if others else find_older(asked):
            if self._may_speak(revision):
                self._choices.insert(self._number + 1, self._ask_for(revision))
                return self.try_next()
        return False

    def start_over(self) -> None:
        """Move back to the first choice."""
        self._choices = [*self._listed]
        self._number = 0
        self._spoken: str | None = None
        self._refused = set[tuple[str, str]]()

    def _may_speak(self, revision: str) -> bool:
        is_of_era = self._era == "auto" or (self._era == "legacy" and revision in HANDSHAKE_PROTOCOL_VERSIONS)
        return is_of_era and (self.current.transport, revision) not in self._refused

    def _ask_for(self, revision: str) -> Choice:
        if revision in HANDSHAKE_PROTOCOL_VERSIONS:
            return replace(self.current, mode="legacy", revision=revision)
        is_discovered = self.current.mode == "legacy"  # and shows what the server can; later it may be in another era
        return replace(self.current, mode="auto" if is_discovered else revision, revision=None)


def _list_choices(server: ServerConfig) -> list[Choice]:
    """List the choices. The second one for stdio is for servers that exit when they do not know the first message
    (modelcontextprotocol/go-sdk#1177)."""
    is_old = server.protocol in HANDSHAKE_PROTOCOL_VERSIONS
    mode, revision = ("legacy", server.protocol) if is_old else (server.protocol, None)
    match server.transport:
        case "auto":
            return [Choice("http", mode, revision, is_guess=True), Choice("sse", mode, revision)]
        case "stdio" if mode == "auto":
            return [Choice("stdio", "auto"), Choice("stdio", "legacy")]
        case transport:
            return [Choice(transport, mode, revision)]
