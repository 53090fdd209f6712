"""Files as other hosts and people write them: understood, or told in one sentence; nothing that is off is started."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.config.load import load
from bridge.config.settings import Config
from bridge.errors import ConfigError

HOME = "/home/me"
ENVIRON = {"HOME": HOME, "USERPROFILE": HOME, "TOKEN": "t-0123456789"}
LOCAL = {"command": "npx", "args": ["-y", "srv"]}
REMOTE = {"url": "http://127.0.0.1:1/mcp"}

Read = Callable[..., Config]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Loads a file of this name below the home folder, with this content."""

    def load_file(content: object, name: str = "config.json", project: str | None = None, **environ: str) -> Config:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
        path.chmod(0o600)
        return load(path, environ={**ENVIRON, **environ}, project=project)

    return load_file


def keys(config: Config) -> list[str]:
    return [server.key for server in config.servers]


def told(config: Config) -> str:
    """All notices, in one text."""
    return "\n".join(notice["message"] for notice in config.notices)


SHAPES: dict[str, tuple[str, object]] = {
    "Claude Desktop": ("claude_desktop_config.json", {"mcpServers": {"x": LOCAL}}),
    "Claude Code, the user's": (".claude.json", {"numStartups": 5, "mcpServers": {"x": {"type": "stdio", **LOCAL}}}),
    "VS Code": (".vscode/mcp.json", {"servers": {"x": LOCAL}, "inputs": []}),
    "VS Code, settings": ("settings.json", {"editor.fontSize": 12, "mcp": {"servers": {"x": LOCAL}, "inputs": []}}),
    "VS Code, settings, dotted": ("settings.json", {"editor.fontSize": 12, "mcp.servers": {"x": LOCAL}}),
    "Copilot": (".mcp.json", {"mcpServers": {"x": {"type": "local", **LOCAL, "tools": ["*"]}}}),
    "Gemini": ("settings.json", {"theme": "Dark", "mcpServers": {"x": {**LOCAL, "timeout": 5000, "trust": False}}}),
    "opencode": ("opencode.json", {"mcp": {"x": {"type": "local", "command": ["npx", "-y", "srv"], "enabled": True}}}),
    "opencode 2": ("opencode.json", {"mcp": {"servers": {"x": {"type": "local", "command": ["npx", "-y", "srv"]}}}}),
    "Zed": (
        "settings.json",
        {"theme": "One", "context_servers": {"x": {"source": "custom", **LOCAL}}},
    ),
    "Zed, old": (
        "settings.json",
        {"context_servers": {"x": {"command": {"path": "npx", "args": ["-y", "srv"], "env": None}, "settings": {}}}},
    ),
    "Amp": ("settings.json", {"amp.notifications.enabled": True, "amp.mcpServers": {"x": LOCAL}}),
    "Windsurf": ("mcp_config.json", {"mcpServers": {"x": {**LOCAL, "disabled": False, "disabledTools": []}}}),
    "Cline": ("cline_mcp_settings.json", {"mcpServers": {"x": {**LOCAL, "disabled": False, "autoApprove": []}}}),
    "Continue": ("config.json", {"models": [], "mcpServers": [{"name": "x", **LOCAL}]}),
    "Continue, old": (
        "config.json",
        {"experimental": {"modelContextProtocolServers": [{"name": "x", "transport": {"type": "stdio", **LOCAL}}]}},
    ),
    "Cherry Studio": ("mcp.json", {"mcpServers": {"x": {"isActive": True, "name": "mine", "baseUrl": "", **LOCAL}}}),
    "snake case": ("config.json", {"mcp_servers": {"x": LOCAL}}),
    "a bare map": ("mcp.json", {"x": LOCAL}),
    "an empty url": ("config.json", {"mcpServers": {"x": {**LOCAL, "url": ""}}}),
    "Codex": (".codex/config.toml", 'model = "o3"\n[mcp_servers.x]\ncommand = "npx"\nargs = ["-y", "srv"]\n'),
    "TOML in config.json": ("config.json", '# mine\n[mcp_servers.x]\ncommand = "npx"\nargs = ["-y", "srv"]\n'),
    "UTF-8 with a mark": ("config.json", json.dumps({"mcpServers": {"x": LOCAL}}).encode("utf-8-sig")),
    "UTF-16": ("config.json", json.dumps({"mcpServers": {"x": LOCAL}}).encode("utf-16")),
    "UTF-16 without a mark": ("config.json", json.dumps({"mcpServers": {"x": LOCAL}}).encode("utf-16-le")),
    "UTF-16, the other way round": ("config.json", json.dumps({"mcpServers": {"x": LOCAL}}).encode("utf-16-be")),
}


