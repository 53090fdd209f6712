"""A tool result as a call output: what the model reads of what a server said, and nothing dropped in silence."""

from collections.abc import Sequence

from mcp import types

from bridge.items import Abilities, Json, JsonObject, encode, scrub

NO_OUTPUT = "(no output)"


def render_result(
    result: types.CallToolResult, *, abilities: Abilities, limit_bytes: int
) -> tuple[str | list[JsonObject], bool]:
    """The output for the model and whether the tool reported an error.

    One text block, the most widely understood form, stays a plain string; several blocks or an image become content
    parts where the upstream bears them. Structured content speaks where there is no other content.
    """
    parts = [_render_block(block, abilities) for block in result.content]
    if not parts:
        structured = result.structured_content
        parts = [_text(NO_OUTPUT if structured is None else encode(structured))]
    if result.is_error:
        return cut_middle(encode_error("tool_error", _join(parts)), limit_bytes), True
    if not abilities.content_parts or all(part["type"] == "input_text" for part in parts):
        return cut_middle(_join(parts), limit_bytes), False
    return _cut_parts(parts, limit_bytes), False


def encode_error(code: str, message: str, **details: Json) -> str:
    """The one form in which the model reads that a call failed: a call output has no flag for it."""
    return encode({"error": code, "message": message} | details)


def cut_middle(text: str, limit_bytes: int) -> str:
    """`text` within `limit_bytes` of UTF-8: its head and its tail, and between them what is missing."""
    data = text.encode("utf-8", "replace")
    if len(data) <= limit_bytes:
        return text
    half = limit_bytes // 2
    head, tail = data[:half].decode("utf-8", "ignore"), data[-half:].decode("utf-8", "ignore")
    return f"{head}\n[… {len(data) - 2 * half:,} of {len(data):,} bytes left out here …]\n{tail}"


def _render_block(block: types.ContentBlock, abilities: Abilities) -> JsonObject:
    match block:
        case types.TextContent():
            return _text(scrub(block.text))
        case types.ImageContent() if abilities.images and abilities.content_parts:
            return {"type": "input_image", "image_url": f"data:{block.mime_type};base64,{block.data}", "detail": "auto"}
        case types.ImageContent() | types.AudioContent():
            return _text(f"[{block.type}, {block.mime_type}, {len(block.data) * 3 // 4:,} bytes: not shown]")
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return _text(f"[resource {resource.uri}]\n{scrub(resource.text)}")
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            size = len(resource.blob) * 3 // 4
            return _text(f"[resource {resource.uri}, {resource.mime_type or 'binary'}, {size:,} bytes: not shown]")
        case _:
            return _text(scrub(block.model_dump_json(by_alias=True, exclude_none=True)))


def _text(text: str) -> JsonObject:
    return {"type": "input_text", "text": text}


def _join(parts: Sequence[JsonObject]) -> str:
    return "\n".join(str(part.get("text", "")) for part in parts)


def _cut_parts(parts: list[JsonObject], limit_bytes: int) -> list[JsonObject]:
    """Text parts share the limit; an image over it is named instead of sent."""
    texts = [part for part in parts if part["type"] == "input_text"]
    share = limit_bytes // max(1, len(texts))
    return [_cut_part(part, share) for part in parts]


def _cut_part(part: JsonObject, share: int) -> JsonObject:
    return _text(cut_middle(str(part["text"]), share)) if part["type"] == "input_text" else part
