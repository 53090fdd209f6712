"""The items of conversations, by the response that each came to: so that any upstream can go on from one."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from bridge.clock import Clock
from bridge.errors import ArgumentError

KEPT_S = 86_400.0
"""How long a conversation can be gone on with."""
KEPT_CHARS = 64 << 20
"""How much is kept in all; the oldest goes first."""


@dataclass(frozen=True)
class _Conversation:
    owner: str | None
    items: Sequence[str]
    chars: int
    time: float


class Conversations:
    """Whoever goes on from a response of the bridge needs no upstream that remembers it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._kept: OrderedDict[str, _Conversation] = OrderedDict()
        self._chars = 0

    def keep(self, response_id: str, items: Sequence[str], *, owner: str | None) -> None:
        """Keep all that was said until this response, its own items included, each as its JSON text."""
        self._drop(response_id)
        chars = sum(map(len, items))
        self._kept[response_id] = _Conversation(owner, items, chars, self._clock.now())
        self._chars += chars
        while self._chars > KEPT_CHARS:
            self._drop(next(iter(self._kept)))

    def find(self, response_id: str, *, owner: str | None) -> Sequence[str] | None:
        """All that was said until this response, None where it is not known here: the upstream may know it.

        Raises ArgumentError for one of another owner, in the words for one that nobody knows.
        """
        self._expire()
        found = self._kept.get(response_id)
        if found and found.owner != owner:
            raise unknown_response()
        return found.items if found else None

    def _expire(self) -> None:
        oldest = self._clock.now() - KEPT_S
        while self._kept and (first := next(iter(self._kept.items())))[1].time <= oldest:
            self._drop(first[0])

    def _drop(self, response_id: str) -> None:
        if dropped := self._kept.pop(response_id, None):
            self._chars -= dropped.chars


def unknown_response() -> ArgumentError:
    """For an id that is unknown, expired or somebody else's: one and the same answer."""
    return ArgumentError(
        "previous_response_id: there is no such response; it may have expired, and must be that of a result"
    )
