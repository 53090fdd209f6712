"""How much a JSON text would be as objects, counted in its bytes: one byte of it can become eighty in memory, and the
event loop waits until they are made.

No reader of JSON bounds that. Of 20 MB, which is little for a text or a picture, empty lists became 2 GB, and held up
everybody for a minute.
"""

MAX_VALUES = 200_000
"""Values in one message of a host; ten thousand items of a conversation have about half as many."""
MAX_LEVELS = 200
"""Levels of nesting in it: about as many as the SDK's own reader takes."""
SLICE_BYTES = 1 << 16
"""How much is taken apart in one step."""

_OPENING = frozenset(b"[{")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


class TooMuch(ValueError):
    """There is more in a text than may be; the words say of what."""


class Bulk:
    """Counts the values and the levels of one JSON text as it arrives; what is no JSON is counted somehow."""

    def __init__(self, max_values: int = MAX_VALUES, max_levels: int = MAX_LEVELS) -> None:
        self._max_values = max_values
        self._max_levels = max_levels
        self._values = 1
        self._level = 0
        self._is_text = False
        self._held = b""
        """A backslash, which belongs to the byte that comes next."""

    def feed(self, data: bytes) -> None:
        """Count a piece of the text. Raises TooMuch."""
        for start in range(0, len(data), SLICE_BYTES):
            piece = data[start : start + SLICE_BYTES]
            self._count(piece if b"\0" in piece else self._leave_out_texts(piece))  # in UTF-16 any byte may be a quote

    def _leave_out_texts(self, data: bytes) -> bytes:
        plain = (self._held + data).replace(b"\\\\", b"").replace(b'\\"', b"")
        self._held = b"\\" if plain.endswith(b"\\") else b""
        parts = plain.split(b'"')
        outside = parts[self._is_text :: 2]
        self._is_text ^= len(parts) % 2 == 0
        return b"".join(outside)

    def _count(self, structure: bytes) -> None:
        brackets = structure.translate(None, _NO_BRACKETS)
        opened = brackets.count(b"[") + brackets.count(b"{")
        self._values += structure.count(b",") + opened
        if self._values > self._max_values:
            raise TooMuch(f"it has over {self._max_values:,} JSON values; send less at once, or long data as text")
        if self._level + opened <= self._max_levels:
            self._level += 2 * opened - len(brackets)
            return
        for bracket in brackets.replace(b"[]", b"").replace(b"{}", b""):  # most are the innermost: one level, or two
            self._level += 1 if bracket in _OPENING else -1
            if self._level > self._max_levels:
                raise TooMuch(f"it is nested over {self._max_levels} levels deep; send what is deeper as text")


def check_bulk(text: bytes) -> None:
    """Raise TooMuch for a whole text that has too many values or levels."""
    opened = text.count(b"[") + text.count(b"{")
    if opened > MAX_LEVELS or opened + text.count(b",") >= MAX_VALUES:  # also those within texts
        Bulk().feed(text)
