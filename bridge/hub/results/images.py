"""Images as the Responses API takes them: of a kind that it knows, whole, and within a bound."""

import base64
import binascii
import importlib.util
import io
from typing import Final

import anyio.lowlevel
import anyio.to_thread

MAX_SIDE = 2048
"""Pixels of the longer side after scaling; the API itself scales what is larger (OpenAI's guide to images)."""
MAX_PIXELS = 100_000_000
"""An image of more is not even opened: a file of some kilobytes can hold it."""
STRIDE_CHARS = 1 << 20
"""How much is decoded at one go: the event loop waits meanwhile."""
_KINDS: Final = {
    b"\x89PNG\r\n\x1a\n": "image/png",
    b"\xff\xd8\xff": "image/jpeg",
    b"GIF8": "image/gif",
    b"RIFF": "image/webp",
}
CAN_SCALE = importlib.util.find_spec("PIL") is not None


class NotShown(ValueError):
    """Why an image is named only; the text is for the model."""


async def fit_image(data: str, limit_bytes: int) -> tuple[str, str | None]:
    """The `data:` URL of an image in base64, within `limit_bytes`, and what was done to it, if anything.

    Raises NotShown for what the API does not take: it would refuse a whole request over it.
    """
    try:
        image = await _decode(data)
    except NotShown:
        data = _tidy(data)
        image = await _decode(data)
    kind = next((kind for start, kind in _KINDS.items() if image.startswith(start)), None)
    if kind is None:
        raise NotShown("it is no PNG, JPEG, WebP or GIF")
    if len(image) <= limit_bytes:
        return f"data:{kind};base64,{data}", None
    if not CAN_SCALE:
        raise NotShown(f"it is over the limit of {limit_bytes:,} bytes, and nothing is installed to scale it")
    smaller, words = await anyio.to_thread.run_sync(_scale, image, limit_bytes)
    url = f"data:image/jpeg;base64,{base64.b64encode(smaller).decode()}"
    await anyio.lowlevel.checkpoint()
    return url, words


def _tidy(data: str) -> str:
    """Base64 as servers write it too: as a `data:` URL, in lines, in the alphabet of URLs or without its padding."""
    head, comma, rest = data.partition(",")
    bare = "".join((rest if comma and head.startswith("data:") else data).split())
    bare = bare.replace("-", "+").replace("_", "/").rstrip("=")
    return bare + "=" * (-len(bare) % 4)


async def _decode(data: str) -> bytes:
    """The bytes that `data` is the base64 of. Raises NotShown."""
    pieces = list[bytes]()
    try:
        for start in range(0, len(data), STRIDE_CHARS):
            if pieces and len(pieces[-1]) < STRIDE_CHARS // 4 * 3:
                raise ValueError("padding before the end")
            pieces.append(binascii.a2b_base64(data[start : start + STRIDE_CHARS], strict_mode=True))
            await anyio.lowlevel.checkpoint()
    except ValueError:
        raise NotShown("it is not base64") from None
    return b"".join(pieces)


def _scale(image: bytes, limit_bytes: int) -> tuple[bytes, str]:
    """A JPEG that fits, and its size in words. What was transparent becomes white."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(image)) as opened:
            before = f"{opened.width}x{opened.height}"
            if opened.width * opened.height > MAX_PIXELS:
                raise NotShown(f"it has {before} pixels")
            opened.draft("RGB", (MAX_SIDE, MAX_SIDE))
            layers = opened.convert("RGBA")
    except (OSError, SyntaxError, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise NotShown(f"it cannot be read: {error}") from None
    flat = Image.new("RGB", layers.size, "white")
    flat.paste(layers, mask=layers)
    side = MAX_SIDE
    while side >= 16:
        flat.thumbnail((side, side))
        written = io.BytesIO()
        flat.save(written, "JPEG", quality=85)
        if written.tell() <= limit_bytes:
            return written.getvalue(), f"scaled from {before} pixels to {flat.width}x{flat.height}"
        side = min(side, max(flat.size)) * 3 // 4
    raise NotShown(f"it cannot be made smaller than {limit_bytes:,} bytes")