@pytest.mark.parametrize(("name", "content"), SHAPES.values(), ids=SHAPES)
def test_the_file_of_every_host_is_read(read: Read, name: str, content: object) -> None:
    config = read(content, name)
    [server] = config.servers
    assert (server.key, server.command, server.args) == ("x", "npx", ("-y", "srv"))
    assert config.left_out == {}
    assert {notice["code"] for notice in config.notices} <= {"ignored_keys"}


REMOTES: dict[str, tuple[Mapping[str, object], str]] = {
    "nothing": ({}, "auto"),
    "an empty command": ({"command": "", "args": []}, "auto"),
    **{
        repr(written): ({"type": written}, transport)
        for transport, words in {
            "http": ("http", "streamable-http", "streamableHttp", "streamable_http", "Streamable HTTP", "http-stream"),
            "sse": ("sse", "SSE"),
            "auto": ("remote", "url"),
        }.items()
        for written in words
    },
    "transport (mcpm-sh)": ({"transport": "streamable-http"}, "http"),
    "transport, an object": ({"transport": {"type": "sse"}}, "sse"),
}


@pytest.mark.parametrize(("words", "transport"), REMOTES.values(), ids=REMOTES)
def test_every_word_for_a_transport_is_understood(read: Read, words: Mapping[str, object], transport: str) -> None:
    [server] = read({"mcpServers": {"x": {**REMOTE, **words}}}).servers
    assert (server.url, server.command, server.transport) == (REMOTE["url"], None, transport)


def test_codex_names_headers_and_variables_of_its_own_environment(read: Read) -> None:
    text = """
        [mcp_servers.far]
        url = "https://far.example/mcp"
        bearer_token_env_var = "TOKEN"
        http_headers = { X-Region = "eu", X-Number = 5 }
        env_http_headers = { X-Key = "TOKEN" }
        startup_timeout_sec = 20
        [mcp_servers.near]
        command = "near"
        env = { A = "1" }
        env_vars = ["TOKEN", "NOT_SET"]
    """
    far, near = read(text, "config.toml").servers
    token = ENVIRON["TOKEN"]
    assert far.headers == {"Authorization": f"Bearer {token}", "X-Key": token, "X-Region": "eu", "X-Number": "5"}
    assert near.env == {"TOKEN": token, "A": "1"}


CLAUDE: Mapping[str, Any] = {
    "mcpServers": {"mine": LOCAL, "both": LOCAL},
    "projects": {
        "/home/me/shop": {"mcpServers": {"shop": LOCAL, "both": REMOTE, "off": LOCAL}, "disabledMcpServers": ["off"]},
        "/home/me/blog": {"mcpServers": {}, "allowedTools": []},
    },
}


def test_the_servers_of_one_project_of_claude_code_are_taken_when_it_is_named(read: Read) -> None:
    config = read(CLAUDE, ".claude.json")
    assert keys(config) == ["mine", "both"]
    assert "/home/me/shop" in told(config)
    assert "--project" in told(config)
    config = read(CLAUDE, ".claude.json", project="/home/me/shop")
    assert [(server.key, bool(server.url)) for server in config.servers] == [
        ("shop", False),
        ("both", True),
        ("mine", False),
    ]
    assert "--project" not in told(config)
    assert keys(read(CLAUDE, ".claude.json", project="/home/me/blog")) == ["mine", "both"]
    with pytest.raises(ConfigError, match="no project /home/me/none; it has /home/me/shop"):
        read(CLAUDE, ".claude.json", project="/home/me/none")


OFF: list[Mapping[str, object]] = [
    {"disabled": True},
    {"disabled": "true"},
    {"enabled": False},
    {"enabled": "false"},
    {"isActive": False},
    {"disabled": False, "enabled": False},
    {"enabled": True, "disabled": True},
]


