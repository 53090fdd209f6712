"""What of a conversation is sent: all from the last compaction on, with long outputs moved out where room is short."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.items import CALL_TYPES, COMPACTIONS, Last
from bridge.json_text import JsonObject, decode, encode
from bridge.run.transcript import Transcript
from bridge.texts import Keep, estimate_tokens

NEAR, ROOMY = 0.9, 0.7
"""Of the model's window: from where on room is made, and how much of it is used then."""
SMALLEST_CHARS = 500
"""Outputs below this stay: a pointer would hardly be shorter."""


@dataclass
class Window:
    """The items of a transcript that the next request carries."""

    transcript: Transcript
    tokens: int = 0
    """About how many the next request has, without `_uncounted`."""
    _uncounted: list[str] = field(default_factory=list[str])
    """Items whose tokens are counted when somebody asks how near the model's window is."""
    _changed: int = -1
    """How many items the upstream had seen when something among them was changed here the last time."""

    @property
    def start(self) -> int:
        """The place of the first item that is sent."""
        first, instead = self.transcript.first, self.transcript.instead
        places = (place for place in self.transcript.compactions if place >= first and place not in instead)
        return max(places, default=first)

    def list_items(self) -> list[str]:
        """The items to send, in order."""
        whole, start, instead = self.transcript.list_items(), self.start, self.transcript.instead
        if not instead:
            return whole[start:]
        texts = (instead.get(place, whole[place]) for place in range(start, len(whole)))
        return [text for text in texts if text is not None]

    def find_last(self) -> Last | None:
        """The response that the request can go on from, counted in the items that are sent; None where the upstream
        would go on with something else than what is sent."""
        response_id, seen, instead = self.transcript.response_id, self.transcript.seen, self.transcript.instead
        if response_id is None or self.transcript.is_kept or self._changed == seen:
            return None
        return Last(response_id, sum(instead.get(place, "") is not None for place in range(self.start, seen)))

    def find_base(self) -> str | None:
        """The response that the first item goes on from, where that item is sent and the upstream knows no better."""
        return None if self.transcript.is_kept or self.start > self.transcript.first else self.transcript.base

    def begin_earlier(self) -> bool:
        """Leave out the last compaction, which the upstream has refused, and begin at the one before it or with the
        first item; then those that the caller gave. False where there is none to leave out."""
        start = self.start
        items, instead = self.transcript.items, self.transcript.instead
        if start in self.transcript.compactions:
            refused = [start]
        else:
            refused = [place for place, text in enumerate(items) if place not in instead and is_compaction(text)]
        if not refused:
            return False
        instead.update(dict.fromkeys(refused))
        self._changed = self.transcript.seen
        self.count(0, self.list_items())
        return True

    def count(self, tokens: int, outputs: Iterable[str]) -> None:
        """Take what the next request has: `tokens` of the last turn, and the outputs of its calls."""
        self.tokens, self._uncounted = tokens, list(outputs)

    def add(self, texts: Iterable[str]) -> None:
        """Take items that the next request has beside those."""
        self._uncounted += texts

    def fill(self, window: int) -> None:
        """Take the model's word that it is full."""
        self.tokens = max(self._measure(), window)

    def _measure(self) -> int:
        self.tokens += sum(map(estimate_tokens, self._uncounted))
        self._uncounted.clear()
        return self.tokens

    def make_room(self, window: int, keep: Keep) -> int:
        """Move the oldest outputs out where `window` tokens are nearly full; returns how many. In the place of each
        stands how the model can read it again."""
        if self._measure() <= NEAR * window:
            return 0
        moved, whole, instead = 0, self.transcript.list_items(), self.transcript.instead
        for place in range(self.start, len(whole)):
            if self.tokens <= ROOMY * window:
                break
            text = whole[place]
            if place not in instead and len(text) > SMALLEST_CHARS and (item := _read_output(text)):
                instead[place] = pointer = _point(item, keep)
                self.tokens -= estimate_tokens(text) - estimate_tokens(pointer)
                moved += 1
                if place < self.transcript.seen:
                    self._changed = self.transcript.seen
        return moved


def is_compaction(text: str) -> bool:
    """Tell whether an item is a compaction, from its JSON text."""
    item = decode(text) if '"compaction' in text else None
    return isinstance(item, dict) and str(item.get("type")) in COMPACTIONS


def open_window(transcript: Transcript) -> Window:
    """The window of a run that begins with this transcript."""
    window = Window(transcript)
    window.count(0, window.list_items())
    return window


def _read_output(text: str) -> JsonObject | None:
    """The item, where it is the output of a call; what cannot be one is not even read."""
    if not any(f'"{kind}"' in text for kind in CALL_TYPES.values()):
        return None
    item = decode(text)
    is_output = isinstance(item, dict) and item.get("type") in CALL_TYPES.values() and "output" in item
    return item if is_output and isinstance(item, dict) else None


def _point(item: JsonObject, keep: Keep) -> str:
    output = item["output"]
    text = output if isinstance(output, str) else encode(output)
    whole = text.encode("utf-8", "replace")
    pointer: JsonObject = {"output": f"[{len(whole):,} bytes moved out to make room; {keep(text, whole)}]"}
    return encode(item | pointer)
