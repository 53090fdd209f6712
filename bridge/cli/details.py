"""`tools NAME`: shows a tool as the model will see it, the changes made to it and why, and its cost in tokens."""

import argparse
import difflib
import json
import os
import sys
from collections.abc import Iterator, Mapping

import anyio

from bridge.app import Bridge
from bridge.cli.exits import COMPLETED
from bridge.cli.output import print_json
from bridge.cli.tools import describe_unapproved
from bridge.config.settings import Config
from bridge.errors import ArgumentError
from bridge.hub.catalogue import BridgedTool
from bridge.hub.hub import Hub
from bridge.json_text import Json, JsonObject, decode
from bridge.processes.children import Child
from bridge.telemetry import Redactor
from bridge.texts import estimate_tokens
from bridge.visible import show_exactly, show_line, show_name


def show_tool(options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child]) -> int:
    """Print every tool with this model name or plain name. Raises ArgumentError if there is none."""
    tools, near = anyio.run(_gather, options.name, config, redact, children)
    if options.json:
        print_json(redact.clean({"tools": list[Json](tools)}))
    elif tools:
        sys.stdout.write("\n".join(redact("\n".join(_describe(tool))) + "\n" for tool in tools))
    sys.stdout.flush()
    if not tools:
        hint = f"near names: {', '.join(map(show_name, near))}; " if near else ""
        words = f"there is no tool {options.name!r}; {hint}`tools` without a name shows all"
        raise ArgumentError(redact(words))
    return COMPLETED


async def _gather(
    name: str, config: Config, redact: Redactor, children: Mapping[str, Child]
) -> tuple[list[JsonObject], list[str]]:
    async with Bridge(config, environ=os.environ, redact=redact, children=children) as bridge:
        catalogue = await bridge.hub.catalogue()
        names = [*catalogue.tools, *(tool.tool for tool in catalogue.left_out)]
        unapproved = {
            member.key: describe_unapproved(await bridge.hub.find_unapproved(member.key))
            for member in bridge.hub.members
        }
        return list(_find(name, bridge.hub, unapproved)), difflib.get_close_matches(name, names, n=5, cutoff=0.4)


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
    yield f"approval: {tool['approval']}; about {tool['tokens']:,} tokens in every request"
    yield "changed on its way to the model:" if notes else "unchanged:"
    yield from (show_line(f"  - {note}") for note in notes)
    yield from map(show_exactly, json.dumps(tool["function"], ensure_ascii=False, indent=2).split("\n"))
