"""The choice between the structured content of a result and the parts of its content."""

from collections.abc import Sequence
from typing import NamedTuple

from mcp import types

from bridge.config.settings import StructuredContent
from bridge.hub.results.base64_values import KnownData, may_hold_base64
from bridge.hub.results.mirrors import read_json, says_same, split_json
from bridge.json_text import Json, write


class Choice(NamedTuple):
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
    known = KnownData(content, shows_texts=policy in ("both", "unless_text"))
    if structured is None:
        return Choice(_blank(content, known), known)
    texts = [block.text for block in content if isinstance(block, types.TextContent)]
    has_enough = policy == "unless_text" and bool(texts)
    if has_enough and not any(map(may_hold_base64, texts)):
        return Choice(_blank(content, known), known)
    is_same = says_same(content, structured)
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
    before, json_text, after = split_json(text)
    value = read_json(json_text)
    shorter = known.shorten(value) if isinstance(value, (list, dict)) else value
    return _say(text if shorter is value else f"{before}{write(shorter)}{after}")


def _say(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)
