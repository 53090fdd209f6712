"""`tools NAME`: shows a tool as the model will see it, the changes made to it and why, and its cost in tokens."""

import argparse
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import anyio

from bridge.app import Bridge
from bridge.cli.exits import COMPLETED
from bridge.cli.output import print_json
from bridge.cli.tools import print_servers
from bridge.config.settings import Config
from bridge.errors import ArgumentError
from bridge.hub.catalogue import BridgedTool
from bridge.hub.description import describe_server, describe_unapproved
from bridge.hub.hub import Hub
from bridge.json_text import Json, JsonObject, decode
from bridge.processes.children import Child
from bridge.search.near import find_near
from bridge.telemetry import Redactor
from bridge.texts import estimate_tokens
from bridge.visible import show_exactly, show_line, show_name


def show_tool(options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child]) -> int:
    """Print every tool with this model name or plain name, or else the tools of the server with this key.

    Raises ArgumentError if there is neither.
    """
    found = anyio.run(_gather, options.name, config, redact, children)
    if options.json and (found.tools or found.server):
        report: JsonObject = {"servers": [found.server]} if found.server else {"tools": list[Json](found.tools)}
        print_json(redact.clean(report))
    elif found.tools:
        sys.stdout.write("\n".join(redact("\n".join(_describe(tool))) + "\n" for tool in found.tools))
    elif found.server:
        print_servers([found.server], redact)
    else:
        hint = f"near names: {', '.join(map(show_name, found.near))}; " if found.near else ""
        words = f"there is no tool or server {options.name!r}; {hint}`tools` without a name shows all"
        raise ArgumentError(redact(words))
    sys.stdout.flush()
    return COMPLETED


class _Found(NamedTuple):
    tools: list[JsonObject]
    server: JsonObject | None
    """The server of this name, where no tool has it."""
    near: list[str]


async def _gather(name: str, config: Config, redact: Redactor, children: Mapping[str, Child]) -> _Found:
    async with Bridge(config, environ=os.environ, redact=redact, children=children) as bridge:
        hub, catalogue = bridge.hub, await bridge.hub.catalogue()
        unapproved = {member.key: describe_unapproved(await hub.find_unapproved(member.key)) for member in hub.members}
        if tools := list(_find(name, hub, unapproved)):
            return _Found(tools, None, [])
        if member := next((member for member in hub.members if member.key == name), None):
            return _Found([], await describe_server(hub, member), [])
        names = [*catalogue.tools, *(tool.tool for tool in catalogue.left_out), *(each.key for each in hub.members)]
        return _Found([], None, find_near(name, names, 5))


def _find(name: str, hub: Hub, unapproved: Mapping[str, Mapping[str, str]]) -> Iterator[JsonObject]:
    """Find the tools of that name, each as `{name, server, tool, tokens, approval, notes, function}`; name and function
    are None for a tool that the model does not get."""
    catalogue = hub.snapshot()
    for bridged in catalogue.tools.values():
        if name in (bridged.name, bridged.tool.name):
            yield _show(bridged, unapproved[bridged.server].get(bridged.tool.name))
    for left_out in catalogue.left_out:
        if name == left_out.tool:
            yield _name_only(left_out.server, name, "left out", left_out.reason)
    for member in hub.members:
        if member.server.tools.decision(name) == "deny" and any(tool.name == name for tool in member.tools):
            yield _name_only(member.key, name, "deny", "the config denies it")


def _show(bridged: BridgedTool, unapproved: str | None) -> JsonObject:
    return {
        "name": bridged.name,
        "server": bridged.server,
        "tool": bridged.tool.name,
        "tokens": estimate_tokens(bridged.encoded),
        "approval": "ask" if unapproved else bridged.approval,
        "notes": [*filter(None, [unapproved]), *bridged.notes],
        "function": decode(bridged.encoded),
    }


def _name_only(server: str, tool: str, approval: str, note: str) -> JsonObject:
    shown: JsonObject = {"name": None, "server": server, "tool": tool, "tokens": 0, "approval": approval}
    return shown | {"notes": [note], "function": None}


def _describe(tool: JsonObject) -> Iterator[str]:
    notes = tool["notes"]
    assert isinstance(notes, list)
    name, plain, server = (show_name(str(tool[key])) if tool[key] else "–" for key in ("name", "tool", "server"))
    yield f"{name}: {plain} of {server}"
    if tool["function"] is None:
        yield show_line(f"the model does not get it: {notes[0]}")
        return
    yield f"approval: {tool['approval']}; about {tool['tokens']:,} tokens in a request"
    yield "changed on its way to the model:" if notes else "unchanged:"
    yield from (show_line(f"  - {note}") for note in notes)
    yield from map(show_exactly, json.dumps(tool["function"], ensure_ascii=False, indent=2).split("\n"))
