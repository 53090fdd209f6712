"""How a server may be spoken to, over which transport and in which era: the likeliest first, then what has worked."""

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
    """To ask for in the handshake; None = the newest."""


class Choices:
    """All choices for one server, and the one to take now."""

    def __init__(self, server: ServerConfig) -> None:
        self._choices = _list_choices(server)
        self._number = 0

    @property
    def current(self) -> Choice:
        """The one to take now."""
        return self._choices[self._number]

    def remember(self, era: str) -> None:
        """The current one worked and led to the revision `era`: from now on it comes first, and asks for no era."""
        worked = replace(self.current, mode="legacy") if era in HANDSHAKE_PROTOCOL_VERSIONS else self.current
        self._choices = [worked, *(other for other in self._choices if other != worked)]
        self._number = 0

    def try_next(self) -> bool:
        """Take the next one; False after the last one, and then it is the first again."""
        self._number = (self._number + 1) % len(self._choices)
        return self._number > 0

    def start_over(self) -> None:
        """Take the first one again."""
        self._number = 0


def _list_choices(server: ServerConfig) -> list[Choice]:
    """A second handshake is for servers that exit on a first message they do not know
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
