"""`tools`: shows each connected server with its state, and each tool as the model will see it."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping
from typing import cast

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
from bridge.json_text import Json, JsonObject
from bridge.processes.children import Child
from bridge.telemetry import Redactor
from bridge.visible import show_line, show_name


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
        await bridge.hub.catalogue()
        return await bridge.describe_hub()


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
