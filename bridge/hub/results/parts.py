"""The content of a result on its way through the SDK, which would lose all of it over one part that it does not know,
and read very many parts at one go.

The SDK (mcp 2.3) validates, writes and validates again whatever a server answers: 200,000 short texts held up the event
loop for 1.4 s, fifteen times as long as reading their bytes. So they are put aside, and read here a few at a time.
"""

from typing import Final

import anyio.lowlevel
from mcp import types
from pydantic import TypeAdapter, ValidationError

from bridge.json_text import Json, encode

PARTS_AT_ONCE = 200
"""How many are read at one go: the event loop waits meanwhile."""
_KEY: Final = "mcp-responses-bridge/parts"
_BLOCK, _BLOCKS = TypeAdapter[types.ContentBlock](types.ContentBlock), TypeAdapter(list[types.ContentBlock])


class Held(str):
    """Parts behind an empty text, which the SDK passes on as it is. No server can send one."""

    __slots__ = ("parts",)

    def __new__(cls, parts: list[Json]) -> "Held":
        held = super().__new__(cls)
        held.parts = parts
        return held

    parts: list[Json]


def mend_content(result: dict[str, Json]) -> None:
    """Make the content of a tool's result, in place, what the SDK takes: what it does not know becomes words."""
    if not result.keys() & {"content", "structuredContent"}:
        return
    meta = result.pop("_meta", None)
    kept: dict[str, Json] = meta if isinstance(meta, dict) else {}
    if result.get("isError") is None:
        result.pop("isError", None)
    content = result.get("content")
    parts = content if isinstance(content, list) else [] if content is None else [content]
    if len(parts) > PARTS_AT_ONCE:
        kept[_KEY] = Held(parts)
        parts = list[Json]()
    result["content"] = list(map(_mend, parts))
    if kept:
        result["_meta"] = kept


async def release_parts(result: types.CallToolResult) -> None:
    """Bring back what was put aside."""
    held = (result.meta or {}).pop(_KEY, None)
    parts = held.parts if isinstance(held, Held) else []
    for start in range(0, len(parts), PARTS_AT_ONCE):
        some = parts[start : start + PARTS_AT_ONCE]
        try:
            result.content += _BLOCKS.validate_python(some, by_name=False)
        except ValidationError:
            result.content += _BLOCKS.validate_python(list(map(_mend, some)), by_name=False)
        await anyio.lowlevel.checkpoint()


def _mend(part: Json) -> Json:
    """A part as the SDK knows it. Any other is its JSON as a text, without what only a program can read."""
    match part:
        case {"type": "text", "text": str(text)}:
            return part if len(part) == 2 or _is_known(part) else _say(text)
        case {"type": "image" | "audio", "data": str()} if not isinstance(part.get("mimeType"), str):
            part = part | {"mimeType": str(part.get("mime_type") or "of an unknown kind")}
        case str():
            return _say(part)
        case _:
            pass
    if _is_known(part):
        return part
    try:
        return _say(encode(_shorten(part)))
    except (ValueError, RecursionError):
        return _say("[a part that cannot be written as JSON: not shown]")


def _is_known(part: Json) -> bool:
    try:
        _BLOCK.validate_python(part, by_name=False)
    except ValidationError:
        return False
    return True


def _say(text: str) -> Json:
    return {"type": "text", "text": text}


def _shorten(part: Json) -> Json:
    return {key: _name(key, value) for key, value in part.items()} if isinstance(part, dict) else part


def _name(key: str, value: Json) -> Json:
    is_binary = key in ("data", "blob") and isinstance(value, str)
    return f"{len(value):,} characters: not shown" if is_binary else value
