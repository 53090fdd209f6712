"""`import HOST` where something is in its way: one sentence, and no file is half written."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytest

from bridge.cli.main import main
from bridge.config.file import parse
from bridge.hosts import file as host_file
from tests.fakes.commands import Done
from tests.fakes.servers import rogue

KEY = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"
SERVER: dict[str, Any] = rogue("good", env={"API_TOKEN": KEY})


class Import(Protocol):
    def __call__(self, *words: str, host: str = "cursor") -> Done: ...


@pytest.fixture
def home() -> Path:
    return Path(os.environ["HOME"])


@pytest.fixture
def theirs(home: Path) -> Path:
    """The file of Cursor, with one server."""
    file = home / ".cursor/mcp.json"
    file.parent.mkdir()
    file.write_text(json.dumps({"mcpServers": {"notes": SERVER}}, indent=2) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def ours(home: Path) -> Path:
    return home / ".config/mcp-responses-bridge/config.json"


@pytest.fixture
def run_import(capfd: pytest.CaptureFixture[str]) -> Import:
    def run_with(*words: str, host: str = "cursor") -> Done:
        code = main(["import", host, *words])
        done = Done(code, *capfd.readouterr())
        assert KEY not in done.stdout + done.stderr
        return done

    return run_with


def write_ours(ours: Path, content: object) -> bytes:
    ours.parent.mkdir(parents=True)
    data = content.encode() if isinstance(content, str) else json.dumps(content).encode()
    ours.write_bytes(data)
    return data


def read_ours(ours: Path) -> dict[str, Any]:
    servers: Any = parse(ours.read_text(encoding="utf-8"))["mcpServers"]
    return servers


def test_a_host_without_a_file_has_nothing_to_import(run_import: Import, home: Path) -> None:
    (home / ".cursor").mkdir()
    done = run_import("--yes")
    assert done.code == 2
    assert f"{home}/.cursor/mcp.json: there is no such file, so Cursor has no servers to import" in done.stderr


def test_a_host_that_is_not_installed_says_where_it_looked(run_import: Import, home: Path) -> None:
    done = run_import("--yes", host="windsurf")
    assert done.code == 2
    assert f"{home}/.codeium/windsurf" in done.stderr


def test_a_file_without_servers_is_said_to_have_none(run_import: Import, theirs: Path, ours: Path) -> None:
    theirs.write_text('{"mcpServers": {}}', encoding="utf-8")
    for words in (("--yes",), ("--yes", "--move")):
        done = run_import(*words)
        assert done.code == 0
        assert "0 of 0 servers are taken over" in done.stdout
        assert "There is nothing to do." in done.stderr
    assert theirs.read_text(encoding="utf-8") == '{"mcpServers": {}}'
    assert not ours.exists()


@pytest.mark.parametrize(
    "text", ['{"mcpServers": {"x": ', "extensions:\n  x: 1\n", '{"mcpServers": {}, "mcpServers": {}}']
)
def test_a_broken_file_is_one_sentence_and_stays(text: str, run_import: Import, theirs: Path, ours: Path) -> None:
    theirs.write_text(text, encoding="utf-8")
    done = run_import("--yes", "--move")
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert str(theirs) in done.stderr
    assert theirs.read_text(encoding="utf-8") == text
    assert not ours.exists()


def test_a_broken_config_of_ours_is_one_sentence_and_stays(run_import: Import, theirs: Path, ours: Path) -> None:
    before, broken = theirs.read_bytes(), write_ours(ours, '{"mcpServers": [1')
    done = run_import("--yes", "--move")
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert str(ours) in done.stderr
    assert (theirs.read_bytes(), ours.read_bytes()) == (before, broken)


def test_without_a_yes_nothing_is_written(run_import: Import, theirs: Path, home: Path) -> None:
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    assert run_import("--move").code == 2
    assert run_import("--move", "--print").code == 0
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before
    assert str(theirs) in map(str, before)


def read_only(path: Path) -> Callable[[], None]:
    """Make a file read-only, as `write` understands it: root may write everywhere."""
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o444)
    return lambda: path.chmod(mode)


def test_neither_file_is_written_where_one_is_read_only(run_import: Import, theirs: Path, ours: Path) -> None:
    before, config = theirs.read_bytes(), write_ours(ours, {"limits": {"max_turns": 3}})
    for file in (theirs, ours):
        unlock = read_only(file)
        done = run_import("--yes", "--move")
        assert done.code == 2
        assert f"{file}: it is read-only" in done.stderr
        assert (theirs.read_bytes(), ours.read_bytes()) == (before, config)
        unlock()


def test_the_config_is_taken_back_where_the_disk_is_full_for_the_hosts_file(
    run_import: Import, theirs: Path, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, config = theirs.read_bytes(), write_ours(ours, {"limits": {"max_turns": 3}})
    write_new = host_file._write_new

    def fill_up(path: Path, data: bytes, mode: int) -> None:
        if path.name.startswith(f".{theirs.name}"):
            raise OSError(28, "No space left on device")
        write_new(path, data, mode)

    monkeypatch.setattr(host_file, "_write_new", fill_up)
    done = run_import("--yes", "--move")
    assert done.code == 2
    assert "No space left on device" in done.stderr
    assert (theirs.read_bytes(), ours.read_bytes()) == (before, config)
    assert sorted(path.name for path in ours.parent.iterdir()) == ["config.json"]
    assert sorted(path.name for path in theirs.parent.iterdir()) == ["mcp.json"]
    monkeypatch.undo()


def test_a_file_that_changes_before_the_yes_is_not_written(
    run_import: Import, theirs: Path, ours: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def change(*_: object, **__: object) -> bool:
        theirs.write_text('{"mcpServers": {}}', encoding="utf-8")
        return True

    monkeypatch.setattr("bridge.cli.imports.confirm", change)
    done = run_import("--move")
    assert done.code == 2
    assert "has been changed meanwhile; nothing was written" in done.stderr
    assert theirs.read_text(encoding="utf-8") == '{"mcpServers": {}}'
    assert not ours.exists()


def test_a_server_of_the_same_name_that_is_another_one_gets_a_name_of_its_own(
    run_import: Import, theirs: Path, ours: Path
) -> None:
    write_ours(ours, {"mcpServers": {"notes": {"command": "other"}, "notes-cursor": {"command": "another"}}})
    done = run_import("--yes")
    assert "notes: is new, as notes-cursor-2: our config has another one of that name" in done.stdout
    assert {name: entry["command"] for name, entry in read_ours(ours).items()} == {
        "notes": "other",
        "notes-cursor": "another",
        "notes-cursor-2": SERVER["command"],
    }
    assert read_ours(ours)["notes-cursor-2"]["env"] == {"API_TOKEN": "${env:MRB_NOTES_CURSOR_2__API_TOKEN}"}
    assert theirs.exists()


def test_a_server_that_is_there_already_is_not_written_twice_whatever_was_allowed_for_it(
    run_import: Import, theirs: Path, ours: Path
) -> None:
    assert run_import("--yes").code == 0
    servers = read_ours(ours)
    servers["notes"]["tools"] = {"allow": ["read"]}
    ours.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    written = ours.read_bytes()
    done = run_import("--yes")
    assert "notes: is in our config already" in done.stdout
    assert ours.read_bytes() == written
    moved = run_import("--move", "--yes")
    assert moved.code == 0
    assert ours.read_bytes() == written
    assert set(json.loads(theirs.read_text(encoding="utf-8"))["mcpServers"]) == {"responses"}


def test_what_cannot_be_taken_over_stays_with_the_host_by_name(run_import: Import, theirs: Path, ours: Path) -> None:
    entries = {"notes": SERVER, "odd": {"command": "x", "args": 5}, "idle": {"command": "x", "disabled": True}}
    theirs.write_text(json.dumps({"mcpServers": entries}), encoding="utf-8")
    done = run_import("--move", "--yes")
    assert "odd: stays there: mcpServers.odd.args: expected a list, not" in done.stdout
    assert "idle: stays there: it is switched off" in done.stdout
    assert set(json.loads(theirs.read_text(encoding="utf-8"))["mcpServers"]) == {"odd", "idle", "responses"}
    assert set(read_ours(ours)) == {"notes"}


def test_our_own_config_is_not_imported_into_itself(run_import: Import, theirs: Path) -> None:
    done = run_import("--yes", "--config", str(theirs))
    assert done.code == 2
    assert "is our own config file, so its servers are read already" in done.stderr


def test_our_entry_keeps_what_it_has_when_secrets_come_to_it(run_import: Import, theirs: Path, ours: Path) -> None:
    own = {"command": "/opt/bin/mcp-responses-bridge", "args": ["serve"], "env": {"OPENAI_API_KEY": "mine"}}
    theirs.write_text(json.dumps({"mcpServers": {"notes": SERVER, "ask": own}}), encoding="utf-8")
    before = theirs.read_bytes()
    assert run_import("--move", "--yes").code == 0
    entries = json.loads(theirs.read_text(encoding="utf-8"))["mcpServers"]
    assert entries == {"ask": {**own, "env": {"OPENAI_API_KEY": "mine", "MRB_NOTES__API_TOKEN": KEY}}}
    assert run_import("--undo", "--yes").code == 0
    assert theirs.read_bytes() == before
    assert not ours.exists()


def test_an_entry_of_ours_that_reads_another_config_gets_no_servers(run_import: Import, theirs: Path) -> None:
    own = {"command": "mcp-responses-bridge", "args": ["serve", "--config", "/elsewhere.json"]}
    theirs.write_text(json.dumps({"mcpServers": {"notes": SERVER, "ask": own}}), encoding="utf-8")
    before = theirs.read_bytes()
    done = run_import("--move", "--yes")
    assert done.code == 2
    assert "our entry there has --config /elsewhere.json, so it would not see these servers" in done.stderr
    assert theirs.read_bytes() == before


def test_a_new_config_elsewhere_is_named_in_the_entry_and_found_by_the_undo(
    run_import: Import, theirs: Path, tmp_path: Path
) -> None:
    before, elsewhere = theirs.read_bytes(), tmp_path / "elsewhere/ours.json"
    assert (run_import("--move", "--yes", "--config", str(elsewhere))).code == 0
    [own] = json.loads(theirs.read_text(encoding="utf-8"))["mcpServers"].values()
    assert own["args"] == ["serve", "--config", str(elsewhere)]
    assert stat.S_IMODE(elsewhere.stat().st_mode) == 0o600
    assert run_import("--undo", "--yes").code == 0
    assert theirs.read_bytes() == before
    assert not elsewhere.parent.exists()


def test_an_undo_without_an_import_says_so(run_import: Import, theirs: Path) -> None:
    done = run_import("--undo", "--yes")
    assert done.code == 2
    assert f"there is no import of {theirs} to take back" in done.stderr


def test_an_undo_after_an_edit_takes_back_what_is_ours_and_shows_the_rest(
    run_import: Import, theirs: Path, ours: Path
) -> None:
    assert run_import("--move", "--yes").code == 0
    value = json.loads(theirs.read_text(encoding="utf-8"))
    value["mcpServers"]["added"] = {"command": "later", "env": {"TOKEN": KEY}}
    value["theme"] = "dark"
    theirs.write_text(json.dumps(value), encoding="utf-8")
    servers = read_ours(ours) | {"mine": {"command": "mine"}}
    ours.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    done = run_import("--undo", "--yes")
    assert done.code == 0
    assert "only what is ours is taken back" in done.stderr
    assert '"theme": "dark"' in done.stdout
    assert json.loads(theirs.read_text(encoding="utf-8")) == {
        "mcpServers": {"added": value["mcpServers"]["added"], "notes": SERVER},
        "theme": "dark",
    }
    assert read_ours(ours) == {"mine": {"command": "mine"}}
    assert run_import("--undo", "--yes").code == 2


def test_what_a_person_has_changed_of_ours_stays_without_the_secrets(
    run_import: Import, theirs: Path, ours: Path
) -> None:
    assert run_import("--move", "--yes").code == 0
    value = json.loads(theirs.read_text(encoding="utf-8"))
    value["mcpServers"]["responses"]["env"]["OPENAI_API_KEY"] = "mine"
    theirs.write_text(json.dumps(value), encoding="utf-8")
    servers = read_ours(ours)
    servers["notes"]["tools"] = {"allow": ["read"]}
    ours.write_text(json.dumps({"mcpServers": servers}), encoding="utf-8")
    done = run_import("--undo", "--yes")
    assert "mcpServers.notes was changed since it came, and stays" in done.stderr
    assert "Our entry, mcpServers.responses, was changed since; it stays, without the servers' secrets." in done.stderr
    entries = json.loads(theirs.read_text(encoding="utf-8"))["mcpServers"]
    assert entries["notes"] == SERVER
    assert entries["responses"]["env"] == {"OPENAI_API_KEY": "mine"}
    assert read_ours(ours) == servers


def test_a_server_that_is_there_again_is_left_as_it_is(run_import: Import, theirs: Path) -> None:
    assert run_import("--move", "--yes").code == 0
    value = json.loads(theirs.read_text(encoding="utf-8"))
    value["mcpServers"]["notes"] = {"command": "newer"}
    theirs.write_text(json.dumps(value), encoding="utf-8")
    done = run_import("--undo", "--yes")
    assert "mcpServers.notes is there again, and stays as it is." in done.stderr
    assert json.loads(theirs.read_text(encoding="utf-8"))["mcpServers"] == {"notes": {"command": "newer"}}


def test_an_edited_file_whose_backup_is_gone_is_not_touched(run_import: Import, theirs: Path, ours: Path) -> None:
    assert run_import("--move", "--yes").code == 0
    theirs.write_text(theirs.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    [backup] = theirs.parent.glob("*.before-*")
    backup.unlink()
    before = theirs.read_bytes(), ours.read_bytes()
    done = run_import("--undo", "--yes")
    assert done.code == 2
    assert "its backup" in done.stderr
    assert (theirs.read_bytes(), ours.read_bytes()) == before


def test_imports_from_two_hosts_are_taken_back_one_by_one(
    run_import: Import, theirs: Path, ours: Path, home: Path
) -> None:
    other = home / ".codeium/windsurf/mcp_config.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({"mcpServers": {"notes": SERVER, "more": rogue("good")}}), encoding="utf-8")
    before = theirs.read_bytes(), other.read_bytes()
    assert run_import("--move", "--yes").code == 0
    assert run_import("--move", "--yes", host="windsurf").code == 0
    assert set(read_ours(ours)) == {"notes", "more"}
    undone = run_import("--undo", "--yes")
    assert "mcpServers.notes stays in" in undone.stderr
    assert set(read_ours(ours)) == {"notes", "more"}
    assert run_import("--undo", "--yes", host="windsurf").code == 0
    assert set(read_ours(ours)) == set()
    assert (theirs.read_bytes(), other.read_bytes()) == before


def test_a_server_that_came_to_the_host_later_is_moved_too_and_all_of_it_comes_back(
    run_import: Import, theirs: Path, ours: Path
) -> None:
    before = theirs.read_bytes()
    assert run_import("--move", "--yes").code == 0
    assert run_import("--move", "--yes").code == 0
    value = json.loads(theirs.read_text(encoding="utf-8"))
    value["mcpServers"]["later"] = rogue("good", env={"LATER_TOKEN": KEY[::-1]})
    theirs.write_text(json.dumps(value), encoding="utf-8")
    assert run_import("--move", "--yes").code == 0
    [own] = json.loads(theirs.read_text(encoding="utf-8"))["mcpServers"].values()
    assert own["env"] == {"MRB_NOTES__API_TOKEN": KEY, "MRB_LATER__LATER_TOKEN": KEY[::-1]}
    assert set(read_ours(ours)) == {"notes", "later"}
    undone = run_import("--undo", "--yes")
    assert undone.code == 0
    assert KEY[::-1] not in undone.stdout + undone.stderr
    entries = json.loads(theirs.read_text(encoding="utf-8"))["mcpServers"]
    assert entries == {"notes": SERVER, "later": value["mcpServers"]["later"]}
    assert not ours.exists()
    assert before != theirs.read_bytes()


def test_a_hosts_file_that_is_gone_takes_no_server_out_of_our_config(
    run_import: Import, theirs: Path, ours: Path
) -> None:
    assert run_import("--move", "--yes").code == 0
    theirs.unlink()
    done = run_import("--undo", "--yes")
    assert done.code == 2
    assert f"{theirs}: is gone; its copy is {theirs}.before-" in done.stderr
    assert set(read_ours(ours)) == {"notes"}


def test_a_host_whose_file_we_do_not_read_is_told_so(run_import: Import) -> None:
    done = run_import("--yes", host="goose")
    assert (done.code, len(done.stderr.splitlines())) == (2, 1)
    assert "Goose's file" in done.stderr


def test_servers_of_a_project_are_not_started_before_the_yes(run_import: Import, tmp_path: Path, ours: Path) -> None:
    project = tmp_path / "cloned"
    project.mkdir()
    started = tmp_path / "started"
    server = {"command": "touch", "args": [str(started)]}
    (project / ".mcp.json").write_text(json.dumps({"mcpServers": {"evil": server}}), encoding="utf-8")
    done = run_import("--print", "--project", str(project), host="claude-code")
    assert "would start commands of a project before your yes" in done.stderr
    assert not started.exists()
    assert not ours.exists()


def test_claude_codes_servers_of_one_project_move_within_that_project(
    run_import: Import, home: Path, tmp_path: Path, ours: Path
) -> None:
    project = tmp_path / "work"
    project.mkdir()
    file = home / ".claude.json"
    own = {"mcpServers": {"notes": SERVER}, "history": ["hello"]}
    kept = {"mcpServers": {"mine": rogue("good")}, "numStartups": 3}
    file.write_text(json.dumps(kept | {"projects": {str(project): own, "/other": {}}}), encoding="utf-8")
    before = file.read_bytes()
    plain = run_import("--print", host="claude-code")
    assert f"Servers of single projects were not read ({project}); --project takes those of one." in plain.stdout
    moved = run_import("--move", "--yes", "--project", str(project), host="claude-code")
    assert moved.code == 0, moved.stderr
    assert set(read_ours(ours)) == {"notes"}
    value = json.loads(file.read_text(encoding="utf-8"))
    moved_from = value["projects"].pop(str(project))
    assert moved_from["history"] == ["hello"]
    [(name, entry)] = moved_from["mcpServers"].items()
    assert (name, entry["env"]) == ("responses", {"MRB_NOTES__API_TOKEN": KEY})
    assert value == kept | {"projects": {"/other": {}}}
    assert run_import("--undo", "--yes", "--project", str(project), host="claude-code").code == 0
    assert file.read_bytes() == before


def test_a_link_is_written_through(run_import: Import, theirs: Path, tmp_path: Path) -> None:
    real = tmp_path / "dotfiles.json"
    theirs.rename(real)
    theirs.symlink_to(real)
    before = real.read_bytes()
    assert run_import("--move", "--yes").code == 0
    assert theirs.is_symlink()
    assert set(json.loads(real.read_text(encoding="utf-8"))["mcpServers"]) == {"responses"}
    assert run_import("--undo", "--yes").code == 0
    assert theirs.is_symlink()
    assert real.read_bytes() == before


def test_the_host_is_told_what_it_is_spared_and_what_it_would_lose(run_import: Import, theirs: Path) -> None:
    prompts = {"prompts": [{"name": "p"}, {"name": "q"}]}
    offers: dict[str, list[dict[str, Any]]] = {
        "prompts/list": [prompts],
        "resources/list": [{"resources": [{"uri": "file:///a", "name": "a"}]}],
        "resources/templates/list": [{"resourceTemplates": []}],
    }
    mute = rogue("legacy", "no_tools=-32601:no such method", f"results={json.dumps(offers)}")
    entries = {"notes": SERVER, "texts": mute, "dead": rogue("exit_at_start")}
    theirs.write_text(json.dumps({"mcpServers": entries}), encoding="utf-8")
    done = run_import("--print")
    assert "notes: 5 tools, about " in done.stdout
    assert "texts: 0 tools, about 0 tokens; 2 prompts and 1 resource" in done.stdout
    assert "dead: not counted: the process exited with status 1" in done.stdout
    assert "The host's model would be spared, with --move, 5 tools with about " in done.stdout
    assert "The host would lose what is no tool: of texts (2 prompts and 1 resource)." in done.stdout


def test_an_undo_takes_back_the_imports_of_its_file_and_no_others(
    run_import: Import, theirs: Path, ours: Path, home: Path
) -> None:
    """What came from another file of the same host is nowhere else after a move."""
    project = home / "project"
    (project / ".cursor").mkdir(parents=True)
    file = project / ".cursor/mcp.json"
    file.write_text(json.dumps({"mcpServers": {"local": rogue("good")}}), encoding="utf-8")
    before = file.read_bytes()
    assert run_import("--move", "--yes").code == 0
    moved = run_import("--move", "--yes", "--project", str(project))
    assert f"import cursor --undo --project {project} takes it back." in moved.stderr
    assert set(read_ours(ours)) == {"notes", "local"}
    assert run_import("--undo", "--yes", "--project", str(project)).code == 0
    assert file.read_bytes() == before
    assert set(read_ours(ours)) == {"notes"}
    assert "responses" in json.loads(theirs.read_text(encoding="utf-8"))["mcpServers"]


def test_nothing_is_moved_behind_an_entry_of_ours_that_is_off_or_reads_another_config(
    run_import: Import, theirs: Path, ours: Path, home: Path
) -> None:
    own = {"command": "/opt/bin/mcp-responses-bridge", "args": ["serve"]}
    entries = {
        "is switched off": own | {"disabled": True},
        "so it would not see these servers": own | {"env": {"MCP_RESPONSES_BRIDGE_CONFIG": f"{home}/other.json"}},
    }
    for words, entry in entries.items():
        theirs.write_text(json.dumps({"mcpServers": {"notes": SERVER, "responses": entry}}), encoding="utf-8")
        before = theirs.read_bytes()
        done = run_import("--move", "--yes")
        assert (done.code, words in done.stderr) == (2, True)
        assert (theirs.read_bytes(), ours.exists()) == (before, False)


def test_a_server_that_is_off_in_our_config_is_not_taken_for_the_hosts(
    run_import: Import, theirs: Path, ours: Path
) -> None:
    write_ours(ours, {"mcpServers": {"time": {**rogue("good"), "disabled": True}}})
    theirs.write_text(json.dumps({"mcpServers": {"time": rogue("good")}}), encoding="utf-8")
    assert run_import("--move", "--yes").code == 0
    assert set(read_ours(ours)) == {"time", "time-cursor"}


def test_our_config_is_put_back_where_nothing_can_be_remembered(
    run_import: Import, theirs: Path, ours: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / ".local").mkdir()
    (home / ".local/state").write_text("not a folder", encoding="utf-8")
    write = host_file.write

    def fail_for_theirs(file: host_file.HostFile, data: bytes) -> None:
        if file.path == theirs:
            raise host_file.ConfigError(f"{theirs}: cannot be written: the disk is full")
        write(file, data)

    monkeypatch.setattr(host_file, "write", fail_for_theirs)
    before = theirs.read_bytes()
    done = run_import("--move", "--yes")
    assert done.code == 2
    assert "It cannot be remembered" in done.stderr
    assert (theirs.read_bytes(), ours.exists()) == (before, False)


def test_a_move_after_a_copy_takes_the_place_of_the_copy(run_import: Import, theirs: Path, ours: Path) -> None:
    """The order of the first steps; a reference is written otherwise in a copy than after a move."""
    entry = rogue("good", env={"GITHUB_TOKEN": "${env:GITHUB_TOKEN}"})
    theirs.write_text(json.dumps({"mcpServers": {"gh": entry, "notes": SERVER}}), encoding="utf-8")
    before = theirs.read_bytes()
    assert run_import("--yes").code == 0
    copy = read_ours(ours)
    copy["gh"]["tools"] = {"allow": ["echo"]}
    ours.write_text(json.dumps({"mcpServers": copy}), encoding="utf-8")
    moved = run_import("--move", "--yes")
    assert "gh: takes the place of its copy in our config" in moved.stdout
    assert "notes: is in our config already" in moved.stdout
    assert set(read_ours(ours)) == {"gh", "notes"}
    assert read_ours(ours)["gh"]["tools"] == {"allow": ["echo"]}
    assert run_import("--undo", "--yes").code == 0
    assert theirs.read_bytes() == before
