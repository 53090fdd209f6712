"""The choice between the structured content of a result and its texts."""

from collections.abc import Sequence

from mcp import types
from pydantic_core import from_json

from bridge.config.settings import StructuredContent
from bridge.json_text import Json, JsonObject


def choose_content(
    result: types.CallToolResult, policy: StructuredContent
) -> tuple[Sequence[types.ContentBlock], JsonObject | None, str | None]:
    """Return the blocks and the structured content (or None) that the model gets, and a note on what was left out.

    MCP asks servers to repeat structured content as text, which most do: the model then gets it once. If the two
    differ, a host that shows only one loses the other (github/copilot-cli#3258, MoonshotAI/kimi-code#2554).
    """
    structured: JsonObject | None = result.structured_content
    texts = [block.text for block in result.content if isinstance(block, types.TextContent)]
    if structured is None or (policy == "unless_text" and texts):
        return result.content, None, None
    is_same = _says_same(texts, structured)
    if policy in ("both", "unless_text"):
        return result.content, None if is_same else structured, None
    is_shown = policy == "prefer"
    kept = [block for block in result.content if is_shown and not isinstance(block, types.TextContent)]
    left = len(result.content) - len(kept) - (len(texts) if is_same else 0)
    return kept, structured, f"[{left} left out beside the structured content, as configured]" if left else None


def _says_same(texts: Sequence[str], structured: JsonObject) -> bool:
    """Tell whether the texts repeat the structured content.

    They may be its JSON, or the value of its only field, with one text for each element of a list: so the SDK writes
    results that are not objects.
    """
    wanted: list[Json] = [structured]
    if len(structured) == 1:
        wanted += structured.values()
    if len(texts) == 1:
        said: list[Json] = [texts[0], _read(texts[0])]
        return any(value in said for value in wanted)
    return any(isinstance(value, list) and _says_each(texts, value) for value in wanted)


def _says_each(texts: Sequence[str], values: list[Json]) -> bool:
    pairs = zip(texts, values, strict=False)
    return len(texts) == len(values) and all(value in (text, _read(text)) for text, value in pairs)


def _read(text: str) -> Json:
    """Parse a text as JSON; return the text itself if that fails, as it does for half an emoji."""
    try:
        return from_json(text)
    except (ValueError, TypeError):
        return text
