"""Why a server is not connected, in one sentence for people: what, where, and what would be right."""

import re
from collections.abc import Callable

from mcp import MCPError
from mcp_types import PARSE_ERROR
from pydantic import ValidationError

from bridge.config.settings import ServerConfig
from bridge.hub.failures import describe
from bridge.hub.transports.replies import read_code
from bridge.hub.transports.revisions import advise_setting
from bridge.hub.transports.stdio import Process

REASON_CHARS = 420
"""The most characters of a reason; what is quoted in it is shorter by itself."""
_PREFIX = re.compile(r"(MCP error -?\d+: )+")
"""What the TypeScript SDK puts before a message, each time that it passes it on."""
_UNREACHABLE = "the server cannot be reached: "


class Complaints:
    """What kept a server from becoming ready, transport by transport and handshake by handshake."""

    def __init__(self, server: ServerConfig, redact: Callable[[str], str]) -> None:
        self._server = server
        self._redact = redact
        self._said: list[tuple[bool, str]] = []
        self._attempts: list[str] = []

    def add(
        self, causes: list[BaseException], process: Process | None, named: list[str] | None, *, attempt: str
    ) -> None:
        """Note what ended one attempt; `named` are the protocol revisions that it named when it refused ours, and
        `attempt` is what was tried."""
        self._attempts.append(attempt)
        is_telling, words = True, self._describe(causes)
        if process:
            words = self._explain_process(causes, process, words)
        elif self._server.url and named is None:
            is_telling, words = self._explain_address(self._server.url, words)
        self._said.append((is_telling, words if named is None else advise_setting(named, words)))

    def clear(self) -> None:
        """Forget all of them."""
        self._said.clear()
        self._attempts.clear()

    def list_all(self) -> list[str]:
        """List what became of each thing that was tried."""
        pairs = zip(self._attempts, self._said, strict=True)
        return [self._shorten(f"{attempt}: {words}") for attempt, (_, words) in pairs]

    def sum_up(self) -> str:
        """Return the one that tells most: a command was asked better the second time, of the transports behind a URL
        the likelier one comes first."""
        said = self._said[::-1] if self._server.command else self._said
        words = next((words for is_telling, words in said if is_telling), said[0][1])
        return self._shorten(words)

    def _shorten(self, words: str) -> str:
        words = self._redact(words)
        return words if len(words) <= REASON_CHARS else f"{words[:REASON_CHARS]}…"

    def explain_lateness(self, seconds: float, process: Process | None) -> str:
        """Explain that a server is not ready in time: what it said meanwhile, or where it is waited for."""
        words = f"not ready after {seconds:g} s"
        if said := process.quote(self._redact) if process else "":
            return f"{words}; it said last: {said}"
        if not self._server.url:
            return words
        from bridge.hub.transports.addresses import show_url

        return f"{words}: {show_url(self._server.url)} does not answer, or not in MCP"

    def _explain_process(self, causes: list[BaseException], process: Process, words: str) -> str:
        if process.has_ended:
            return process.explain_end(self._redact, was_ready=False)
        is_noise = any(isinstance(cause, MCPError) and cause.code == PARSE_ERROR for cause in causes)
        if is_noise and (said := process.quote_noise(self._redact)):
            return f"its stdout, which is for messages only, says something else: {said}"
        said = process.quote(self._redact) if any(isinstance(cause, TimeoutError) for cause in causes) else ""
        return f"{words}; it said last: {said}" if said else words

    def _explain_address(self, url: str, words: str) -> tuple[bool, str]:
        from bridge.hub.transports.addresses import explain_unreachable
        from bridge.hub.transports.answers import explain_answer

        if words.startswith(_UNREACHABLE):
            return True, explain_unreachable(url, words.removeprefix(_UNREACHABLE))
        return explain_answer(self._server, words)

    def _describe(self, causes: list[BaseException]) -> str:
        return "; ".join(dict.fromkeys(map(self._describe_one, causes)))

    def _describe_one(self, error: BaseException) -> str:
        if isinstance(error, ValidationError):
            return f"it sent an answer that cannot be read: {describe(error)}"
        if not isinstance(error, MCPError):
            return describe(error)
        words = _PREFIX.sub("", error.message)
        if "Traceback (" in words or "\n    at " in words:
            from bridge.hub.transports.last_words import choose_words

            return choose_words(words.splitlines(), self._redact)
        said = next((line for line in words.splitlines() if line.strip()), "")
        return said or f"it answered with error {read_code(error.code)}, without a word"
