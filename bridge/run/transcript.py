"""The conversation of a run: every item in order, each encoded once, when it arrives.

Both ways of going on from a run read it: by `run_id` and by `previous_response_id` the same items are sent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from bridge.errors import ArgumentError
from bridge.events import CallEnded, Event, TurnEnded
from bridge.items import CALL_TYPES, find_calls, is_call, is_odd_call
from bridge.json_text import Json, JsonObject, decode, encode

ANSWERS = CALL_TYPES | {"mcp_approval_request": "mcp_approval_response"}
"""Items that a caller may have to answer, and the items that answer them."""


@dataclass
class Transcript:
    """All items of a conversation. Nothing is ever thrown away: what is sent of it is the `Window`'s to say."""

    items: list[str]
    """Each as its JSON text; without the outputs of the last turn, whose calls may go on."""
    response_id: str | None = None
    """The last response."""
    seen: int = 0
    """How many of `items` were sent to the upstream or came from it."""
    base: str | None = None
    """A response before the first item, which only the upstream knows."""
    is_kept: bool = False
    """True where the upstream adds every item to a conversation of its own: sent again, they would be in it twice."""
    compactions: list[int] = field(default_factory=list[int])
    """Places of the compactions that the upstream has made; each stands for all items before it."""
    turn: int = 0
    """Where the items of the last turn begin."""
    call_ids: set[str] = field(default_factory=set[str])
    """Those of all calls."""
    has_odd_calls: bool = False
    """True where a call cannot be sent back as it came, or has the id of another."""
    outputs: dict[int, str] = field(default_factory=dict[int, str])
    """What the calls of the last turn came to, each by its index in the turn."""

    def list_items(self) -> list[str]:
        """List every item in order, outputs in the order of their calls."""
        return [*self.items, *self.list_outputs()]

    def list_outputs(self) -> list[str]:
        """List the outputs of the last turn, in the order of their calls."""
        return [self.outputs[index] for index in sorted(self.outputs)]

    def add(self, event: Event) -> None:
        """Take in what an event of the run brings: the items of a response, or the output of a call."""
        match event:
            case TurnEnded():
                self._add_turn(event)
            case CallEnded():
                self.outputs[event.index] = encode(event.item)
            case _:
                pass

    def _add_turn(self, event: TurnEnded) -> None:
        self.items += self.list_outputs()
        self.outputs.clear()
        self.turn = len(self.items)
        for item in event.output:
            if item.get("type") == "compaction":
                self.compactions.append(len(self.items))
            self.items.append(encode(item))
        self.note_calls(event.output)
        self.response_id, self.seen = event.response_id, len(self.items)

    def note_calls(self, items: Iterable[Json]) -> None:
        """Look at the calls among new items: here, once, so that no request has to look for odd ones."""
        for item in items:
            if isinstance(item, dict) and is_call(item):
                call_id = str(item.get("call_id"))
                self.has_odd_calls |= call_id in self.call_ids or is_odd_call(item)
                self.call_ids.add(call_id)

    def find_pending(self) -> list[JsonObject]:
        """List the items of the last turn that wait for the caller: calls of its own functions, and requests for its
        approval."""
        output = [item for item in map(decode, self.items[self.turn :]) if isinstance(item, dict)]
        calls = [call.item for index, call in enumerate(find_calls(output)) if index not in self.outputs]
        return calls + [item for item in output if item.get("type") == "mcp_approval_request"]

    def go_on(self, answers: Json) -> "Transcript":
        """Begin a transcript with all of this one, and then the caller's `answers` (`input` of `respond`).

        Raises ArgumentError where one that is waited for is missing.
        """
        given = self.require_answers(answers)
        texts = [encode(item) for item in given]
        if self.is_kept:  # the upstream has the rest
            return _begin([*self.list_items()[self.seen :], *texts], base=self.response_id)
        begun = replace(
            _begin([*self.list_items(), *texts], base=self.base),
            response_id=self.response_id,
            seen=self.seen,
            compactions=list(self.compactions),
            call_ids=set(self.call_ids),
            has_odd_calls=self.has_odd_calls,
        )
        begun.note_calls(given)
        return begun

    def require_answers(self, answers: Json) -> Sequence[Json]:
        """Read the caller's `input` as items. Raises ArgumentError where an answer is missing that is waited for."""
        given = read_input(answers)
        answered = {
            str(item.get("call_id") or item.get("approval_request_id")) for item in given if isinstance(item, dict)
        }
        for asked in self.find_pending():
            asked_id = str(asked.get("call_id") or asked.get("id"))
            if asked_id not in answered:
                answer = ANSWERS[str(asked["type"])]
                name = asked.get("name")
                raise ArgumentError(f"input: {name} ({asked_id}) has no answer; give a {answer} item for it")
        return given

    def to_json(self) -> JsonObject:
        """Write a transcript that no turn was added to yet."""
        return {
            "items": list[Json](self.items),
            "response_id": self.response_id,
            "seen": self.seen,
            "base": self.base,
            "compactions": list[Json](self.compactions),
            "call_ids": list[Json](sorted(self.call_ids)),
            "has_odd_calls": self.has_odd_calls,
        }


def begin_transcript(given: Json, *, base: str | None) -> Transcript:
    """Begin a conversation with the caller's `input`; `base` is a response that only the upstream knows."""
    items = read_input(given)
    begun = _begin([encode(item) for item in items], base=base)
    begun.note_calls(items)
    return begun


def read_transcript(stored: JsonObject, *, is_kept: bool) -> Transcript:
    """Read what `Transcript.to_json` has written."""
    begun = _begin(list(cast("list[str]", stored["items"])), base=cast("str | None", stored["base"]))
    return replace(
        begun,
        response_id=cast("str | None", stored["response_id"]),
        seen=cast("int", stored["seen"]),
        is_kept=is_kept,
        compactions=list(cast("list[int]", stored["compactions"])),
        call_ids=set(cast("list[str]", stored["call_ids"])),
        has_odd_calls=bool(stored["has_odd_calls"]),
    )


def gather(events: Iterable[Event]) -> Transcript:
    """Gather what the events of a run have brought into a transcript of its own."""
    transcript = _begin([], base=None)
    for event in events:
        transcript.add(event)
    return transcript


def read_input(value: Json) -> Sequence[Json]:
    """Read `respond`'s input as items."""
    return value if isinstance(value, list) else [{"role": "user", "content": value}]


def _begin(items: list[str], *, base: str | None) -> Transcript:
    return Transcript(items, base=base, turn=len(items))
