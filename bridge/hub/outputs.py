"""A tool result as a call output: what the model reads of what a server said, and nothing dropped in silence."""

import binascii
from collections.abc import Sequence

from mcp import types

from bridge.cuts import Keep, cut_middle
from bridge.items import JsonObject, encode, encode_error, scrub

NO_OUTPUT = "(no output)"
IMAGE_TYPES = {"image/png", "image/jpeg", "image/webp", "image/gif"}
MAX_IMAGE_CHARS = 20 << 20
"""What the Responses API takes; it refuses a whole request over one image of another kind, larger or broken."""


def render_result(
    result: types.CallToolResult, *, limit_bytes: int, keep: Keep | None = None
) -> tuple[str | list[JsonObject], bool]:
    """The output for the model and whether the tool reported an error.

    Text alone is a plain string, the most widely understood form; with an image it becomes content parts. Structured
    content is said where no text says it. Texts over the limit are cut, and given to `keep`. Raises ValueError or
    RecursionError for content that JSON cannot hold.
    """
    parts = [_render_block(block, shows_images=not result.is_error) for block in result.content]
    if result.structured_content is not None and not any(isinstance(b, types.TextContent) for b in result.content):
        parts.append(_text(encode(result.structured_content)))
    if result.is_error:
        return encode_error("tool_error", cut_middle(_join(parts), limit_bytes, keep)), True
    if all(part["type"] == "input_text" for part in parts):
        return cut_middle(_join(parts), limit_bytes, keep), False
    return _cut_parts(parts, limit_bytes, keep), False


def _render_block(block: types.ContentBlock, *, shows_images: bool) -> JsonObject:
    match block:
        case types.TextContent():
            return _text(scrub(block.text))
        case types.ImageContent() if shows_images and _is_sendable(block.mime_type, block.data):
            return _image(block.mime_type, block.data)
        case types.ImageContent() | types.AudioContent():
            return _text(f"[{block.type}, {block.mime_type}, {_count_bytes(block.data)}: not shown]")
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return _text(scrub(f"[resource {resource.uri}]\n{resource.text}"))
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            kind = resource.mime_type or "binary"
            if shows_images and _is_sendable(kind, resource.blob):
                return _image(kind, resource.blob)
            return _text(scrub(f"[resource {resource.uri}, {kind}, {_count_bytes(resource.blob)}: not shown]"))
        case _:
            return _text(encode(block.model_dump(by_alias=True, exclude_none=True)))


def _is_sendable(kind: str, data: str) -> bool:
    if kind not in IMAGE_TYPES or len(data) > MAX_IMAGE_CHARS:
        return False
    try:
        return bool(binascii.a2b_base64(data, strict_mode=True))
    except ValueError:
        return False


def _count_bytes(data: str) -> str:
    return f"{len(data.rstrip('=')) * 3 // 4:,} bytes"


def _image(kind: str, data: str) -> JsonObject:
    return {"type": "input_image", "image_url": f"data:{kind};base64,{data}", "detail": "auto"}


def _text(text: str) -> JsonObject:
    return {"type": "input_text", "text": text}


def _join(parts: Sequence[JsonObject]) -> str:
    return "\n".join(str(part["text"]) for part in parts) or NO_OUTPUT


def _cut_parts(parts: list[JsonObject], limit_bytes: int, keep: Keep | None) -> list[JsonObject]:
    """Text parts share the limit, and what a short one leaves is the others'; images do not count."""
    texts = sorted((part for part in parts if part["type"] == "input_text"), key=lambda part: len(str(part["text"])))
    for number, part in enumerate(texts):
        text = cut_middle(str(part["text"]), limit_bytes // (len(texts) - number), keep)
        limit_bytes = max(0, limit_bytes - len(text.encode()))
        part["text"] = text
    return parts
