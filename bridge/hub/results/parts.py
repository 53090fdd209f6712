"""The parts of a tool result's content: each is read as what it was meant to be, and becomes words where it cannot be.

The SDK (mcp 2.3) rejects all content over one part that it does not know.
"""

from collections.abc import Iterator

import anyio.lowlevel
from mcp import types
from pydantic import TypeAdapter, ValidationError

from bridge.hub.results.base64_values import name_data
from bridge.json_text import Json, JsonObject, write

PARTS_AT_ONCE = 200
"""How many parts are validated before other tasks get a turn of the event loop."""
_BLOCK, _BLOCKS = TypeAdapter[types.ContentBlock](types.ContentBlock), TypeAdapter(list[types.ContentBlock])
_KINDS = {"text", "image", "audio", "resource", "resource_link"}
_PLAIN = {"type", "text", "annotations", "_meta", "mimeType"}
"""The fields of a part that is nothing but a text."""
_UNKNOWN_KIND = "of an unknown kind"


async def read_parts(content: Json) -> list[types.ContentBlock]:
    """Return the parts of any content, in order."""
    parts, blocks = _list_parts(content), list[types.ContentBlock]()
    for start in range(0, len(parts), PARTS_AT_ONCE):
        some = parts[start : start + PARTS_AT_ONCE]
        blocks += _read_all(some) or [block for part in some for block in _mend_all(part)]
        if len(parts) > PARTS_AT_ONCE:
            await anyio.lowlevel.checkpoint()
    return blocks


def _read_all(parts: list[Json]) -> list[types.ContentBlock] | None:
    if not all(map(_says_kind, parts)):
        return None
    try:
        return _BLOCKS.validate_python(parts, by_name=False)
    except (ValidationError, RecursionError):
        return None


def _says_kind(part: Json) -> bool:
    """Tell whether a part says a kind that the SDK knows: it takes one that says none for a text or an image."""
    return isinstance(part, dict) and isinstance(kind := part.get("type"), str) and kind in _KINDS


def _list_parts(content: Json) -> list[Json]:
    match content:
        case list():
            return content
        case None:
            return []
        case dict() if content and all(key.isdecimal() for key in content):
            return list(content.values())  # a list that PHP wrote as an object
        case _:
            return [content]


def _mend_all(part: Json) -> Iterator[types.ContentBlock]:
    yield from map(_mend, part) if isinstance(part, list) and part else [_mend(part)]


def _mend(part: Json) -> types.ContentBlock:
    """Read a part by what it says it is, else by what it holds; one that is neither becomes its JSON as a text."""
    if isinstance(part, str):
        return _say(part)
    if isinstance(part, dict):
        part = _complete(part)
        match part:
            case {"type": "text", "text": str(text)}:
                return _say(text)
            case _:
                block = _read(part) or _read(_reduce(part))
                if block:
                    return block
    return _say(write(name_data(part)))


def _complete(part: JsonObject) -> JsonObject:
    """Add the kind of a part that says none, or not in the word that MCP has for it."""
    said = part.get("type")
    kind = said.lower() if isinstance(said, str) else None if said else _find_kind(part)
    if kind == "contents":
        return {"type": "resource", "resource": part}
    return part if kind == said or kind not in _KINDS else part | {"type": kind}


def _find_kind(part: JsonObject) -> str | None:
    kind = str(part.get("mimeType")).partition("/")[0].lower()
    match part:
        case {"resource": dict()}:
            return "resource"
        case {"uri": str(), "text": str()} | {"uri": str(), "blob": str()}:
            return "contents"
        case {"uri": str(), "name": str()}:
            return "resource_link"
        case {"text": str()} if part.keys() <= _PLAIN:
            return "text"
        case {"data": str()} if kind in ("image", "audio"):
            return kind
        case _:
            return None


def _reduce(part: JsonObject) -> JsonObject:
    """Return the part with those fields only without which it is none: one of the others is not as it should be."""
    match part:
        case {"type": "image" | "audio" as kind, "data": str(data)}:
            mime = part.get("mimeType") or part.get("mime_type") or _UNKNOWN_KIND
            return {"type": kind, "data": data, "mimeType": mime if isinstance(mime, str) else _UNKNOWN_KIND}
        case {"type": "resource", "resource": dict(resource)}:
            kept = {key: resource.get(key) for key in ("uri", "mimeType", "text", "blob")}
            return {"type": "resource", "resource": {k: v for k, v in kept.items() if isinstance(v, str)}}
        case {"type": "resource_link", "uri": str(uri)}:
            words = {key: part.get(key) for key in ("title", "description", "mimeType")}
            name = part.get("name")
            link: JsonObject = {"type": "resource_link", "uri": uri, "name": name if isinstance(name, str) else uri}
            return link | {key: word for key, word in words.items() if isinstance(word, str)}
        case _:
            return part


def _read(part: JsonObject) -> types.ContentBlock | None:
    if not _says_kind(part):
        return None
    try:
        return _BLOCK.validate_python(part, by_name=False)
    except (ValidationError, RecursionError):
        return None


def _say(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)
