"""What a host is spared by a move: seven published servers with 305 tools, against three of ours."""

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.main import main
from bridge.hosts.known import WRITTEN, find_host
from bridge.hosts.places import list_places
from bridge.hosts.shapes import Start, build_entry
from bridge.hosts.toml_splices import set_table

PUBLISHED = Path(__file__).parents[1] / "data" / "published"
SERVER = Path(__file__).parents[1] / "fakes" / "published.py"
SEVEN = (
    "mcp-atlassian",
    "mongodb-mcp-server",
    "notion-mcp-server",
    "playwright-mcp",
    "sentry-mcp-server",
    "server-filesystem",
    "server-github",
)
TOOLS, TOKENS, OUR_TOKENS = 305, 89_543, 838
"""What their names, descriptions and schemas are, and those of our three tools, by OpenAI's vocabulary o200k."""
SPARED = re.compile(r"model is spared ([\d,]+) tools with about ([\d,]+) tokens; our 3 tools cost ([\d,]+)")


def write_file(host: str) -> Path:
    """Write a file of this host with the seven servers, where it has it on this system."""
    known = find_host(host)
    place = list_places(known, os.environ, sys.platform)[0]
    file = Path(place.folder / place.names[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    args = ("-S", "-E", str(SERVER))
    entries = {
        name: build_entry(known, Start(sys.executable, (*args, str(PUBLISHED / f"{name}.json")))) for name in SEVEN
    }
    if file.suffix == ".toml":
        text = ""
        for name, entry in entries.items():
            text = set_table(text, (*known.section, name), entry)
    else:
        value: Any = entries
        for step in reversed(known.section):
            value = {step: value}
        text = json.dumps(value, indent=2)
    file.write_text(text, encoding="utf-8")
    return file


@pytest.mark.external
@pytest.mark.parametrize("host", WRITTEN)
def test_seven_servers_with_305_tools_cost_a_host_a_hundredth_behind_the_bridge(
    host: str, capfd: pytest.CaptureFixture[str], request: pytest.FixtureRequest
) -> None:
    file = write_file(host)
    before = file.read_bytes()
    assert main(["import", host, "--move", "--yes"]) == 0
    found = SPARED.search(capfd.readouterr().out)
    assert found
    tools, tokens, ours = (int(number.replace(",", "")) for number in found.groups())
    figure = f"{tokens:,} of {tools} tools, for {ours:,} of 3"
    request.node.user_properties.append((f"tokens that {host} is spared", figure))
    assert tools == TOOLS
    assert 0.75 * TOKENS < tokens < 1.35 * TOKENS
    assert 0.75 * OUR_TOKENS < ours < 1.35 * OUR_TOKENS
    assert file.stat().st_size < len(before) / 2
    assert main(["import", host, "--undo", "--yes"]) == 0
    assert file.read_bytes() == before
