"""The tools that a host sees: `respond`, and two for runs that take longer than a host waits.

All three are always listed. Listing the two only while a run is in progress would change the list in mid-conversation,
and hosts keep using the old one (anthropics/claude-code#88172, anthropics/claude-ai-mcp#45, github/copilot-cli#3125);
besides, in the modern era a list may not depend on earlier calls.
"""

from collections.abc import Sequence

from mcp import types

from bridge.errors import ArgumentError
from bridge.host.result_schema import RESULT
from bridge.host.schema import ARGUMENTS
from bridge.json_text import JsonObject

_RUN_ID: JsonObject = {"type": "string", "minLength": 1, "description": "That of an earlier result"}

WAIT_ARGUMENTS: JsonObject = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "run_id": _RUN_ID | {"description": "That of an earlier result; else recent runs are listed"},
        "wait_s": {"type": "number", "minimum": 0, "description": "Seconds to wait at most; 0 only looks"},
    },
}
CANCEL_ARGUMENTS: JsonObject = {
    "type": "object",
    "required": ["run_id"],
    "additionalProperties": False,
    "properties": {"run_id": _RUN_ID},
}


def list_tools(description: str, result_chars: int) -> list[types.Tool]:
    """List the tools; `description` is that of `respond`, which names the model that it asks now."""
    hints = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)
    looks = types.ToolAnnotations(read_only_hint=True, open_world_hint=True)
    stops = types.ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True)
    wait = "Wait for a run of `respond` whose status is in_progress, and get its result. Call it until there is one."
    cancel = "Stop a run of `respond` whose status is in_progress, and get its result so far."
    tools = (
        ("respond", "Ask another model", description, ARGUMENTS, hints),
        ("respond_wait", "Wait for another model's answer", wait, WAIT_ARGUMENTS, looks),
        ("respond_cancel", "Stop another model's run", cancel, CANCEL_ARGUMENTS, stops),
    )
    return [
        types.Tool(
            name=name,
            title=title,
            description=text,
            input_schema=schema,
            output_schema=RESULT,
            annotations=annotations,
            _meta={"anthropic/maxResultSizeChars": result_chars},
        )
        for name, title, text, schema, annotations in tools
    ]


def read_run_id(arguments: JsonObject, known: Sequence[str], *, may_lack: bool = False) -> str | None:
    """Read the `run_id` of the two companions. Raises ArgumentError if it is missing, unless it may be, and for unknown
    arguments."""
    for name in arguments:
        if name not in known:
            raise ArgumentError(f"{name}: there is no such argument; there are: {', '.join(known)}")
    run_id = arguments.get("run_id")
    if run_id is None and may_lack:
        return None
    if not isinstance(run_id, str) or not run_id:
        raise ArgumentError("run_id: it is missing; give the run_id of an earlier result, as a text")
    return run_id


def read_wait(arguments: JsonObject, longest_s: float) -> float:
    """Read how many seconds to wait, at most `longest_s`. Raises ArgumentError for anything but a number, 0 or more."""
    wait_s = arguments.get("wait_s", longest_s)
    if isinstance(wait_s, bool) or not isinstance(wait_s, (int, float)) or wait_s < 0:
        raise ArgumentError("wait_s: expected a number of seconds, 0 or more")
    return float(min(longest_s, wait_s))
