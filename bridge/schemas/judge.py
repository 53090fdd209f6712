"""Validation of values by JSON Schemas: each schema is compiled once, nothing is fetched, and the effort is bounded."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn, cast

from bridge.json_text import Json, JsonObject, decode, encode
from bridge.schemas.sizes import MAX_SCHEMA_NODES, SchemaSize, measure_schema
from bridge.schemas.walk import walk

if TYPE_CHECKING:
    import jsonschema_rs

MAX_MESSAGE_CHARS = 300
MAX_CHECKED, MAX_EXPLAINED = 10_000_000, 200_000
"""Pairs of a subschema and a value: the most that are visited to check a value, and to explain why it does not fit."""
MAX_EXPLAINED_NODES = 20_000
"""The most subschemas of a schema whose errors are explained: the error of a choice holds those of all branches, two
microseconds each."""
MAX_BACKTRACKS = 10_000
"""Limit for one pattern: about a millisecond, in which the event loop waits."""


@dataclass(frozen=True)
class Fault:
    """The first violation of a schema by a value."""

    path: tuple[str | int, ...] = ()
    """The keys and indexes that lead to the violation in the value."""
    message: str = ""
    """The validator's message, of a long one the end; empty if it would take too long to find."""
    keyword: str = ""
    """The violated keyword."""
    schema_path: tuple[str | int, ...] = ()
    """The keys and indexes that lead to that keyword in the schema."""
    value: Json = None
    """The value at `path`."""

    @property
    def location(self) -> str:
        """The path for people, such as `rows[1].n`; empty for the value as a whole."""
        return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in self.path).lstrip(".")

    def describe(self, whole: str) -> str:
        """Describe the fault as location and message; `whole` names the value as a whole."""
        return f"{self.location or whole}: {self.message}" if self.message else f"{whole} does not fit the schema"


class Judge:
    """Validates by one of the bridge's own schemas, without bounds."""

    def __init__(self, schema: JsonObject) -> None:
        self.schema = schema

    @cached_property
    def _validator(self) -> "jsonschema_rs.Validator":
        return _compile(self.schema)

    def find_fault(self, value: Json) -> Fault | None:
        """Return the first fault of `value`, or None."""
        return _find_first(self._validator.validate, value)


class BoundedJudge:
    """Validates by a foreign schema, within bounds. If the schema is unusable, every value passes; `note` says why.

    A `lenient` judge skips what the schema's owner checks again: formats, and patterns that may take more than linear
    time or are written for another engine.
    """

    def __init__(self, schema: JsonObject, *, lenient: bool = False) -> None:
        self._schema = schema
        self._lenient = lenient
        self._size = SchemaSize(0, 0)
        self.note: str | None = None

    @cached_property
    def _validator(self) -> "jsonschema_rs.Validator | None":
        try:
            self._size = measure_schema(self._schema)
            if self._size.nodes > MAX_SCHEMA_NODES:
                raise ValueError("validating against it would take too long")
            return _compile_leniently(self._schema) if self._lenient else _compile(self._schema)
        except Exception as error:  # noqa: BLE001 - boundary: other people's schema, whatever is wrong with it
            self.note = f"the schema is unusable: {str(error).splitlines()[0][:200]}"
            return None

    def find_fault(self, value: Json) -> Fault | None:
        """Return the first fault of `value`; None if it has none, or if finding out would take too long."""
        try:
            if self._validator is None or (effort := self._size.estimate(value)) > MAX_CHECKED:
                return None
            if self._validator.is_valid(value):  # takes a thousandth of the time of `validate`
                return None
            is_small = effort <= MAX_EXPLAINED and self._size.nodes <= MAX_EXPLAINED_NODES
            return _find_first(self._validator.validate, value) if is_small else Fault()
        except Exception:  # noqa: BLE001 - boundary: such as depth or bytes that the validator cannot take
            return None


def find_schema_fault(schema: JsonObject) -> Fault | None:
    """Return the first violation, in `schema` itself, of the draft that it declares, or None."""
    import jsonschema_rs

    return _find_first(jsonschema_rs.meta.validate, schema)


def _find_first(validate: Callable[[Any], None], value: Json) -> Fault | None:
    """Find the first fault with `validate`: `iter_errors` would find all before it yields the first."""
    import jsonschema_rs

    try:
        validate(value)
    except jsonschema_rs.ValidationError as error:
        message = error.message  # begins with the value, which may be of any size
        if len(message) > MAX_MESSAGE_CHARS:
            message = f"… {message[-MAX_MESSAGE_CHARS:]}"
        given = cast("Json", error.instance)
        return Fault(tuple(error.instance_path), message, error.kind.name, tuple(error.schema_path), given)
    return None


def _compile(schema: JsonObject, *, lenient: bool = False) -> "jsonschema_rs.Validator":
    import jsonschema_rs  # 5 MB and some milliseconds, only when there is something to validate

    backtracking = jsonschema_rs.FancyRegexOptions(backtrack_limit=MAX_BACKTRACKS)
    return jsonschema_rs.validator_for(
        schema,
        retriever=_refuse_to_fetch,
        pattern_options=jsonschema_rs.RegexOptions() if lenient else backtracking,
        validate_formats=False if lenient else None,  # None: as the draft says
    )


def _compile_leniently(schema: JsonObject) -> "jsonschema_rs.Validator":
    import jsonschema_rs

    try:
        return _compile(schema, lenient=True)
    except jsonschema_rs.ValidationError:
        return _compile(_drop_patterns(schema), lenient=True)


def _drop_patterns(schema: JsonObject) -> JsonObject:
    """Return `schema` without the patterns that may take more than linear time or are written for another engine."""
    root = decode(encode(schema))
    assert isinstance(root, dict)
    for node in walk(root):
        if isinstance(pattern := node.get("pattern"), str) and not _is_regular(pattern):
            del node["pattern"]
        if isinstance(named := node.get("patternProperties"), dict) and not all(map(_is_regular, named)):
            for keyword in ("patternProperties", "additionalProperties", "unevaluatedProperties"):
                node.pop(keyword, None)
    return root


def _is_regular(pattern: str) -> bool:
    try:
        _compile({"pattern": pattern}, lenient=True)
    except ValueError:
        return False
    return True


def _refuse_to_fetch(uri: str) -> NoReturn:
    """Refuse: no foreign schema may make the bridge open a file or a connection (MCP, security: no remote `$ref`)."""
    raise ValueError(f"{uri} is not fetched")
