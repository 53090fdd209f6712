"""`install` and `uninstall`, as a person types them: ten hosts, their files, and all that stands in the way."""

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bridge.cli import parser
from bridge.config.load import load
from bridge.hosts.edits import find_value, read_value
from bridge.hosts.known import HOSTS, WRITTEN
from bridge.hosts.shapes import list_own
from tests.hosts.machines import FILES, KEY, OTHERS_KEY, RELAY, Machine

pytestmark = pytest.mark.external


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    home = tmp_path / "home"
    home.mkdir()
    return Machine(home)


def own_entry(host: str, file: Path) -> Any:
    value = read_value(file.read_text(encoding="utf-8"), file.suffix)
    [path] = list_own(HOSTS[host], value)
    return find_value(value, path)


@pytest.mark.parametrize("host", WRITTEN)
def test_a_file_is_installed_into_and_brought_back_to_the_byte(machine: Machine, host: str) -> None:
    file = machine.put(host)
    file.chmod(0o640)
    before = machine.list_files()
    done = machine.run("install", host, "--yes")
    assert done.code == 0, done.said
    assert KEY not in done.said
    assert OTHERS_KEY not in done.said
    assert "relay.example" in done.said or "OPENAI_BASE_URL" in done.said, "all three belong together"
    assert HOSTS[host].restart in done.said
    assert str(file) in done.said
    after = machine.list_files()
    backup = f"{FILES[host][0]}.before-mcp-responses-bridge"
    assert after.keys() - before.keys() == {backup}
    assert after[backup] == before[FILES[host][0]]
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert own_entry(host, file)
    assert machine.run("install", host, "--yes").stderr == f"{file} has this entry already; there is nothing to do.\n"
    assert machine.list_files() == after
    gone = machine.run("uninstall", host, "--yes")
    assert gone.code == 0, gone.said
    assert machine.list_files() == before
    assert stat.S_IMODE(file.stat().st_mode) == 0o640
    assert "nothing to do" in machine.run("uninstall", host, "--yes").stderr


@pytest.mark.parametrize("host", WRITTEN)
def test_a_host_without_a_file_gets_one_and_loses_it_again(machine: Machine, host: str) -> None:
    file = machine.put(host)
    file.unlink()
    file = file.with_suffix(".json") if host == "opencode" else file
    if host == "claude-code":
        (machine.home / ".claude").mkdir()
    assert machine.run("install", host, "--yes").code == 0
    assert own_entry(host, file)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert machine.run("uninstall", host, "--yes").code == 0
    assert machine.list_files() == {}


@pytest.mark.parametrize("host", [host for host in WRITTEN if HOSTS[host].project_files])
def test_a_file_of_a_project_is_made_without_a_key_and_deleted_with_its_folder(machine: Machine, host: str) -> None:
    project = machine.home / "work" / "proj"
    project.mkdir(parents=True)
    done = machine.run("install", host, "--project", "--yes", cwd=project)
    assert done.code == 0, done.said
    file = project / HOSTS[host].project_files[0]
    assert own_entry(host, file)
    assert KEY not in file.read_text(encoding="utf-8"), "others may read it"
    assert machine.run("uninstall", host, "--project", str(project), "--yes").code == 0
    assert list(project.iterdir()) == []


@pytest.mark.parametrize("host", WRITTEN)
def test_what_was_changed_since_stays_when_our_entry_is_taken_out(machine: Machine, host: str) -> None:
    file = machine.put(host)
    before = file.read_text(encoding="utf-8")
    assert machine.run("install", host, "--yes").code == 0
    edited = file.read_bytes() + (b"# later\n" if host == "codex" else b"\n// later\n")
    file.write_bytes(edited)
    done = machine.run("uninstall", host, "--yes")
    assert done.code == 0, done.said
    assert "The file was changed since it was installed" in done.stderr
    assert "What was changed since then, and stays:" in done.stderr
    assert "later" in done.stdout
    assert OTHERS_KEY not in done.said
    rest = file.read_text(encoding="utf-8")
    assert "later" in rest
    assert read_value(rest, file.suffix) == read_value(before, file.suffix)
    assert all(line in rest for line in before.splitlines() if "//" in line or line.startswith("#"))
    assert list_own(HOSTS[host], read_value(rest, file.suffix)) == []


