"""The arguments of a call against the owner's own schema, and what the model is told of those that do not fit."""

from dataclasses import dataclass

from bridge.json_text import Json, JsonObject, encode
from bridge.schemas.judge import BoundedJudge, Fault
from bridge.schemas.walk import follow
from bridge.search.near import find_near

MAX_EXPECTED_CHARS = 2000
"""How much of a schema is quoted back to the model."""


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
    """Validates arguments against one tool's schema, leniently: its server validates in any case.

    A schema that cannot be used is no reason to lose the tool: everything passes then, and `note` says so.
    """

    def __init__(self, schema: JsonObject) -> None:
        self._schema = schema
        self._judge = BoundedJudge(schema, lenient=True)

    @property
    def note(self) -> str | None:
        """Why nothing is validated, once that is known."""
        return self._judge.note and f"arguments are not validated here, {self._judge.note}"

    def find_error(self, arguments: JsonObject) -> InvalidArguments | None:
        """What is wrong with `arguments`, or None; what would take too long to say is left to the server."""
        fault = self._judge.find_fault(arguments)
        if fault is None or not fault.message:
            return None
        return InvalidArguments(fault.message, fault.place, self._quote(fault), self._find_near(fault))

    def _find_near(self, fault: Fault) -> tuple[str, ...]:
        """The names or values that may be meant by one that is not allowed; never taken for it."""
        match fault.keyword:
            case "additionalProperties":
                known = follow(self._schema, (*fault.rule[:-1], "properties"))
                given = list(fault.given) if isinstance(fault.given, dict) else []
            case "enum":
                known, given = follow(self._schema, fault.rule), [fault.given]
            case _:
                return ()
        names = [name for name in known if isinstance(name, str)] if isinstance(known, (dict, list)) else []
        strange = [name for name in given if isinstance(name, str) and name not in names]
        return tuple(near for name in strange[:3] for near in find_near(name, names, 3, at_least=0.6))

    def _quote(self, fault: Fault) -> Json:
        """The part of the schema that was violated, with the keyword's siblings unless they are too many."""
        siblings = follow(self._schema, fault.rule[:-1])
        keyword: Json = {str(step): follow(self._schema, fault.rule) for step in fault.rule[-1:]}
        return next((part for part in (siblings, keyword) if len(encode(part)) <= MAX_EXPECTED_CHARS), None)
