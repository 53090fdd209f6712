"""Approvals: the decision of the config about a tool and, if that is to ask, of the person about a call."""

import re
from dataclasses import dataclass
from typing import Literal

from mcp import types

from bridge.config.settings import BUILTIN, ServerConfig
from bridge.questions import Answer, Who, find_who, is_yes
from bridge.visible import MAX_NAME_CHARS, quote, show_name

Approval = Literal["run", "ask", "deny"]
NEEDED = "it needs the user's approval"

_SPECIAL = re.compile(r"[*?\[]|\$(?=\{)")
_HALF = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Refusal:
    """Why a call may not run."""

    code: str
    message: str
    """For the model."""
    notice: str
    """For the caller, with the config line that would allow the call."""
    by: Who = "config"
    """Name of who has decided that."""


def decide(server: ServerConfig, tool: types.Tool) -> Approval:
    """Decide from the config: by its lists first (deny wins, then ask), then by `require_approval`."""
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


def name_rule(server: ServerConfig, tool: types.Tool) -> str:
    """Name what of the config lets a tool run without a question."""
    if server.key == BUILTIN:
        return BUILTIN
    if server.tools.decision(tool.name) == "allow":
        return "tools.allow"
    return "require_approval never" if server.require_approval == "never" else "readOnlyHint"


def refuse(server: str, tool: str, answer: Answer, remedy: str, cause: str = NEEDED) -> Refusal | None:
    """Return None if the person's answer lets a call run, else the refusal. It names the remedy, such as a config
    line, and the cause of the question."""
    what = _name(server, tool)
    if is_yes(answer):
        return None
    if answer["action"] == "unasked":
        message = f"{what}: {cause}, and {answer['reason']}. {remedy}"
        return Refusal("approval_required", message, message, find_who(answer))
    note = f" ({answer['reason']})" if answer["reason"] else ""
    return Refusal(
        "declined",
        f"{what}: the user said no to this call. Do not make it again unless they ask for it",
        f"{what}: the answer was no{note}. {remedy}",
        find_who(answer),
    )


def forbid(server: str, tool: str) -> Refusal:
    """Return the refusal of a call that the config did not deny when its run began, and does by now."""
    message = f"{_name(server, tool)}: since this run began, the config has come to deny it"
    return Refusal("denied", message, message)


def miss(server: str, tool: str) -> Refusal:
    """Return the refusal of a call of a tool that is not there any more."""
    message = f"{_name(server, tool)}: its server does not list it any more"
    return Refusal("not_listed", message, message, "bridge")


def _name(server: str, tool: str) -> str:
    return f"{show_name(tool)} of {show_name(server)} was not run"


def name_remedy(config_line: str) -> str:
    """Say how a tool gets to run without a question."""
    return f"To allow it: {config_line}"


def quote_config_line(server: ServerConfig, tool: str) -> str:
    """Quote the config line that would let a tool run without a question, and no other tool."""
    key = quote(server.key)
    if server.tools.decision(tool) == "ask":  # overrides `allow`
        return f'take it out of "mcpServers": {{{key}: {{"tools": {{"ask": …}}}}}}'
    if len(tool) > MAX_NAME_CHARS:
        lists = f'"mcpServers": {{{key}: {{"tools": {{"allow": …}}}}}}'
        return f"{lists} with a glob of your own, as its name has {len(tool):,} characters"
    if _HALF.search(tool):
        return "its server has to rename it, as no config file can hold every character of its name"
    return f'"mcpServers": {{{key}: {{"tools": {{"allow": [{quote(_match_only(tool))}]}}}}}}'


def _match_only(name: str) -> str:
    """Write a glob that matches this name alone, and holds no `${...}` that a config file would fill in."""
    return _SPECIAL.sub(lambda sign: f"[{sign[0]}]", name)