@pytest.mark.parametrize("switch", OFF, ids=json.dumps)
def test_nothing_that_is_switched_off_is_started(read: Read, switch: Mapping[str, object]) -> None:
    config = read({"mcpServers": {"x": {**LOCAL, **switch}, "bad": {**switch, "command": 5, "args": ["${NOPE}"]}}})
    assert (config.servers, config.off, config.left_out) == ((), ("x", "bad"), {})


@pytest.mark.parametrize("switch", [{"enabled": True}, {"isActive": "true"}, {"disabled": False}, {"disabled": None}])
def test_what_is_switched_on_is_started(read: Read, switch: Mapping[str, object]) -> None:
    assert keys(read({"mcpServers": {"x": {**LOCAL, **switch}}})) == ["x"]


def test_gemini_switches_servers_off_in_a_section_of_its_own(read: Read) -> None:
    servers = {"mcpServers": {"a": LOCAL, "b": LOCAL, "c": LOCAL}}
    assert keys(read({**servers, "mcp": {"excluded": ["a"]}})) == ["b", "c"]
    assert keys(read({**servers, "mcp": {"allowed": ["a", "b"], "excluded": ["b"]}})) == ["a"]


RULES: list[tuple[Mapping[str, object], set[str]]] = [
    ({"disabledTools": ["rm"]}, {"read", "write"}),
    ({"excludeTools": ["rm"]}, {"read", "write"}),
    ({"disabled_tools": ["rm"]}, {"read", "write"}),
    ({"deny": ["rm"]}, {"read", "write"}),
    ({"includeTools": ["read", "rm"], "excludeTools": ["rm"]}, {"read"}),
    ({"enabled_tools": ["read"]}, {"read"}),
    ({"allowedTools": ["read"]}, {"read"}),
    ({"anythingllm": {"suppressedTools": ["rm"]}}, {"read", "write"}),
    ({"tools": ["read"]}, {"read"}),
    ({"tools": ["*"]}, {"read", "write", "rm"}),
    ({"tools": []}, set()),
    ({"tools": {"deny": ["write"]}, "disabledTools": ["rm"]}, {"read"}),
    ({"tools": {"only": ["r*"]}}, {"read", "rm"}),
]


@pytest.mark.parametrize(("rules", "left"), RULES)
def test_what_restricts_the_tools_is_obeyed(read: Read, rules: Mapping[str, object], left: set[str]) -> None:
    [server] = read({"mcpServers": {"x": {**LOCAL, **rules}}}).servers
    assert {tool for tool in ("read", "write", "rm") if server.tools.decision(tool) != "deny"} == left


GRANTS: list[Mapping[str, object]] = [
    {"alwaysAllow": ["rm"]},
    {"autoApprove": ["rm"]},
    {"autoApprove": True},
    {"trust": True},
    {"allow": ["*"]},
]


@pytest.mark.parametrize("grant", GRANTS, ids=json.dumps)
def test_what_grants_in_another_program_grants_nothing_and_is_said(read: Read, grant: Mapping[str, object]) -> None:
    config = read({"mcpServers": {"x": {**LOCAL, **grant}}})
    [server] = config.servers
    assert server.tools.decision("rm") is None
    assert server.require_approval == "writes"
    assert f"mcpServers.x.{next(iter(grant))}" in told(config)
    assert '"tools": {"allow": [' in told(config)


def test_places_are_filled_in_as_editors_do(read: Read, tmp_path: Path) -> None:
    words = {"command": "~/bin/srv", "args": ["${userHome}/s", "a${/}b${pathSeparator}c", "${workspaceFolder}/d"]}
    config = read({"servers": {"x": {**words, "cwd": "~"}}}, "shop/.vscode/mcp.json")
    [server] = config.servers
    assert server.command == f"{HOME}/bin/srv"
    assert server.args == (f"{HOME}/s", "a/b/c", f"{tmp_path}/shop/d")
    assert server.cwd == HOME
    assert config.notices == ()


def test_the_project_of_a_file_of_the_users_own_is_not_known(read: Read, tmp_path: Path) -> None:
    config = read(
        {"servers": {"x": {"command": "${workspaceFolder}/x"}}},
        ".vscode/mcp.json",
        HOME=str(tmp_path),
        USERPROFILE="/x",
    )
    assert "only known to the editor" in config.left_out["x"]


