"""Pictures as base64 texts: of which kind they are, by their bytes, and how large."""

import binascii
from collections.abc import Sequence

_HEAD_CHARS = 24
"""How much of a base64 text shows the kind: 18 bytes."""
_MAX_NAMED, _NAME_CHARS = 10, 200
"""How many pictures are named in one sentence, and how much of each name is shown."""
_STARTS = {b"\x89PNG\r\n\x1a\n": "image/png", b"\xff\xd8\xff": "image/jpeg", b"GIF8": "image/gif"}


class NoPicture(ValueError):
    """Raised for what is no picture of a known kind; the text says why."""


def find_kind(start: bytes) -> str:
    """Find the media type of a picture by its first bytes. Raises NoPicture where it is none that every API takes."""
    for mark, kind in _STARTS.items():
        if start.startswith(mark):
            return kind
    if start[:4] == b"RIFF" and start[8:12] == b"WEBP":
        return "image/webp"
    raise NoPicture("it is not a PNG, JPEG, WebP or GIF")


def guess_kind(data: str) -> str | None:
    """Find the kind of a base64 text by its beginning; None where it is that of no picture."""
    try:
        return find_kind(binascii.a2b_base64(data[:_HEAD_CHARS]))
    except ValueError:
        return None


def decode_picture(data: str) -> bytes:
    """Decode a picture. Raises NoPicture where the text is not base64, or its bytes are no picture."""
    try:
        content = binascii.a2b_base64(data, strict_mode=True)
    except ValueError:
        raise NoPicture("it is not base64") from None
    find_kind(content)
    return content


def tidy(data: str) -> str:
    """Normalise base64 that is a `data:` URL, in lines, in the URL-safe alphabet or without padding."""
    head, comma, rest = data.partition(",")
    bare = "".join((rest if comma and head.startswith("data:") else data).split())
    bare = bare.replace("-", "+").replace("_", "/").rstrip("=")
    return bare + "=" * (-len(bare) % 4)


def count_bytes(data: str) -> int:
    """Count the bytes that a base64 text stands for."""
    return len(data.rstrip("=")) * 3 // 4


def name_some(names: Sequence[str]) -> str:
    """Join the names of pictures; of very many, name the first and count the rest."""
    words = [name if len(name) <= _NAME_CHARS else f"{name[:_NAME_CHARS]}…" for name in names[:_MAX_NAMED]]
    rest = [f"and {len(names) - _MAX_NAMED:,} more"] if len(names) > _MAX_NAMED else []
    return "; ".join([*words, *rest])
