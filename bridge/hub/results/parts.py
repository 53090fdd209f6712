"""The content of a tool result, mended before the SDK reads it.

The SDK (mcp 2.3) rejects all content over one part that it does not know. It also validates, writes and validates again
every result: 200,000 short texts blocked the event loop for 1.4 s, fifteen times as long as reading their bytes. So
many parts are held back from the SDK, and validated here a few at a time.
"""

from typing import Final

import anyio.lowlevel
from mcp import types
from pydantic import TypeAdapter, ValidationError

from bridge.json_text import Json, encode

PARTS_AT_ONCE = 200
"""How many parts are validated before other tasks get a turn of the event loop."""
_KEY: Final = "mcp-responses-bridge/parts"
_BLOCK, _BLOCKS = TypeAdapter[types.ContentBlock](types.ContentBlock), TypeAdapter(list[types.ContentBlock])


class Held(str):
    """An empty text that carries parts; the SDK passes it on as it is. No server can send one."""

    __slots__ = ("parts",)

    def __new__(cls, parts: list[Json]) -> "Held":
        held = super().__new__(cls)
        held.parts = parts
        return held

    parts: list[Json]


def mend_content(result: dict[str, Json]) -> None:
    """Change the content of a tool result, in place, to what the SDK accepts: a part it does not know becomes text.

    More than PARTS_AT_ONCE parts are held back until `release_parts`.
    """
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
    """Put the parts that `mend_content` held back into the content."""
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
    """Return a part as the SDK accepts it; an unknown one becomes its JSON as text, with binary data left out."""
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
