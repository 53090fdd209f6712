"""`demo`: does once what a host does: start the bridge, call `respond` over stdio, show what happens."""

import argparse
import json
import os
import re
import sys
from importlib.resources import files
from typing import cast

import anyio
from mcp import Client, StdioServerParameters, types
from mcp.client.stdio import stdio_client

from bridge.cli.entries import build_document
from bridge.cli.exits import COMPLETED, FAILED, INCOMPLETE
from bridge.cli.language import Words, choose_words
from bridge.cli.output import print_text
from bridge.cli.screen.columns import wrap
from bridge.cli.screen.terminal import Terminal
from bridge.config.settings import EMBEDDED, Config
from bridge.hosts.known import find_host
from bridge.json_text import JsonObject


def demo(options: argparse.Namespace, config: Config) -> int:
    """Send the example request through `respond`, to the configured upstream or else to the embedded one."""
    upstream = config.upstream or EMBEDDED
    body = cast("JsonObject", json.loads((files("bridge") / "example.json").read_text(encoding="utf-8")))
    body["model"] = upstream.model or body["model"]
    args = ["-m", "bridge", "serve", "--log-level", options.log_level]
    args += ["--log-format", options.log_format]
    args += ["--offline"] if upstream.is_embedded else []
    args += ["--config", str(options.config)] if options.config else []
    args += ["--project", options.project] if options.project else []
    args += ["--log-file", str(options.log_file)] if options.log_file else []
    words = choose_words(os.environ)
    if words.prompt:
        cast("list[JsonObject]", body["input"])[-1]["content"] = words.prompt
    with Terminal() as terminal:
        result = anyio.run(_call_respond, args, body, terminal)
    return _print(result, options, words, is_narrow=terminal.is_seen)


async def _call_respond(args: list[str], body: JsonObject, terminal: Terminal) -> types.CallToolResult:
    items = cast("list[JsonObject]", body["input"])
    server = StdioServerParameters(command=sys.executable, args=args, env=dict(os.environ))
    lines = [line for line in str(items[-1]["content"]).splitlines() if line]
    if terminal.is_seen:
        lines = [*wrap(" ".join(lines), terminal.columns - 2)]
    terminal.say("\n".join(f"  {line}" for line in lines))
    calls = _Calls() if terminal.is_seen else None

    async def show(progress: float, total: float | None, message: str | None) -> None:
        line = message or f"{progress:g} of {total}"
        if calls is None:
            terminal.show_line(line)
        elif shown := calls.join(line):
            terminal.show_line(shown)
        else:
            terminal.set_status(line.strip())

    with terminal.reading_log() as log:
        async with Client(stdio_client(server, errlog=log)) as client:
            result = await client.call_tool("respond", body, progress_callback=show)
            while (run := cast("JsonObject", result.structured_content))["status"] == "in_progress":
                result = await client.call_tool("respond_wait", {"run_id": run["run_id"]}, progress_callback=show)
            return result


class _Calls:
    """The lines of a run with one for each call, when it ends: what was called, of whom, and how long it took."""

    def __init__(self) -> None:
        self._begun: dict[str, list[str]] = {}

    def join(self, line: str) -> str | None:
        """Return what is to be shown of a line; None for one whose time comes later, or not at all."""
        mark, name, *rest = [*line.split(maxsplit=2), "", ""]
        if mark == "→":
            call = line.strip().removeprefix("→ ")
            self._begun.setdefault(call.partition("(")[0], []).append(call)
            return None
        if mark in ("✓", "✗") and (begun := self._begun.get(name)):
            said = re.match(r"\d+(\.\d)? m?s", rest[0])
            return f"  {mark} {begun.pop(0)}: {said[0] if mark == '✓' and said else rest[0]}"
        return None if mark == "turn" and not name.startswith("1:") else line


def _print(result: types.CallToolResult, options: argparse.Namespace, words: Words, *, is_narrow: bool) -> int:
    """Print the answer on stdout and the next step on stderr; return the exit code."""
    receipt = cast("JsonObject", result.structured_content)
    if not is_narrow:
        sys.stderr.write("\n")
        sys.stderr.flush()
    text = next((block.text for block in result.content if isinstance(block, types.TextContent)), "")
    print_text(text)
    if receipt["status"] == "completed":
        entry = build_document(find_host("claude-desktop"), options.config)
        shown = _write_short(entry) if is_narrow else json.dumps(entry, indent=2, ensure_ascii=False)
        sys.stderr.write(f"\n{words.paste}\n{shown}\n")
    return {"completed": COMPLETED, "incomplete": INCOMPLETE}.get(str(receipt["status"]), FAILED)


def _write_short(entry: JsonObject) -> str:
    """Write the entry as JSON of few lines, each of its settings on one."""
    heads, inner, tails = "", entry, ""
    while len(inner) == 1 and isinstance(value := next(iter(inner.values())), dict):
        heads, inner, tails = f"{heads}{{{json.dumps(next(iter(inner)))}: ", value, f"{tails}}}"
    settings = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in inner.items()]
    return f"{heads}{{\n" + ",\n".join(settings) + f"}}{tails}"
