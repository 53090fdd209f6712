"""How a server may be spoken to, over which transport and in which era: the likeliest first, then what has worked."""

from dataclasses import dataclass, replace
from typing import Literal

from mcp.client.client import ConnectMode
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from bridge.config.settings import ServerConfig

Wire = Literal["stdio", "http", "sse"]


@dataclass(frozen=True)
class Way:
    """One transport and one handshake; `offer` is the revision to ask for in it, None = the newest."""

    wire: Wire
    mode: ConnectMode
    offer: str | None = None


class Ways:
    """The ways to one server, and the one to take now."""

    def __init__(self, server: ServerConfig) -> None:
        self._ways = _list_ways(server)
        self._number = 0

    @property
    def way(self) -> Way:
        """The one to take now."""
        return self._ways[self._number]

    def remember(self, era: str) -> None:
        """The way worked and led to the revision `era`: from now on it comes first, without asking for the era."""
        way = replace(self.way, mode="legacy") if era in HANDSHAKE_PROTOCOL_VERSIONS else self.way
        self._ways = [way, *(other for other in self._ways if other != way)]
        self._number = 0

    def try_next(self) -> bool:
        """Take the next way; False after the last one, and then it is the first again."""
        self._number = (self._number + 1) % len(self._ways)
        return self._number > 0

    def start_over(self) -> None:
        """Take the first way again."""
        self._number = 0


def _list_ways(server: ServerConfig) -> list[Way]:
    """A second handshake is for servers that exit on a first message they do not know
    (modelcontextprotocol/go-sdk#1177)."""
    is_old = server.protocol in HANDSHAKE_PROTOCOL_VERSIONS
    mode, offer = ("legacy", server.protocol) if is_old else (server.protocol, None)
    match server.transport:
        case "auto":
            return [Way("http", mode, offer), Way("sse", mode, offer)]
        case "stdio" if mode == "auto":
            return [Way("stdio", "auto"), Way("stdio", "legacy")]
        case wire:
            return [Way(wire, mode, offer)]
