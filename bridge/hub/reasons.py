"""Why a server is not connected, in one sentence for people: what, where, and what would be right."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from mcp import MCPError
from mcp_types import PARSE_ERROR

from bridge.config.settings import ServerConfig
from bridge.hub.failures import describe, flatten
from bridge.hub.transports.connect import WatchedTransport
from bridge.hub.transports.in_process import InProcess
from bridge.hub.transports.stdio import Process

if TYPE_CHECKING:
    from bridge.hub.transports.refusals import Refusal

REASON_CHARS = 420
"""The most characters of a reason; what is quoted in it is shorter by itself."""
_UNREACHABLE = "the server cannot be reached: "
_HARDLY_TELLING = (404, 405, 406, 410)
"""Statuses that a server of the other transport answers with: what that transport was told is told instead."""


class Complaints:
    """What kept a server from becoming ready, transport by transport and handshake by handshake."""

    def __init__(self, server: ServerConfig, redact: Callable[[str], str]) -> None:
        self._server = server
        self._redact = redact
        self._said: list[tuple[bool, str]] = []

    def add(self, error: Exception, target: "WatchedTransport | InProcess | None", process: Process | None) -> None:
        """Note the error that ended one attempt."""
        if process and process.has_ended:
            self._said.append((True, process.explain_end(self._redact, was_ready=False)))
        elif process and _is_unreadable(error):
            said = process.quote_noise(self._redact)
            self._said.append((True, f"its stdout, which is for messages only, says something else: {said}"))
        elif isinstance(target, WatchedTransport) and self._server.url:
            self._said.append(self._explain_address(self._server.url, _describe(error), target.refusal))
        else:
            self._said.append((True, _describe(error)))

    def clear(self) -> None:
        """Forget all of them."""
        self._said.clear()

    def sum_up(self) -> str:
        """Return the one that tells most, and forget all of them: a command was asked better the second time, of the
        transports behind a URL the likelier one comes first."""
        said = self._said[::-1] if self._server.command else self._said
        words = next((words for is_telling, words in said if is_telling), said[0][1])
        self.clear()
        words = self._redact(words)
        return words if len(words) <= REASON_CHARS else f"{words[:REASON_CHARS]}…"

    def _explain_address(self, url: str, words: str, refusal: "Refusal | None") -> tuple[bool, str]:
        """Return whether it tells much, and why a server is not connected that the config has a URL of."""
        from bridge.hub.transports.addresses import explain_unreachable
        from bridge.hub.transports.refusals import explain_refusal

        if refusal and (explained := explain_refusal(refusal, url, self._server.headers, self._redact)):
            return refusal.status not in _HARDLY_TELLING, explained
        if words.startswith(_UNREACHABLE):
            return True, explain_unreachable(url, words.removeprefix(_UNREACHABLE))
        return "text/event-stream" not in words, words


def _is_unreadable(error: Exception) -> bool:
    return any(isinstance(cause, MCPError) and cause.code == PARSE_ERROR for cause in flatten(error))


def _describe(error: Exception) -> str:
    return "; ".join(dict.fromkeys(map(describe, flatten(error))))
