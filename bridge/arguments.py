"""The arguments that a model gives a tool, read without guessing."""

import json
from typing import NoReturn

from bridge.items import Json, JsonObject, encode

MAX_ARGUMENT_CHARS, MAX_ARGUMENT_LEVELS = 262_144, 64


def read_arguments(arguments: Json) -> JsonObject:
    """The arguments of a call as an object; ValueError says what they are instead.

    Nothing is repaired by guess. Missing or empty ones are {}; an object instead of JSON text is taken as it is. Half
    an emoji becomes U+FFFD: it would end the connection that it is written to.
    """
    if arguments is None or arguments == "":
        return {}
    try:
        text = arguments if isinstance(arguments, str) else encode(arguments)
        if len(text) > MAX_ARGUMENT_CHARS:
            raise ValueError(f"{len(text):,} characters, the limit is {MAX_ARGUMENT_CHARS:,}")
        value: Json = json.loads(text, object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
        if _is_deeper(value, MAX_ARGUMENT_LEVELS):
            raise RecursionError
        if not isinstance(value, dict):
            raise ValueError(f"it is a {type(value).__name__}")
        scrubbed: JsonObject = json.loads(encode(value))
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_ARGUMENT_LEVELS} levels deep") from None
    return scrubbed


def _is_deeper(value: Json, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(entry, levels - 1) for entry in inner)


def _refuse_duplicates(pairs: list[tuple[str, Json]]) -> JsonObject:
    seen = dict(pairs)
    if len(seen) < len(pairs):
        raise ValueError("a key occurs twice")
    return seen


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
