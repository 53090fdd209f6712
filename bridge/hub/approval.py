"""Approvals: what the config says of a tool, and where that says to ask, what the person says of a call."""

from dataclasses import dataclass
from typing import Literal

from mcp import types

from bridge.config.settings import ServerConfig
from bridge.json_text import JsonObject
from bridge.questions import Ask, ask_approval, is_yes

Approval = Literal["run", "ask", "deny"]


@dataclass(frozen=True)
class Refusal:
    """Why a call may not run."""

    code: str
    message: str
    """For the model."""
    notice: str
    """For the caller, with the config line that would allow it."""


def decide(server: ServerConfig, tool: types.Tool) -> Approval:
    """Decide by the config: by its lists first (deny wins, then ask), then by `require_approval`."""
    match server.tools.decision(tool.name):
        case "deny":
            return "deny"
        case "ask":
            return "ask"
        case "allow":
            return "run"
        case None:
            is_read_only = bool(tool.annotations and tool.annotations.read_only_hint)
            is_free = server.require_approval == "never" or (server.require_approval == "writes" and is_read_only)
            return "run" if is_free else "ask"


async def ask_person(server: ServerConfig, tool: str, arguments: JsonObject, ask: Ask) -> Refusal | None:
    """Ask whether a call may run; None where it may."""
    what, hint = f"{tool} of {server.key} was not run", _name_config_line(server, tool)
    answer = await ask(ask_approval(server.key, tool, arguments))
    if is_yes(answer):
        return None
    if answer["action"] == "unasked":
        message = f"{what}: it needs the user's approval, and {answer['reason']}. To allow it: {hint}"
        return Refusal("approval_required", message, message)
    doubt = f" ({answer['reason']})" if answer["reason"] else ""
    return Refusal(
        "declined",
        f"{what}: the user said no to this call. Do not make it again unless they ask for it",
        f"{what}: the answer was no{doubt}. To allow it: {hint}",
    )


def _name_config_line(server: ServerConfig, tool: str) -> str:
    """Name the one config line that lets a tool run unasked."""
    if server.tools.decision(tool) == "ask":  # it beats `allow`
        return f'take it out of "mcpServers": {{"{server.key}": {{"tools": {{"ask": …}}}}}}'
    return f'"mcpServers": {{"{server.key}": {{"tools": {{"allow": ["{tool}"]}}}}}}'
