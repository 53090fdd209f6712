"""How a caller goes on from a result: what it is told, the run that its answers join, and the arguments that hold."""

from typing import cast

from bridge.errors import ArgumentError, BridgeError
from bridge.items import Notice
from bridge.json_text import JsonObject
from bridge.run.engine import Engine, ForeignResponse, is_unproven
from bridge.run.limits import Ending
from bridge.run.run import Run
from bridge.run.transcript import Transcript

OF_ONE_CALL = ("input", "run_id", "previous_response_id", "tool_choice")
"""Arguments that do not hold for the run that goes on from theirs."""
UNKNOWN_RESPONSE = "previous_response_id: there is no such response; it may have expired, and must be that of a result"
UNPROVEN_RESPONSE = "previous_response_id: without a token, go on from a result by its run_id"


def explain_next(run_id: str | None, ending: Ending) -> list[Notice]:
    """Say how the caller's model goes on from here. As a notice it is in both forms of the result, the text and the
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
    return [Notice(code=ending["status"], message=message)] if message else []


async def find_run(engine: Engine, run_id: str, *, principal: str | None) -> Run:
    """Find a run of this principal. Raises ArgumentError, the same for one that is unknown, expired or somebody
    else's; BridgeError where it may be kept, and cannot be read."""
    run = await engine.find(run_id, principal=principal)
    if run is None and (reason := engine.unreadable):
        raise BridgeError(
            f"run_id: this run is not in memory, and those that are kept cannot be read any more: {reason}; "
            "it may be there when the bridge was started again"
        )
    if run is None:
        raise ArgumentError("run_id: there is no such run; it may have expired, and must be that of a result")
    return run


async def find_earlier(engine: Engine, arguments: JsonObject, *, principal: str | None) -> Run | None:
    """Find the run that these arguments go on from: the one that they name, or the one that ended with the response
    that they name; None for a response that is not known here. Raises ArgumentError where there is none, or it is
    somebody else's, or it still goes on."""
    if isinstance(run_id := arguments.get("run_id"), str):
        run = await find_run(engine, run_id, principal=principal)
        if run.ending is None:
            raise ArgumentError("run_id: this run still goes on; call respond_wait for its result")
        return run
    if isinstance(response_id := arguments.get("previous_response_id"), str):
        try:
            return await engine.find_response(response_id, principal=principal)
        except ForeignResponse:
            raise ArgumentError(UNPROVEN_RESPONSE if is_unproven(principal) else UNKNOWN_RESPONSE) from None
    return None


async def find_history(
    engine: Engine, arguments: JsonObject, earlier: Run | None, *, principal: str | None
) -> Transcript:
    """Find the conversation that these arguments go on from; an empty one where they begin it.

    `earlier` is the run that `find_earlier` found for them. Raises ArgumentError as that does.
    """
    if earlier is None:
        return Transcript([], base=cast("str | None", arguments.get("previous_response_id")))
    if earlier.transcript is None:  # it ended before it had read its own input
        before = await find_earlier(engine, earlier.arguments, principal=principal)
        return await find_history(engine, earlier.arguments, before, principal=principal)
    return earlier.transcript