def test_the_upstream_of_the_environment_comes_along_as_one(machine: Machine) -> None:
    """An entry with the key alone would send a relay's key to OpenAI."""
    units: dict[str, Any] = {}
    for host in WRITTEN:
        file = machine.put(host)
        assert machine.run("install", host, "--yes").code == 0
        entry = own_entry(host, file)
        units[host] = entry.get("env") or entry.get("environment") or entry.get("env_vars")
    assert {host: sorted(unit) for host, unit in units.items()} == dict.fromkeys(WRITTEN, sorted(RELAY))
    assert units["claude-desktop"] == units["zed"] == RELAY
    assert units["cursor"] == units["windsurf"] == {name: f"${{env:{name}}}" for name in RELAY}
    assert units["claude-code"] == units["copilot-cli"] == {name: f"${{{name}}}" for name in RELAY}
    assert units["gemini-cli"] == {name: f"${name}" for name in RELAY}
    assert units["opencode"] == {name: f"{{env:{name}}}" for name in RELAY}
    assert units["vscode"] == RELAY | {"OPENAI_API_KEY": "${input:openai-api-key}"}


def test_the_upstream_of_the_config_brings_the_variables_that_it_names(machine: Machine, tmp_path: Path) -> None:
    config = tmp_path / "配置 é.json"
    upstream = {"base_url": "https://other.example/v1", "api_key": "${env:OTHER_KEY}", "model": "m"}
    config.write_text(json.dumps({"upstream": upstream}), encoding="utf-8")
    machine.environ["OTHER_KEY"] = "other-0123456789abcdef"
    file = machine.put("claude-desktop", "{}")
    done = machine.run("install", "claude-desktop", "--yes", "--config", str(config))
    assert done.code == 0
    entry = own_entry("claude-desktop", file)
    assert entry["env"] == {"OTHER_KEY": "other-0123456789abcdef"}, "OpenAI's variables are not read beside base_url"
    assert entry["args"] == ["serve", "--config", str(config)]
    assert "配置 é.json" in file.read_text(encoding="utf-8"), "a person can read it"
    assert "other-0123456789abcdef" not in done.said
    assert load(config, environ=entry["env"]).upstream


