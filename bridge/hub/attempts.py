"""The attempts to connect one server: what is tried next, and what those that failed came to."""

from collections.abc import Callable
from dataclasses import dataclass

from mcp import MCPError

from bridge.config.settings import ServerConfig
from bridge.hub.failures import flatten
from bridge.hub.outlook import judge
from bridge.hub.reasons import Complaints
from bridge.hub.transports.choices import Choices
from bridge.hub.transports.connect import WatchedTransport
from bridge.hub.transports.need import Need
from bridge.hub.transports.replies import NOT_SENT
from bridge.hub.transports.revisions import read_refusals
from bridge.hub.transports.stdio import Process


@dataclass(frozen=True)
class Failure:
    """Outcome of a round without success: the reason, for people, and the longest pause after it, in seconds."""

    reason: str
    longest_pause_s: float
    need: Need | None
    """The sign-in that it wants, if that is what it failed of."""


class Attempts:
    """One round after the other: each goes through the transports and handshakes that the server may understand."""

    def __init__(self, server: ServerConfig, redact: Callable[[str], str]) -> None:
        self.choices = Choices(server)
        self._redact = redact
        self._complaints = Complaints(server, redact)
        self._outlooks: list[float] = []
        self._need: Need | None = None
        self.causes: list[str] = []
        """What became of each thing that was tried in the last round that failed."""

    def note_failure(
        self, error: Exception, transport: WatchedTransport | None, process: Process | None, *, was_ready: bool
    ) -> Failure | None:
        """Note what ended one attempt; return None if there is another choice to try, else what the round came to.

        `transport` and `process` are those of the attempt, where it had them; `was_ready`: the server has been ready.
        """
        causes = flatten(error)
        has_exited = process is not None and process.has_ended
        said = process.explain_end(self._redact, was_ready=False) if process and has_exited else ""
        named = read_refusals(causes, said)
        need = transport.need if transport else None
        self._need = self._need or need
        is_final = need is not None and need.is_certain  # another transport or handshake would want it too
        if not is_final and named is not None and self.choices.try_revision(named):
            return None
        self._complaints.add(causes, process, named, attempt=self.choices.current.describe())
        status = transport.refused_with if transport else None
        self._outlooks.append(judge(causes, status, has_exited=has_exited, was_ready=was_ready))
        if not is_final and any(map(_has_answered, causes)) and self.choices.try_next():
            return None
        self.causes = self._complaints.list_all()
        need = need if is_final else self._need
        words = self._complaints.sum_up()
        if need and not need.is_told(words):
            words = need.words
        failure = Failure(words, min(self._outlooks), need)
        self.forget()
        return failure

    def explain_lateness(self, seconds: float, process: Process | None) -> str:
        """Explain that a server is not ready in time, to people."""
        return self._complaints.explain_lateness(seconds, process)

    def forget(self) -> None:
        """Forget the failures of this round, and begin another with the first choice."""
        self.choices.start_over()
        self._complaints.clear()
        self._outlooks.clear()
        self._need = None


def _has_answered(error: BaseException) -> bool:
    """Tell whether a server answered with an error: it may understand another transport or handshake."""
    return isinstance(error, MCPError) and error.code != NOT_SENT
