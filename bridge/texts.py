"""Texts: what of them fits, and about how many tokens they are."""

import math
from collections.abc import Callable
from typing import TypeAlias

Keep: TypeAlias = Callable[[str, bytes], str]
"""Keeps a text that had to be cut, given also as UTF-8, and says in a few words how the rest of it can be read."""

FILE_TOKENS = 1000
"""For a picture or a file that an item carries, whatever its size: about the price of a picture."""
PER_CHAR, PER_NUMBER = 0.23, 1.5
"""For every character, and besides for every number: it begins a token, and what follows it begins the next."""
PER_KIND = {b"\n": 1.0, b"0": 0.07, b"aA": 0.8}
"""Besides, for a new line, a digit, and a capital that goes on after a small letter."""
PER_SCRIPT = {
    0xC2: 0.75,  # accents
    0xCD: 0.13,  # Greek
    0xD0: 0.055,  # Cyrillic
    0xD5: 0.13,  # Hebrew, Arabic
    0xE0: 0.11,  # the scripts of India, Thai
    0xE2: 0.8,  # signs
    0xE3: 0.6,  # Chinese, Japanese
    0xEA: 0.46,  # Korean
    0xEE: 0.0,  # Chinese punctuation
    0xF0: 1.6,  # emoji
}
"""Besides, for a character of a script, by the first of its bytes in UTF-8: from this one up to the next."""
LONG_CHARS, SAMPLES = 8192, 32
"""How much of a text is looked at, and in how many parts of it where it is longer."""


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
    """About how many tokens `text` is to a model: a text as such, or the JSON text of an item, a tool or a request.

    The rates are fitted to OpenAI's vocabulary o200k, and keep within 0.75 and 1.35 of it for prose in many languages,
    tools, code, numbers and base64. A picture or file in an item, as a `data:` URL, is no text and costs FILE_TOKENS.
    """
    files = 0
    if len(text) <= LONG_CHARS or any(" " not in part and '"' not in part for part in _sample(text)):
        text, files = _take_files(text)  # where there is base64: to search all of a long text takes a while
    return math.ceil(_count_tokens(text)) + files * FILE_TOKENS


def _take_files(item: str) -> tuple[str, int]:
    """An item's JSON text without the files in it, and how many there are."""
    first, *others = item.split('":"data:')
    texts, files = [first], 0
    for other in others:
        is_file = ";base64," in other[:100]
        files += is_file
        texts.append(other.partition('"')[2] if is_file else other)
    return "".join(texts), files


def _sample(text: str) -> list[str]:
    """Parts of a long text, evenly spaced."""
    step = len(text) // SAMPLES
    return [text[start : start + LONG_CHARS // SAMPLES] for start in range(0, step * SAMPLES, step)]


def _count_tokens(text: str) -> float:
    """Tokens of what is read as text; of a long one, a sample stands for all of it."""
    if len(text) > LONG_CHARS:
        sample = "".join(_sample(text))
        return _count_tokens(sample) * len(text) / len(sample)
    data = text.encode("utf-8", "replace")
    kinds = data.translate(_KINDS)
    rates = PER_KIND if text.isascii() else _ALL_RATES
    numbers = len(data.translate(_NUMBERS).split())
    return len(text) * PER_CHAR + numbers * PER_NUMBER + sum(rate * kinds.count(kind) for kind, rate in rates.items())


def _find_kind(byte: int) -> int:
    """The byte that stands for all of its kind."""
    if byte >= 0x80:
        return max((first for first in PER_SCRIPT if first <= byte), default=0x80)
    char = chr(byte)
    return ord("0" if char.isdigit() else "A" if char.isupper() else "a" if char.islower() else char)


_ALL_RATES = PER_KIND | {bytes([first]): rate for first, rate in PER_SCRIPT.items()}
_KINDS = bytes(map(_find_kind, range(256)))
_NUMBERS = bytes(byte if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
