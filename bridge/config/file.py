"""A config file as text: JSON with comments."""

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from bridge.config.faults import Place, Wrong, kind
from bridge.json_text import Json

_STRING = r'("(?:[^"\\]++|\\.)*+"?)'
_COMMENT = re.compile(_STRING + r"|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TRAILING_COMMA = re.compile(_STRING + r"|,(?=\s*[}\]])", re.DOTALL)


def parse(text: str) -> dict[str, Json]:
    """The object in `text`: JSON, also with comments and trailing commas as VS Code writes them.

    Raises Wrong for anything else, and for a key that one object holds twice (JSON keeps the last in silence).
    """
    if not text.strip():
        raise Wrong((), "the file is empty; write {} to use the defaults")
    try:
        value: Json = json.loads(
            _strip(text), object_pairs_hook=_Object, parse_int=_whole, parse_constant=_refuse_constant
        )
        _refuse_repeats(value, ())
    except json.JSONDecodeError as error:
        what = error.msg[0].lower() + error.msg[1:]
        raise Wrong((), f"line {error.lineno}, column {error.colno}: not JSON: {what}") from None
    except RecursionError:
        raise Wrong((), "not usable: nested too deeply") from None
    except ValueError as error:
        raise Wrong((), f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Wrong((), f"expected an object at the top, not {kind(value)}")
    return value


def _strip(text: str) -> str:
    """Blanks comments and trailing commas and moves nothing, so that lines and columns stay true.

    Strings are matched first and kept; every alternative ends in a match, which makes both passes linear.
    """

    def blank(match: re.Match[str]) -> str:
        return match[1] or re.sub(r"[^\n]", " ", match[0])

    return _TRAILING_COMMA.sub(blank, _COMMENT.sub(blank, text))


class _Object(dict[str, Json]):
    """A JSON object that remembers a key that it was given twice."""

    def __init__(self, pairs: list[tuple[str, Json]]) -> None:
        super().__init__(pairs)
        seen: set[str] = set()
        self.repeated = next((key for key, _ in pairs if key in seen or seen.add(key)), None)


def _whole(digits: str) -> int:
    if len(digits) > 19:
        raise ValueError("a whole number of more than 19 digits")
    return int(digits)


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _refuse_repeats(value: Json, place: Place) -> None:
    if isinstance(value, _Object) and value.repeated is not None:
        raise Wrong((*place, value.repeated), "this key is given twice; keep one")
    for step, inner in _children(value):
        _refuse_repeats(inner, (*place, step))


def leaves(value: Json, place: Place = ()) -> Iterator[tuple[Place, Json]]:
    """Every value in `value` that is neither an object nor a list, with its place."""
    if not isinstance(value, (dict, list)):
        yield place, value
    for step, inner in _children(value):
        yield from leaves(inner, (*place, step))


def _children(value: Json) -> list[tuple[str | int, Json]]:
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []
