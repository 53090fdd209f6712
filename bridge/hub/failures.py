"""Failures of connected servers, explained: to the model that made the call, and to the people who run the bridge."""

import httpx2
import mcp_types
from mcp import MCPError, UrlElicitationRequiredError, types
from pydantic import ValidationError

from bridge.hub.transports import replies
from bridge.network import explain_network


class CallFailed(Exception):
    """A call without a result; the text is for the model.

    `may_repeat`: a second try could help and does no harm; `pause_s`: but only after so long.
    """

    def __init__(self, code: str, message: str, *, may_repeat: bool = False, pause_s: float | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.may_repeat = may_repeat
        self.pause_s = pause_s


class PagesRequired(CallFailed):
    """A call that was not executed: the server wants pages opened first, as `asked` has them."""

    def __init__(self, key: str, error: MCPError) -> None:
        said = f"{key} wants the user to open a page first, and names none that can be read: {error.message}"
        super().__init__("input_required", said)
        self.asked = _read_pages(error)


def _read_pages(error: MCPError) -> list[types.ElicitRequestURLParams]:
    try:
        return UrlElicitationRequiredError.from_error(error.error).elicitations
    except (ValidationError, ValueError, AttributeError, TypeError):
        return []


def explain_call(key: str, tool: types.Tool, error: Exception) -> CallFailed:
    """Explain `error`, raised by a call of `tool` on the server `key`, as a CallFailed for the model."""
    match error:
        case MCPError():
            return _explain_answer(key, tool, error)
        case ValidationError():
            return _explain_unreadable(key, tool, error)
        case _:
            return CallFailed("connection_lost", f"the call to {key} failed: {describe(error)}; {advise_repeat(tool)}")


def _explain_answer(key: str, tool: types.Tool, error: MCPError) -> CallFailed:
    """Explain an error that came in place of a result: the server's own, or one of ours."""
    said, advice = f"{key}: {error.message}", advise_repeat(tool)
    match error.code:
        case replies.SESSION_GONE:
            words = f"{said}; it was not executed and can be repeated"
            return CallFailed("connection_lost", words, may_repeat=True)
        case replies.NOT_SENT:
            return CallFailed("connection_lost", f"{said}; it was not sent", may_repeat=True)
        case replies.NOT_EXECUTED:
            return _ask_again("refused", error, f"{said}; it was not executed", may_repeat=True)
        case replies.REFUSED:
            return _ask_again("connection_lost", error, f"{said}; {advice}", may_repeat=is_harmless(tool))
        case mcp_types.CONNECTION_CLOSED:
            words = f"{key} went away during the call; {advice}"
            return CallFailed("connection_lost", words, may_repeat=is_harmless(tool))
        case replies.UNREACHABLE:
            return CallFailed("connection_lost", f"{said}; {advice}", may_repeat=is_harmless(tool))
        case mcp_types.URL_ELICITATION_REQUIRED:
            return PagesRequired(key, error)
        case mcp_types.PARSE_ERROR:
            return _explain_unreadable(key, tool, error)
        case code:
            words = f"{key} answered with error {replies.read_code(code)}: {error.message}"
            return CallFailed("protocol_error", words)


def _explain_unreadable(key: str, tool: types.Tool, error: Exception) -> CallFailed:
    words = f"{key} sent a result that cannot be read: {describe(error)}; {advise_repeat(tool)}"
    return CallFailed("unreadable_result", words)


def _ask_again(kind: str, error: MCPError, words: str, *, may_repeat: bool) -> CallFailed:
    """Build the failure of a call that may be repeated only if the server says when."""
    told = error.data.get(replies.PAUSE) if isinstance(error.data, dict) else None
    pause_s = told if isinstance(told, float) else None
    return CallFailed(kind, words, may_repeat=may_repeat and pause_s is not None, pause_s=pause_s)


def is_harmless(tool: types.Tool) -> bool:
    """Tell whether the tool declares that a repeated call has no further effect: read-only or idempotent."""
    hints = tool.annotations
    return bool(hints and (hints.read_only_hint or hints.idempotent_hint))


def advise_repeat(tool: types.Tool) -> str:
    """Tell the model whether it can safely repeat a call that was sent but not answered."""
    if is_harmless(tool):
        return "it is safe to repeat"
    return "it may have been executed, check before repeating it"


def flatten(error: BaseException) -> list[BaseException]:
    """Return the errors inside nested groups: `async with Client` wraps even its connect error in several."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for inner in error.exceptions for leaf in flatten(inner)]
    return [error]


def describe(error: BaseException) -> str:
    """Describe an error to people, in one line."""
    if isinstance(error, httpx2.TransportError):
        return f"the server cannot be reached: {explain_network(error)}"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    text = str(error).strip().splitlines()
    return text[0] if text else "the connection was closed"
