"""Images as the Responses API accepts them: of a known kind, complete, and within a limit."""

import base64
import binascii
import importlib.util
import io

import anyio.lowlevel
import anyio.to_thread

from bridge.pictures import NoPicture, find_kind, tidy

MAX_SIDE = 2048
"""Pixels of the longer side after scaling; the API itself scales what is larger (OpenAI's guide to images)."""
MAX_PIXELS = 100_000_000
"""An image of more pixels is not decoded: a file of a few kilobytes can hold it."""
STRIDE_CHARS = 1 << 20
"""How much is decoded before other tasks get a turn of the event loop."""
CAN_SCALE = importlib.util.find_spec("PIL") is not None


class NotShown(ValueError):
    """The reason why an image is only named; the text is for the model."""


async def fit_image(data: str, limit_bytes: int) -> tuple[str, str | None]:
    """Return the `data:` URL of a base64 image, scaled to `limit_bytes` if needed, and a note on the scaling, if any.

    Raises NotShown for an image that the API does not accept: it would refuse the whole request.
    """
    try:
        image = await _decode(data)
    except NotShown:
        data = tidy(data)
        image = await _decode(data)
    try:
        kind = find_kind(image)
    except NoPicture as reason:
        raise NotShown(str(reason)) from None
    if len(image) <= limit_bytes:
        return f"data:{kind};base64,{data}", None
    if not CAN_SCALE:
        raise NotShown(f"it is over the limit of {limit_bytes:,} bytes, and nothing is installed to scale it")
    smaller, words = await anyio.to_thread.run_sync(_scale, image, limit_bytes)
    url = f"data:image/jpeg;base64,{base64.b64encode(smaller).decode()}"
    await anyio.lowlevel.checkpoint()
    return url, words


async def _decode(data: str) -> bytes:
    """Decode base64. Raises NotShown."""
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
    """Scale an image to a JPEG within `limit_bytes`, and describe the change of size. Transparency becomes white."""
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
