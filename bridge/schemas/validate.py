"""Validation of the arguments of a call by the owner's schema, with errors that help the model to correct them."""

from dataclasses import dataclass

from bridge.json_text import Json, JsonObject, encode
from bridge.schemas.judge import BoundedJudge, Fault
from bridge.schemas.walk import follow
from bridge.search.near import find_near

MAX_EXPECTED_CHARS = 2000
"""The longest part of a schema that is quoted to the model."""


@dataclass(frozen=True)
class InvalidArguments:
    """The first error in the arguments of a call, for the model: what is wrong, where, and what the schema expects."""

    message: str
    path: str
    expected: Json
    near_names: tuple[str, ...] = ()
    """Existing names of arguments, or allowed values, that are similar to an unknown one."""

    @property
    def details(self) -> JsonObject:
        """Everything but the message, for the model."""
        near: JsonObject = {"near_names": list[Json](self.near_names)} if self.near_names else {}
        return {"path": self.path, "expected": self.expected} | near


class ArgumentValidator:
    """Validates arguments against one tool's schema, leniently: its server validates them again.

    If the schema is unusable, the tool stays: all arguments pass, and `note` says so.
    """

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._judge = BoundedJudge(schema, lenient=True)

    @property
    def note(self) -> str | None:
        """Why arguments are not validated; None if they are, or until the first call."""
        return self._judge.note and f"arguments are not validated here, {self._judge.note}"

    def find_error(self, arguments: JsonObject) -> InvalidArguments | None:
        """Return the first error in `arguments`, or None; one that takes too long to find is left to the server."""
        fault = self._judge.find_fault(arguments)
        if fault is None or not fault.message:
            return None
        return InvalidArguments(fault.message, fault.location, self._quote(fault), self._find_near(fault))

    def _find_near(self, fault: Fault) -> tuple[str, ...]:
        """Find the allowed names or values that are similar to the given one; they are only suggested."""
        match fault.keyword:
            case "additionalProperties":
                known = follow(self._schema, (*fault.schema_path[:-1], "properties"))
                given = list(fault.value) if isinstance(fault.value, dict) else []
            case "enum":
                known, given = follow(self._schema, fault.schema_path), [fault.value]
            case _:
                return ()
        names = [name for name in known if isinstance(name, str)] if isinstance(known, (dict, list)) else []
        unknown = [name for name in given if isinstance(name, str) and name not in names]
        return tuple(near for name in unknown[:3] for near in find_near(name, names, 3, at_least=0.6))

    def _quote(self, fault: Fault) -> Json:
        """Return the violated keyword of the schema with its siblings; without them if they are too long."""
        siblings = follow(self._schema, fault.schema_path[:-1])
        keyword: Json = {str(step): follow(self._schema, fault.schema_path) for step in fault.schema_path[-1:]}
        return next((part for part in (siblings, keyword) if len(encode(part)) <= MAX_EXPECTED_CHARS), None)