UNFILLED = {
    "$MY_TOKEN": "${env:MY_TOKEN}",
    "Bearer $MY_TOKEN": "${env:MY_TOKEN}",
    "{env:MY_TOKEN}": "${env:MY_TOKEN}",
    "${MY_TOKEN:none}": "${env:MY_TOKEN:-none}",
    "{{MY_TOKEN}}": "${env:MY_TOKEN}",
    "%APPDATA%/x": "${env:APPDATA}",
    "~/data": "${userHome}",
}


@pytest.mark.parametrize("written", UNFILLED)
def test_a_reference_of_another_program_is_passed_on_and_said(read: Read, written: str) -> None:
    config = read({"mcpServers": {"x": {"command": "x", "args": [written]}}})
    assert config.servers[0].args == (written,)
    assert "mcpServers.x.args[0]: " in told(config)
    assert f"write {UNFILLED[written]}." in told(config)


@pytest.mark.parametrize("plain", ["costs $5", "100%", "a{b}c", "$1", "x ~/y", "%20a%20", "{}", "$schema"])
def test_what_only_looks_like_a_reference_is_not_spoken_of(read: Read, plain: str) -> None:
    assert read({"mcpServers": {"x": {"command": "x", "args": [plain]}}}).notices == ()


ENV_FILE = """
# A comment
PLAIN=one two   # and another
export QUOTED="a # b\\n\\"c\\""
SINGLE='raw \\n $X'
EMPTY=
 SPACED = x
A=of the file
not a line
"""


def test_the_file_that_env_file_names_is_read_and_env_has_the_last_word(read: Read, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / ".env").write_text(ENV_FILE, encoding="utf-8")
    entry = {**LOCAL, "env": {"A": "of the entry"}}
    for written in ("${workspaceFolder}/.env", ".env", str(tmp_path / "shop" / ".env")):
        [server] = read({"servers": {"x": {**entry, "envFile": written}}}, "shop/.vscode/mcp.json").servers
        assert server.env == {
            "PLAIN": "one two",
            "QUOTED": 'a # b\n"c"',
            "SINGLE": "raw \\n $X",
            "EMPTY": "",
            "SPACED": "x",
            "A": "of the entry",
        }


@pytest.mark.parametrize(
    ("written", "words"),
    [(".env", "is relative, and this file is in no project"), ("/none/.env", "No such file"), (5, "expected a string")],
)
def test_an_env_file_that_cannot_be_read_costs_its_server(read: Read, written: object, words: str) -> None:
    config = read({"mcpServers": {"x": {**LOCAL, "envFile": written}, "y": LOCAL}})
    assert keys(config) == ["y"]
    assert words in config.left_out["x"]
    assert config.left_out["x"].startswith("mcpServers.x.envFile: ")


def test_numbers_and_booleans_in_places_of_text_are_their_text(read: Read) -> None:
    entry = {"command": "x", "args": ["--port", 3000, True, 0.5], "env": {"A": 1, "B": False}}
    near, far = read({"mcpServers": {"n": entry, "f": {**REMOTE, "headers": {"X-Id": 5}}}}).servers
    assert near.args == ("--port", "3000", "true", "0.5")
    assert near.env == {"A": "1", "B": "false"}
    assert far.headers == {"X-Id": "5"}


def test_an_env_that_is_a_list_of_pairs_is_read(read: Read) -> None:
    [server] = read({"mcpServers": {"x": {**LOCAL, "env": ["A=1", "B=c=d"]}}}).servers
    assert server.env == {"A": "1", "B": "c=d"}


BAD: dict[str, tuple[Any, str]] = {
    "no target": ({"args": []}, "has neither command nor url"),
    "an extension of Zed": ({"source": "extension", "settings": {}}, "it is an extension of that program"),
    "not an object": ("npx srv", "expected an object, not a string"),
    "an unset variable": ({"command": "x", "env": {"A": "${NOPE}"}}, "the environment variable NOPE is not set"),
    "a null in env": ({"command": "x", "env": {"A": None}}, ".env.A: expected a string, not null"),
    "a placeholder of the editor": ({"command": "${command:pick}"}, "is only known to the editor"),
    "a typo": ({"comand": "x"}, 'did you mean "command"?'),
    "websocket": ({"url": "http://a", "type": "ws"}, 'not "ws"'),
}


