"""The arguments of a function call, parsed without guessing."""

import json
from typing import NoReturn

from bridge.items import is_blank
from bridge.json_text import Json, JsonObject, encode, read_float

MAX_ARGUMENT_CHARS, MAX_ARGUMENT_LEVELS = 262_144, 64
MAX_QUOTED_CHARS = 500
"""Characters of unreadable arguments that the model is shown again."""


def read_arguments(arguments: Json, *, may_be_null: bool = False) -> JsonObject:
    """Parse the arguments of a call to an object. Raises ValueError, with the reason, if they are not one.

    Nothing is repaired by guessing. Missing or blank arguments are {}, and so is null where it may be; an object
    instead of JSON text is taken as it is. Half an emoji becomes U+FFFD: it would end the connection that it is written
    to.
    """
    if is_blank(arguments) and (may_be_null or arguments is None or str(arguments).strip() == ""):
        return {}
    try:
        return _parse(arguments)
    except ValueError as error:  # quoted: where the upstream takes back no such call, only its output shows them
        raise ValueError(f"{error}; they were: {_quote(arguments)}") from None


def _parse(arguments: Json) -> JsonObject:
    try:
        text = arguments if isinstance(arguments, str) else encode(arguments)
        if len(text) > MAX_ARGUMENT_CHARS:
            raise ValueError(f"{len(text):,} characters, the limit is {MAX_ARGUMENT_CHARS:,}")
        value: Json = _DECODER.decode(text)
        if text.count("[") + text.count("{") >= MAX_ARGUMENT_LEVELS and _is_deeper(value, MAX_ARGUMENT_LEVELS):
            raise RecursionError
        if not isinstance(value, dict):
            raise ValueError(f"it is a {type(value).__name__}")
        scrubbed: JsonObject = value if text.isascii() and "\\u" not in text else json.loads(encode(value))
    except RecursionError:
        raise ValueError(f"it is nested more than {MAX_ARGUMENT_LEVELS} levels deep") from None
    return scrubbed


def _quote(arguments: Json) -> str:
    text = arguments if isinstance(arguments, str) else "no text"
    return text if len(text) <= MAX_QUOTED_CHARS else f"{text[:MAX_QUOTED_CHARS]}…"


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


_DECODER = json.JSONDecoder(
    object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant, parse_float=read_float
)


def drop_empty(arguments: JsonObject, schema: JsonObject) -> JsonObject:
    """Drop the empty optional arguments that a model filled in only because the schema names them.

    An empty string is dropped unless the argument's schema names it (`enum`, `const`, `default`); null is dropped if
    the argument has a `type` that does not include null. Only top-level arguments are dropped, never a required one,
    and never one that the schema does not declare (vercel/ai#11869, anomalyco/opencode#33626).
    """
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        return arguments
    kept = required if isinstance(required, list) else []
    return {
        name: value
        for name, value in arguments.items()
        if name in kept or not _is_empty(value, properties.get(name, True))
    }


def _is_empty(value: Json, schema: Json) -> bool:
    if value not in ("", None) or not isinstance(schema, dict):
        return False
    named = schema.get("enum")
    if value in ([*named] if isinstance(named, list) else []) or value == schema.get("const", 0):
        return False
    if value == "":
        return schema.get("default") != ""
    kinds = schema.get("type")
    return kinds is not None and kinds != "null" and not (isinstance(kinds, list) and "null" in kinds)
