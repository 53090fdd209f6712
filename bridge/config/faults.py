"""Faults of a config file: where they are, and messages for people."""

import difflib
import json
import re
from collections.abc import Collection, Mapping
from typing import TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

KeyPath: TypeAlias = tuple[str | int, ...]
"""A path in the file: keys and list positions from the top, such as `("mcpServers", "git", "args", 0)`."""
Section = TypeVar("Section", bound=BaseModel)

MAX_LISTED = 8
"""An unknown value gets the list of choices up to this many of them; beyond, only the nearest one."""
_PLAIN_KEY = re.compile(r"[\w$-]+")
_EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "an object",
    "float_type": "a number",
    "int_type": "a whole number",
    "model_type": "an object",
    "string_type": "a string",
    "tuple_type": "a list",
}
_BOUNDS = {
    "finite_number": "must be finite",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "missing": "is missing",
    "string_pattern_mismatch": 'expected "auto", "legacy" or a revision such as "2025-11-25"',
    "string_too_short": "must not be empty",
}


class Fault(Exception):
    """A fault and its path. `config.load` makes a one-line message for people from it.

    `source` is set where the value does not come from the file ("environment").
    """

    def __init__(self, path: KeyPath, message: str, source: str | None = None) -> None:
        super().__init__(message)
        self.path = path
        self.message = message
        self.source = source


def join_path(path: KeyPath) -> str:
    """Write a path as `mcpServers.git.tools.deny[1]`; unusual keys are quoted: `mcpServers["my.server"]`."""
    parts = (
        f".{step}" if isinstance(step, str) and _PLAIN_KEY.fullmatch(step) else f"[{json.dumps(step)}]" for step in path
    )
    return "".join(parts).removeprefix(".")


def name_type(value: object) -> str:
    """Name the type of a JSON value, for messages. The value itself may be a secret and is never shown."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int():
            return "a number"
        case float():
            return "a decimal number"
        case str():
            return "a string"
        case _:
            return "a list" if isinstance(value, (list, tuple)) else "an object"


def find_nearest(key: str, known: Collection[str], *, at_least: float = 0.0) -> str | None:
    """Find the known key most similar to `key`, with a similarity of `at_least` (0 to 1). Ignores case, `_` and `-`."""
    folded = {_fold(name): name for name in sorted(known)}
    found = difflib.get_close_matches(_fold(key), folded, n=1, cutoff=at_least)
    return folded[found[0]] if found else None


def _fold(key: str) -> str:
    return re.sub(r"[_-]", "", key).lower()


def validate(model: type[Section], values: Mapping[str, object], path: KeyPath) -> Section:
    """Build a `model` from `values`. Raises Fault for the first error, worded for people, not as pydantic does."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        # Missing keys come last: a misspelt key often explains one.
        first = min(error.errors(include_url=False), key=lambda fault: fault["type"] == "missing")
        raise Fault((*path, *first["loc"]), _explain(model, first)) from None


def _explain(model: type[BaseModel], error: ErrorDetails) -> str:
    fault, given, context = error["type"], error["input"], error.get("ctx", {})
    if fault == "extra_forbidden":
        *above, key = error["loc"]
        return f'unknown key; the nearest known one is "{find_nearest(str(key), _list_keys(model, above))}"'
    if fault == "literal_error":
        shown = json.dumps(given) if isinstance(given, str) else name_type(given)
        choices = re.findall("'([^']+)'", context["expected"])
        near = difflib.get_close_matches(str(given).lower(), choices, n=1)
        if near and len(choices) > MAX_LISTED:
            return f'{shown} is not known; did you mean "{near[0]}"?'
        return f"expected {context['expected']}, not {shown}".replace("'", '"')
    if fault in _EXPECTED:
        return f"expected {_EXPECTED[fault]}, not {name_type(given)}"
    if fault == "value_error":
        return str(context["error"])
    return _BOUNDS.get(fault, "this value cannot be used").format(**context)


def _list_keys(model: type[BaseModel], above: list[str | int]) -> list[str]:
    """List the known keys of the section of `model` at the path `above`."""
    for step in above:
        if field := model.model_fields.get(str(step)):  # otherwise a key of the user's, such as a model's name
            kinds = (field.annotation, *get_args(field.annotation))
            model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
