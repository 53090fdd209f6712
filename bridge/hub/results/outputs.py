"""A tool result as a call output: the text and images that the model reads; nothing is dropped in silence."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import anyio.lowlevel
from mcp import types

from bridge.config.settings import StructuredContent
from bridge.hub.results.carried import release_result
from bridge.hub.results.images import NotShown, fit_image
from bridge.hub.results.parts import PARTS_AT_ONCE
from bridge.hub.results.structured import choose_content
from bridge.items import encode_error
from bridge.json_text import JsonObject, scrub, write
from bridge.jsonrpc.messages import MENDED_WORDS, is_mended
from bridge.pictures import count_bytes, tidy
from bridge.texts import Keep, cut_middle

NO_OUTPUT = "(no output)"
_TEXTUAL = re.compile(r"text/|application/(?:[\w.-]+\+)?(?:json|xml|yaml|toml|javascript)\b")
"""Media types of files that come as bytes but are read as text."""


class Rendered(NamedTuple):
    """A tool result, rendered."""

    output: str | list[JsonObject]
    """What the model reads."""
    is_error: bool
    """True where the tool reported an error."""
    hidden: list[str]
    """Names of the images that could not be shown, each with the reason."""


@dataclass
class _Images:
    """The images of one result, within a limit."""

    limit_bytes: int
    """0 where none is shown, because the result is an error."""
    hidden: list[str] = field(default_factory=list)

    async def render(self, name: str, data: str) -> list[JsonObject]:
        """Return the image, then a note if it was scaled; or its name and the reason why it is not shown."""
        name = scrub(name)
        if not self.limit_bytes:
            return [_text(f"[{name}, {_count_bytes(data)}: not shown in an error]")]
        try:
            url, change = await fit_image(data, self.limit_bytes)
        except NotShown as reason:
            words = f"{name}, {_count_bytes(data)}: not shown, {reason}"
            self.hidden.append(words)
            return [_text(f"[{words}]")]
        image: JsonObject = {"type": "input_image", "image_url": url, "detail": "auto"}
        return [image, _text(f"[{name}: {change}]")] if change else [image]


async def render_result(
    result: types.CallToolResult,
    *,
    limit_bytes: int,
    image_bytes: int,
    policy: StructuredContent = "both",
    keep: Keep | None = None,
) -> Rendered:
    """Render a result for the model.

    Text alone is a plain string, the most widely understood form; with an image it becomes content parts. A text over
    the limit is cut, and given to `keep` as a whole.
    """
    await release_result(result)
    chosen = choose_content(result, policy)
    await anyio.lowlevel.checkpoint()  # a large text may have been parsed to compare it
    images = _Images(0 if result.is_error else image_bytes)
    parts = await _render_blocks(chosen.blocks, images)
    parts += [_text(chosen.known.write(chosen.structured))] if chosen.structured is not None else []
    parts += [_text(chosen.left_out)] if chosen.left_out else []
    parts += [_text(f"[{MENDED_WORDS}]")] if is_mended(result) else []
    if result.is_error:
        error = encode_error("tool_error", cut_middle(_join(parts), limit_bytes, keep))
        return Rendered(error, is_error=True, hidden=[])
    if all(part["type"] == "input_text" for part in parts):
        return Rendered(cut_middle(_join(parts), limit_bytes, keep), is_error=False, hidden=images.hidden)
    return Rendered(_cut_parts(parts, limit_bytes, keep), is_error=False, hidden=images.hidden)


async def _render_blocks(blocks: Sequence[types.ContentBlock], images: _Images) -> list[JsonObject]:
    parts: list[JsonObject] = []
    for number, block in enumerate(blocks, 1):
        parts += await _render_block(block, images)
        if number % PARTS_AT_ONCE == 0:
            await anyio.lowlevel.checkpoint()
    return parts


async def _render_block(block: types.ContentBlock, images: _Images) -> list[JsonObject]:
    match block:
        case types.TextContent():
            return [_text(scrub(block.text))]
        case types.ImageContent():
            return await images.render(f"image, {block.mime_type}", block.data)
        case types.AudioContent():
            return [_text(scrub(f"[audio, {block.mime_type}, {_count_bytes(block.data)}: not shown]"))]
        case types.EmbeddedResource(resource=types.TextResourceContents() as resource):
            return [_text(scrub(f"[resource {resource.uri}]\n{resource.text}"))]
        case types.EmbeddedResource(resource=types.BlobResourceContents() as resource):
            kind = resource.mime_type or "binary"
            name = f"resource {resource.uri}, {kind}"
            if kind.startswith("image/"):
                return await images.render(name, resource.blob)
            text = _read_text(kind, resource.blob)
            if text is not None:
                return [_text(scrub(f"[resource {resource.uri}]\n{text}"))]
            return [_text(scrub(f"[{name}, {_count_bytes(resource.blob)}: not shown]"))]
        case _:
            return [_text(write(block.model_dump(by_alias=True, exclude_none=True)))]


def _read_text(kind: str, blob: str) -> str | None:
    """Decode a file that is text by its media type and its bytes; else return None. Some write the text as it is."""
    if not _TEXTUAL.match(kind):
        return None
    try:
        return base64.b64decode(tidy(blob), validate=True).decode()
    except UnicodeDecodeError:
        return None
    except ValueError:
        return blob


def _count_bytes(data: str) -> str:
    return f"{count_bytes(data):,} bytes"


def _text(text: str) -> JsonObject:
    return {"type": "input_text", "text": text}


def _join(parts: Sequence[JsonObject]) -> str:
    return "\n".join(str(part["text"]) for part in parts) or NO_OUTPUT


def _cut_parts(parts: list[JsonObject], limit_bytes: int, keep: Keep | None) -> list[JsonObject]:
    """Cut the text parts to share the limit; what a short one does not use goes to the others. Images do not count."""
    texts = sorted((part for part in parts if part["type"] == "input_text"), key=lambda part: len(str(part["text"])))
    for number, part in enumerate(texts):
        text = cut_middle(str(part["text"]), limit_bytes // (len(texts) - number), keep)
        limit_bytes = max(0, limit_bytes - len(text.encode()))
        part["text"] = text
    return parts
