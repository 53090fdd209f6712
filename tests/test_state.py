"""The state folder: where it is, whose it is, and that no file in it is ever half written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bridge.state import STALE_S, StateFolder, Suspect, Unusable, find_state_folder

WRITER = """
import sys
from pathlib import Path
from bridge.state import StateFolder
folder = StateFolder(Path(sys.argv[1]), "kind")
for round in range(1_000_000):
    print("begun", flush=True)
    folder.replace("file", str(round % 10) * 500_000)
"""


@pytest.mark.parametrize(
    ("environ", "platform", "found"),
    [
        ({"MCP_RESPONSES_BRIDGE_STATE": "/s", "HOME": "/h", "XDG_STATE_HOME": "/x"}, "linux", "/s"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/x"}, "linux", "/x/mcp-responses-bridge"),
        ({"HOME": "/h", "XDG_STATE_HOME": "relative"}, "linux", "/h/.local/state/mcp-responses-bridge"),
        ({"HOME": "/h"}, "darwin", "/h/Library/Application Support/mcp-responses-bridge/state"),
        ({"LOCALAPPDATA": "/l"}, "win32", "/l/mcp-responses-bridge"),
    ],
)
def test_it_is_where_the_platform_keeps_such_things(environ: dict[str, str], platform: str, found: str) -> None:
    assert find_state_folder(environ, platform) == Path(found)


@pytest.mark.parametrize("environ", [{}, {"HOME": ""}, {"HOME": "here"}, {"MCP_RESPONSES_BRIDGE_STATE": "here"}])
def test_without_a_home_there_is_none_and_never_the_working_directory(environ: dict[str, str]) -> None:
    with pytest.raises(Unusable, match="MCP_RESPONSES_BRIDGE_STATE"):
        find_state_folder(environ, "linux")


def test_the_first_of_two_writers_of_a_new_file_wins(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", "kind")
    assert folder.add("file", "one")
    assert not folder.add("file", "two")
    assert folder.read("file") == "one"
    folder.replace("file", "three")
    assert folder.read("file") == "three"
    assert folder.read("no file") is None


def test_where_there_are_no_hard_links_a_file_is_added_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    test_the_first_of_two_writers_of_a_new_file_wins(tmp_path)


def test_a_link_is_replaced_and_what_it_led_to_is_left_alone(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", "kind")
    folder.add("other", "")
    victim = tmp_path / "victim"
    victim.write_text("mine", encoding="utf-8")
    (folder.path / "file").symlink_to(victim)
    with pytest.raises(Suspect, match="link"):
        folder.read("file")
    folder.replace("file", "new")
    assert (folder.read("file"), victim.read_text(encoding="utf-8")) == ("new", "mine")


@pytest.mark.external
def test_a_writer_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", "kind")
    folder.add("file", "0" * 500_000)
    for number in range(10):
        command = [sys.executable, "-c", WRITER, str(folder.root)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
            assert writer.stdout
            for _ in range(number + 1):
                writer.stdout.readline()
            writer.kill()
        text = folder.read("file")
        assert text
        assert (len(text), len(set(text))) == (500_000, 1)


def test_what_killed_writers_left_is_cleared_once_it_is_old(tmp_path: Path) -> None:
    folder = StateFolder(tmp_path / "state", "kind")
    folder.add("file", "")
    old, young = folder.path / ".old.tmp", folder.path / ".young.tmp"
    for half in (old, young):
        half.write_text("half", encoding="utf-8")
    now = old.stat().st_mtime
    os.utime(old, (now - 2 * STALE_S, now - 2 * STALE_S))
    folder.replace("file", "whole")
    assert {path.name for path in folder.path.iterdir()} == {"file", ".young.tmp"}
