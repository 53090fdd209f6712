"""The request of a caller: parameters and a choice of tools, read from the arguments of `respond`."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from bridge.items import CALL_TYPES, read_content
from bridge.json_text import Json, JsonObject, decode, encode

END_CHARS, END_SENTENCES = 2000, 4
"""How much of each end of a long message is read for wishes: characters, and sentences."""
_SENTENCE_END = re.compile(r"[\n。;；!?！？]+|\.\s+|\bthen\b|然后|再")

JOINED_LATER = ("input", "tools", "stream", "previous_response_id")
"""Parts of the request body that are not parameters of a turn."""
SENT_AS_THEY_ARE = ["instructions", "tool_choice", "parallel_tool_calls"]
SENT_AS_THEY_ARE += ["max_output_tokens", "temperature", "text", "store"]


@dataclass(frozen=True)
class Request:
    """The part of `respond`'s arguments that the loop needs."""

    parameters: Mapping[str, Json]
    """Create parameters other than `input`, `tools`, `stream` and `previous_response_id`."""
    tools: Sequence[str | JsonObject] | None = None
    """The caller's choice of tools; None is all."""

    @property
    def is_kept(self) -> bool:
        """True where the upstream adds every item to a conversation of its own: sent again, they would be in it
        twice."""
        return "conversation" in self.parameters

    def name_tools(self, items: Iterable[str]) -> list[str]:
        """List the tools that the request mentions by name: in a forced choice, or in calls among these items."""
        called = [item.get("name") for item in _read_items(items) if item.get("type") in CALL_TYPES]
        choice = self.parameters.get("tool_choice")
        entries = [choice, *_as_list(choice.get("tools"))] if isinstance(choice, dict) else []
        forced = [entry.get("name") for entry in entries if isinstance(entry, dict)]
        return [name for name in (*forced, *called) if isinstance(name, str)]


def read_wishes(items: Iterable[str]) -> list[str]:
    """Read what the user asks for: the last message as a whole, then its sentences, each of which may ask for something
    else. Of a long message, only the beginning and the end are read."""
    texts = [read_content(item.get("content")) for item in _read_items(items) if item.get("role") == "user"]
    text = texts[-1] if texts else ""
    text = text if len(text) <= 2 * END_CHARS else f"{text[:END_CHARS]}\n{text[-END_CHARS:]}"
    sentences = [part for part in _SENTENCE_END.split(text) if part.strip()]
    ends = sentences[:END_SENTENCES] + sentences[END_SENTENCES:][-END_SENTENCES:]
    return [text, *ends] if len(ends) > 1 else [text]


def _read_items(items: Iterable[str]) -> Iterator[JsonObject]:
    return (item for item in map(decode, items) if isinstance(item, dict))


def build_request(arguments: JsonObject, *, model: str, defaults: Mapping[str, Json]) -> Request:
    """Build the request from checked `arguments`; what the caller gave wins over the config's `defaults`."""
    extra = _as_object(arguments.get("extra"))
    parameters: JsonObject = dict(defaults) | extra
    if "previous_response_id" in arguments:
        parameters.pop("conversation", None)  # a default; the API takes only one of the two
    parameters |= {name: arguments[name] for name in SENT_AS_THEY_ARE if name in arguments}
    parameters["model"] = arguments.get("model", model)
    if "reasoning_effort" in arguments:
        parameters["reasoning"] = _as_object(parameters.get("reasoning")) | {"effort": arguments["reasoning_effort"]}
    labels = _as_object(arguments.get("metadata") or parameters.get("metadata"))
    parameters["metadata"] = {name: _write_label(label) for name, label in labels.items()} or None
    # Without a store the upstream cannot look up reasoning by its id later: it must come whole.
    encrypted: list[Json] = ["reasoning.encrypted_content"] if parameters.get("store") is False else []
    include = encrypted + _as_list(defaults.get("include")) + _as_list(extra.get("include"))
    parameters["include"] = [*dict.fromkeys(map(str, include))] or None
    wanted = arguments.get("tools")
    if more_tools := _as_list(defaults.get("tools")) + _as_list(extra.get("tools")):
        wanted = (["*"] if wanted is None else _as_list(wanted)) + more_tools
    sent = {name: value for name, value in parameters.items() if value is not None and name not in JOINED_LATER}
    return Request(sent, cast("list[str | JsonObject] | None", wanted))


def _as_object(value: Json) -> JsonObject:
    return value if isinstance(value, dict) else {}


def _write_label(label: Json) -> str:
    """Write a metadata value as text, the only type that the API takes."""
    return label if isinstance(label, str) else encode(label)


def _as_list(value: Json) -> list[Json]:
    return value if isinstance(value, list) else []
