"""What holds for one call of a tool: until when, how much of it the model gets, and who is told or asked meanwhile."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from bridge.questions import Ask, ask_nobody
from bridge.texts import Keep


class OnProgress(Protocol):
    """Told how far a call has come."""

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        """`progress` of `total`, in the tool's own unit."""
        ...


@dataclass(frozen=True, kw_only=True)
class CallTerms:
    """The terms of one call."""

    deadline: float
    """On the bridge's clock, in seconds."""
    limit_bytes: int | None = None
    """How much of the output the model gets; None is as much as the config says."""
    on_progress: OnProgress | None = None
    keep: Keep | None = None
    """Gets the texts that had to be cut."""
    ask: Ask = ask_nobody
    """Asks the person what the server wants to know of them."""
    on_send: Callable[[], Awaitable[None]] | None = None
    """Called when the request is about to be sent: from then on the call may have been executed."""
