"""What a person sees of a change: where it is, and no secret."""

import difflib
import json
from typing import Any

import pytest

from bridge.hosts.differences import BLANK, compare
from bridge.hosts.edits import Set, edit

LINES = [f"line {number}" for number in range(40)]


@pytest.mark.parametrize("at", [0, 1, 3, 20, 36, 39])
@pytest.mark.parametrize("added", [[], ["new"], ["new", "line 5", "newer"]])
@pytest.mark.parametrize("taken", [0, 1, 5])
def test_it_is_the_unified_difference_of_the_whole_files(at: int, added: list[str], taken: int) -> None:
    new = [*LINES[:at], *added, *LINES[at + taken :]]
    whole = list(difflib.unified_diff(LINES, new, "f (now)", "f (then)", lineterm=""))
    assert compare("\n".join(LINES), "\n".join(new), "f") == whole


def test_a_long_file_is_compared_where_it_differs() -> None:
    """`~/.claude.json` has megabytes; a comparison of all its lines would take minutes."""
    long: dict[str, Any] = {"mcpServers": {"a": {}}, "projects": {str(i): {"x": ["y"] * 5} for i in range(9000)}}
    old = json.dumps(long, indent=2)
    shown = compare(old, edit(old, [Set(("mcpServers", "b"), {"command": "c"})]), "f")
    assert [line for line in shown if line.startswith(("+ ", "- "))] == [
        '-    "a": {}', '+    "a": {},', '+    "b": {', '+      "command": "c"', '+    }'
    ]  # fmt: skip


SECRETS = [
    '{"mcpServers": {"a": {"env": {"API_TOKEN": "hunter2"}}}}',
    '{"mcpServers": {"a": {"headers": {"X-Any": "hunter2"}}}}',
    '{"mcpServers": {"a": {"args": ["--token", "hunter2-abc"], "command": "x"}}}',
    '{"mcpServers": {"a": {"url": "https://me:hunter2@a.example/mcp"}}}',
    '{"password": "hun\\u0074er2", "mcpServers": {}}',
    '{"mcpServers": {} /* "token": "hunter2" */}',
]


@pytest.mark.parametrize("text", SECRETS)
def test_no_secret_of_the_file_is_shown(text: str) -> None:
    shown = "\n".join(compare(text, edit(text, [Set(("mcpServers", "b"), {"command": "c"})]), "f"))
    assert "hunter2" not in shown
    assert "hun\\u0074er2" not in shown
    assert BLANK in shown


def test_references_and_addresses_stay_readable() -> None:
    env: dict[str, Any] = {"OPENAI_API_KEY": "${env:OPENAI_API_KEY}", "OPENAI_BASE_URL": "https://relay.example/v1"}
    shown = "\n".join(compare("{}", edit("{}", [Set(("mcpServers", "b"), {"env": env})]), "f"))
    assert "${env:OPENAI_API_KEY}" in shown
    assert "https://relay.example/v1" in shown


def test_what_would_act_on_a_terminal_is_shown_as_its_escape() -> None:
    shown = compare('{"a": "x"}', '{"a": "\\u001b]0;x\x9b31m"}', "f\x1b[2J")
    assert "\x1b" not in "".join(shown)
    assert "\x9b" not in "".join(shown)