def test_a_variable_that_is_not_set_is_told_and_no_placeholder_is_written(machine: Machine, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    upstream = {"base_url": "https://other.example/v1", "api_key": "${env:OTHER_KEY}", "model": "m"}
    config.write_text(json.dumps({"upstream": upstream}), encoding="utf-8")
    for host in ("claude-desktop", "zed"):
        file = machine.put(host)
        done = machine.run("install", host, "--yes", "--config", str(config))
        assert f"OTHER_KEY: not set here; the upstream in {config} needs it." in done.stderr
        assert "env" not in own_entry(host, file)


@pytest.mark.parametrize("host", ["claude-desktop", "windsurf"])
def test_a_host_without_files_of_projects_is_told(machine: Machine, host: str) -> None:
    done = machine.run("install", host, "--project", "--yes")
    assert done.code == 2
    assert one_line(done.stderr) == f"{HOSTS[host].title} has no file for a project; leave --project out"


def test_without_an_upstream_it_is_said_and_no_placeholder_is_written(machine: Machine) -> None:
    machine.environ = {}
    for host in set(WRITTEN) - {"vscode"}:
        file = machine.put(host)
        done = machine.run("install", host, "--yes")
        assert "No upstream is configured yet: set OPENAI_API_KEY" in done.stderr
        assert not own_entry(host, file).keys() & {"env", "environment", "env_vars"}


@pytest.mark.parametrize(
    ("encoding", "mark"), [("utf-8", b"\xef\xbb\xbf"), ("utf-16-le", b"\xff\xfe"), ("utf-16-be", b"\xfe\xff")]
)
def test_a_file_with_a_mark_keeps_it_and_its_encoding(machine: Machine, encoding: str, mark: bytes) -> None:
    text = FILES["cursor"][1].replace("git", "仓库")
    file = machine.put("cursor", mark + text.encode(encoding))
    assert machine.run("install", "cursor", "--yes").code == 0
    written = file.read_bytes()
    assert written.startswith(mark)
    assert "responses" in written.removeprefix(mark).decode(encoding)
    assert not written.removeprefix(mark).startswith(mark)
    assert machine.run("uninstall", "cursor", "--yes").code == 0
    assert file.read_bytes() == mark + text.encode(encoding)


def test_a_link_is_written_through_and_stays(machine: Machine) -> None:
    file = machine.put("zed")
    kept = machine.home / "dotfiles" / "zed.json"
    kept.parent.mkdir()
    before = file.read_bytes()
    file.rename(kept)
    file.symlink_to("../../dotfiles/zed.json")
    assert machine.run("install", "zed", "--yes").code == 0
    assert file.is_symlink()
    assert own_entry("zed", kept)
    assert not kept.is_symlink()
    assert machine.run("uninstall", "zed", "--yes").code == 0
    assert file.is_symlink()
    assert kept.read_bytes() == before
    assert {path.name for path in kept.parent.iterdir()} == {"zed.json"}


def test_a_link_to_nothing_gets_its_file(machine: Machine) -> None:
    file = machine.put("cursor")
    file.unlink()
    file.symlink_to(machine.home / "dotfiles" / "cursor.json")
    assert machine.run("install", "cursor", "--yes").code == 0
    assert own_entry("cursor", machine.home / "dotfiles" / "cursor.json")
    assert machine.run("uninstall", "cursor", "--yes").code == 0
    assert file.is_symlink()
    assert not (machine.home / "dotfiles").exists()


def test_links_in_a_circle_are_told(machine: Machine) -> None:
    file = machine.put("cursor")
    file.unlink()
    file.symlink_to(file)
    done = machine.run("install", "cursor", "--yes")
    assert done.code == 2
    assert one_line(done.stderr).startswith(f"{file}: cannot be read: ")


def one_line(stderr: str) -> str:
    [line] = stderr.splitlines()
    return line.removeprefix("mcp-responses-bridge: ")


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize("what", ["file", "folder"])
def test_what_is_read_only_is_left_and_told(machine: Machine, command: str, what: str) -> None:
    file = machine.put("cursor")
    if command == "uninstall":
        assert machine.run("install", "cursor", "--yes").code == 0
    place = file if what == "file" else file.parent
    mode = place.stat().st_mode
    place.chmod(0o444 if what == "file" else 0o555)
    before = machine.list_files()
    done = machine.run(command, "cursor", "--yes")
    place.chmod(mode)
    assert done.code == 2
    shown = "it" if what == "file" else f"the folder {file.parent}"
    assert one_line(done.stderr) == f"{file}: {shown} is read-only; nothing was written"
    assert machine.list_files() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{"mcpServers": {', "not JSON"),
        ('{"mcpServers": ["a"]}', "mcpServers: expected an object"),
        ('{"mcpServers": {"a": 1}, "mcpServers": {}}', "given twice"),
        (b'{"a": "\xff"}', "is not text in UTF-8"),
        ("[]", "expected an object at the top"),
    ],
)
def test_a_broken_file_is_left_as_it_is_and_told_in_a_sentence(machine: Machine, text: str | bytes, words: str) -> None:
    file = machine.put("cursor", text)
    before = machine.list_files()
    done = machine.run("install", "cursor", "--yes")
    assert done.code == 2
    assert words in one_line(done.stderr)
    assert "left as it is" in done.stderr
    assert machine.list_files() == before
    assert file.exists()


@pytest.mark.parametrize("command", ["install", "uninstall"])
@pytest.mark.parametrize("host", ["cursor", "codex"])
def test_a_file_that_is_changed_before_the_answer_is_not_written(machine: Machine, host: str, command: str) -> None:
    file = machine.put(host)
    if command == "uninstall":
        assert machine.run("install", host, "--yes").code == 0
    written = machine.list_files()

    def change() -> None:
        file.write_bytes(file.read_bytes() + b"\n")

    done = machine.answer("y", command, host, meanwhile=change)
    assert done.code == 2
    assert "has been changed meanwhile; nothing was written, try it again" in done.stdout
    written[FILES[host][0]] += b"\n"
    assert machine.list_files() == written


def test_a_file_that_is_changed_twice_is_not_written_and_no_copy_is_left(machine: Machine) -> None:
    file = machine.put("cursor")
    assert machine.run("install", "cursor", "--yes").code == 0
    file.write_bytes(file.read_bytes() + b"\n")
    written = machine.list_files()
    later = file.read_bytes() + b"\n"
    done = machine.answer("y", "uninstall", "cursor", meanwhile=lambda: file.write_bytes(later))
    assert done.code == 2
    assert machine.list_files() == written | {FILES["cursor"][0]: later}


def test_a_file_that_appears_before_the_answer_is_not_written_over(machine: Machine) -> None:
    file = machine.put("cursor")
    file.unlink()
    done = machine.answer("y", "install", "cursor", meanwhile=lambda: file.write_text("{}", encoding="utf-8"))
    assert done.code == 2
    assert machine.list_files() == {FILES["cursor"][0]: b"{}"}


def test_nothing_is_written_without_a_yes(machine: Machine) -> None:
    machine.put("cursor")
    before = machine.list_files()
    for answer in ("", "n", "maybe"):
        done = machine.answer(answer, "install", "cursor")
        assert done.code == 1
        assert "Nothing was written." in done.stdout
    asked = machine.run("install", "cursor")
    assert asked.code == 2
    assert "install: nobody can be asked here, so nothing was written; --yes writes it" in asked.stderr
    interrupted = machine.answer("\x03", "install", "cursor")
    assert interrupted.code == 130
    assert machine.list_files() == before
    assert machine.answer("y", "install", "cursor").code == 0
    assert machine.list_files() != before


def test_an_entry_with_other_settings_is_shown_and_what_a_person_added_stays(machine: Machine) -> None:
    old = {"command": "/old/bin/mcp-responses-bridge", "args": ["serve"], "disabled": False}
    env = {"OPENAI_API_KEY": "sk-old-0123456789abcdef", "OPENAI_ORG": "x", "MCP_RESPONSES_BRIDGE_STATE": "/s"}
    file = machine.put("claude-desktop", json.dumps({"mcpServers": {"pasted": {**old, "env": env}}}, indent=1))
    before = file.read_bytes()
    done = machine.run("install", "claude-desktop", "--yes")
    assert "The file has an entry of ours with other settings; it is replaced." in done.stderr
    assert '-   "command": "/old/bin/mcp-responses-bridge"' in done.stdout
    assert "sk-old" not in done.said
    entry = own_entry("claude-desktop", file)
    assert entry["env"] == {"OPENAI_ORG": "x", "MCP_RESPONSES_BRIDGE_STATE": "/s", **RELAY}
    assert entry["disabled"] is False
    assert "pasted" in file.read_text(encoding="utf-8"), "under the name that it had"
    assert machine.run("uninstall", "claude-desktop", "--yes").code == 0
    assert read_value(file.read_text(encoding="utf-8")) == {"mcpServers": {}}
    backups = [machine.home / name for name in machine.list_files() if "before" in name]
    assert before in [backup.read_bytes() for backup in backups]


def test_somebody_elses_entry_of_our_name_is_left_alone(machine: Machine) -> None:
    theirs: dict[str, Any] = {"command": "other-program", "args": []}
    file = machine.put("cursor", json.dumps({"mcpServers": {"responses": theirs}}))
    assert machine.run("install", "cursor", "--yes").code == 0
    servers: Any = read_value(file.read_text(encoding="utf-8"))["mcpServers"]
    assert servers["responses"] == theirs
    assert servers.keys() == {"responses", "mcp-responses-bridge"}


def test_a_second_install_is_undone_with_the_first(machine: Machine) -> None:
    machine.put("zed")
    before = machine.list_files()
    assert machine.run("install", "zed", "--yes").code == 0
    machine.environ["OPENAI_MODEL"] = "m-2"
    assert machine.run("install", "zed", "--yes").code == 0
    assert len([name for name in machine.list_files() if "before-mcp" in name]) == 2
    assert machine.run("uninstall", "zed", "--yes").code == 0
    assert machine.list_files() == before


def test_a_backup_that_is_gone_leaves_the_entry_to_be_taken_out(machine: Machine) -> None:
    file = machine.put("zed")
    before = file.read_text(encoding="utf-8")
    assert machine.run("install", "zed", "--yes").code == 0
    file.with_name("settings.json.before-mcp-responses-bridge").unlink()
    assert machine.run("uninstall", "zed", "--yes").code == 0
    assert file.read_text(encoding="utf-8") == before


def test_an_earlier_backup_is_never_written_over(machine: Machine) -> None:
    file = machine.put("cursor")
    earlier = file.with_name("mcp.json.before-mcp-responses-bridge")
    earlier.write_text("mine", encoding="utf-8")
    assert machine.run("install", "cursor", "--yes").code == 0
    assert earlier.read_text(encoding="utf-8") == "mine"
    assert file.with_name("mcp.json.before-mcp-responses-bridge-2").exists()


def test_without_a_state_folder_it_is_said_and_the_entry_is_taken_out(machine: Machine) -> None:
    machine.environ["MCP_RESPONSES_BRIDGE_STATE"] = "relative"
    file = machine.put("cursor")
    before = file.read_bytes()
    done = machine.run("install", "cursor", "--yes")
    assert done.code == 0
    assert "It cannot be remembered" in done.stderr
    assert machine.run("uninstall", "cursor", "--yes").code == 0
    assert file.read_bytes() == before


@pytest.mark.parametrize("host", WRITTEN)
def test_a_host_that_is_not_installed_is_told_with_the_places(machine: Machine, host: str) -> None:
    done = machine.run("install", host, "--yes")
    assert done.code == 2
    line = one_line(done.stderr)
    assert f"{HOSTS[host].title} is not installed here: looked for {machine.home}" in line
    assert f"install {host} --print shows what to paste" in line
    assert machine.list_files() == {}


def test_a_host_whose_command_is_there_but_no_folder_yet_is_installed_into(machine: Machine) -> None:
    command = machine.home / "bin" / "codex"
    command.parent.mkdir()
    command.write_text("#!/bin/sh\n", encoding="utf-8")
    command.chmod(0o755)
    machine.environ["PATH"] = f"{command.parent}:/usr/bin:/bin"
    assert machine.run("install", "codex", "--yes").code == 0
    assert own_entry("codex", machine.home / ".codex" / "config.toml")
    assert machine.run("uninstall", "codex", "--yes").code == 0
    assert machine.list_files().keys() == {"bin/codex"}


def test_an_unknown_host_is_told_those_that_are_known(machine: Machine) -> None:
    for command in ("install", "uninstall", "config"):
        done = machine.run(command, "claud-desktop")
        assert done.code == 2
        line = one_line(done.stderr)
        assert all(host in line for host in HOSTS)
        assert "did you mean claude-desktop?" in line


@pytest.mark.parametrize("host", HOSTS)
def test_what_is_printed_holds_the_unit_and_no_key(machine: Machine, host: str) -> None:
    done = machine.run("install", host, "--print")
    assert done.code == 0
    assert KEY not in done.said
    assert "OPENAI_BASE_URL" in done.stdout
    assert "merge this into" in done.stderr
    assert machine.run("config", host).stdout == done.stdout
    assert machine.list_files() == {}


@pytest.mark.parametrize("host", ["goose", "continue", "librechat"])
def test_yaml_is_printed_for_hosts_whose_file_is_not_written(machine: Machine, host: str) -> None:
    import yaml

    printed = yaml.safe_load(machine.run("install", host).stdout)
    section = printed[HOSTS[host].section[0]]
    entry = section[0] if host == "continue" else section["responses"]
    assert entry["args"] == ["serve"]
    assert "OPENAI_BASE_URL" in (entry.get("env") or entry["envs"])
    refused = machine.run("uninstall", host, "--yes")
    assert refused.code == 2
    assert "take the entry out" in refused.stderr


def test_an_entry_starts_as_the_host_would_start_it(machine: Machine) -> None:
    file = machine.put("claude-desktop")
    assert machine.run("install", "claude-desktop", "--yes").code == 0
    entry = own_entry("claude-desktop", file)
    hello = {"jsonrpc": "2.0", "id": 1, "method": "initialize"}
    params: dict[str, Any] = {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "h", "version": "1"},
    }
    done = subprocess.run(
        [entry["command"], *entry["args"]], input=json.dumps({**hello, "params": params}) + "\n", text=True,
        encoding="utf-8", env={"PATH": "/usr/bin:/bin", "HOME": str(machine.home), **entry["env"]},
        capture_output=True, check=True, timeout=60, cwd="/",
    )  # fmt: skip
    assert json.loads(done.stdout.splitlines()[0])["result"]["serverInfo"]["name"] == "mcp-responses-bridge"


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root writes files of others")
def test_root_leaves_a_file_to_its_owner(machine: Machine) -> None:
    file = machine.put("cursor")
    os.chown(file, 1234, 1234)
    assert machine.run("install", "cursor", "--yes").code == 0
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 1234)


