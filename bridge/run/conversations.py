"""The items of conversations, by the response that each came to: so that any upstream can go on from one."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from bridge.clock import Clock
from bridge.errors import ArgumentError
from bridge.items import Last
from bridge.json_text import JsonObject, encode
from bridge.run.continuation import as_items, place_event
from bridge.run.request import Request

KEPT_S = 86_400.0
"""How long a conversation can be gone on with."""
KEPT_CHARS = 64 << 20
"""How much is kept in all; the oldest goes first."""


_Key: TypeAlias = tuple[str | None, str]
"""Owner and response: relays make up ids, and some give every response the same."""


@dataclass(frozen=True)
class _Conversation:
    items: Sequence[str]
    """All that was said until the response, its own items included, each as its JSON text."""
    known: int
    """How many of them the upstream has been sent, or has sent itself."""
    time: float

    @property
    def chars(self) -> int:
        return sum(map(len, self.items))


class Conversations:
    """Whoever goes on from a response of the bridge needs no upstream that remembers it."""

    def __init__(self, clock: Clock, *, kept_chars: int = KEPT_CHARS) -> None:
        self._clock = clock
        self._kept_chars = kept_chars
        self._kept: OrderedDict[_Key, _Conversation] = OrderedDict()
        self._chars = 0

    def keep(self, request: Request, events: Sequence[JsonObject], *, owner: str | None) -> None:
        """Keep what a run has come to, under the id of its last response."""
        told = sorted((event for event in events if event["type"] in ("turn.ended", "call.ended")), key=place_event)
        turns = [event for event in told if event["type"] == "turn.ended"]
        if request.is_kept or not turns or not isinstance(response_id := turns[-1]["response_id"], str):
            return
        until, after = told[: told.index(turns[-1]) + 1], told[told.index(turns[-1]) + 1 :]
        items = _extend(request.items, until)
        self._add((owner, response_id), _Conversation(_extend(items, after), len(items), self._clock.now()))

    def check(self, response_id: str, *, owner: str | None, is_needed: bool) -> None:
        """Raises ArgumentError for a response of another owner, and for one that is not known here where it has to be:
        one and the same answer."""
        if self._find(owner, response_id) is None and (is_needed or any(response_id == kept for _, kept in self._kept)):
            raise ArgumentError(
                "previous_response_id: there is no such response; it may have expired, and must be that of a result"
            )

    def knows(self, response_id: str, *, owner: str | None) -> bool:
        """Whether this owner can go on from it here."""
        return self._find(owner, response_id) is not None

    def restore(self, request: Request, *, owner: str | None) -> Request:
        """The request with all that was said before it, where it goes on from a response that is known here."""
        response_id = request.parameters.get("previous_response_id")
        found = self._find(owner, response_id) if isinstance(response_id, str) else None
        if found is None:
            return request
        parameters = {name: value for name, value in request.parameters.items() if name != "previous_response_id"}
        items = [*found.items, *request.items]
        return replace(request, parameters=parameters, items=items, last=Last(str(response_id), found.known))

    def _find(self, owner: str | None, response_id: str) -> _Conversation | None:
        self._forget()
        return self._kept.get((owner, response_id))

    def _forget(self) -> None:
        oldest = self._clock.now() - KEPT_S
        while self._kept and (first := next(iter(self._kept))) and self._kept[first].time <= oldest:
            self._drop(first)

    def _add(self, key: _Key, conversation: _Conversation) -> None:
        self._forget()
        self._drop(key)
        if conversation.chars > self._kept_chars:
            return  # it would throw out all others, and have no place itself
        self._kept[key] = conversation
        self._chars += conversation.chars
        while self._chars > self._kept_chars:
            self._drop(next(iter(self._kept)))

    def _drop(self, key: _Key) -> None:
        if dropped := self._kept.pop(key, None):
            self._chars -= dropped.chars


def _extend(items: Sequence[str], events: Sequence[JsonObject]) -> list[str]:
    """These items and those of the events; a compaction stands for all that came before it."""
    extended = list(items)
    for event in events:
        for item in as_items(event["output"]) if event["type"] == "turn.ended" else [event["item"]]:
            if isinstance(item, dict) and item.get("type") == "compaction":
                extended.clear()
            extended.append(encode(item))
    return extended
