"""Parses the text of a config file: JSON with comments, or TOML."""

import json
import re
from collections.abc import Iterator
from typing import NoReturn

from bridge.config.faults import Fault, KeyPath, name_type
from bridge.json_text import Json

_STRING = r'("(?:[^"\\]++|\\.)*+"?)'
_COMMENT = re.compile(_STRING + r"|//[^\n]*|/\*.*?(?:\*/|\Z)", re.DOTALL)
_TOML = re.compile(r"(\s*#[^\n]*\n|\s)*(\[\[?[\w\"'. -]+\]\]?[ \t]*(#[^\n]*)?\n|[\w.-]+[ \t]*=)")
_YAML = re.compile(r"(\s*#[^\n]*\n|\s|---\s)*[\w-]+:[ \t]*(#[^\n]*)?(\n|[\w\"'])")
_TRAILING_COMMA = re.compile(_STRING + r"|,(?=\s*[}\]])", re.DOTALL)


def parse(text: str, suffix: str = "") -> dict[str, Json]:
    """Parse the JSON object in `text`, which may have comments and trailing commas, as in VS Code, or the TOML.

    `suffix` is that of the file's name. Raises Fault for anything else, and for a repeated key (a JSON parser would
    silently keep the last one).
    """
    if not text.strip():
        raise Fault((), "the file is empty; write {} to use the defaults")
    if suffix == ".toml" or _TOML.match(text):
        return _parse_toml(text)
    if suffix in (".yaml", ".yml") or _YAML.match(text):
        raise Fault((), 'it is YAML, which is not read; write its servers as JSON: {"mcpServers": {"NAME": {…}}}')
    try:
        value: Json = json.loads(
            _strip(text), object_pairs_hook=_Object, parse_int=_read_integer, parse_constant=_refuse_constant
        )
        _refuse_repeats(value, ())
    except json.JSONDecodeError as error:
        from bridge.config.hints import find_hint  # late: most files are JSON

        what, hint = error.msg[0].lower() + error.msg[1:], find_hint(text, error)
        where = f"line {error.lineno}, column {error.colno}: not JSON: {what}"
        raise Fault((), f"{where}; {hint}" if hint else where) from None
    except RecursionError:
        raise Fault((), "not usable: nested too deeply") from None
    except ValueError as error:
        raise Fault((), f"not JSON: {error}") from None
    if not isinstance(value, dict):
        raise Fault((), f"expected an object at the top, not {name_type(value)}")
    return value


def _parse_toml(text: str) -> dict[str, Json]:
    import tomllib  # late: one host writes TOML

    try:
        return json.loads(json.dumps(tomllib.loads(text), default=str))
    except tomllib.TOMLDecodeError as error:
        hint = "; write a path in single quotes ('C:\\Users')" if re.search(r"hex|escape", str(error)) else ""
        raise Fault((), f"not TOML: {error}{hint}") from None
    except (ValueError, RecursionError) as error:
        raise Fault((), f"not usable: {error}") from None


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
    for step, inner in list_children(value):
        _refuse_repeats(inner, (*path, step))


def find_leaves(value: Json, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Json]]:
    """Yield every value inside `value` that is neither an object nor a list, with its path."""
    if not isinstance(value, (dict, list)):
        yield path, value
    for step, inner in list_children(value):
        yield from find_leaves(inner, (*path, step))


def list_children(value: Json) -> list[tuple[str | int, Json]]:
    """List what is right inside an object or a list, each with its key or position."""
    if isinstance(value, dict):
        return list(value.items())
    return list(enumerate(value)) if isinstance(value, list) else []
