"""The JSON answer that a caller asked for: read, checked against its schema, its faults named."""

from collections.abc import Sequence

from bridge.events import AnswerParsed, Kept, Notified
from bridge.json_text import Json, decode, is_deep
from bridge.run.receipt import find_text
from bridge.schemas.judge import BoundedJudge


def read_answer(events: Sequence[Kept], options: Json) -> AnswerParsed | Notified | None:
    """Return the event with the answer's value, or the notice that says how it differs from the form that was asked
    for; None where the Responses `text` options of the request do not ask for JSON."""
    form = options.get("format") if isinstance(options, dict) else None
    if not isinstance(form, dict) or form.get("type") not in ("json_schema", "json_object"):
        return None
    try:
        value = decode(find_text(events))
    except ValueError as error:
        return _complain(f"it is not JSON: {error}")
    if is_deep(value):
        return _complain("it is nested too deeply")
    schema = form.get("schema")  # an unusable one refuses nothing: the upstream has judged it
    if isinstance(schema, dict) and (fault := BoundedJudge(schema).find_fault(value)):
        return _complain(fault.describe("the whole"))
    return AnswerParsed(value=value)


def _complain(wrong: str) -> Notified:
    return Notified(code="answer_form", message=f"The answer does not have the form that `text` asks for: {wrong}")
