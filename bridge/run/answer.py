"""The answer as the value that the caller asked for, where it asked for JSON: read, checked, its faults named."""

from collections.abc import Sequence

from bridge.events import AnswerParsed, Kept, Notified
from bridge.json_text import Json, decode, is_deep
from bridge.run.receipt import find_text
from bridge.schemas.judge import BoundedJudge


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
    schema = form.get("schema")  # one that cannot be used refuses nothing: the upstream has judged it
    if isinstance(schema, dict) and (fault := BoundedJudge(schema).find_fault(value)):
        return _complain(fault.describe("the whole"))
    return AnswerParsed(value=value)


def _complain(wrong: str) -> Notified:
    return Notified(code="answer_form", message=f"The answer has not the form that `text` asks for: {wrong}")