def test_a_file_that_cannot_be_written_whole_stays_as_it_was(machine: Machine) -> None:
    """What a full disk does: the write ends in the middle."""
    file = machine.put("cursor", FILES["cursor"][1] + "//" + "x" * 200_000)
    before = machine.list_files()
    limited = ["/bin/sh", "-c", 'ulimit -f 100; exec "$@"', "sh", *machine.build_command("install", "cursor", "--yes")]
    done = subprocess.run(
        limited, env=machine.build_environment(), check=False, capture_output=True, timeout=60, cwd=machine.home
    )
    assert done.returncode == 2
    backup = f"{file}.before-mcp-responses-bridge"
    assert f"{backup}: cannot be written: File too large; nothing was changed" in done.stderr.decode()
    assert machine.list_files() == before


def test_the_command_line_names_the_hosts_that_are_known() -> None:
    assert parser.HOSTS == WRITTEN


def test_one_file_of_a_project_serves_two_hosts(machine: Machine) -> None:
    """`.mcp.json` is read by Claude Code and by Copilot CLI."""
    for host in ("claude-code", "copilot-cli"):
        assert machine.run("install", host, "--project", "--yes").code == 0
    file = machine.home / ".mcp.json"
    entry = own_entry("copilot-cli", file)
    assert entry["type"] == "stdio", "Claude Code knows no local"
    assert entry["tools"] == ["*"]
    assert "nothing to do" in machine.run("install", "claude-code", "--project", "--yes").stderr
    assert machine.run("uninstall", "copilot-cli", "--project", "--yes").code == 0
    assert machine.list_files() == {}


