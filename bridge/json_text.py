"""JSON texts: decoding those from outside, and encoding values as compact text."""

import codecs
import gc
import json
import math
import re
from collections.abc import Generator
from contextlib import contextmanager, nullcontext, suppress
from typing import NoReturn, TypeAlias

from pydantic_core import to_json

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]

_SURROGATE = re.compile("[\ud800-\udfff]")
_BYTES = re.compile("[\udc80-\udcff]+")
"""Bytes that were no UTF-8 by themselves, as "surrogateescape" decodes them."""
_TAIL = re.compile("(?:[\ud800-\udbff]|[\udc80-\udcff]+)\\Z")

MAX_DEPTH = 100
"""Levels of nesting that are accepted; the SDK cannot write values deeper than about 200 to a host."""
READ_DEPTH = 250
"""Levels that are read of what others say, so that a few functions can call themselves for each."""
LONG_CHARS = 1 << 18
"""From this length on, a text is parsed without the garbage collector."""
TOO_DEEP = f"[more than {MAX_DEPTH} levels deep: not shown]"


def encode(value: Json) -> str:
    """Encode `value` as compact JSON text, with other scripts unescaped and lone surrogates replaced by U+FFFD.

    A lone surrogate (half an emoji) cannot be encoded as UTF-8, and would end the connection it is written to. Raises
    ValueError for NaN and infinity, which JSON does not have.
    """
    try:
        text = to_json(value).decode()
    except ValueError:  # a lone surrogate, or nested too deeply for pydantic_core
        return _encode_slowly(value)
    return _encode_slowly(value) if _may_have(text, "NaN") or _may_have(text, "Infinity") else text


def _may_have(text: str, literal: str) -> bool:
    """Tell whether `literal` occurs where a number may; in base64 "NaN" occurs by chance, once in 250 kB."""
    index = text.find(literal)
    while index >= 0:
        if index == 0 or text[index - 1] in ":[,-":
            return True
        index = text.find(literal, index + 1)
    return False


def _encode_slowly(value: Json) -> str:
    return scrub(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def write(value: Json) -> str:
    """Write any value: as `encode` does, and what JSON cannot hold as words in its place."""
    try:
        return encode(value)
    except (ValueError, RecursionError):
        return encode(_put_in_words(value, MAX_DEPTH))


def _put_in_words(value: Json, levels: int) -> Json:
    if isinstance(value, float) and not math.isfinite(value):
        return json.dumps(value)
    if isinstance(value, (list, dict)) and not levels:
        return TOO_DEEP
    if isinstance(value, list):
        return [_put_in_words(item, levels - 1) for item in value]
    if isinstance(value, dict):
        return {key: _put_in_words(item, levels - 1) for key, item in value.items()}
    return value


def decode(text: str | bytes) -> Json:
    """Decode a JSON text from outside.

    Raises ValueError for anything that `encode` could not write again: NaN, infinity (also as 1e999), nesting that is
    too deep.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        with without_collector() if len(text) >= LONG_CHARS else nullcontext():
            return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


@contextmanager
def without_collector() -> Generator[None]:
    """Keep the garbage collector from looking at what is made of a long text again and again."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def read_leniently(text: str) -> Json:
    """Read a JSON text in which numbers may be none, which become words, and levels too many, which are left out.

    Raises ValueError. Python's `json` is slower than pydantic's reader, but reads surrogates, depth and long integers.
    """
    with suppress(RecursionError):
        value: Json = _LENIENT.decode(text)
        if not is_deep(value, READ_DEPTH):
            return value
    return _LENIENT.decode(cut_levels(text))


def cut_levels(text: str) -> str:
    """Replace what is nested over MAX_DEPTH levels in a JSON text by words."""
    pieces, depth, start = list[str](), 0, 0
    for token in _TOKEN.finditer(text):
        if token[0] in ("[", "{"):
            depth += 1
            if depth == MAX_DEPTH + 1:
                pieces += [text[start : token.start()], json.dumps(TOO_DEEP)]
        elif token[0] in ("]", "}"):
            depth -= 1
            start = token.end() if depth == MAX_DEPTH else start
    if depth:
        raise ValueError("it is nested too deeply, and cut")
    return "".join([*pieces, text[start:]])


def _read_long_int(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # more digits than Python reads
        return digits


def _read_any_float(digits: str) -> float | str:
    number = float(digits)
    return number if math.isfinite(number) else digits


def read_float(digits: str) -> float:
    """Read a number of a JSON text. Raises ValueError for one that is infinite as a float, such as 1e999."""
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _refuse(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not a JSON number")


_TOKEN = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[\]{}]', re.DOTALL)
_LENIENT = json.JSONDecoder(parse_constant=str, parse_float=_read_any_float, parse_int=_read_long_int)
_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=read_float)


def scrub(text: str) -> str:
    """Replace every lone surrogate in `text` by U+FFFD; two halves that stand together are one character."""
    if text.isascii():
        return text
    try:
        text.encode()  # takes a quarter of the time of a search with the pattern
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", join_halves(text))
    return text


def join_halves(text: str) -> str:
    """Join the halves of characters that were split: surrogates, and the bytes of UTF-8 that was cut."""
    if not _SURROGATE.search(text):
        return text
    return _BYTES.sub(lambda found: _to_bytes(found[0]).decode("utf-8", "replace"), _pair(text))


def split_half(text: str) -> tuple[str, str]:
    """Split `text` before the half of a character at its end; the first part is free of surrogates."""
    paired = _pair(text)
    tail = _TAIL.search(paired)
    if tail is None:
        return scrub(paired), ""
    if tail[0] < "\udc00":
        return scrub(paired[:-1]), tail[0]
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    whole = decoder.decode(_to_bytes(tail[0]))
    return scrub(paired[: tail.start()]) + whole, decoder.getstate()[0].decode("utf-8", "surrogateescape")


def _pair(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def _to_bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def is_deep(value: Json, levels: int = MAX_DEPTH) -> bool:
    """Tell whether `value` is nested over so many levels."""
    layer: list[Json] = [value]
    for _ in range(levels):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (list, dict))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return True
