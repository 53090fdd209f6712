"""The transports and handshakes to try with a server: the likeliest first, and later the one that has worked."""

from dataclasses import dataclass, replace
from typing import Literal

from mcp.client.client import ConnectMode
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from bridge.config.settings import ServerConfig


@dataclass(frozen=True)
class Choice:
    """One transport and one handshake."""

    transport: Literal["stdio", "http", "sse"]
    mode: ConnectMode
    revision: str | None = None
    """The protocol revision to request in the handshake; None = the newest."""


class Choices:
    """All choices for one server, and the current one."""

    def __init__(self, server: ServerConfig) -> None:
        self._choices = _list_choices(server)
        self._number = 0

    @property
    def current(self) -> Choice:
        """The choice for the next attempt to connect."""
        return self._choices[self._number]

    def remember(self, era: str) -> None:
        """Put the current choice first: it led to the revision `era`. A handshake-era server is not probed again."""
        worked = replace(self.current, mode="legacy") if era in HANDSHAKE_PROTOCOL_VERSIONS else self.current
        self._choices = [worked, *(other for other in self._choices if other != worked)]
        self._number = 0

    def try_next(self) -> bool:
        """Move to the next choice; after the last one, return False and start over."""
        self._number = (self._number + 1) % len(self._choices)
        return self._number > 0

    def start_over(self) -> None:
        """Move back to the first choice."""
        self._number = 0


def _list_choices(server: ServerConfig) -> list[Choice]:
    """List the choices. The second one for stdio is for servers that exit when they do not know the first message
    (modelcontextprotocol/go-sdk#1177)."""
    is_old = server.protocol in HANDSHAKE_PROTOCOL_VERSIONS
    mode, revision = ("legacy", server.protocol) if is_old else (server.protocol, None)
    match server.transport:
        case "auto":
            return [Choice("http", mode, revision), Choice("sse", mode, revision)]
        case "stdio" if mode == "auto":
            return [Choice("stdio", "auto"), Choice("stdio", "legacy")]
        case transport:
            return [Choice(transport, mode, revision)]
