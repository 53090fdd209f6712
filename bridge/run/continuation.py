"""How a caller goes on from a result: what waits for its answers, what it is told, and the run that takes them up."""

from collections.abc import Iterable, Sequence
from typing import cast

from bridge.errors import ArgumentError
from bridge.items import CALL_TYPES, Notice, find_calls
from bridge.json_text import Json, JsonObject
from bridge.run.limits import Ending
from bridge.run.run import Run

ANSWERS = CALL_TYPES | {"mcp_approval_request": "mcp_approval_response"}
"""Items that only the caller can answer, and the items that do."""


def find_items(events: Iterable[JsonObject]) -> list[JsonObject]:
    """Every item of a run in order: each turn's output, then the outputs of its calls in call order."""
    told = sorted((event for event in events if event["type"] in ("turn.ended", "call.ended")), key=place_event)
    items: list[JsonObject] = []
    for event in told:
        items += as_items(event["output"] if event["type"] == "turn.ended" else [event["item"]])
    return items


def find_pending(events: Sequence[JsonObject]) -> list[JsonObject]:
    """The items of the last turn that wait for the caller: calls of its own functions, requests for its approval."""
    turns = [event for event in events if event["type"] == "turn.ended"]
    output = as_items(turns[-1]["output"]) if turns else []
    ended = {place_event(event)[1] for event in _find_answered(events)}
    calls = [call.item for index, call in enumerate(find_calls(output)) if index not in ended]
    return calls + [item for item in output if item.get("type") == "mcp_approval_request"]


def explain_next(run_id: str | None, ending: Ending) -> list[Json]:
    """How the caller's model goes on from here. As a notice it is in both forms of the result, the text and the
    structured one: hosts show their model either."""
    how = f"Then call respond again with run_id {run_id} and, as input, a list of one item for each:"
    messages = {
        "in_progress": f"The run goes on. To get its result, call respond_wait with run_id {run_id}; respond_cancel "
        "stops it. Do not call respond again for the same thing.",
        "caller_tools": "`pending` are calls of functions of yours: do what they say. "
        f'{how} {{"type": "function_call_output", "call_id": …, "output": …}}.',
        "approval": "`pending` are calls that a hosted server asks approval for: ask the user, do not decide yourself. "
        f'{how} {{"type": "mcp_approval_response", "approval_request_id": …, "approve": …}}.',
    }
    message = messages.get(ending["reason"] or ending["status"])
    return [cast("JsonObject", Notice(code=ending["status"], message=message))] if message else []


def continue_run(earlier: Run, given: JsonObject, *, is_kept: bool) -> JsonObject:
    """The arguments of the run that goes on where `earlier` ended: its own, and what is given anew.

    The whole history is sent, so it works on every upstream; `is_kept`: but for one that keeps the conversation
    itself. Raises ArgumentError for a run that has not ended, and for answers that are missing.
    """
    if earlier.ending is None:
        raise ArgumentError("run_id: this run still goes on; call respond_wait for its result")
    if "previous_response_id" in given:
        raise ArgumentError("previous_response_id: give either it or run_id")
    answers = read_items(given["input"])
    _require_answers(earlier, answers)
    before = _find_outputs(earlier) if is_kept else read_items(earlier.arguments["input"]) + find_items(earlier.events)
    arguments = {name: value for name, value in earlier.arguments.items() if name != "tool_choice"}  # of one turn alone
    arguments |= given | {"input": list[Json](before + answers)}
    del arguments["run_id"]
    return arguments


def complete_input(earlier: Run, given: JsonObject, *, is_kept: bool) -> JsonObject:
    """The arguments of a call that names the response with which `earlier` ended: beside the caller's answers the
    upstream needs those that the servers gave, which it has not been sent yet; `is_kept`: they are in the conversation
    that is kept here. Raises ArgumentError for answers that are missing."""
    if not earlier.ending or earlier.ending["status"] != "needs_input":
        return given
    answers = read_items(given["input"])
    _require_answers(earlier, answers)
    if is_kept:
        return given
    known = {str(item.get("call_id")) for item in answers}
    outputs = [item for item in _find_outputs(earlier) if str(item.get("call_id")) not in known]
    return given | {"input": list[Json]([*outputs, *answers])}


def read_items(value: Json) -> list[JsonObject]:
    """`respond`'s input as items."""
    return as_items(value) if isinstance(value, list) else [{"role": "user", "content": value}]


def as_items(output: Json) -> list[JsonObject]:
    """The objects of a list."""
    return [item for item in output if isinstance(item, dict)] if isinstance(output, list) else []


def place_event(event: JsonObject) -> tuple[int, int]:
    """Turn and index of a call's event; a turn's own comes before."""
    turn, index = event["turn"], event.get("index", -1)
    assert isinstance(turn, int)
    assert isinstance(index, int)
    return turn, index


def _find_answered(events: Sequence[JsonObject]) -> list[JsonObject]:
    """The ends of the calls of the last turn, in call order."""
    turns = [event["turn"] for event in events if event["type"] == "turn.ended"]
    ended = [event for event in events if event["type"] == "call.ended" and turns and event["turn"] == turns[-1]]
    return sorted(ended, key=place_event)


def _find_outputs(earlier: Run) -> list[JsonObject]:
    return as_items([event["item"] for event in _find_answered(earlier.events)])


def _require_answers(earlier: Run, items: Sequence[JsonObject]) -> None:
    given = {str(item.get("call_id") or item.get("approval_request_id")) for item in items}
    for asked in find_pending(earlier.events):
        asked_id = str(asked.get("call_id") or asked.get("id"))
        if asked_id not in given:
            answer = ANSWERS[str(asked["type"])]
            raise ArgumentError(f"input: {asked.get('name')} ({asked_id}) has no answer; give a {answer} item for it")
