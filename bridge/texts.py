"""Long texts as UTF-8 bytes: what of them fits, and where they may be cut."""

from collections.abc import Callable
from typing import TypeAlias

Keep: TypeAlias = Callable[[str, bytes], str]
"""Keeps a text that had to be cut, given also as UTF-8, and says in a few words how the rest of it can be read."""


def cut_middle(text: str, limit_bytes: int, keep: Keep | None = None) -> str:
    """`text` within `limit_bytes` of UTF-8: its head and its tail, and between them what is missing.

    A text that is cut is given to `keep`, whose words the mark ends with.
    """
    if len(text) * 4 <= limit_bytes:  # no character takes more
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= limit_bytes:
        return text
    start, end = find_cut(data, limit_bytes // 2), find_cut(data, len(data) - limit_bytes // 2, forward=True)
    rest = f", from offset {start} on; {keep(text, data)}" if keep else ""
    mark = f"[… {end - start:,} of {len(data):,} bytes left out here{rest} …]"
    return f"{data[:start].decode()}\n{mark}\n{data[end:].decode()}"


def find_cut(data: bytes, place: int, *, forward: bool = False) -> int:
    """The nearest offset from `place` back (or `forward`) where UTF-8 may be cut: never inside a character."""
    while 0 < place < len(data) and data[place] & 0xC0 == 0x80:
        place += 1 if forward else -1
    return min(max(place, 0), len(data))


def estimate_tokens(text: str) -> int:
    """Four characters a token, one for each Chinese, Japanese or Korean character."""
    wide = 0 if text.isascii() else sum(ord(char) >= 0x2E80 for char in text)
    return wide + (len(text) - wide + 3) // 4
