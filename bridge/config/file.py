"""Parses the text of a config file: JSON with comments."""

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from bridge.config.faults import Fault, KeyPath, name_type
from bridge.json_text import Json

_STRING = r'("(?:[^"\\]++|\\.)*+"?)'
_COMMENT = re.compile(_STRING + r"|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TRAILING_COMMA = re.compile(_STRING + r"|,(?=\s*[}\]])", re.DOTALL)


def parse(text: str) -> dict[str, Json]:
    """Parse the JSON object in `text`, which may have comments and trailing commas, as in VS Code.

    Raises Fault for anything else, and for a repeated key (a JSON parser would silently keep the last one).
    """
    if not text.strip():
        raise Fault((), "the file is empty; write {} to use the defaults")
    try:
        value: Json = json.loads(
            _strip(text), object_pairs_hook=_Object, parse_int=_read_integer, parse_constant=_refuse_constant
        )
        _refuse_repeats(value, ())
    except json.JSONDecodeError as error:
        what = error.msg[0].lower() + error.msg[1:]
        raise Fault((), f"line {error.lineno}, column {error.colno}: not JSON: {what}") from None
    except RecursionError:
        raise Fault((), "not usable: nested too deeply") from None
    except ValueError as error:
        raise Fault((), f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Fault((), f"expected an object at the top, not {name_type(value)}")
    return value


def _strip(text: str) -> str:
    """Replace comments and trailing commas by spaces, so that lines and columns in error messages stay correct.

    Strings are matched first and kept; every alternative ends in a match, which makes both passes linear.
    """

    def blank(match: re.Match[str]) -> str:
        return match[1] or re.sub(r"[^\n]", " ", match[0])

    return _TRAILING_COMMA.sub(blank, _COMMENT.sub(blank, text))


class _Object(dict[str, Json]):
    """A JSON object that remembers its first repeated key."""

    def __init__(self, pairs: list[tuple[str, Json]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.repeated = next((key for key, _ in pairs if key in seen or seen.add(key)), None)


def _read_integer(digits: str) -> int:
    if len(digits) > 19:
        raise ValueError("a whole number of more than 19 digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _refuse_repeats(value: Json, path: KeyPath) -> None:
    if isinstance(value, _Object) and value.repeated is not None:
        raise Fault((*path, value.repeated), "this key is given twice; keep one")
    for step, inner in _children(value):
        _refuse_repeats(inner, (*path, step))


def find_leaves(value: Json, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Json]]:
    """Yield every value inside `value` that is neither an object nor a list, with its path."""
    if not isinstance(value, (dict, list)):
        yield path, value
    for step, inner in _children(value):
        yield from find_leaves(inner, (*path, step))


def _children(value: Json) -> list[tuple[str | int, Json]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []
