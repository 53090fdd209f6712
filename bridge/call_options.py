"""The options of one tool call: its deadline, the limit of its output, and the callbacks during it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from bridge.questions import Ask, ask_nobody
from bridge.texts import Keep

if TYPE_CHECKING:
    from bridge.verdicts import Verdict


class OnProgress(Protocol):
    """A callback for the progress of a call."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """Report `progress` of `total`, in the tool's own unit."""
        ...


@dataclass(frozen=True, kw_only=True)
class CallOptions:
    """The options of one tool call."""

    deadline: float
    """The instant it must end by, in seconds on the bridge's clock."""
    find_delay: Callable[[], float] = lambda: 0.0
    """Finds by how many seconds the deadline has moved, because the run waited for a person."""
    limit_bytes: int | None = None
    """The largest output that the model gets; None = the limit in the config."""
    on_progress: OnProgress | None = None
    keep: Keep | None = None
    """Called with each text that had to be cut, to keep it as a whole."""
    ask: Ask = ask_nobody
    """Asks the person a question of the server."""
    is_taken_over: bool = False
    """True where another process drove the run before: what a server remembers of it is there."""
    on_verdict: "Callable[[Verdict], None] | None" = None
    """Called with what is decided about the call, before it is sent; what becomes of it is noted there."""
    on_send: Callable[[], Awaitable[None]] | None = None
    """Called just before the request is sent: from then on the call may have been executed."""

    @property
    def end(self) -> float:
        """The instant it must end by, as of now."""
        return self.deadline + self.find_delay()
