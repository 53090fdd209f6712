"""Any host with any server: every pair of revisions and transports, through one bridge."""

import json
import os
import subprocess
import sys
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
from mcp import Client, StdioServerParameters

from bridge.app import Bridge
from tests.external.eras import CELLS, HANDSHAKES, MODERN, OLD, REVISIONS, Json, name, start_servers, visit
from tests.fakes.bridges import configure
from tests.fakes.servers import PIXEL
from tests.fakes.service import TOKEN, connect, serving
from tests.fakes.told import do_as_told
from tests.fakes.upstream import ScriptedUpstream

pytestmark = [pytest.mark.anyio, pytest.mark.external]

Found = dict[tuple[str, str], Json]


def expect(host: str, server: str) -> Json:
    """What a host finds at a server, by their names."""
    image = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}
    structured = [{"type": "input_text", "text": '{"width":1}'}] if server >= "2025-06-18" else []
    return {
        "revision": host[:10],
        "structured": True,
        "outputs": ["hello", [image, *structured], "out of paper", "done"],
        "heard of progress": server >= "2025-03-26",  # before, progress had no message to show
        "given up": "given up",
        "heard of a change": True,
        "unknown tool": -32602,
    }


def plain(facts: Json) -> Json:
    """The facts with the one output that is worded differently by each SDK made equal."""
    *others, failed, done = facts["outputs"]
    words = json.loads(failed)
    assert words["error"] == "tool_error"
    return {**facts, "outputs": [*others, words["message"].removeprefix("Error executing tool fail: "), done]}


async def run_old(python: str, hosts: list[Json], servers: list[str]) -> Found:
    """What the old hosts found; they run in a process of their own, one after the other."""
    plan = {"hosts": hosts, "servers": servers, "token": TOKEN, "env": dict(os.environ)}

    def run() -> str:
        done = subprocess.run(
            [python, str(OLD / "host.py")], input=json.dumps(plan), stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )
        return done.stdout

    lines = map(json.loads, (await anyio.to_thread.run_sync(run)).splitlines())
    return {(host, server): facts for host, server, facts in lines}


async def run_modern(port: int, command: list[str], servers: list[str]) -> Found:
    found: Found = {}
    for wire in ("http", "sse"):
        async with connect(port, "/mcp" if wire == "http" else "/sse", MODERN) as client:
            found |= await visit(client, name((MODERN, wire)), servers)
    bridge = StdioServerParameters(command=command[0], args=command[1:], env=dict(os.environ))
    async with Client(bridge, mode=MODERN) as client:  # whatever time it takes to start
        found |= await visit(client, name((MODERN, "stdio")), servers)
    return found


def render(passed: set[tuple[str, str]]) -> str:
    """The matrix as the table of docs/track-record.md: of each server's revision, how many transports pass."""
    heads = [f"server {revision}" for revision in REVISIONS]
    lines = ["| | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for revision, wire in CELLS:
        cells = [name(cell) for cell in CELLS]
        of = {server: [cell for cell in cells if cell.startswith(server)] for server in REVISIONS}
        host = name((revision, wire))
        counts = [f"{sum((host, cell) in passed for cell in of[server])} of {len(of[server])}" for server in REVISIONS]
        lines.append(f"| host {revision}, {wire} | " + " | ".join(counts) + " |")
    return "\n".join(lines)


async def test_every_host_uses_every_server(old_python: str, tmp_path: Path, repository: Path) -> None:
    async with ScriptedUpstream(do_as_told) as upstream, start_servers(old_python) as entries:
        sections = {
            "upstream": {"base_url": upstream.base_url, "model": "m"},
            "limits": {"connect_timeout_s": 60, "max_tools": 1000, "on_cancel": "stop"},
        }
        file = tmp_path / "config.json"
        file.write_text(json.dumps({"mcpServers": entries, "builtin_tools": False, **sections}), encoding="utf-8")
        file.chmod(0o600)
        command = [sys.executable, "-m", "bridge", "serve", "--config", str(file), "--log-level", "warning"]
        found: Found = {}

        async def add_old(hosts: list[Json]) -> None:
            found.update(await run_old(old_python, hosts, list(entries)))

        async with (
            Bridge(configure(entries, builtin_tools=False, **sections), environ=os.environ) as bridge,
            serving(bridge) as served,
        ):
            await bridge.hub.catalogue()
            urls = {"http": f"http://127.0.0.1:{served.port}/mcp", "sse": f"http://127.0.0.1:{served.port}/sse"}
            remote = [cell for cell in CELLS if cell[0] in HANDSHAKES and cell[1] in urls]
            found |= await run_modern(served.port, command, list(entries))
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(add_old, [{"name": name(c), "revision": c[0], "url": urls[c[1]]} for c in remote])
                local = [{"name": name((r, "stdio")), "revision": r, "command": command} for r in HANDSHAKES]
                tasks.start_soon(add_old, local)
    wrong = {pair: facts for pair, facts in found.items() if plain(facts) != expect(*pair)}
    assert wrong == {}
    passed = found.keys() - wrong.keys()
    assert len(passed) == len(CELLS) ** 2
    assert render(passed) in (repository / "docs" / "track-record.md").read_text(encoding="utf-8")
