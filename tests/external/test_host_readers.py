"""What `install` writes is read by programs that nobody here wrote, and started as it stands there."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.hosts.known import WRITTEN
from tests.external.conftest import Find, RunNode, miss
from tests.hosts.machines import FILES, KEY, Machine

pytestmark = [pytest.mark.anyio, pytest.mark.external]

DISCOVER = """
import json, sys
from fastmcp.cli.discovery import discover_servers
found = [{"source": s.source, "name": s.name, "command": s.config.command, "args": s.config.args, "env": s.config.env}
         for s in discover_servers() if hasattr(s.config, "command")]
json.dump(found, sys.stdout)
"""
MODEL = """
import sys
from pathlib import Path
from fastmcp.mcp_config import MCPConfig
config = MCPConfig.from_file(Path(sys.argv[1]))
print(sorted(config.mcpServers), config.mcpServers["responses"].to_transport().command)
"""
SOURCES = {"claude-desktop": "claude-desktop", "claude-code": "claude-code", "cursor": "cursor", "gemini-cli": "gemini"}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    home.mkdir()
    return Machine(home, {"OPENAI_API_KEY": KEY})


@pytest.fixture
def reader(repository: Path) -> str:
    """The Python that has fastmcp."""
    python = repository / ".peers" / "readers" / "bin" / "python"
    return str(python) if python.exists() else miss("fastmcp")


def read(machine: Machine, reader: str, script: str, *args: str) -> str:
    done = subprocess.run(
        [reader, "-c", script, *args], cwd=machine.home, capture_output=True, check=True, timeout=120,
        env={"HOME": str(machine.home), "PATH": "/usr/bin:/bin"},
    )  # fmt: skip
    return done.stdout.decode()


def test_fastmcp_discovers_what_was_installed_and_no_more_when_it_is_gone(machine: Machine, reader: str) -> None:
    for host in SOURCES:
        machine.put(host, '{"mcpServers": {"theirs": {"command": "theirs-mcp"}}}')
        assert machine.run("install", host, "--yes").code == 0
    (goose := machine.home / ".config" / "goose").mkdir()
    (goose / "config.yaml").write_text(machine.run("install", "goose", "--print").stdout, encoding="utf-8")
    found: list[dict[str, Any]] = json.loads(read(machine, reader, DISCOVER))
    ours = {server["source"]: server for server in found if server["name"] == "responses"}
    assert ours.keys() == {*SOURCES.values(), "goose"}
    assert len(found) == len(ours) + len(SOURCES), "theirs are read as before"
    assert all(server["args"] == ["serve"] and "OPENAI_API_KEY" in server["env"] for server in ours.values())
    for host in SOURCES:
        assert machine.run("uninstall", host, "--yes").code == 0
    left: list[dict[str, Any]] = json.loads(read(machine, reader, DISCOVER))
    assert {server["source"] for server in left if server["name"] == "responses"} == {"goose"}
    assert len(left) == len(SOURCES) + 1


@pytest.mark.parametrize("host", ["claude-desktop", "claude-code", "cursor", "gemini-cli", "windsurf"])
def test_the_model_of_fastmcp_takes_the_file(machine: Machine, reader: str, host: str) -> None:
    file = machine.put(host, '{"mcpServers": {"theirs": {"command": "theirs-mcp"}}}')
    assert machine.run("install", host, "--yes").code == 0
    assert read(machine, reader, MODEL, str(file)).startswith("['responses', 'theirs'] /")


@pytest.mark.parametrize("host", [host for host in WRITTEN if "mcpServers" in FILES[host][1] or host == "gemini-cli"])
async def test_the_inspector_starts_the_entry_from_the_hosts_own_file(
    machine: Machine, run_node: RunNode, host: str
) -> None:
    """It reads JSON without comments, so that is how the file is here."""
    file = machine.put(host, '{\n  "mcpServers": {\n    "theirs": {"command": "theirs-mcp"}\n  }\n}\n')
    assert machine.run("install", host, "--yes").code == 0
    read = ["--config", str(file), "--server", "responses", "--method", "tools/list"]
    done = await run_node("mcp-inspector", "--cli", *read, "--quiet", "--format", "json")
    assert done.returncode == 0, done.stderr.decode()
    tools = json.loads(done.stdout)["result"]["tools"]
    assert [tool["name"] for tool in tools] == ["respond", "respond_wait", "respond_cancel"]


def test_what_uvx_runs_is_installed_as_uvx(machine: Machine, peer: Find, repository: Path) -> None:
    """A path into its cache would be gone when that is emptied."""
    file = machine.put("claude-desktop", "{}")
    uvx = peer("uvx")
    command = [uvx, "--python", sys.executable, "--from", str(repository), "mcp-responses-bridge"]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "XDG_", "MCP_"))}
    environ = kept | machine.environ | {"HOME": str(machine.home), "UV_CACHE_DIR": str(machine.home / ".cache" / "uv")}
    done = subprocess.run(
        [*command, "install", "claude-desktop", "--yes"], env=environ, check=False, capture_output=True, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    entry = json.loads(file.read_text(encoding="utf-8"))["mcpServers"]["responses"]
    assert entry["command"] == uvx
    assert entry["args"] == ["--from", str(repository), "mcp-responses-bridge", "serve"]