@pytest.mark.parametrize(
    "entry",
    [
        {"command": "uvx", "args": ["mcp-server-git", "--repository", "mcp-responses-bridge"]},
        {"command": "python", "args": ["-m", "bridge"], "cwd": "/opt/home-assistant"},
    ],
)
def test_somebody_elses_entry_that_has_our_name_in_a_word_is_left_alone(machine: Machine, entry: Any) -> None:
    file = machine.put("cursor", json.dumps({"mcpServers": {"other": entry}}))
    before = file.read_bytes()
    assert "no entry of ours" in machine.run("uninstall", "cursor", "--yes").stderr
    assert machine.run("install", "cursor", "--yes").code == 0
    assert json.loads(file.read_text(encoding="utf-8"))["mcpServers"]["other"] == entry
    assert machine.run("uninstall", "cursor", "--yes").code == 0
    assert file.read_bytes() == before


def test_where_both_our_names_are_taken_a_further_one_is_used(machine: Machine) -> None:
    theirs = {name: {"url": "https://bridge.example/mcp"} for name in ("responses", "mcp-responses-bridge")}
    file = machine.put("cursor", json.dumps({"mcpServers": theirs}))
    assert machine.run("install", "cursor", "--yes").code == 0
    entries = json.loads(file.read_text(encoding="utf-8"))["mcpServers"]
    assert {name: entries[name] for name in theirs} == theirs
    assert entries["mcp-responses-bridge-2"]["args"] == ["serve"]


@pytest.mark.parametrize("address", ["foo", "https://me:s3cret@relay.example/v1"])
def test_an_address_that_no_bridge_takes_is_refused(machine: Machine, address: str) -> None:
    machine.environ["OPENAI_BASE_URL"] = address
    file = machine.put("cursor", "{}")
    done = machine.run("install", "cursor", "--yes")
    assert (done.code, file.read_text(encoding="utf-8")) == (2, "{}")
    assert "OPENAI_BASE_URL: " in one_line(done.stderr)
    assert "s3cret" not in done.stderr


def test_uninstall_shows_what_it_would_do_and_writes_nothing_with_print(machine: Machine) -> None:
    file = machine.put("cursor", '{"mcpServers": {}}')
    assert machine.run("install", "cursor", "--yes").code == 0
    before = file.read_bytes()
    done = machine.run("uninstall", "cursor", "--print")
    assert (done.code, file.read_bytes()) == (0, before)
    assert '-{"mcpServers": {' in done.stdout
