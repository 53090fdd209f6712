"""The choice between the structured content of a result and the parts of its content."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mcp import types
from pydantic_core import from_json

from bridge.config.settings import StructuredContent
from bridge.hub.results.base64_values import KnownData, may_hold_base64, name_data
from bridge.json_text import Json, JsonObject, write

MAX_TEXTS = 20
"""Among how many texts one is looked for that says the structured content."""


@dataclass(frozen=True)
class Choice:
    """What the model gets of a result: the blocks, the structured content (or None), and a note on what was left out.

    `known` are the data of its parts, which are shown nowhere else.
    """

    blocks: Sequence[types.ContentBlock]
    known: KnownData
    structured: Json = None
    left_out: str | None = None


def choose_content(result: types.CallToolResult, policy: StructuredContent) -> Choice:
    """Choose what the model gets of a result.

    MCP asks servers to repeat structured content as text, which most do: the model then gets it once. If the two
    differ, a host that shows only one loses the other (github/copilot-cli#3258, MoonshotAI/kimi-code#2554).
    """
    content = result.content
    structured: Json = result.structured_content
    known = KnownData(content)
    if structured is None:
        return Choice(_blank(content, known), known)
    texts = [block.text for block in content if isinstance(block, types.TextContent)]
    has_enough = policy == "unless_text" and bool(texts)
    if has_enough and not any(map(may_hold_base64, texts)):
        return Choice(_blank(content, known), known)
    is_same = _says_same(content, texts, structured)
    if policy in ("both", "unless_text"):
        blocks = [_shorten(block, known) for block in content] if is_same else _blank(content, known)
        return Choice(blocks, known, None if is_same or has_enough else structured)
    is_shown = policy == "prefer"
    kept = [block for block in content if is_shown and not isinstance(block, types.TextContent)]
    left = len(content) - len(kept) - (len(texts) if is_same else 0)
    words = f"[{left} left out beside the structured content, as configured]" if left else None
    return Choice(kept, known, structured, words)


def _blank(content: Sequence[types.ContentBlock], known: KnownData) -> Sequence[types.ContentBlock]:
    """Name the data of the parts where a text repeats them."""
    if not known:
        return content
    return [_say(known.blank(block.text)) if isinstance(block, types.TextContent) else block for block in content]


def _shorten(block: types.ContentBlock, known: KnownData) -> types.ContentBlock:
    """Name the base64 in a text that repeats structured content."""
    if not isinstance(block, types.TextContent):
        return block
    text = known.blank(block.text)
    if not may_hold_base64(text):
        return _say(text)
    before, json_text, after = _split_json(text)
    value = _read(json_text)
    shorter = known.shorten(value) if isinstance(value, (list, dict)) else value
    return _say(text if shorter is value else f"{before}{write(shorter)}{after}")


def _say(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)


def _says_same(content: Sequence[types.ContentBlock], texts: Sequence[str], structured: Json) -> bool:
    """Tell whether the content repeats the structured content.

    The texts may be its JSON, or the value of its only field, with one text for each element of a list: so the SDK
    writes results that are not objects. Or either holds the parts themselves (neka-nat/freecad-mcp#102).
    """
    wanted = [structured, *_inside(structured)]
    if len(texts) <= MAX_TEXTS and any(value in said for said in map(_find_said, texts) for value in wanted):
        return True
    lists = [value for value in wanted if isinstance(value, list)]
    return any(_says_each(texts, values) or _is_content(content, values) for values in lists) or any(
        len(content) == 1 and _is_part(content[0], value) for value in wanted
    )


def _find_said(text: str) -> list[Json]:
    """Return the values that a text says: itself, the JSON that it is or holds, and what is in its only field."""
    value = _read(text)
    if value is text and (json_text := _split_json(text)[1]) != text:
        value = _read(json_text)
    return [text, value, *_inside(value)]


def _split_json(text: str) -> tuple[str, str, str]:
    """Split a text into the JSON in it, from the first bracket to the last, and the words around it."""
    start = min((place for place in (text.find("{"), text.find("[")) if place >= 0), default=0)
    end = max(text.rfind("}"), text.rfind("]")) + 1
    return (text[:start], text[start:end], text[end:]) if start < end else ("", text, "")


def _inside(value: Json) -> Iterable[Json]:
    """Return the value of the only field of an object."""
    return value.values() if isinstance(value, dict) and len(value) == 1 else ()


def _says_each(texts: Sequence[str], values: Sequence[Json]) -> bool:
    pairs = zip(texts, values, strict=False)
    return len(texts) == len(values) > 0 and all(value in (text, _read(text)) for text, value in pairs)


def _is_content(content: Sequence[types.ContentBlock], values: Sequence[Json]) -> bool:
    return len(content) == len(values) > 0 and all(map(_is_part, content, values))


def _is_part(block: types.ContentBlock, value: Json) -> bool:
    """Tell whether a value is the part that a block was made of; fields that are null do not count."""
    if not isinstance(value, dict) or "type" not in value:
        return False
    said = _drop_nulls(value)
    if isinstance(block, types.TextContent):
        return block.text in (said.get("text"), write(name_data(said)), write(name_data(value)))
    return said == block.model_dump(by_alias=True, exclude_none=True)


def _drop_nulls(fields: JsonObject) -> JsonObject:
    kept = {key: value for key, value in fields.items() if value is not None}
    return {key: _drop_nulls(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _read(text: str) -> Json:
    """Parse a text as JSON; return the text itself if that fails, as it does for half an emoji."""
    try:
        return from_json(text)
    except (ValueError, TypeError):
        return text
