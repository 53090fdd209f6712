"""The arguments of a call against the owner's own schema: in linear time, with nothing fetched."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, NoReturn

from bridge.json_text import Json, JsonObject, decode, encode
from bridge.schemas.plain import fits, is_plain
from bridge.schemas.sizes import MAX_SCHEMA_NODES, SchemaSize, measure_schema
from bridge.schemas.walk import walk
from bridge.search.near import find_near
from bridge.texts import cut_middle

if TYPE_CHECKING:
    import jsonschema_rs

MAX_MESSAGE_BYTES, MAX_EXPECTED_CHARS = 500, 2000
"""How much of an argument and of its schema is quoted back to the model."""
MAX_CHECKED, MAX_EXPLAINED = 10_000_000, 200_000
"""Pairs of a subschema and a value: as many are looked at to know whether arguments fit, and to say why not, in about
a tenth of a second each. What would be more is left to the server, which validates in any case."""


@dataclass(frozen=True)
class InvalidArguments:
    """Why arguments do not fit, in words a model can act on: where, what was wrong, what the schema asks for there."""

    message: str
    path: str
    expected: Json
    near_names: tuple[str, ...] = ()
    """Arguments, or values of one, that are like those that there are none of."""

    @property
    def details(self) -> JsonObject:
        """All but the message, for the model."""
        near: JsonObject = {"near_names": list[Json](self.near_names)} if self.near_names else {}
        return {"path": self.path, "expected": self.expected} | near


class ArgumentValidator:
    """Validates arguments against one tool's schema: compiled at the first call, in linear time for every pattern.

    A schema that cannot be compiled is no reason to lose the tool: its server validates in any case. `note` then says
    so, and everything passes. A pattern that cannot be is left out here, and nowhere else.
    """

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._size = SchemaSize(0, 0)
        self.note: str | None = None

    @cached_property
    def _is_plain(self) -> bool:
        return is_plain(self._schema)

    @cached_property
    def _compiled(self) -> "jsonschema_rs.Validator | None":
        try:
            self._size = measure_schema(self._schema)
            if self._size.nodes > MAX_SCHEMA_NODES:
                raise ValueError("to validate against it would take too long")
            return _compile(self._schema)
        except Exception as error:  # noqa: BLE001 - boundary: other people's schema, whatever is wrong with it
            self.note = f"arguments are not validated here, the schema is unusable: {str(error).splitlines()[0][:200]}"
            return None

    def find_error(self, arguments: JsonObject) -> InvalidArguments | None:
        """What is wrong with `arguments`, or None."""
        if self._is_plain and fits(arguments, self._schema):
            return None
        error = self._find_first(arguments)
        if error is None:
            return None
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
        message = cut_middle(error.message, MAX_MESSAGE_BYTES)
        return InvalidArguments(message, path.lstrip("."), self._quote(error.schema_path), self._find_near(error))

    def _find_first(self, arguments: JsonObject) -> "jsonschema_rs.ValidationError | None":
        """The first error, where that takes no time to speak of: not `iter_errors`, which finds all before it gives
        the first."""
        if self._compiled is None or (effort := self._size.estimate(arguments)) > MAX_CHECKED:
            return None
        import jsonschema_rs

        try:
            if not self._compiled.is_valid(arguments) and effort <= MAX_EXPLAINED:
                self._compiled.validate(arguments)
        except jsonschema_rs.ValidationError as error:
            return error
        except (ValueError, UnicodeError):  # depth or bytes that the validator cannot take
            return None
        return None

    def _find_near(self, error: "jsonschema_rs.ValidationError") -> tuple[str, ...]:
        """The names or values that may be meant by one that is not allowed; never taken for it."""
        match error.kind.name:
            case "additionalProperties":
                around = _walk(self._schema, error.schema_path[:-1])
                known = around.get("properties") if isinstance(around, dict) else None
                given = list(error.instance) if isinstance(error.instance, dict) else []
            case "enum":
                known, given = _walk(self._schema, error.schema_path), [error.instance]
            case _:
                return ()
        names = [name for name in known if isinstance(name, str)] if isinstance(known, (dict, list)) else []
        strange = [name for name in given if isinstance(name, str) and name not in names]
        return tuple(near for name in strange[:3] for near in find_near(name, names, 3, at_least=0.6))

    def _quote(self, path: list[str | int]) -> Json:
        """The part of the schema that was violated, with the keyword's siblings unless they are too many."""
        keyword = _walk(self._schema, path)
        siblings = _walk(self._schema, path[:-1])
        for fragment in (siblings, {str(path[-1]): keyword} if path else None):
            if len(encode(fragment)) <= MAX_EXPECTED_CHARS:
                return fragment
        return None


def _compile(schema: JsonObject) -> "jsonschema_rs.Validator":
    import jsonschema_rs  # 5 MB, for the schemas and the arguments that need it

    try:
        return _compile_all(schema)
    except jsonschema_rs.ValidationError:
        return _compile_all(_drop_patterns(schema))


def _compile_all(schema: JsonObject) -> "jsonschema_rs.Validator":
    import jsonschema_rs

    return jsonschema_rs.validator_for(
        schema, retriever=_refuse_to_fetch, pattern_options=jsonschema_rs.RegexOptions(), validate_formats=False
    )


def _drop_patterns(schema: JsonObject) -> JsonObject:
    """`schema` without the patterns that take more than linear time or are written for another engine."""
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
        _compile_all({"pattern": pattern})
    except ValueError:
        return False
    return True


def _walk(schema: Json, path: list[str | int]) -> Json:
    for step in path:
        if isinstance(schema, dict) and isinstance(step, str):
            schema = schema.get(step)
        elif isinstance(schema, list) and isinstance(step, int):
            schema = schema[step]
    return schema


def _refuse_to_fetch(uri: str) -> NoReturn:
    """A schema from outside never makes the bridge open a file or a connection (MCP, security: no remote `$ref`)."""
    raise ValueError(f"{uri} is not fetched")
