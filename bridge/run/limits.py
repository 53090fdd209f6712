"""The limits of a run, and the endings that it can have."""

from typing import Literal, TypedDict

from bridge.config.settings import Limits
from bridge.errors import ArgumentError, BridgeError, Busy, UpstreamError
from bridge.events import Status
from bridge.items import ErrorInfo, Notice

Reason = Literal[
    "max_turns",
    "max_tool_calls",
    "timeout",
    "output_bytes",
    "max_output_tokens",
    "content_filter",
    "budget",
    "repeated_call",
    "context",
    "caller_tools",
    "approval",
]
"""Why a run is incomplete: a closed list, for programs that decide what to do next."""


class Ending(TypedDict):
    """How a run ended: exactly one status; `reason` only when incomplete, `error` only when failed."""

    status: Status
    reason: Reason | None
    error: ErrorInfo | None


CANCELLED: Ending = {"status": "cancelled", "reason": None, "error": None}
COMPLETED: Ending = {"status": "completed", "reason": None, "error": None}
IN_PROGRESS: Ending = {"status": "in_progress", "reason": None, "error": None}
"""Not an ending: told to a caller that must be answered while the run goes on."""


def stop_short(reason: Reason) -> Ending:
    """Return the ending of a run that stopped early, or that needs the caller to go on."""
    status: Status = "needs_input" if reason in ("caller_tools", "approval") else "incomplete"
    return {"status": status, "reason": reason, "error": None}


def read_reason(reason: str | None) -> Reason:
    """Read why a response is incomplete from the upstream's word for it. The API has two that matter; a response that
    ends early for any other reason has used up the tokens it was given."""
    return "content_filter" if reason == "content_filter" else "max_output_tokens"


def fail_with(error: BridgeError | ErrorInfo) -> Ending:
    """Return the ending of a run that failed."""
    info = describe_error(error) if isinstance(error, BridgeError) else error
    return {"status": "failed", "reason": None, "error": info}


def describe_error(error: BridgeError) -> ErrorInfo:
    """Write an error as data, for a result or for a step's outcome."""
    is_upstream = isinstance(error, UpstreamError)
    info: ErrorInfo = {
        "code": error.code,
        "message": error.message,
        "who": error.who,
        "status": error.status if is_upstream else None,
        "request_id": error.request_id if is_upstream else None,
    }
    if isinstance(error, Busy):
        info["retry_after_s"] = error.retry_after_s
    return info


def restore_error(info: ErrorInfo) -> BridgeError:
    """Restore the error that `describe_error` has written."""
    if info["code"] == ArgumentError.code:
        return ArgumentError(info["message"])
    return UpstreamError(
        info["message"], code=info["code"], who=info["who"], status=info["status"], request_id=info["request_id"]
    )


def lower_limits(limits: Limits, max_turns: int | None, timeout_s: float | None) -> tuple[Limits, list[Notice]]:
    """Return the limits of a run, with notices. A caller may lower two of them; what it wants beyond the config's limit
    is cut to that, with a notice."""
    if max_turns is None and timeout_s is None:
        return limits, []
    notices: list[Notice] = []

    def lower(name: str, limit: float, wanted: float | None) -> float:
        if wanted is not None and wanted > limit:
            notices.append(
                Notice(
                    code="limit", message=f"{name} {wanted:g} is over the configured limit of {limit:g}, which holds"
                )
            )
        return limit if wanted is None else min(limit, wanted)

    lowered = {
        "max_turns": int(lower("max_turns", limits.max_turns, max_turns)),
        "timeout_s": lower("timeout_s", limits.timeout_s, timeout_s),
    }
    return limits.model_copy(update=lowered), notices
