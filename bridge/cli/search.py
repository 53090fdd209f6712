"""`tools --search WORDS`: shows which tools the model would find with `find_tools`."""

import argparse
import os
import sys
from collections.abc import Iterator, Mapping

import anyio

from bridge.app import Bridge
from bridge.cli.exits import COMPLETED
from bridge.cli.output import print_json
from bridge.config.settings import Config
from bridge.hub.catalogue import Catalogue
from bridge.json_text import Json, JsonObject
from bridge.processes.children import Child
from bridge.run.tools.find_tools import find_fitting
from bridge.run.tools.own_tools import RunCatalogue
from bridge.telemetry import Redactor
from bridge.visible import show_line, show_name

MAX_WIDTH = 80
"""Of a column, in characters; longer names stand out of it."""


def search_tools(options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child]) -> int:
    """Connect every server, wait as a run would, and print the tools found, best first; or the nearest ones, which the
    model would only be told of.

    With `--json`: `{query, tools: [{name, server, tool, tokens, description}], near: [...]}`.
    """
    tools, near = anyio.run(_search, options.search, config, redact, children)
    if options.json:
        report: JsonObject = {"query": options.search, "tools": list[Json](tools), "near": list[Json](near)}
        print_json(redact.clean(report))
    elif tools or near:
        if not tools:
            head = f"Nothing clearly fits {options.search!r}. The model would be told of the nearest:"
            sys.stdout.write(show_line(redact(head)) + "\n")
        if sys.stdout.isatty():
            sys.stdout.flush()
            _print_for_terminal(tools or near, redact)
        else:
            sys.stdout.write("".join(f"{show_line(redact(line))}\n" for line in _align(tools or near)))
    else:
        sys.stdout.write(show_line(redact(f"No tool fits {options.search!r}. `tools` shows all.")) + "\n")
    sys.stdout.flush()
    return COMPLETED


async def _search(
    words: str, config: Config, redact: Redactor, children: Mapping[str, Child]
) -> tuple[list[JsonObject], list[JsonObject]]:
    async with Bridge(config, environ=os.environ, redact=redact, children=children) as bridge:
        catalogue = await bridge.hub.catalogue()
        fitting = find_fitting(RunCatalogue(catalogue, {}), catalogue.functions, words, config.tool_search.found)
        offered, near = ([_describe(name, catalogue) for name in names] for names in fitting)
        return offered, near


def _print_for_terminal(tools: list[JsonObject], redact: Redactor) -> None:
    from rich.console import Console

    from bridge.cli.screen.tables import ShownTool, list_tools, print_lines

    console = Console(highlight=False)
    shown = [
        ShownTool(*(show_name(redact(str(tool[key]))) for key in ("name", "server")), tokens=f"{tool['tokens']:,}")
        for tool in tools
    ]
    print_lines(console, list_tools(shown, console.width, beside="server"))


def _align(tools: list[JsonObject]) -> Iterator[str]:
    """Format one line per tool: name, server, tokens."""
    cells = ([show_name(str(tool["name"])), show_name(str(tool["server"])), str(tool["tokens"])] for tool in tools)
    rows = [["the model sees", "server", "tokens"], *cells]
    wide, narrow = (min(max(len(row[column]) for row in rows), MAX_WIDTH) for column in (0, 1))
    yield from (f"{name:<{wide}}  {server:<{narrow}}  {tokens:>6}" for name, server, tokens in rows)


def _describe(name: str, catalogue: Catalogue) -> JsonObject:
    bridged = catalogue.tools[name]
    return {
        "name": name,
        "server": bridged.server,
        "tool": bridged.tool.name,
        "tokens": catalogue.tokens[name],
        "description": bridged.tool.description or bridged.tool.title or "",
    }
