"""The outputs of one run that were too long for the model: stored whole, and read or searched with `read_output`."""

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

MAX_BYTES = 128 << 20
"""How much a run stores in all: two of the largest messages that a server may send, by default."""
MAX_HITS = 20
CONTEXT_BYTES = 100
"""How much is shown before and after each hit."""
STRIDE_BYTES = 1 << 20
"""How much is searched at a time; the event loop waits meanwhile."""
MIN_PAGE_BYTES = 100
"""The least size of a page, however little is left for it: each must bring the model further."""

READ_OUTPUT = OWN_NAMES[0]
FUNCTION = Function(
    READ_OUTPUT,
    "Read what was left out of a long tool output: a page from `offset` on or, with `search`, the parts that "
    "have these words.",
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
_POINTER = re.compile(rf"{READ_OUTPUT} with id (\d{{1,9}}) has all of it")


class LongOutputs:
    """The whole texts of the outputs that were cut. They are gone when the run ends."""

    def __init__(self, *, after: int = 0, notify: Callable[[Notice], None]) -> None:
        """`after`: the last id that the conversation mentions, from an earlier run, so that no id is used twice."""
        self._notify = notify
        self._texts: dict[int, bytes] = {}
        self._last_id = after
        # The outputs of the built-in tools are short, whatever they are asked.
        self.tool = OwnTool(FUNCTION, self._read, accompanies=lambda owner: owner != BUILTIN)

    def keep(self, text: str, data: bytes) -> str:
        """Store a text now. Returns a sentence that tells the model how to read it."""
        [cut] = self.reserve(1)
        pointer = cut.keep(text, data)
        self.put(cut.texts, cut.data)
        return pointer

    def reserve(self, calls: int) -> list["CutTexts"]:
        """Reserve ids for the calls of one turn. A repeated call uses the same ids, whichever call ends first."""
        return [CutTexts(self._last_id + 1 + index, step=calls) for index in range(calls)]

    def put(self, texts: Mapping[str, str], data: Mapping[str, bytes]) -> None:
        """Store texts by their ids, and drop the oldest ones where they take too much memory. `data` has the texts that
        are encoded as UTF-8 already."""
        for key, text in texts.items():
            self._texts[int(key)] = data[key] if key in data else text.encode("utf-8", "replace")
            self._last_id = max(self._last_id, int(key))
        while len(self._texts) > 1 and sum(map(len, self._texts.values())) > MAX_BYTES:
            self._drop_oldest()

    def _drop_oldest(self) -> None:
        oldest = min(self._texts)
        size = len(self._texts.pop(oldest))
        message = f"Long output {oldest} ({size:,} bytes) is no longer kept: the limit of a run is {MAX_BYTES:,} bytes"
        self._notify(Notice(code="output_dropped", message=message))

    async def _read(self, arguments: JsonObject, limit_bytes: int) -> str:
        wanted, offset, words = arguments["id"], arguments.get("offset") or 0, arguments.get("search") or ""
        assert isinstance(wanted, (int, float))  # in JSON Schema, 1.0 is an integer
        assert isinstance(offset, (int, float))
        number = int(wanted)
        data = self._texts.get(number)
        if data is None:
            raise ValueError(self._explain_absence(number))
        start = find_cut(data, int(offset))
        return await _search(number, data, start, str(words)) if words else _show_page(number, data, start, limit_bytes)

    def _explain_absence(self, number: int) -> str:
        if 0 < number <= self._last_id:
            return f"output {number} is no longer kept, or belonged to an earlier run; call the tool again"
        return f"there is no long output {number}; stored are: {', '.join(map(str, self._texts)) or 'none'}"


class CutTexts:
    """The whole texts of what was cut in the output of one call, under the ids reserved for it."""

    def __init__(self, first: int, *, step: int) -> None:
        self._ids = itertools.count(first, step)
        self.texts: dict[str, str] = {}
        self.data: dict[str, bytes] = {}
        """The same texts as UTF-8."""

    def keep(self, text: str, data: bytes) -> str:
        """Give a text an id. Returns a sentence that tells the model how to read it."""
        key = str(next(self._ids))
        self.texts[key], self.data[key] = text, data
        return f"{READ_OUTPUT} with id {key} has all of it"


def find_last_id(items: Iterable[str]) -> int:
    """Return the highest id of a long output that these items, as JSON texts, mention; 0 where they mention none."""
    return max((int(pointer[1]) for text in items for pointer in _POINTER.finditer(text)), default=0)


def _show_page(number: int, data: bytes, start: int, page_bytes: int) -> str:
    """Return one page, under a line that says which one it is."""
    end = find_cut(data, start + max(page_bytes, MIN_PAGE_BYTES))
    rest = f"the next begins at offset {end}" if end < len(data) else "this is its end"
    head = f"[output {number}, bytes {start:,} to {end:,} of {len(data):,}; {rest}]"
    return f"{head}\n{data[start:end].decode()}"


async def _search(number: int, data: bytes, start: int, words: str) -> str:
    """Find `words`, ignoring the case of Latin letters. Returns each hit with its offset and its context."""
    hits, count = list[int](), 0
    needle = words.encode("utf-8", "replace").lower()
    for begin in range(start, len(data), STRIDE_BYTES):
        block = data[begin : begin + STRIDE_BYTES + len(needle) - 1].lower()
        hits += (begin + position for position in _find_in(block, needle, MAX_HITS + 1 - len(hits)))
        count += block.count(needle)
        await anyio.lowlevel.checkpoint()
    rest = f", the first {MAX_HITS} of them here; search on from offset {hits.pop()}" if len(hits) > MAX_HITS else ""
    head = f"[output {number}, {len(data):,} bytes: {words!r} is in {count:,} places from offset {start} on{rest}]"
    return "\n".join([head, *(f"{hit}: {_show(data, hit, len(needle))}" for hit in hits)])


def _find_in(block: bytes, needle: bytes, limit: int) -> Iterator[int]:
    position = block.find(needle)
    while position >= 0 and limit > 0:
        yield position
        position, limit = block.find(needle, position + len(needle)), limit - 1


def _show(data: bytes, hit: int, size: int) -> str:
    start, end = find_cut(data, hit - CONTEXT_BYTES), find_cut(data, hit + size + CONTEXT_BYTES)
    return f"{'…' if start else ''}{' '.join(data[start:end].decode().split())}{'…' if end < len(data) else ''}"
