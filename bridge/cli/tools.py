"""`tools`: shows each connected server with its state, and each tool as the model will see it."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

import anyio
from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.app import Bridge
from bridge.cli.exits import COMPLETED
from bridge.cli.output import print_json, tell
from bridge.cli.screen.columns import wrap
from bridge.cli.screen.tables import ShownTool, list_tools, print_lines
from bridge.config.settings import LEFT_OUT, Config
from bridge.hub.catalogue import Catalogue
from bridge.hub.hub import Hub
from bridge.hub.member import Member
from bridge.json_text import Json, JsonObject
from bridge.processes.children import Child
from bridge.run.offer import exceeds
from bridge.telemetry import Redactor
from bridge.visible import show_line, show_name

if TYPE_CHECKING:
    from bridge.hub.differences import Difference


def show_tools(options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child]) -> int:
    """Connect every server, wait as a run would, and print the tools that a run would offer."""
    report = anyio.run(_gather, config, redact, children)
    for notice in config.notices:
        if notice["code"] != LEFT_OUT:  # that one is among the servers
            tell(redact(f"! {notice['message']}"))
    if options.json:
        print_json(redact.clean(report))
    else:
        print_servers(cast("list[JsonObject]", report["servers"]), redact)
        _print_request(cast("JsonObject", report["request"]))
    sys.stdout.flush()
    return COMPLETED


async def _gather(config: Config, redact: Redactor, children: Mapping[str, Child]) -> JsonObject:
    async with Bridge(config, environ=os.environ, redact=redact, children=children) as bridge:
        catalogue = await bridge.hub.catalogue()
        servers: list[Json] = [await describe_server(bridge.hub, member) for member in bridge.hub.members]
        servers += [_describe_left_out(name, reason) for name, reason in config.left_out.items()]
        return {"servers": servers, "request": _describe_request(catalogue, config)}


def _describe_left_out(name: str, reason: str) -> JsonObject:
    return {"name": name, "state": "left out", "reason": reason, "era": None, "tools": []}


def _describe_request(catalogue: Catalogue, config: Config) -> JsonObject:
    """Describe the size of all tools together, the limits, and whether the model has to search because of them."""
    tools, tokens, limits = len(catalogue.tools), sum(catalogue.tokens.values()), config.limits
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


def print_servers(servers: Iterable[JsonObject], redact: Redactor) -> None:
    """Print the tools of each server: at a terminal as lines that fit it, else as a table that is 200 columns wide."""
    console = _open_console()
    for server in servers:
        tools = cast("list[JsonObject]", server["tools"])
        headline = show_line(redact(_headline(server, len(tools))))
        if sys.stdout.isatty():
            print_lines(console, wrap(headline, console.width, indent="    ", first=""), style="bold")
            print_lines(console, list_tools([_clean(tool, redact) for tool in tools], console.width))
            continue
        console.print(Text(headline, style="bold"), soft_wrap=True)
        if tools:
            console.print(_table(tools, redact))


def _print_request(request: JsonObject) -> None:
    console, whole = _open_console(), _sum_up(request)
    if sys.stdout.isatty():
        print_lines(console, wrap(whole, console.width))
    else:
        console.print(whole)


def _open_console() -> Console:
    return Console(highlight=False, soft_wrap=False, width=None if sys.stdout.isatty() else 200)


def _clean(tool: JsonObject, redact: Redactor) -> ShownTool:
    name, plain = str(tool["name"] or ""), str(tool["tool"])
    is_said = name == plain or name.endswith(f"__{plain}")
    notes = [*([f"on its server: {show_name(redact(plain))}"] if name and not is_said else [])]
    notes += [show_line(redact(str(note))) for note in cast("list[Json]", tool["notes"])]
    shown = show_name(redact(name or plain))
    return ShownTool(shown, str(tool["approval"]), f"{tool['tokens']:,}" if tool["tokens"] else "", notes)


def _sum_up(request: JsonObject) -> str:
    whole = f"All together {request['tools']:,} tools, about {request['tokens']:,} tokens"
    if not request["is_searched"]:
        return f"{whole} in every request."
    return (
        f"{whole}: over limits.max_tools ({request['max_tools']:,}) or limits.tool_tokens "
        f"({request['tool_tokens']:,}), so a request carries those that fit its input, and find_tools."
    )


def _headline(server: JsonObject, count: int) -> str:
    reason = f": {server['reason']}" if server["reason"] else ""
    era = f", MCP {server['era']}" if server["era"] else ""
    signed_in = f", {server['signed_in']}" if "signed_in" in server else ""
    said = f"{server['state']}{signed_in}{reason}"
    return f"{show_name(str(server['name']))}: {said} ({count} tool{'' if count == 1 else 's'}{era})"


def _table(tools: list[JsonObject], redact: Redactor) -> Table:
    table = Table(box=None, padding=(0, 2), show_edge=False)
    for column, justify in (("the model sees", "left"), ("tool", "left"), ("tokens", "right"), ("approval", "left")):
        table.add_column(column, justify="right" if justify == "right" else "left", overflow="fold")
    table.add_column("notes", overflow="fold")
    for tool in tools:
        notes = "; ".join(map(str, cast("list[Json]", tool["notes"])))
        names = [show_name(redact(str(name))) if name else "–" for name in (tool["name"], tool["tool"])]
        others = [show_line(redact(str(cell))) for cell in (tool["tokens"] or "", tool["approval"], notes)]
        table.add_row(*map(Text, names + others))
    return table