@pytest.mark.parametrize(("entry", "words"), BAD.values(), ids=BAD)
def test_an_entry_that_cannot_be_used_costs_itself_and_is_named(read: Read, entry: object, words: str) -> None:
    config = read({"mcpServers": {"good": LOCAL, "bad": entry, "fine": REMOTE}})
    assert keys(config) == ["good", "fine"]
    assert words in config.left_out["bad"]
    assert told(config).count(config.left_out["bad"]) == 1


def test_two_entries_of_one_name_are_told_and_the_first_is_taken(read: Read) -> None:
    config = read({"mcpServers": {"a": LOCAL}, "servers": {"a": REMOTE}})
    assert config.servers[0].command == "npx"
    assert "servers.a: mcpServers.a has the same name; keep one, or rename one" in told(config)


SILENT: dict[str, tuple[object, str]] = {
    "nothing that is ours": ({"theme": "dark"}, "it has no servers in mcpServers, and none of our settings"),
    "one entry without a name": (LOCAL, "what looks like a server, at the top, is not read there"),
    "an unknown section": ({"tools": {"mcp": {"x": LOCAL}}}, "at tools.mcp.x, is not read there"),
    "null": ({"mcpServers": None}, "mcpServers: expected an object, not null"),
    "a list": ({"mcpServers": "x"}, "mcpServers: expected an object, not a string"),
}


@pytest.mark.parametrize(("content", "words"), SILENT.values(), ids=SILENT)
def test_a_file_without_servers_is_never_silent(read: Read, content: object, words: str) -> None:
    config = read(content)
    assert config.servers == ()
    assert words in told(config)


HINTS = {
    "```json\n{}\n```": "take away the lines with ```",
    "{“mcpServers”: {}}": "curly",
    "{'mcpServers': {}}": "double quotes",
    '{"mcpServers": {"x": {"command": "C:\\Users\\me"}}}': "each backslash of a path twice",
    '"mcpServers": {"x": {"command": "x"}}': "the braces around it are missing",
    '{"mcpServers": {\n  "x": {"command": "x"}\n': "the { of line 1 is never closed",
    '{"mcpServers": {"x": {"command": "x" "args": []}}}': "a comma is missing",
    '{"mcpServers": {"x": {"command": "x\n"}}}': 'a " is missing',
    "{mcpServers: {}}": "names are written in double quotes",
    '{"mcpServers": {"x": {"command": "x", "disabled": True}}}': "write true in small letters",
    '{"mcpServers": {"x": {"command": "x", "env": None}}}': "write null",
    '{"mcpServers": {}}\n{"mcpServers": {}}': "put all servers into one mcpServers",
    "mcpServers:\n  x:\n    command: npx\n": "it is YAML",
    "extensions:\n  dev:\n    cmd: npx\n    type: stdio\n": "it is YAML",
    "[mcp_servers.x]\ncommand = npx\n": "not TOML",
}


@pytest.mark.parametrize("text", HINTS)
def test_text_that_is_nearly_right_is_told_what_to_change(read: Read, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(text)
    assert HINTS[text] in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize("name", ["config.yaml", "librechat.yml"])
def test_yaml_is_recognised_by_its_name(read: Read, name: str) -> None:
    with pytest.raises(ConfigError, match="YAML, which is not read"):
        read("version: 1", name)


@pytest.mark.skipif(os.name != "posix", reason="file permissions are POSIX")
def test_secrets_in_the_file_of_any_host_that_others_can_read_are_noticed(read: Read, tmp_path: Path) -> None:
    for content, where in (
        ({"mcp": {"x": {"command": ["x"], "environment": {"API_KEY": "abcdefgh1"}}}}, "mcp.x.environment.API_KEY"),
        ({"context_servers": {"x": {**REMOTE, "headers": {"A": "abcdefgh1"}}}}, "context_servers.x.headers.A"),
    ):
        read(content)
        (tmp_path / "config.json").chmod(0o644)
        assert where in told(load(tmp_path / "config.json", environ=ENVIRON))


def test_a_reference_that_is_filled_in_is_not_said_to_be_passed_on(read: Read) -> None:
    config = read({"mcpServers": {"x": {**LOCAL, "env": {"A": "${env:TOKEN}", "B": "${TOKEN}"}}}})
    assert config.servers[0].env == {"A": "t-0123456789", "B": "t-0123456789"}
    assert told(config) == ""
