"""JSON texts: values from outside as they may be, and back to the shortest text that says them."""

import json
import math
import re
from typing import NoReturn, TypeAlias

from pydantic_core import to_json

Json: TypeAlias = "bool | int | float | str | list[Json] | dict[str, Json] | None"
JsonObject: TypeAlias = dict[str, Json]

_SURROGATE = re.compile("[\ud800-\udfff]")

MAX_DEPTH = 100
"""Deeper values cannot be sent to a host: the SDK's writer gives up at about 200."""


def encode(value: Json) -> str:
    """The compact JSON text of `value`, without escapes for other scripts and without lone surrogates.

    A lone surrogate (half an emoji) cannot be encoded as UTF-8 and would end the connection it is written to, so it
    becomes U+FFFD. NaN and infinity raise ValueError: JSON has neither.
    """
    try:
        text = to_json(value).decode()
    except ValueError:  # a lone surrogate, or nested deeper than it goes
        return _encode_slowly(value)
    return _encode_slowly(value) if _may_have(text, "NaN") or _may_have(text, "Infinity") else text


def _may_have(text: str, literal: str) -> bool:
    """Whether it stands where a number may; in base64 it stands by chance, once in a quarter of a megabyte."""
    place = text.find(literal)
    while place >= 0:
        if place == 0 or text[place - 1] in ":[,-":
            return True
        place = text.find(literal, place + 1)
    return False


def _encode_slowly(value: Json) -> str:
    return scrub(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def decode(text: str | bytes) -> Json:
    """The value of a JSON text from outside.

    Raises ValueError for whatever `encode` could not write again: NaN, infinity (also as 1e999), nesting without end.
    """
    try:
        if isinstance(text, bytes):
            text = text.decode(json.detect_encoding(text), "surrogatepass")
        return _DECODER.decode(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_float(digits: str) -> float:
    """A number of a JSON text. Raises ValueError for one that is infinite here, such as 1e999."""
    number = float(digits)
    return number if math.isfinite(number) else _refuse(digits)


def _refuse(literal: str) -> NoReturn:
    raise ValueError(f"{literal} is not a JSON number")


_DECODER = json.JSONDecoder(parse_constant=_refuse, parse_float=read_float)


def scrub(text: str) -> str:
    """`text` with every lone surrogate replaced by U+FFFD."""
    if text.isascii():
        return text
    try:
        text.encode()  # in a quarter of the time that the pattern takes to find none
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", text)
    return text


def is_deep(value: Json) -> bool:
    """Whether `value` is nested over MAX_DEPTH levels."""
    layer: list[Json] = [value]
    for _ in range(MAX_DEPTH):
        layer = [
            inner
            for outer in layer
            if isinstance(outer, (list, dict))
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not layer:
            return False
    return True
