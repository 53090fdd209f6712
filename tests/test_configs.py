"""Every file in `configs/` is loaded and its command started as a desktop app starts it."""

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.entries import build_document
from bridge.config.load import load
from bridge.hosts.known import find_host
from bridge.hosts.start import find_command

PLACEHOLDER = "/PATH/TO/mcp-responses-bridge/.venv/bin/mcp-responses-bridge"
HOSTS = ["claude-desktop", "claude-code", "cursor", "vscode"]
INITIALIZE: dict[str, Any] = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "host", "version": "1"}},
}


def read(folder: Path, name: str) -> dict[str, Any]:
    return json.loads((folder / "configs" / f"{name}.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("host", HOSTS)
def test_the_entry_of_a_host_is_what_the_config_command_prints(repository: Path, host: str) -> None:
    printed = json.dumps(build_document(find_host(host))).replace(find_command(), PLACEHOLDER)
    assert json.loads(printed) == read(repository, host)


@pytest.mark.external
def test_each_entry_starts_as_a_desktop_app_starts_it(repository: Path) -> None:
    """With no more environment than `env -i PATH=/usr/bin:/bin`, and in `/`; all at once, to save time."""
    started = {host: start(read(repository, host)) for host in HOSTS}
    hello = json.dumps(INITIALIZE) + "\n"
    replies = {host: process.communicate(hello, timeout=30)[0] for host, process in started.items()}
    names = {host: json.loads(reply.splitlines()[0])["result"]["serverInfo"]["name"] for host, reply in replies.items()}
    assert names == dict.fromkeys(HOSTS, "mcp-responses-bridge")


def start(config: dict[str, Any]) -> subprocess.Popen[str]:
    entry = config["servers" if "servers" in config else "mcpServers"]["responses"]
    assert entry["command"] == PLACEHOLDER
    return subprocess.Popen(
        [find_command(), *entry["args"]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PATH": "/usr/bin:/bin"},
        cwd="/",
        text=True,
        encoding="utf-8",
    )


def test_every_json_block_of_the_readme_is_a_config_that_loads(repository: Path, tmp_path: Path) -> None:
    readme = (repository / "README.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```json\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2
    for number, block in enumerate(blocks):
        file = tmp_path / f"{number}.json"
        file.write_text(block, encoding="utf-8")
        config = load(file, environ={})
        assert config.servers or "own_entry" in [notice["code"] for notice in config.notices]


def test_the_track_record_names_the_clients_that_are_installed(repository: Path) -> None:
    page = (repository / "docs" / "track-record.md").read_text(encoding="utf-8")
    script = (repository / ".ci" / "clients").read_text(encoding="utf-8")
    installed = re.findall(r"(@modelcontextprotocol/\w+)@(\S+?)'?$", script, re.MULTILINE)
    assert installed
    assert installed == [pair for pair in installed if "`{}` {}".format(*pair) in page]


@pytest.mark.parametrize(
    ("name", "environ"),
    [
        ("bridge.example", {"OPENAI_API_KEY": "k"}),
        ("bridge.relay", {"RELAY_API_KEY": "k"}),
        ("bridge.team", {"OPENAI_API_KEY": "k", "CI_TOKEN": "a-token-of-the-tests"}),
    ],
)
def test_an_example_of_our_own_config_loads(repository: Path, name: str, environ: dict[str, str]) -> None:
    config = load(repository / "configs" / f"{name}.json", environ=dict(os.environ) | environ)
    assert config.upstream
    assert config.upstream.api_key == "k"
