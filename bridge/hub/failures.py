"""Failures of connected servers, explained: to the model that made the call, and to the people who run the bridge."""

import httpx2
from mcp import MCPError, types
from mcp_types import CONNECTION_CLOSED, PARSE_ERROR
from pydantic import ValidationError

from bridge.hub.transports.replies import NOT_SENT, REFUSED, SESSION_GONE, UNREACHABLE
from bridge.network import explain_network


class CallFailed(Exception):
    """A call without a result; the text is for the model. `may_repeat`: a second try could help and does no harm."""

    def __init__(self, code: str, message: str, *, may_repeat: bool = False) -> None:
        super().__init__(message)
        self.code = code
        self.may_repeat = may_repeat


def explain_call(key: str, tool: types.Tool, error: Exception) -> CallFailed:
    """Explain `error`, raised by a call of `tool` on the server `key`, as a CallFailed for the model."""
    match error:
        case MCPError(code=code, message=message) if code == SESSION_GONE:
            words = f"{key}: {message}; it was not executed and can be repeated"
            return CallFailed("connection_lost", words, may_repeat=True)
        case MCPError(code=code, message=message) if code == NOT_SENT:
            return CallFailed("connection_lost", f"{key}: {message}; it was not sent", may_repeat=True)
        case MCPError(code=code) if code == CONNECTION_CLOSED:
            words = f"{key} went away during the call; {advise_repeat(tool)}"
            return CallFailed("connection_lost", words, may_repeat=is_harmless(tool))
        case MCPError(code=code, message=message) if code == UNREACHABLE:
            words = f"{key}: {message}; {advise_repeat(tool)}"
            return CallFailed("connection_lost", words, may_repeat=is_harmless(tool))
        case MCPError(code=code, message=message) if code == REFUSED:
            return CallFailed("connection_lost", f"{key}: {message}; {advise_repeat(tool)}")
        case MCPError(code=code) if code == PARSE_ERROR:
            words = f"{key} sent a result that cannot be read: {describe(error)}; {advise_repeat(tool)}"
            return CallFailed("unreadable_result", words)
        case MCPError(code=code, message=message):
            return CallFailed("protocol_error", f"{key} answered with error {code}: {message}")
        case ValidationError():
            words = f"{key} sent a result that cannot be read: {describe(error)}; {advise_repeat(tool)}"
            return CallFailed("unreadable_result", words)
        case _:
            return CallFailed("connection_lost", f"the call to {key} failed: {describe(error)}; {advise_repeat(tool)}")


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
