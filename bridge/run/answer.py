"""The answer as the value that the caller asked for, where it asked for JSON: read, checked, its faults named."""

from collections.abc import Sequence

from bridge.events import AnswerParsed, Kept, Notified
from bridge.json_text import Json, JsonObject, decode, is_deep
from bridge.run.receipt import find_text
from bridge.schemas.sizes import MAX_SCHEMA_NODES, measure_schema

MAX_MESSAGE_CHARS = 300
MAX_EXPLAINED_NODES = 2000
"""Of a schema: up to here it is said where an answer breaks it."""
MAX_BACKTRACKS = 10_000
"""Of a pattern: a millisecond. The event loop waits meanwhile."""


def read_answer(events: Sequence[Kept], options: Json) -> AnswerParsed | Notified | None:
    """The event that tells the answer's value, or the notice that it has another form; None where the Responses `text`
    options of the request ask for no JSON."""
    form = options.get("format") if isinstance(options, dict) else None
    if not isinstance(form, dict) or form.get("type") not in ("json_schema", "json_object"):
        return None
    try:
        value = decode(find_text(events))
    except ValueError as error:
        return _complain(f"it is not JSON: {error}")
    if is_deep(value):
        return _complain("it is nested too deeply")
    if isinstance(schema := form.get("schema"), dict) and (wrong := _find_violation(value, schema)):
        return _complain(wrong)
    return AnswerParsed(value=value)


def _complain(wrong: str) -> Notified:
    return Notified(code="answer_form", message=f"The answer has not the form that `text` asks for: {wrong}")


def _find_violation(value: Json, schema: JsonObject) -> str | None:
    """Where and how `value` breaks `schema`; nothing for a schema that cannot be used: the upstream has judged it."""
    import jsonschema_rs

    try:
        if (size := measure_schema(schema).nodes) > MAX_SCHEMA_NODES:
            return None
        patterns = jsonschema_rs.FancyRegexOptions(backtrack_limit=MAX_BACKTRACKS)
        validator = jsonschema_rs.validator_for(schema, retriever=_refuse, pattern_options=patterns)
        if size > MAX_EXPLAINED_NODES:  # to find out takes a thousandth of what it takes to say why
            return None if validator.is_valid(value) else "the whole does not fit the schema"
        for error in validator.iter_errors(value):
            steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path)
            path = "".join(steps).lstrip(".") or "the whole"
            return f"{path}: {error.message[-MAX_MESSAGE_CHARS:]}"
    except Exception:  # noqa: BLE001 - boundary: whatever a schema from outside does to the validator
        return None
    return None


def _refuse(uri: str) -> JsonObject:
    raise ValueError(f"{uri} is not fetched")
