"""What a run has sent and got so far, item by item, and how room is made in it when the model's window is near."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from bridge.items import CALL_TYPES, Last, Response
from bridge.json_text import JsonObject, decode, encode
from bridge.run.request import Request
from bridge.texts import Keep, estimate_tokens

NEAR, ROOMY = 0.9, 0.7
"""Of the window: from where on room is made, and how much of it is used then."""
SMALLEST_CHARS = 500
"""Outputs below this stay: a pointer would hardly be shorter."""


@dataclass
class History:
    """The input of the next request of a run."""

    items: list[str]
    """Each as its JSON text."""
    is_kept: bool
    """Whether the upstream adds every item to a conversation of its own: sent again, they would be in it twice."""
    last: Last | None
    """The response it goes on from."""
    tokens: int
    """About how many it has."""
    _outputs: list[int] = field(default_factory=list[int])
    """Places of the outputs that are still whole, oldest first."""

    def extend(self, response: Response, outputs: Sequence[str], *, tokens: int) -> None:
        """A turn's items, `tokens` with all before them, and the outputs of its calls."""
        if self.is_kept:
            self.items = list(outputs)
            return
        for item in response["output"]:
            if item.get("type") == "compaction":  # it stands for all that came before it
                self.items, self._outputs = list[str](), list[int]()
            self.items.append(encode(item))
        self.last = Last(response["id"], len(self.items)) if response["id"] else None
        self._outputs += range(len(self.items), len(self.items) + len(outputs))
        self.items += outputs
        self.tokens = tokens + sum(map(estimate_tokens, outputs))

    def make_room(self, window: int, keep: Keep) -> int:
        """Move the oldest outputs out where the window is near; how many were. In the place of each stands how the
        model can read it again."""
        if self.tokens <= NEAR * window:
            return 0
        moved = 0
        while self._outputs and self.tokens > ROOMY * window:
            place = self._outputs.pop(0)
            text = self.items[place]
            if len(text) > SMALLEST_CHARS:
                self.items[place] = _point(text, keep)
                self.tokens -= estimate_tokens(text) - estimate_tokens(self.items[place])
                moved += 1
                if self.last and place < self.last.known:
                    self.last = None  # an upstream that went on from it would go on with the whole output
        return moved


def begin_history(request: Request) -> History:
    """The input that the caller gave."""
    items = list(request.items)
    outputs = [place for place, text in enumerate(items) if _is_output(text)]
    return History(items, request.is_kept, request.last, sum(map(estimate_tokens, items)), outputs)


def _is_output(text: str) -> bool:
    """Whether an item is the output of a call; what cannot be one is not even read."""
    if not any(f'"{kind}"' in text for kind in CALL_TYPES.values()):
        return False
    item = decode(text)
    return isinstance(item, dict) and item.get("type") in CALL_TYPES.values() and "output" in item


def _point(text: str, keep: Keep) -> str:
    item = decode(text)
    assert isinstance(item, dict)
    output = item["output"]
    whole = (output if isinstance(output, str) else encode(output)).encode("utf-8", "replace")
    pointer: JsonObject = {"output": f"[{len(whole):,} bytes moved out to make room; {keep(whole)}]"}
    return encode(item | pointer)
