"""The conversation of a run: every item in order, each encoded once, when it arrives.

Both ways of going on from a run read it: by `run_id` and by `previous_response_id` the same items are sent.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from bridge.errors import ArgumentError
from bridge.events import CallEnded, Event, Said, TurnEnded
from bridge.items import CALL_TYPES, COMPACTIONS, find_calls, is_call, is_odd_call
from bridge.json_text import Json, JsonObject, decode, encode

ANSWERS = CALL_TYPES | {"mcp_approval_request": "mcp_approval_response"}
"""Items that a caller may have to answer, and the items that answer them."""


@dataclass
class Transcript:
    """All items of a conversation. Nothing is ever thrown away: what is sent of it is the `Window`'s to say."""

    items: list[str]
    """Each as its JSON text; without the outputs of the last turn, whose calls may go on."""
    response_id: str | None = None
    """The last response, where it was made from what is here and nothing else."""
    seen: int = 0
    """How many of `items` were sent to the upstream or came from it."""
    base: str | None = None
    """A response that only the upstream knows, and that the item at `first` goes on from."""
    first: int = 0
    """The place of the first item that may be sent: the upstream keeps what is before it."""
    is_kept: bool = False
    """True where the upstream adds every item to a conversation of its own: sent again, they would be in it twice."""
    compactions: list[int] = field(default_factory=list[int])
    """Places of the compactions that the upstream has made; each stands for all items before it."""
    instead: dict[int, str | None] = field(default_factory=dict[int, str | None])
    """What is sent in place of an item, by its place: a pointer for an output that was moved out, and nothing for a
    compaction that cannot be sent back."""
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

    def list_texts(self) -> list[str]:
        """List everything that the model may have read: the items, and what was sent in place of some."""
        return [*self.items, *filter(None, self.instead.values())]

    def add(self, event: Event) -> None:
        """Take in what an event of the run brings: items of a response, the output of a call, an interjection."""
        match event:
            case TurnEnded():
                self._add_turn(event)
            case CallEnded():
                self.outputs[event.index] = encode(event.item)
            case Said():
                self._add_said(event)
            case _:
                pass

    def _add_turn(self, event: TurnEnded) -> None:
        self.items += self.list_outputs()
        self.outputs.clear()
        self.turn = len(self.items)
        has_calls = False
        for item in event.output:
            is_compaction = str(item.get("type")) in COMPACTIONS
            if is_compaction and has_calls:  # a call that it stands for would get no output
                self.instead[len(self.items)] = None
            elif is_compaction:
                self.compactions.append(len(self.items))
            has_calls |= str(item.get("type")) in CALL_TYPES
            self.items.append(encode(item))
        self.note_calls(event.output)
        self.response_id, self.seen = event.response_id, len(self.items)
        if self.is_kept:
            self.first = self.seen

    def _add_said(self, event: Said) -> None:
        """Add an interjection. The turn before it is over: every call of it has its output, and none waits for the
        caller."""
        self.items += [*self.list_outputs(), *map(encode, event.items)]
        self.outputs.clear()
        self.turn = len(self.items)

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
        output = self._read_turn()
        calls = [call.item for index, call in enumerate(find_calls(output)) if index not in self.outputs]
        return calls + [item for item in output if item.get("type") == "mcp_approval_request"]

    def go_on(self, answers: Json, *, is_kept: bool) -> "Transcript":
        """Begin a transcript with all of this one, and then the caller's `answers` (`input` of `respond`): its outputs
        in the order of the calls, then the rest. What was moved out is whole again.

        Raises ArgumentError where an answer is missing that is waited for.
        """
        found, rest = self._sort(answers)
        outputs = self.outputs | {index: encode(item) for index, item in found.items()}
        items = [*self.items, *(outputs[index] for index in sorted(outputs)), *map(encode, rest)]
        instead = {place: text for place, text in self.instead.items() if text is None or place < self.first}
        is_other = any(place < self.seen for place in self.instead.keys() - instead.keys())
        begun = replace(self, items=items, is_kept=is_kept, compactions=list(self.compactions), instead=instead)
        begun = replace(begun, turn=len(items), outputs={}, response_id=None if is_other else self.response_id)
        if self.is_kept and not is_kept:
            begun = replace(begun, base=self.response_id, first=self.first if self.response_id else 0)
        begun = replace(begun, call_ids=set(self.call_ids))
        begun.note_calls(rest)
        return begun

    def require_answers(self, answers: Json) -> None:
        """Raise ArgumentError where an answer is missing in the caller's `input` that is waited for."""
        self._sort(answers)

    def _sort(self, answers: Json) -> tuple[dict[int, Json], list[Json]]:
        """Find the outputs of calls that wait for the caller, by the index of the call in the turn; and the rest."""
        rest = list(read_input(answers))
        calls = find_calls(self._read_turn())
        waiting = [index for index in range(len(calls)) if index not in self.outputs]
        found = {index: rest.pop(_find_answer(calls[index].item, rest)) for index in waiting}
        for item in self._read_turn():
            if item.get("type") == "mcp_approval_request":
                _find_answer(item, rest)
        return found, rest

    def _read_turn(self) -> list[JsonObject]:
        return [item for item in map(decode, self.items[self.turn :]) if isinstance(item, dict)]

    def to_json(self) -> JsonObject:
        """Write a transcript that no turn was added to yet."""
        return {
            "items": list[Json](self.items),
            "response_id": self.response_id,
            "seen": self.seen,
            "base": self.base,
            "first": self.first,
            "is_kept": self.is_kept,
            "compactions": list[Json](self.compactions),
            "instead": dict[str, Json]((str(place), text) for place, text in self.instead.items()),
            "call_ids": list[Json](sorted(self.call_ids)),
            "has_odd_calls": self.has_odd_calls,
        }


def read_transcript(stored: JsonObject) -> Transcript:
    """Read what `Transcript.to_json` has written."""
    items = list(cast("list[str]", stored["items"]))
    return Transcript(
        items,
        response_id=cast("str | None", stored["response_id"]),
        seen=cast("int", stored["seen"]),
        base=cast("str | None", stored["base"]),
        first=cast("int", stored["first"]),
        is_kept=cast("bool", stored["is_kept"]),
        compactions=list(cast("list[int]", stored["compactions"])),
        instead={int(place): text for place, text in cast("dict[str, str | None]", stored["instead"]).items()},
        turn=len(items),
        call_ids=set(cast("list[str]", stored["call_ids"])),
        has_odd_calls=bool(stored["has_odd_calls"]),
    )


def gather(events: Iterable[Event]) -> Transcript:
    """Gather what the events of a run have brought into a transcript of its own."""
    transcript = Transcript([])
    for event in events:
        transcript.add(event)
    return transcript


def read_input(value: Json) -> Sequence[Json]:
    """Read `respond`'s input as items."""
    return value if isinstance(value, list) else [{"role": "user", "content": value}]


def _find_answer(asked: JsonObject, given: Sequence[Json]) -> int:
    """Find the place of the first item that answers what was asked. Raises ArgumentError where none does."""
    asked_id, kind = str(asked.get("call_id") or asked.get("id")), ANSWERS[str(asked["type"])]
    for place, item in enumerate(given):
        if isinstance(item, dict) and (item.get("type"), _name_asked(item)) == (kind, asked_id):
            return place
    raise ArgumentError(f"input: {asked.get('name')} ({asked_id}) has no answer; give a {kind} item for it")


def _name_asked(answer: JsonObject) -> str:
    return str(answer.get("call_id") or answer.get("approval_request_id"))
