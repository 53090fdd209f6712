"""One run as the page shows it: its time, its texts, and what it asks."""

from collections.abc import Iterator, Sequence
from typing import cast

from bridge.events import CallEnded, CallStarted, InBackground, Kept, Notified, QuestionAsked, Retrying, Said
from bridge.host.page.line import describe_line
from bridge.host.page.words import PAGE_CHARS, Words
from bridge.json_text import Json, JsonObject, decode, encode
from bridge.questions import Question
from bridge.run.progress import describe_event
from bridge.run.receipt import find_notices, find_text
from bridge.run.run import Run
from bridge.run.summary import Summary
from bridge.run.timeline import lay_axis, list_spans
from bridge.run.transcript import read_input

MOST_SPANS = 5000
"""A run of more is shown by its last."""
_CODES: dict[type[Kept], str] = {
    QuestionAsked: "question",
    Retrying: "retry",
    InBackground: "background",
    Said: "said",
}
"""Kinds of events that are told beside the bars, besides notices, which have a code."""


def describe_run(run: Run, summary: Summary, now: float, words: Words) -> JsonObject:
    """Describe a run with all that a page shows of it at once."""
    until = summary.ended or (now if summary.is_driven else run.events[-1].at if run.events else summary.created)
    axis = lay_axis(run.events, until=until)
    error = run.ending["error"] if run.ending else None
    return describe_line(summary, len(run.questions), words) | {
        "now": now,
        "timeline": [words.clean(span.to_json()) for span in list_spans(run.events)[-MOST_SPANS:]],
        "axis": {"began": axis.began, "ended": axis.ended, "pauses": [list(pause) for pause in axis.pauses]},
        "remarks": list(_list_remarks(run.events, words)),
        "questions": [_describe_question(run, key, question, words) for key, question in run.questions.items()],
        "input": words.cut(read_asked(run)),
        "answer": words.cut(find_text(run.events) if run.ending else ""),
        "saying": words.cut("".join(run.saying)),
        "error": words.clean(cast("JsonObject", error)) if error else None,
        "notices": words.clean(find_notices(run.events)),
    }


def find_part(run: Run, part: str) -> str | None:
    """Find a text of a run: `input`, `answer`, `call/TURN/INDEX/arguments` or `call/TURN/INDEX/output`; None where it
    has none such."""
    match part.split("/"):
        case ["input"]:
            return read_asked(run)
        case ["answer"]:
            return find_text(run.events)
        case ["call", turn, index, "arguments"]:
            events = [event for event in run.events if isinstance(event, (CallStarted, CallEnded))]
            return next((_show_value(event.arguments) for event in events if _is_at(event, turn, index)), None)
        case ["call", turn, index, "output"]:
            ended = [event for event in run.events if isinstance(event, CallEnded)]
            return next((show_output(event.item.get("output")) for event in ended if _is_at(event, turn, index)), None)
        case _:
            return None


def list_parts(run: Run) -> list[str]:
    """List the texts that a run has."""
    calls = [event for event in run.events if isinstance(event, (CallStarted, CallEnded))]
    places = {f"call/{event.turn}/{event.index}": None for event in calls}
    return ["input", "answer", *(f"{place}/{what}" for place in places for what in ("arguments", "output"))]


def describe_part(run: Run, part: str, start: int, words: Words) -> JsonObject | None:
    """Describe a page of a text of a run, from a character on; None where there is none such."""
    text = find_part(run, part)
    return None if text is None else {"from": start, **words.cut(text, start)}


def write_file(run: Run, summary: Summary, now: float, words: Words) -> JsonObject:
    """Return what a file that shows a run holds: the run, and each text that is not whole in it."""
    texts: JsonObject = {}
    for part in list_parts(run):
        text = find_part(run, part)
        if text is not None and (part.startswith("call/") or len(text) > PAGE_CHARS):
            texts[part] = words.prose(text)
    return {"run": describe_run(run, summary, now, words), "texts": texts}


def read_asked(run: Run) -> str:
    """Read all that a run was asked, as text."""
    value = run.arguments.get("input")
    if isinstance(value, str):
        return value
    items = read_input(value)
    texts = [_read_item(item) for item in items]
    return "\n\n".join(texts)


def _read_item(item: Json) -> str:
    content = item.get("content") if isinstance(item, dict) else None
    if isinstance(content, str):
        return content
    return show_output(content) if isinstance(content, list) else encode(item)


def show_output(output: Json) -> str:
    """Show the output of a call, or the content of a message, as text; what is none is named."""
    if not isinstance(output, list):
        return _show_value(output)
    parts = [part if isinstance(part, dict) else {"text": part} for part in output]
    return "\n".join(
        str(part["text"]) if isinstance(part.get("text"), str) else f"[{part.get('type')}]" for part in parts
    )


def _show_value(value: Json) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else encode(value)


def _is_at(event: CallStarted | CallEnded, turn: str, index: str) -> bool:
    return (str(event.turn), str(event.index)) == (turn, index)


def _list_remarks(events: Sequence[Kept], words: Words) -> Iterator[JsonObject]:
    for event in events:
        code = event.code if isinstance(event, Notified) else _CODES.get(type(event))
        if code and (text := describe_event(event, words.redact)):
            yield {"at": event.at, "code": code, "text": text.strip()}


def _describe_question(run: Run, key: str, question: Question, words: Words) -> JsonObject:
    asked = [event.at for event in run.events if isinstance(event, QuestionAsked) and event.question == key]
    return {
        "question": key,
        "server": words.line(question.server),
        "tool": words.line(question.tool),
        "message": words.prose(question.message),
        "arguments": words.exactly(question.arguments),
        "difference": words.prose(question.difference) if question.difference else None,
        "is_approval": question.is_approval,
        "asked_at": asked[-1] if asked else None,
        **_find_place(run, question),
    }


def _find_place(run: Run, question: Question) -> JsonObject:
    """Find the call that a question is about, where only one can be meant."""
    ended = {(event.turn, event.index) for event in run.events if isinstance(event, CallEnded)}
    calls = [
        event
        for event in run.events
        if isinstance(event, CallStarted)
        and (event.turn, event.index) not in ended
        and event.server == question.server
        and _read(event.arguments) == question.arguments
    ]
    return {"turn": calls[0].turn, "index": calls[0].index} if len(calls) == 1 else {}


def _read(arguments: Json) -> Json:
    try:
        return decode(arguments) if isinstance(arguments, str) else arguments
    except ValueError:
        return arguments
