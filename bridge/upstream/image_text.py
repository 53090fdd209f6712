"""A text to send instead of an image: its type and its size."""

import binascii
import re
import struct

from bridge.json_text import JsonObject

HEAD_CHARS = 1 << 18
"""Characters of an image's base64 that are searched for its width and height."""
MAX_SEGMENTS = 100
_DATA_URL = re.compile(r"data:([\w.+/-]{1,64});base64,")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that hold the size (ITU-T T.81, table B.1)."""


def describe_image(part: JsonObject) -> str:
    """Return the text that replaces an `input_image`."""
    url = str(part.get("image_url") or part.get("file_id") or "")
    found = _DATA_URL.match(url)
    if found is None:
        return f"[image {url[:300]}: not shown]" if url else "[image: not shown]"
    size = (len(url.rstrip("=")) - found.end()) * 3 // 4
    pixels = _find_pixels(_read_head(url[found.end() : found.end() + HEAD_CHARS]))
    dimensions = f", {pixels[0]}x{pixels[1]} pixels" if pixels else ""
    return f"[image, {found[1]}, {size:,} bytes{dimensions}: not shown]"


def _read_head(base64: str) -> bytes:
    try:
        return binascii.a2b_base64(base64)
    except ValueError:
        return b""


def _find_pixels(data: bytes) -> tuple[int, int] | None:
    """Return width and height, where the beginning of the image holds them."""
    try:
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        if data.startswith(b"GIF8"):
            width, height = struct.unpack_from("<HH", data, 6)
            return width, height
        return _find_frame(data) if data.startswith(b"\xff\xd8") else None
    except struct.error:  # the data ends too early
        return None


def _find_frame(jpeg: bytes) -> tuple[int, int] | None:
    offset = 2
    for _ in range(MAX_SEGMENTS):
        marker, length, height, width = struct.unpack_from(">xBHxHH", jpeg, offset)
        if marker in _JPEG_FRAMES:
            return width, height
        offset += 2 + length
    return None
