"""What is wrong with a config: where, and in words for people."""

import difflib
import json
import re
from collections.abc import Collection, Mapping
from typing import TypeAlias, TypeVar, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Place: TypeAlias = tuple[str | int, ...]
"""Where in the file: keys and list positions from the top, such as `("mcpServers", "git", "args", 0)`."""
Section = TypeVar("Section", bound=BaseModel)

MAX_LISTED = 8
"""Choices that are listed where none of them was written; of more only the nearest."""
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


class Wrong(Exception):
    """What is wrong and where. `config.load` makes the one line for people of it.

    `source` is set when the value does not come from the file ("environment").
    """

    def __init__(self, place: Place, message: str, source: str | None = None) -> None:
        super().__init__(message)
        self.place = place
        self.message = message
        self.source = source


def dotted(place: Place) -> str:
    """`mcpServers.git.tools.deny[1]`; a key that would not read well there is quoted: `mcpServers["my.server"]`."""
    parts = (
        f".{step}" if isinstance(step, str) and _PLAIN_KEY.fullmatch(step) else f"[{json.dumps(step)}]"
        for step in place
    )
    return "".join(parts).removeprefix(".")


def kind(value: object) -> str:
    """What a JSON value is, in words for a message. The value itself may be a secret and is never shown."""
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


def nearest(key: str, known: Collection[str], *, at_least: float = 0.0) -> str | None:
    """The known key most like `key`, whose likeness is `at_least` (0 to 1). Case, `_` and `-` do not count."""
    folded = {_folded(name): name for name in sorted(known)}
    found = difflib.get_close_matches(_folded(key), folded, n=1, cutoff=at_least)
    return folded[found[0]] if found else None


def _folded(key: str) -> str:
    return re.sub(r"[_-]", "", key).lower()


def validate(model: type[Section], values: Mapping[str, object], place: Place) -> Section:
    """`values` as a `model`. Raises Wrong for the first fault, in our words: pydantic's are for programmers."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = min(error.errors(include_url=False), key=lambda fault: fault["type"] == "missing")  # a typo explains it
        raise Wrong((*place, *first["loc"]), _explain(model, first)) from None


def _explain(model: type[BaseModel], error: ErrorDetails) -> str:
    fault, given, context = error["type"], error["input"], error.get("ctx", {})
    if fault == "extra_forbidden":
        *above, key = error["loc"]
        return f'unknown key; the nearest known one is "{nearest(str(key), _fields(model, above))}"'
    if fault == "literal_error":
        shown = json.dumps(given) if isinstance(given, str) else kind(given)
        choices = re.findall("'([^']+)'", context["expected"])
        near = difflib.get_close_matches(str(given).lower(), choices, n=1)
        if near and len(choices) > MAX_LISTED:
            return f'{shown} is not known; did you mean "{near[0]}"?'
        return f"expected {context['expected']}, not {shown}".replace("'", '"')
    if fault in _EXPECTED:
        return f"expected {_EXPECTED[fault]}, not {kind(given)}"
    if fault == "value_error":
        return str(context["error"])
    return _BOUNDS.get(fault, "this value cannot be used").format(**context)


def _fields(model: type[BaseModel], above: list[str | int]) -> list[str]:
    """The known keys of the section `above` in `model`."""
    for step in above:
        if field := model.model_fields.get(str(step)):  # else a key of the user's own, such as a model's name
            kinds = (field.annotation, *get_args(field.annotation))
            model = next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), model)
    return list(model.model_fields)
