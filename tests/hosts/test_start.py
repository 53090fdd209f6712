"""How a host starts this installation: with absolute paths, and never with one into a cache."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

from bridge.hosts.known import HOSTS
from bridge.hosts.shapes import build_entry
from bridge.hosts.start import build_start, find_command_line, find_needs


class _Installed(importlib.metadata.Distribution):
    """A package that was installed from somewhere."""

    def __init__(self, source: Any) -> None:
        self._files = {"METADATA": "Name: mcp-responses-bridge\nVersion: 9.9\n"}
        if source:
            self._files["direct_url.json"] = json.dumps(source)

    @override
    def read_text(self, filename: str) -> str | None:
        return self._files.get(filename)

    @override
    def locate_file(self, path: Any) -> Any:
        raise NotImplementedError


COMMIT = "a" * 40
SOURCES: list[tuple[Any, str]] = [
    (None, "mcp-responses-bridge==9.9"),
    ({"url": "file:///home/me/dist/b%20c.whl", "archive_info": {}}, "/home/me/dist/b c.whl"),
    ({"url": "file:///home/me/src", "dir_info": {}}, "/home/me/src"),
    (
        {"url": "https://example.com/b.git", "vcs_info": {"vcs": "git", "commit_id": COMMIT}},
        f"git+https://example.com/b.git@{COMMIT}",
    ),
    ({"url": "https://example.com/b.whl", "archive_info": {}}, "https://example.com/b.whl"),
]


@pytest.mark.parametrize(("source", "named"), SOURCES)
@pytest.mark.parametrize("cache", ["/home/me/.cache/uv/archive-v0/x1", "/x/environments-v2/b-1"])
def test_what_uvx_started_is_started_by_uvx_again(tmp_path: Path, source: Any, named: str, cache: str) -> None:
    uvx = tmp_path / "uvx"
    uvx.write_text("#!/bin/sh\n", encoding="utf-8")
    uvx.chmod(0o755)
    line = find_command_line({"UV": str(tmp_path / "uv")}, cache, _Installed(source))
    assert line == [str(uvx), "--from", named, "mcp-responses-bridge"]
    assert not any("archive-v0" in word or "environments-v2" in word for word in line)


def test_what_is_installed_is_started_by_its_path() -> None:
    [command] = find_command_line({}, "/home/me/.local/share/uv/tools/mcp-responses-bridge")
    assert Path(command).is_absolute()
    [*_, program] = find_command_line({"PATH": "/bin"}, "/home/me/.local/pipx/.cache/x")
    assert program == "mcp-responses-bridge"


def test_empty_variables_are_unset_and_a_keyless_upstream_brings_no_key() -> None:
    keyless = {"OPENAI_API_KEY": " ", "OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "m"}
    assert find_needs(None, keyless).names == ("OPENAI_BASE_URL", "OPENAI_MODEL")
    start, inputs = build_start(HOSTS["vscode"], None, keyless, with_secrets=True)
    assert start.env == {"OPENAI_BASE_URL": "http://127.0.0.1:1/v1", "OPENAI_MODEL": "m"}
    assert inputs == []


def test_a_placeholder_stands_for_a_key_that_is_not_to_be_shown() -> None:
    environ = {"OPENAI_API_KEY": "sk-1234567890abcdef", "OPENAI_BASE_URL": "https://relay.example/v1"}
    start, _ = build_start(HOSTS["zed"], None, environ, with_secrets=False)
    assert build_entry(HOSTS["zed"], start)["env"] == {
        "OPENAI_API_KEY": "YOUR_OPENAI_API_KEY",
        "OPENAI_BASE_URL": "https://relay.example/v1",
    }
