"""What published servers cost a host, and what of them it would lose, as they really answer."""

import json
import os
from pathlib import Path

import pytest

from bridge.cli.main import main
from tests.external.conftest import Find

pytestmark = pytest.mark.external


def test_a_host_is_told_what_its_published_servers_cost_it(
    peer: Find, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    names = ("everything", "memory", "filesystem", "sequential-thinking", "git", "time", "fetch")
    entries = {name: {"command": peer(f"mcp-server-{name}")} for name in names}
    entries["filesystem"]["args"] = [str(tmp_path)]  # type: ignore[assignment]
    file = Path(os.environ["HOME"], ".cursor/mcp.json")
    file.parent.mkdir()
    file.write_text(json.dumps({"mcpServers": entries}), encoding="utf-8")
    assert main(["import", "cursor", "--print"]) == 0
    lines = capfd.readouterr().out.splitlines()
    counts = {name: next(line for line in lines if line.startswith(f"  {name}: ") and "tool" in line) for name in names}
    assert not [line for line in lines if "not counted" in line]
    assert counts["git"].startswith("  git: 12 tools, about ")
    assert counts["everything"].endswith("; 4 prompts and 9 resources")
    assert counts["fetch"].endswith("; 1 prompt")
    assert "model would be spared, with --move, 54 tools with about " in lines[-2]
    assert lines[-1].startswith("The host would lose what is no tool: of everything (4 prompts and 9 resources), ")
