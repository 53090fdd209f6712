"""`tools --search WORDS`: what the model would be answered by `find_tools`."""

import argparse
import os
import sys
from collections.abc import Mapping

import anyio

from bridge.app import Bridge
from bridge.children import Child
from bridge.cli.codes import COMPLETED
from bridge.cli.tools import make_printable
from bridge.hub.catalogue import Catalogue
from bridge.items import Json, JsonObject, encode
from bridge.run.own_tools import RunCatalogue
from bridge.run.search import find_tools
from bridge.settings import Config
from bridge.telemetry import Redactor


def search_tools(options: argparse.Namespace, config: Config, redact: Redactor, children: Mapping[str, Child]) -> int:
    """Connect every server, wait as a run would, and print the answer, or with `--json`
    `{query, tools: [{name, server, tool, tokens, description}]}`."""
    answer, report = anyio.run(_search, options.search, config, redact, children)
    lines = [encode(report)] if options.json else map(make_printable, answer.split("\n"))
    sys.stdout.write("".join(f"{redact(line)}\n" for line in lines))
    sys.stdout.flush()
    return COMPLETED


async def _search(
    words: str, config: Config, redact: Redactor, children: Mapping[str, Child]
) -> tuple[str, JsonObject]:
    async with Bridge(config, environ=os.environ, redact=redact, children=children) as bridge:
        catalogue = await bridge.hub.catalogue()
        found = find_tools(RunCatalogue(catalogue, {}), catalogue.functions, words, config.tool_search.found)
        tools: list[Json] = [_describe(name, catalogue) for name in found.names]
        return found.text, {"query": words, "tools": tools}


def _describe(name: str, catalogue: Catalogue) -> JsonObject:
    bridged = catalogue.tools[name]
    return {
        "name": name,
        "server": bridged.owner.key,
        "tool": bridged.tool.name,
        "tokens": catalogue.tokens[name],
        "description": bridged.tool.description or bridged.tool.title or "",
    }
