"""Texts: cutting long ones, and estimating their tokens."""

import math
from collections.abc import Callable
from typing import TypeAlias

Keep: TypeAlias = Callable[[str, bytes], str]
"""Stores the full text (also given as UTF-8) of one that had to be cut, and returns a phrase that tells how to read the
rest."""

FILE_TOKENS = 1000
"""Tokens for an image or file in an item, whatever its size: about what an image costs."""
PER_CHAR, PER_NUMBER = 0.23, 1.5
"""Tokens for every character, and in addition for every number: a number begins a token, and the text after it begins
the next."""
PER_KIND = {b"\n": 1.0, b"0": 0.07, b"aA": 0.8}
"""In addition, for a new line, a digit, and a capital letter that follows a small one."""
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
"""In addition, for a character by its script: its first byte in UTF-8 lies between this key and the next."""
LONG_CHARS, SAMPLES = 8192, 32
"""Characters of a text that are read for an estimate, and the number of samples they are taken in if it is longer."""


def cut_middle(text: str, limit_bytes: int, keep: Keep | None = None) -> str:
    """Cut `text` to about `limit_bytes` of UTF-8: its head and its tail, and between them a mark that says what is
    missing.

    A text that is cut is given to `keep`, whose phrase ends the mark.
    """
    if len(text) * 4 <= limit_bytes:  # no character takes more than four bytes
        return text
    data = text.encode("utf-8", "replace")
    if len(data) <= limit_bytes:
        return text
    start, end = find_cut(data, limit_bytes // 2), find_cut(data, len(data) - limit_bytes // 2, forward=True)
    rest = f", from offset {start} on; {keep(text, data)}" if keep else ""
    mark = f"[… {end - start:,} of {len(data):,} bytes left out here{rest} …]"
    return f"{data[:start].decode()}\n{mark}\n{data[end:].decode()}"


def find_cut(data: bytes, offset: int, *, forward: bool = False) -> int:
    """Find the nearest offset at or before `offset` (with `forward`: at or after it) that is not inside a character."""
    while 0 < offset < len(data) and data[offset] & 0xC0 == 0x80:
        offset += 1 if forward else -1
    return min(max(offset, 0), len(data))


def estimate_tokens(text: str) -> int:
    """Estimate the tokens of a plain text, or of the JSON text of an item, a tool or a request.

    The rates are fitted to OpenAI's vocabulary o200k: for prose in many languages, tools, code, numbers and base64 the
    estimate is 0.75 to 1.35 times its count. An image or file in an item, as a `data:` URL, costs FILE_TOKENS.
    """
    files = 0
    if len(text) <= LONG_CHARS or any(" " not in part and '"' not in part for part in _sample(text)):
        text, files = _strip_files(text)  # a long text only where a sample looks like base64: the search takes a while
    return math.ceil(_count_tokens(text)) + files * FILE_TOKENS


def _strip_files(item: str) -> tuple[str, int]:
    """Return an item's JSON text without the files in it, and their number."""
    first, *others = item.split('":"data:')
    texts, files = [first], 0
    for other in others:
        is_file = ";base64," in other[:100]
        files += is_file
        texts.append(other.partition('"')[2] if is_file else other)
    return "".join(texts), files


def _sample(text: str) -> list[str]:
    """Return evenly spaced parts of a long text."""
    step = len(text) // SAMPLES
    return [text[start : start + LONG_CHARS // SAMPLES] for start in range(0, step * SAMPLES, step)]


def _count_tokens(text: str) -> float:
    """Estimate the tokens of a text without files; a long one is judged by a sample."""
    if len(text) > LONG_CHARS:
        sample = "".join(_sample(text))
        return _count_tokens(sample) * len(text) / len(sample)
    data = text.encode("utf-8", "replace")
    kinds = data.translate(_KINDS)
    rates = PER_KIND if text.isascii() else _ALL_RATES
    numbers = len(data.translate(_NUMBERS).split())
    return len(text) * PER_CHAR + numbers * PER_NUMBER + sum(rate * kinds.count(kind) for kind, rate in rates.items())


def _find_kind(byte: int) -> int:
    """Return the byte that stands for all bytes of the same kind."""
    if byte >= 0x80:
        return max((first for first in PER_SCRIPT if first <= byte), default=0x80)
    char = chr(byte)
    return ord("0" if char.isdigit() else "A" if char.isupper() else "a" if char.islower() else char)


_ALL_RATES = PER_KIND | {bytes([first]): rate for first, rate in PER_SCRIPT.items()}
_KINDS = bytes(map(_find_kind, range(256)))
_NUMBERS = bytes(byte if chr(byte) in "0123456789" else ord(" ") for byte in range(256))
