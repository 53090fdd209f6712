"""The connected servers described for programs: their states, and their tools as the model sees them."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from bridge.config.settings import Config, Limits
from bridge.hub.catalogue import Catalogue
from bridge.hub.hub import Hub
from bridge.hub.member import Member
from bridge.json_text import Json, JsonObject

if TYPE_CHECKING:
    from bridge.hub.differences import Difference

Exceeds: TypeAlias = Callable[[int, int, Limits], bool]
"""Tells whether so many tools, of so many tokens, are over the limits of a request."""


async def describe_hub(hub: Hub, config: Config, exceeds: Exceeds) -> JsonObject:
    """Describe all servers, and what a request carries of their tools."""
    servers: list[Json] = [await describe_server(hub, member) for member in hub.members]
    servers += [_describe_left_out(name, reason) for name, reason in config.left_out.items()]
    return {"servers": servers, "request": _describe_request(hub.snapshot(), config.limits, exceeds)}


def _describe_left_out(name: str, reason: str) -> JsonObject:
    return {"name": name, "state": "left out", "reason": reason, "era": None, "tools": []}


def _describe_request(catalogue: Catalogue, limits: Limits, exceeds: Exceeds) -> JsonObject:
    """Describe the size of all tools together, the limits, and whether the model has to search because of them."""
    tools, tokens = len(catalogue.tools), sum(catalogue.tokens.values())
    is_searched = exceeds(tools + 1, tokens, limits)  # `read_output` comes with them
    budget: JsonObject = {"max_tools": limits.max_tools, "tool_tokens": limits.tool_tokens}
    return {"tools": tools, "tokens": tokens, **budget, "is_searched": is_searched}


async def describe_server(hub: Hub, member: Member) -> JsonObject:
    """Describe a server as `{name, state, reason, era, tools: [{name, tool, tokens, approval, notes}]}`.

    A tool's `name` is its model name, None if it is not offered.
    """
    catalogue = hub.snapshot()
    unapproved = describe_unapproved(await hub.find_unapproved(member.key))
    offered = {bridged.tool.name: bridged for bridged in catalogue.tools.values() if bridged.server == member.key}
    tools: list[Json] = []
    for tool in member.tools:
        if bridged := offered.get(tool.name):
            tokens = catalogue.tokens[bridged.name]
            note = unapproved.get(tool.name)
            approval = "ask" if note else bridged.approval
            tools.append(_tool(bridged.name, tool.name, tokens, approval, *filter(None, [note]), *bridged.notes))
        else:
            tools.append(_leave_out(member, tool.name, catalogue))
    for name, reason in member.listing.skipped.items():
        tools.append(_tool(None, name, 0, "left out", reason))
    reason = member.reason or member.listing.note
    told: JsonObject = {"name": member.key, "state": member.state, "reason": reason, "era": member.era}
    signed_in = member.describe_sign_in()
    is_new = signed_in and signed_in != reason  # that it cannot be used may be the reason
    return told | ({"signed_in": signed_in} if is_new else {}) | {"tools": tools}


def describe_unapproved(difference: "Difference | None") -> dict[str, str]:
    """Describe by plain name what nobody has approved of a server's tools, with the command that accepts it."""
    if difference is None:
        return {}
    from bridge.hub.differences import describe_cause, quote_accept, sum_up

    accept = f"(to accept: {quote_accept(difference.server)})"
    cause = describe_cause(difference)
    return {change.name: f"{sum_up(change) or cause} {accept}" for change in difference.changes}


def _leave_out(member: Member, name: str, catalogue: Catalogue) -> JsonObject:
    """Describe a tool that its server lists but the model does not get: denied, or left out with a reason."""
    if member.server.tools.decision(name) == "deny":
        return _tool(None, name, 0, "deny")
    reasons = [tool.reason for tool in catalogue.left_out if (tool.server, tool.tool) == (member.key, name)]
    return _tool(None, name, 0, "left out", *reasons)


def _tool(name: str | None, tool: str, tokens: int, approval: str, *notes: str) -> JsonObject:
    return {"name": name, "tool": tool, "tokens": tokens, "approval": approval, "notes": list[Json](notes)}
