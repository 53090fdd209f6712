"""`demo`: does once what a host does: start the bridge, call `respond` over stdio, show what happens."""

import argparse
import json
import os
import sys
from importlib.resources import files
from typing import cast

import anyio
from mcp import Client, StdioServerParameters, types
from mcp.client.stdio import stdio_client

from bridge.cli.entries import write_entry
from bridge.cli.exits import COMPLETED, FAILED, INCOMPLETE
from bridge.cli.output import print_text
from bridge.cli.terminal import Terminal
from bridge.config.settings import EMBEDDED, Config
from bridge.hosts.known import find_host
from bridge.json_text import JsonObject

GLOSS = "(asks for the time, the system, 123.5 + 456.7 and three random numbers from 1 to 100, all at once)"
"""The Chinese prompt of the example, for readers of English."""


def demo(options: argparse.Namespace, config: Config) -> int:
    """Send the example request through `respond`, to the configured upstream or else to the embedded one."""
    upstream = config.upstream or EMBEDDED
    body = cast("JsonObject", json.loads((files("bridge") / "example.json").read_text(encoding="utf-8")))
    body["model"] = upstream.model or body["model"]
    args = ["-m", "bridge", "serve", "--log-level", options.log_level]
    args += ["--offline"] if upstream.is_embedded else []
    args += ["--config", str(options.config)] if options.config else []
    args += ["--project", options.project] if options.project else []
    args += ["--log-file", str(options.log_file)] if options.log_file else []
    embedded = "the embedded rule-based upstream (no model)"
    whom = embedded if upstream.is_embedded else f"{body['model']} at {upstream.base_url}"
    result = anyio.run(_call_respond, args, body, whom)
    return _print(result, options)


async def _call_respond(args: list[str], body: JsonObject, whom: str) -> types.CallToolResult:
    items = cast("list[JsonObject]", body["input"])
    server = StdioServerParameters(command=sys.executable, args=args, env=dict(os.environ))
    with Terminal() as terminal:
        terminal.say(f"The prompt, to {whom}:")
        terminal.say("\n".join(f"  {line}" for line in [*str(items[-1]["content"]).splitlines(), GLOSS] if line))
        terminal.set_status("starting the bridge")

        async def show(progress: float, total: float | None, message: str | None) -> None:
            terminal.show_line(message or f"{progress:g} of {total}")

        async with Client(stdio_client(server, errlog=sys.stderr)) as client:
            result = await client.call_tool("respond", body, progress_callback=show)
            while (run := cast("JsonObject", result.structured_content))["status"] == "in_progress":
                result = await client.call_tool("respond_wait", {"run_id": run["run_id"]}, progress_callback=show)
            return result


def _print(result: types.CallToolResult, options: argparse.Namespace) -> int:
    """Print the answer on stdout and the next step on stderr; return the exit code."""
    receipt = cast("JsonObject", result.structured_content)
    sys.stderr.write("\n")
    sys.stderr.flush()
    text = next((block.text for block in result.content if isinstance(block, types.TextContent)), "")
    print_text(text)
    if receipt["status"] == "completed":
        entry = write_entry(find_host("claude-desktop"), options.config)
        sys.stderr.write(f"\nTo give your host this tool, paste into its MCP configuration:\n{entry}")
    return {"completed": COMPLETED, "incomplete": INCOMPLETE}.get(str(receipt["status"]), FAILED)
