"""The outputs of one run that were too long for the model: kept whole, and read by it page by page or by words."""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Mapping

import anyio.lowlevel

from bridge.config.settings import BUILTIN
from bridge.items import OWN_NAMES, Notice
from bridge.json_text import JsonObject
from bridge.run.tools.own_tools import Function, OwnTool
from bridge.schemas.judge import Judge
from bridge.texts import find_cut

KEPT_BYTES = 128 << 20
"""How much a run keeps in all: two of the largest messages that a server may send, by default."""
MAX_HITS = 20
CONTEXT_BYTES = 100
"""How much is shown before and behind words that were found."""
STRIDE_BYTES = 1 << 20
"""How much is searched at one go: the event loop waits meanwhile."""

LEAST_BYTES = 100
"""Of a page, however little is left for it: each must bring the model further."""

READ_OUTPUT = OWN_NAMES[0]
FUNCTION = Function(
    READ_OUTPUT,
    "Read what was left out of a long tool output: a page from `offset` on, or with `search` where these words are in "
    "it.",
    Judge(
        {
            "type": "object",
            "properties": {
                "id": {"type": "integer", "description": "The id that the cut output names"},
                "offset": {"type": "integer", "minimum": 0, "description": "Where to begin, in bytes; default 0"},
                "search": {"type": "string", "maxLength": 200, "description": "Words to find"},
            },
            "required": ["id"],
            "additionalProperties": False,
        }
    ),
)
_SAID = re.compile(rf"{READ_OUTPUT} with id (\d{{1,9}}) has all of it")


class KeptOutputs:
    """What the outputs of a run were before they were cut. Ends with the run."""

    def __init__(self, *, after: int = 0, notify: Callable[[Notice], None]) -> None:
        """`after`: the last id that the conversation speaks of, from an earlier run; none is given twice."""
        self._notify = notify
        self._texts: dict[int, bytes] = {}
        self._count = after
        # The outputs of the built-in tools are short, whatever they are asked.
        self.tool = OwnTool(FUNCTION, self._read, accompanies=lambda owner: owner != BUILTIN)

    def keep(self, text: str, data: bytes) -> str:
        """Keep a text now. Returns how the model can read it."""
        [place] = self.reserve(1)
        words = place.keep(text, data)
        self.put(place.texts, place.data)
        return words

    def reserve(self, calls: int) -> list["Places"]:
        """Reserve ids for the calls of one turn. Whichever ends first, each gives the same ids when it is repeated."""
        return [Places(self._count + 1 + index, step=calls) for index in range(calls)]

    def put(self, texts: Mapping[str, str], data: Mapping[str, bytes]) -> None:
        """Keep texts by their ids, at the cost of the oldest ones where the room is short. `data` has those that are
        at hand as UTF-8."""
        for key, text in texts.items():
            self._texts[int(key)] = data[key] if key in data else text.encode("utf-8", "replace")
            self._count = max(self._count, int(key))
        while len(self._texts) > 1 and sum(map(len, self._texts.values())) > KEPT_BYTES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = min(self._texts)
        size = len(self._texts.pop(oldest))
        message = f"Long output {oldest} ({size:,} bytes) is no longer kept: the limit of a run is {KEPT_BYTES:,} bytes"
        self._notify(Notice(code="output_dropped", message=message))

    async def _read(self, arguments: JsonObject, limit_bytes: int) -> str:
        wanted, offset, words = arguments["id"], arguments.get("offset") or 0, arguments.get("search") or ""
        assert isinstance(wanted, (int, float))  # to JSON Schema 1.0 is an integer
        assert isinstance(offset, (int, float))
        number = int(wanted)
        data = self._texts.get(number)
        if data is None:
            raise ValueError(self._explain_absence(number))
        start = find_cut(data, int(offset))
        return await _find(number, data, start, str(words)) if words else _turn_to(number, data, start, limit_bytes)

    def _explain_absence(self, number: int) -> str:
        if 0 < number <= self._count:
            return f"output {number} is no longer kept, or was of an earlier run; call the tool again"
        return f"there is no long output {number}; kept are: {', '.join(map(str, self._texts)) or 'none'}"


class Places:
    """The ids that one call has for the texts that have to be cut of its output, and those texts."""

    def __init__(self, first: int, *, step: int) -> None:
        self._ids = itertools.count(first, step)
        self.texts: dict[str, str] = {}
        self.data: dict[str, bytes] = {}
        """The same as UTF-8."""

    def keep(self, text: str, data: bytes) -> str:
        """Give a text an id. Returns how the model can read it."""
        key = str(next(self._ids))
        self.texts[key], self.data[key] = text, data
        return f"{READ_OUTPUT} with id {key} has all of it"


def find_last_id(items: Iterable[str]) -> int:
    """The highest id of a long output that these items, as JSON texts, speak of; 0 if they speak of none."""
    return max((int(said[1]) for text in items for said in _SAID.finditer(text)), default=0)


def _turn_to(number: int, data: bytes, start: int, page_bytes: int) -> str:
    """One page under a line that says which."""
    end = find_cut(data, start + max(page_bytes, LEAST_BYTES))
    rest = f"the next begins at offset {end}" if end < len(data) else "this is its end"
    head = f"[output {number}, bytes {start:,} to {end:,} of {len(data):,}; {rest}]"
    return f"{head}\n{data[start:end].decode()}"


async def _find(number: int, data: bytes, start: int, words: str) -> str:
    """Where `words` are, upper and lower case of Latin letters alike: each place with its offset and what is around."""
    hits, count = list[int](), 0
    needle = words.encode("utf-8", "replace").lower()
    for begin in range(start, len(data), STRIDE_BYTES):
        block = data[begin : begin + STRIDE_BYTES + len(needle) - 1].lower()
        hits += (begin + place for place in _find_in(block, needle, MAX_HITS + 1 - len(hits)))
        count += block.count(needle)
        await anyio.lowlevel.checkpoint()
    rest = f", the first {MAX_HITS} of them here; search on from offset {hits.pop()}" if len(hits) > MAX_HITS else ""
    head = f"[output {number}, {len(data):,} bytes: {words!r} is in {count:,} places from offset {start} on{rest}]"
    return "\n".join([head, *(f"{place}: {_show(data, place, len(needle))}" for place in hits)])


def _find_in(block: bytes, needle: bytes, limit: int) -> Iterator[int]:
    place = block.find(needle)
    while place >= 0 and limit > 0:
        yield place
        place, limit = block.find(needle, place + len(needle)), limit - 1


def _show(data: bytes, place: int, size: int) -> str:
    start, end = find_cut(data, place - CONTEXT_BYTES), find_cut(data, place + size + CONTEXT_BYTES)
    return f"{'…' if start else ''}{' '.join(data[start:end].decode().split())}{'…' if end < len(data) else ''}"
