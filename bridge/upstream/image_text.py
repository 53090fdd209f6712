"""An image that an upstream is not sent, in words: of what kind it is, and how large."""

import binascii
import re
import struct

from bridge.json_text import JsonObject

HEAD_CHARS = 1 << 18
"""Of its base64, in which the size of the image is looked for."""
MAX_SEGMENTS = 100
_DATA_URL = re.compile(r"data:([\w.+/-]{1,64});base64,")
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""Markers of the segments that tell the size (ITU-T T.81, table B.1)."""


def describe_image(part: JsonObject) -> str:
    """What stands in the place of an `input_image`."""
    url = str(part.get("image_url") or part.get("file_id") or "")
    found = _DATA_URL.match(url)
    if found is None:
        return f"[image {url[:300]}: not shown]" if url else "[image: not shown]"
    size = (len(url.rstrip("=")) - found.end()) * 3 // 4
    pixels = _find_pixels(_read_head(url[found.end() : found.end() + HEAD_CHARS]))
    words = f", {pixels[0]}x{pixels[1]} pixels" if pixels else ""
    return f"[image, {found[1]}, {size:,} bytes{words}: not shown]"


def _read_head(base64: str) -> bytes:
    try:
        return binascii.a2b_base64(base64)
    except ValueError:
        return b""


def _find_pixels(data: bytes) -> tuple[int, int] | None:
    """Width and height, where the beginning of an image tells them."""
    try:
        if data.startswith(b"\x89PNG"):
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        if data.startswith(b"GIF8"):
            width, height = struct.unpack_from("<HH", data, 6)
            return width, height
        return _find_frame(data) if data.startswith(b"\xff\xd8") else None
    except struct.error:  # it ends before
        return None


def _find_frame(jpeg: bytes) -> tuple[int, int] | None:
    place = 2
    for _ in range(MAX_SEGMENTS):
        marker, length, height, width = struct.unpack_from(">xBHxHH", jpeg, place)
        if marker in _JPEG_FRAMES:
            return width, height
        place += 2 + length
    return None
