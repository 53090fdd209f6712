"""`demo`: the whole job once, as a host does it: start the bridge, call `respond` over stdio, show what happens."""

import argparse
import json
import os
import sys
from importlib.resources import files
from typing import cast

import anyio
from mcp import Client, StdioServerParameters, types
from mcp.client.stdio import stdio_client

from bridge.app import OFFLINE
from bridge.cli.codes import COMPLETED, FAILED, INCOMPLETE
from bridge.cli.entries import build_entry
from bridge.cli.setup import set_up
from bridge.cli.terminal import Terminal
from bridge.items import Json, JsonObject


def demo(options: argparse.Namespace) -> int:
    """Send the example request through `respond`; to the embedded upstream unless one is configured."""
    config, _redact = set_up(options)
    offline = options.offline or config.upstream is None
    body = cast("JsonObject", json.loads((files("bridge") / "example.json").read_text(encoding="utf-8")))
    upstream = OFFLINE if offline else config.upstream
    if upstream and upstream.model:
        body["model"] = upstream.model
    args = ["-m", "bridge", "serve", "--log-level", options.log_level]
    args += ["--offline"] if offline else []
    args += ["--config", str(options.config)] if options.config else []
    args += ["--log-file", str(options.log_file)] if options.log_file else []
    result = anyio.run(_call_respond, args, body, offline)
    return _print(result)


async def _call_respond(args: list[str], body: JsonObject, offline: bool) -> types.CallToolResult:
    whom = "the embedded rule-based upstream (no model)" if offline else str(body["model"])
    server = StdioServerParameters(command=sys.executable, args=args, env=dict(os.environ))
    with Terminal() as terminal:
        terminal.show(f"the prompt, to {whom}:")
        for line in str(_find_prompt(body)).splitlines():
            terminal.show(f"  {line}")

        async def show(progress: float, total: float | None, message: str | None) -> None:
            terminal.show(message or f"{progress:g} of {total}")

        async with Client(stdio_client(server, errlog=sys.stderr)) as client:
            return await client.call_tool("respond", body, progress_callback=show)


def _find_prompt(body: JsonObject) -> Json:
    items = cast("list[JsonObject]", body["input"])
    return items[-1]["content"]


def _print(result: types.CallToolResult) -> int:
    """The answer on stdout; what to do next on stderr."""
    receipt = cast("JsonObject", result.structured_content)
    sys.stderr.write("\n")
    sys.stderr.flush()
    text = next((block.text for block in result.content if isinstance(block, types.TextContent)), "")
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    entry = json.dumps(build_entry("claude-desktop"), indent=2)
    sys.stderr.write(f"\nTo give your host this tool, paste into its MCP configuration:\n{entry}\n")
    return {"completed": COMPLETED, "incomplete": INCOMPLETE}.get(str(receipt["status"]), FAILED)
