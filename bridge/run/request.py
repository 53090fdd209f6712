"""What the caller asked for: parameters, items and a choice of tools."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from bridge.items import CALL_TYPES, Json, JsonObject, Last, decode

END_CHARS, END_SENTENCES = 2000, 4
"""How much of each end of a message is read for what it asks for."""
_SENTENCE_END = re.compile(r"[\n。;；!?！？]+|\.\s+|\bthen\b|然后|再")


@dataclass(frozen=True)
class Request:
    """The arguments of `respond` that the loop is concerned with."""

    parameters: Mapping[str, Json]
    """Create parameters other than `input`, `tools` and `stream`."""
    items: Sequence[str]
    """The input, each item as its JSON text."""
    tools: Sequence[str | JsonObject] | None = None
    """The caller's choice of tools; None is all."""
    last: Last | None = None
    """The response that it goes on from, where the items until then are known here and among `items`."""

    @property
    def is_kept(self) -> bool:
        """Whether the upstream adds every item to a conversation of its own: sent again, they would be in it twice."""
        return "conversation" in self.parameters

    def read_wishes(self) -> list[str]:
        """What the user asks for: the last message, then its sentences, each of which may ask for another thing. Of a
        long message it is the beginning and the end."""
        texts = [_read_content(item.get("content")) for item in self._read_items() if item.get("role") == "user"]
        text = texts[-1] if texts else ""
        text = text if len(text) <= 2 * END_CHARS else f"{text[:END_CHARS]}\n{text[-END_CHARS:]}"
        sentences = [part for part in _SENTENCE_END.split(text) if part.strip()]
        ends = sentences[:END_SENTENCES] + sentences[END_SENTENCES:][-END_SENTENCES:]
        return [text, *ends] if len(ends) > 1 else [text]

    def name_tools(self) -> list[str]:
        """The tools that it speaks of by name: those that the input has calls of, and those of a forced choice."""
        called = [item.get("name") for item in self._read_items() if item.get("type") in CALL_TYPES]
        choice = self.parameters.get("tool_choice")
        entries = [choice, *_as_list(choice.get("tools"))] if isinstance(choice, dict) else []
        forced = [entry.get("name") for entry in entries if isinstance(entry, dict)]
        return [name for name in (*forced, *called) if isinstance(name, str)]

    def _read_items(self) -> Iterator[JsonObject]:
        return (item for item in map(decode, self.items) if isinstance(item, dict))


def _read_content(content: Json) -> str:
    if isinstance(content, str):
        return content
    texts = (part.get("text") for part in _as_list(content) if isinstance(part, dict))
    return "\n".join(text for text in texts if isinstance(text, str))


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
