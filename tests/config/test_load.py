"""The configuration through its front door: a file, an environment and flags in; a `Config` or one line out."""

import itertools
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from bridge.config.load import find, load
from bridge.config.settings import EMBEDDED, NO_UPSTREAM, Config, ServerConfig, ToolRules
from bridge.config.values import is_loopback
from bridge.errors import ConfigError
from bridge.items import Notice

Read = Callable[..., Config]
KEY = {"OPENAI_API_KEY": "sk-of-the-environment"}
RELAY = {**KEY, "OPENAI_BASE_URL": "https://relay.example", "OPENAI_MODEL": "o3-pro"}
BESIDE = ("bridge.schema.json", "grafana.json")
CONFIGS = [file for file in sorted((Path(__file__).parents[2] / "configs").glob("*.json")) if file.name not in BESIDE]
posix_only = pytest.mark.skipif(os.name != "posix", reason="file permissions are POSIX")


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    path.chmod(0o600)
    return path


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Loads a file with this content (text, or a value to be written as JSON), in this environment."""

    def from_content(content: object, environ: dict[str, str] | None = None, **flags: object) -> Config:
        return load(write(tmp_path / "config.json", content), environ=environ or {}, overrides=flags)

    return from_content


@pytest.fixture
def complaint(tmp_path: Path) -> Callable[..., str]:
    """The one line about a file with this content, without the file's name in front."""

    def about(content: object, environ: dict[str, str] | None = None) -> str:
        path = write(tmp_path / "config.json", content)
        with pytest.raises(ConfigError) as caught:
            load(path, environ=environ or {})
        line = str(caught.value)
        assert line.startswith(f"{path}: ")
        assert len(line.splitlines()) == 1
        return line.removeprefix(f"{path}: ")

    return about


def entry(**values: object) -> dict[str, object]:
    return {"mcpServers": {"git": values}}


def server(config: Config) -> ServerConfig:
    (only,) = config.servers
    return only


# -- one line that says where, what, and what would be right -----------------------------------------------------------

NO_URL = "expected a URL that begins with http:// or https:// and names a host"
PORT = "its port must be a number from 1 to 65535"
SCHEME = "write http:// or https:// before it"
BLANK = "take away the blank or control character in it"
NO_TEXT = "holds a character that is not text (NUL, half a surrogate pair)"
BAD_FILES = {
    "": "the file is empty; write {} to use the defaults",
    " \n": "the file is empty; write {} to use the defaults",
    "{": "line 1, column 2: not JSON: expecting property name enclosed in double quotes; "
    "the { of line 1 is never closed; a } is missing",
    '{\n  "limits": }': "line 2, column 13: not JSON: expecting value",
    '{\n  // why\n  "limits" 5}': "line 3, column 12: not JSON: expecting ':' delimiter",
    "[1]": "expected an object at the top, not a list",
    '{"limits": {"timeout_s": NaN}}': "not JSON: NaN is not a JSON number",
    '{"limits": {"max_turns": ' + "9" * 5000 + "}}": "not JSON: a whole number of more than 19 digits",
    '{"limits": {"max_turns": ' + "9" * 400 + "}}": "not JSON: a whole number of more than 19 digits",
    "[" * 100_000: "not usable: nested too deeply",
    '{"limits": {}, "limits": {}}': "limits: this key is given twice; keep one",
    '{"mcpServers": {"git": {}, "git": {}}}': "mcpServers.git: this key is given twice; keep one",
}


@pytest.mark.parametrize("text", BAD_FILES, ids=range(len(BAD_FILES)))
def test_a_file_that_cannot_be_read_is_one_line(complaint: Callable[..., str], text: str) -> None:
    assert complaint(text) == BAD_FILES[text]


BAD_ENTRIES: list[tuple[dict[str, object], str]] = [
    ({}, ": has neither command nor url; give command to start a server, or url to reach one"),
    ({"command": "x", "url": "http://a"}, ".url: cannot be combined with command; keep one of the two"),
    ({"url": "http://a", "serverUrl": "http://b"}, ".serverUrl: cannot be combined with url; keep one of the two"),
    ({"comand": "x"}, '.comand: unknown key; did you mean "command"?'),
    ({"command": "x", "requireApproval": "never"}, '.requireApproval: unknown key; did you mean "require_approval"?'),
    ({"command": "x", "URL": "http://a"}, '.URL: unknown key; did you mean "url"?'),
    ({"command": 5}, ".command: expected a string, not a number"),
    ({"command": ""}, ".command: must not be empty"),
    ({"command": "x\0"}, f".command: {NO_TEXT}"),
    ({"command": "\ud800"}, f".command: {NO_TEXT}"),
    ({"command": "x", "args": "-y"}, ".args: expected a list, not a string"),
    ({"command": "x", "args": ["-n", []]}, ".args[1]: expected a string, not a list"),
    ({"command": "x", "env": {"A": None}}, ".env.A: expected a string, not null"),
    ({"command": "x", "env": "A=1"}, ".env: expected an object, not a string"),
    ({"command": []}, ".command: must not be empty"),
    ({"command": ["x", {}]}, ".args[0]: expected a string, not an object"),
    ({"command": "x", "enabled": "perhaps"}, ".enabled: expected true or false, not a string"),
    ({"command": "x", "includeTools": "a"}, ".includeTools: expected a list, not a string"),
    ({"command": "x", "env": {"A=": "1"}}, ".env: the name of an environment variable must not be empty or hold '='"),
    ({"command": "x", "tools": "*"}, ".tools: expected an object, not a string"),
    ({"command": "x", "tools": {"allow": "*"}}, ".tools.allow: expected a list, not a string"),
    ({"command": "x", "tools": {"deny": ["a", 1]}}, ".tools.deny[1]: expected a string, not a number"),
    ({"command": "x", "tools": {"dney": ["a"]}}, '.tools.dney: unknown key; the nearest known one is "deny"'),
    (
        {"command": "x", "require_approval": "sometimes"},
        '.require_approval: expected "always", "writes" or "never", not "sometimes"',
    ),
    ({"command": "x", "prefix": "yes"}, ".prefix: expected true or false, not a string"),
    ({"command": "x", "disabled": 1}, ".disabled: expected true or false, not a number"),
    (
        {"command": "x", "protocol": "2025"},
        '.protocol: expected "auto", "legacy" or a revision such as "2025-11-25"',
    ),
    ({"command": "x", "call_timeout_s": 0}, ".call_timeout_s: must be more than 0"),
    ({"command": "x", "connect_timeout_s": "1 minute"}, ".connect_timeout_s: expected a number, not a string"),
    ({"command": "x", "type": "http"}, '.type: "http" needs url, and the entry has command; leave type out'),
    ({"url": "http://a", "type": "stdio"}, '.type: "stdio" needs command, and the entry has url; leave type out'),
    (
        {"url": "http://a", "type": "websocket"},
        '.type: expected stdio (or local), http (or streamable-http, streamableHttp), sse or remote, not "websocket"',
    ),
    ({"url": "http://a", "type": 3}, ".type: expected a string, not a number"),
    ({"url": "ftp://a"}, f".url: {NO_URL}, not 'ftp://a'"),
    ({"url": "http://[::1"}, f".url: {NO_URL}"),
    ({"url": "http://a:99999"}, f".url: {NO_URL}, not 'http://a:99999'; {PORT}"),
    ({"url": "http://a:b/mcp"}, f".url: {NO_URL}; {PORT}"),
    ({"url": "http://[::1]:0"}, f".url: {NO_URL}; {PORT}"),
    ({"url": "a.example/mcp"}, f".url: {NO_URL}, not 'a.example/mcp'; {SCHEME}"),
    ({"url": "localhost:3000/mcp"}, f".url: {NO_URL}, not 'localhost:3000/mcp'; {SCHEME}"),
    ({"url": " http://a/mcp"}, f".url: {NO_URL}; take away the blanks, quotes or brackets around it"),
    ({"url": '"http://a/mcp"'}, f".url: {NO_URL}; take away the blanks, quotes or brackets around it"),
    ({"url": "<http://a/mcp>"}, f".url: {NO_URL}; take away the blanks, quotes or brackets around it"),
    ({"url": "http://a b/mcp"}, f".url: {NO_URL}; {BLANK}"),
    ({"url": ""}, f".url: {NO_URL}; it is empty"),
    ({"url": "http://a/\nb"}, f".url: {NO_URL}; {BLANK}"),
    (
        {"url": "http://user:hunter2@a"},
        ".url: a URL must not hold a user name or a password; put credentials into headers",
    ),
    ({"url": "http://a", "headers": {"A b": "x"}}, ".headers: 'A b' is not a header name"),
    (
        {"url": "http://a", "headers": {"A": "x\r\nB: y"}},
        ".headers: the value of A holds a character that no header can carry",
    ),
    (
        {"command": "${env:NOPE}"},
        ".command: ${env:NOPE}: the environment variable NOPE is not set; set it, or write ${env:NOPE:-default}",
    ),
    (
        {"command": "x", "args": ["-k", "${NOPE}"]},
        ".args[1]: ${NOPE}: the environment variable NOPE is not set; set it, or write ${NOPE:-default}",
    ),
    (
        {"command": "x", "env": {"NOPE": "${NOPE}"}},
        ".env.NOPE: ${NOPE}: the environment variable NOPE is not set; set it, or write ${NOPE:-default}",
    ),
    (
        {"command": "x", "env": {"T": "${input:gh-token}"}},
        ".env.T: ${input:gh-token} cannot be asked for here; set GH_TOKEN, or write ${env:NAME} instead",
    ),
    (
        {"command": "x", "cwd": "${workspaceFolder}/a"},
        ".cwd: ${workspaceFolder} is only known to the editor; write the value itself, or ${env:NAME}",
    ),
    (
        {"command": "${A:-${B}}"},
        ".command: ${A:-${B}: a reference cannot hold another reference; write one of them out",
    ),
]


@pytest.mark.parametrize(("values", "line"), BAD_ENTRIES, ids=range(len(BAD_ENTRIES)))
def test_a_bad_server_entry_is_one_line_and_costs_that_server(read: Read, values: dict[str, object], line: str) -> None:
    """It costs that server, and no other."""
    config = read({"mcpServers": {"git": values, "good": {"command": "y"}}})
    assert config.left_out == {"git": f"mcpServers.git{line}"}
    assert [notice["message"] for notice in config.notices] == [f"mcpServers.git{line}; the server is left out."]
    assert server(config).key == "good"


BAD_SECTIONS: list[tuple[dict[str, object], str]] = [
    ({"mcpServer": {}}, 'mcpServer: unknown key; did you mean "mcp_servers"?'),
    ({"builtin_tool": False}, 'builtin_tool: unknown key; did you mean "builtin_tools"?'),
    ({"builtin_tools": "maybe"}, "builtin_tools: expected true or false, not a string"),
    ({"inputs": {"a": 1}}, "inputs: expected a list, not an object"),
    ({"inputs": [1]}, "inputs[0]: expected an object, not a number"),
    ({"limits": 5}, "limits: expected an object, not a number"),
    ({"limits": {"max_turn": 5}}, 'limits.max_turn: unknown key; the nearest known one is "max_turns"'),
    ({"limits": {"max_turns": 0}}, "limits.max_turns: must be at least 1"),
    ({"limits": {"tokens": 0}}, "limits.tokens: must be at least 1"),
    ({"limits": {"cost": 0}}, "limits.cost: must be more than 0"),
    ({"prices": {"m": {"input": 1}}}, "prices.m.output: is missing"),
    ({"prices": {"m": {"input": -1, "output": 1}}}, "prices.m.input: must be at least 0"),
    (
        {"prices": {"m": {"input": 1, "outputs": 1}}},
        'prices.m.outputs: unknown key; the nearest known one is "output"',
    ),
    ({"limits": {"max_turns": 1.5}}, "limits.max_turns: expected a whole number, not a decimal number"),
    ({"limits": {"max_turns": True}}, "limits.max_turns: expected a whole number, not true or false"),
    ({"limits": {"timeout_s": None}}, "limits.timeout_s: expected a number, not null"),
    ({"serve": {"port": 65536}}, "serve.port: must be at most 65535"),
    ({"serve": {"tokens": "x"}}, 'serve.tokens: unknown key; the nearest known one is "token"'),
    ({"serve": {"allowed_hosts": "x"}}, "serve.allowed_hosts: expected a list, not a string"),
    ({"upstream": None}, "upstream: expected an object, not null"),
    ({"upstream": {"url": "http://a"}}, 'upstream.url: unknown key; the nearest known one is "base_url"'),
    ({"upstream": {"base_url": "api.openai.com"}}, f"upstream.base_url: {NO_URL}; {SCHEME}"),
    (
        {"upstream": {"base_url": "localhost:11434/v1"}},
        f"upstream.base_url: {NO_URL}, not 'localhost:11434/v1'; {SCHEME}",
    ),
    ({"upstream": {"base_url": "sk-proj/Abc0123456789"}}, f"upstream.base_url: {NO_URL}"),
    ({"upstream": {"base_url": "htp://me:hunter2@host"}}, f"upstream.base_url: {NO_URL}"),
    ({"upstream": {"profile": "Ollma"}}, 'upstream.profile: "Ollma" is not known; did you mean "ollama"?'),
    (
        {"upstream": {"base_url": "http://a/v1?x=1"}},
        "upstream.base_url: a base URL ends with its path; put query parameters into upstream.query",
    ),
    (
        {"upstream": {"api_key": "Bearer hunter2"}},
        'upstream.api_key: holds a character that no Authorization header can carry; give the key alone, no "Bearer"',
    ),
    (
        {"upstream": {"api_key": "${OPENAI_API_KEY}"}},
        "upstream.api_key: ${OPENAI_API_KEY} is filled in for servers only; here write ${env:OPENAI_API_KEY}",
    ),
    ({"upstream": {"stream": "no"}}, 'upstream.stream: expected "auto", "always" or "never", not "no"'),
    ({"upstream": {"max_retries": -1}}, "upstream.max_retries: must be at least 0"),
    ({"upstream": {"query": {"v": 1}}}, "upstream.query.v: expected a string, not a number"),
]


@pytest.mark.rule("S8")
@pytest.mark.parametrize(("content", "line"), BAD_SECTIONS, ids=range(len(BAD_SECTIONS)))
def test_a_bad_section_is_one_line(complaint: Callable[..., str], content: dict[str, object], line: str) -> None:
    assert complaint(content) == line


def test_a_named_file_that_is_missing_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.json: cannot be read: No such file") as caught:
        load(tmp_path / "none.json", environ={})
    assert caught.value.who == "operator"


def test_a_folder_in_place_of_the_file_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: "):
        load(tmp_path, environ={})


def test_text_that_is_not_utf8_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'{"a": \n"\xe9"}')
    with pytest.raises(ConfigError, match="line 2: not UTF-8 text; save the file as UTF-8"):
        load(path, environ={})


def test_a_bad_variable_is_said_to_be_of_the_environment() -> None:
    with pytest.raises(ConfigError) as caught:
        load(environ={"OPENAI_BASE_URL": "nowhere"})
    assert str(caught.value) == f"environment: OPENAI_BASE_URL: {NO_URL}"


def test_a_bad_flag_is_said_to_be_of_the_command_line(read: Read) -> None:
    with pytest.raises(ConfigError) as caught:
        read({"serve": {"port": 1}}, **{"serve.port": 99999})
    assert str(caught.value) == "command line: serve.port: must be at most 65535"


def test_a_home_that_there_is_not_is_one_line(read: Read) -> None:
    with pytest.raises(
        ConfigError, match=r"input_roots: '~nobody-at-all/x' begins with a home folder that there is not"
    ):
        read({"input_roots": ["~nobody-at-all/x"]})


ODD_VALUES: list[object] = [
    *[None, True, 0, -1, 10**18, 1e308],
    *["", "x", "http://", "${env:A}", "${", "\n"],
    *[[], [None], [[]], ["${NOPE}"], {}, {"": None}],
]
SLOTS = [
    *[("mcpServers", "git", key) for key in (*ServerConfig.model_fields.keys() - {"key"}, "type", "httpUrl")],
    *[("upstream", key) for key in ("base_url", "api_key", "headers", "query", "stream", "defaults", "model")],
    *[("limits", key) for key in ("max_turns", "timeout_s")],
    *[("serve", key) for key in ("port", "token", "allowed_hosts")],
    ("mcpServers", "git"),
    ("servers",),
    ("inputs",),
    ("builtin_tools",),
]


@pytest.mark.rule("S8")
def test_whatever_stands_in_a_file_it_loads_or_is_one_line(tmp_path: Path) -> None:
    for slot, value in itertools.product(SLOTS, ODD_VALUES):
        assert _lines(write(tmp_path / "config.json", _nested(slot, value))) <= 1, (slot, value)


def _nested(slot: tuple[str, ...], value: object) -> object:
    """`value` at this place of an otherwise good file."""
    match slot:
        case ("mcpServers", "git", key):
            return entry(**{"command": "x", key: value})
        case (section, *rest):
            return {section: _nested(tuple(rest), value)}
        case _:
            return value


def _lines(path: Path) -> int:
    """How many lines the complaint about the file has."""
    try:
        load(path, environ={"A": "1"})
    except ConfigError as error:
        return len(str(error).splitlines())
    return 0


# -- the text ----------------------------------------------------------------------------------------------------------


def test_comments_and_trailing_commas_are_read_and_strings_stay_as_they_are(read: Read) -> None:
    config = read("""
        // a file of VS Code
        {"servers": { /* two
        lines */ "a": {"command": "x", "args": ["http://a//b", "/* no */", ",]", "\\"// no", ], }, // end
        }, }
    """)
    assert server(config).args == ("http://a//b", "/* no */", ",]", '"// no')


def test_a_byte_order_mark_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_bytes(b'\xef\xbb\xbf{"builtin_tools": false}')
    assert not load(path, environ={}).builtin_tools


def test_no_string_is_taken_for_a_comment(read: Read) -> None:
    args = ["".join(letters) for letters in itertools.product('/*,"\\ ]}\n', repeat=4)]
    assert server(read(entry(command="x", args=args))).args == tuple(args)


@pytest.mark.parametrize("unit", ['"\\"', '\\"', "/*", "//", ",", ", ", "\\", '"', "/*\n", "[,"])
def test_reading_is_linear_whatever_the_text(complaint: Callable[..., str], unit: str) -> None:
    def read(count: int) -> float:
        started = time.process_time()
        complaint("{" + unit * count)
        return time.process_time() - started

    read(10)
    assert min(read(60_000) for _ in range(3)) < 40 * min(read(6_000) for _ in range(3)), "quadratic would be 100"


# -- where it comes from -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("platform", "environ", "folder"),
    [
        ("linux", {"XDG_CONFIG_HOME": "{home}/xdg", "HOME": "{home}"}, "xdg"),
        ("linux", {"HOME": "{home}"}, ".config"),
        ("linux", {"XDG_CONFIG_HOME": "relative", "HOME": "{home}"}, ".config"),
        ("darwin", {"HOME": "{home}"}, "Library/Application Support"),
        ("win32", {"APPDATA": "{home}/Roaming", "HOME": "/nowhere"}, "Roaming"),
    ],
)
def test_the_file_is_found_in_the_users_config_folder(
    tmp_path: Path, platform: str, environ: dict[str, str], folder: str
) -> None:
    environ = {name: value.format(home=tmp_path) for name, value in environ.items()}
    assert find(environ, platform) is None
    path = tmp_path / folder / "mcp-responses-bridge" / "config.json"
    path.parent.mkdir(parents=True)
    path.write_text("{}", encoding="utf-8")
    assert find(environ, platform) == path


def test_the_file_is_never_looked_for_in_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in (".", "mcp-responses-bridge", ".config/mcp-responses-bridge"):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        write(tmp_path / folder / "config.json", entry(command="x"))
    monkeypatch.chdir(tmp_path)
    environments: list[dict[str, str]] = [{}, {"HOME": "."}, {"HOME": "", "XDG_CONFIG_HOME": "."}, {"APPDATA": "."}]
    for environ in environments:
        assert load(environ=environ).servers == ()
        assert find(environ, "win32") is None


def test_a_path_beats_the_variable_and_the_variable_beats_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "mcp-responses-bridge"
    folder.mkdir()
    for port, path in enumerate((folder / "config.json", tmp_path / "named.json", tmp_path / "flag.json"), start=1):
        write(path, {"serve": {"port": port}})
    environ = {"XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path), "APPDATA": str(tmp_path)}
    if sys.platform != "darwin":
        assert load(environ=environ).serve.port == 1
    environ["MCP_RESPONSES_BRIDGE_CONFIG"] = str(tmp_path / "named.json")
    assert load(environ=environ).serve.port == 2
    assert load(tmp_path / "flag.json", environ=environ).serve.port == 3


def test_without_a_file_there_are_the_defaults_and_the_built_in_tools() -> None:
    config = load(environ={})
    assert config.path is None
    assert (config.upstream, config.servers, config.builtin_tools, config.notices) == (None, (), True, ())
    assert config.limits.model_dump() == {
        "max_runs": None,
        "max_turns": 10,
        "max_tool_calls": 50,
        "max_turn_calls": 32,
        "max_parallel": 8,
        "max_tools": 128,
        "tool_tokens": 20000,
        "timeout_s": 1800,
        "soft_deadline_s": 45,
        "on_cancel": "auto",
        "orphan_s": 600,
        "call_timeout_s": 60,
        "connect_timeout_s": 10,
        "approval_s": None,
        "tokens": 1000000,
        "cost": None,
        "output_bytes": 65536,
        "turn_bytes": 524288,
        "run_bytes": 4194304,
        "image_bytes": 5242880,
        "result_chars": 40000,
        "result_images": 4,
        "result_image_bytes": 655360,
        "message_bytes": 67108864,
    }
    assert (config.serve.host, config.serve.port, config.serve.token) == ("127.0.0.1", 8787, None)
    assert NO_UPSTREAM.count(". ") == 0


def test_flags_beat_the_file_and_the_file_beats_the_environment(read: Read) -> None:
    environ = {**KEY, "OPENAI_MODEL": "of-the-environment", "MCP_RESPONSES_BRIDGE_TOKEN": "of-the-environment"}
    content = {"serve": {"host": "10.0.0.1", "port": 1, "token": "of-the-file"}, "upstream": {"model": "of-the-file"}}
    config = read(content, environ, **{"serve.port": 2, "serve.host": None, "upstream.model": "of-the-flag"})
    assert (config.serve.host, config.serve.port, config.serve.token) == ("10.0.0.1", 2, "of-the-file")
    assert config.upstream
    assert config.upstream.model == "of-the-flag"
    without_flags = read(content, environ).upstream
    assert without_flags
    assert without_flags.model == "of-the-file"


def test_the_token_comes_from_the_environment(read: Read) -> None:
    environ = {"MCP_RESPONSES_BRIDGE_TOKEN": "of-the-environment\n"}
    assert load(environ=environ).serve.token == "of-the-environment"
    assert read({"serve": {"token": ""}}, environ).serve.token == "of-the-environment"


# -- the upstream ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "base_url"),
    [
        ("https://api.openai.com", "https://api.openai.com/v1"),
        ("https://api.openai.com/", "https://api.openai.com/v1"),
        ("https://API.OpenAI.com/v1/", "https://api.openai.com/v1"),
        (" https://relay.example/v1/responses ", "https://relay.example/v1"),
        ("https://relay.example/v1/responses/", "https://relay.example/v1"),
        ("https://name.openai.azure.com/openai/v1/", "https://name.openai.azure.com/openai/v1"),
        ("https://relay.example/own/prefix", "https://relay.example/own/prefix"),
        ("http://127.0.0.1:11434", "http://127.0.0.1:11434/v1"),
        ("http://[::1]:8080/", "http://[::1]:8080/v1"),
    ],
)
def test_a_base_url_is_brought_to_one_form(read: Read, written: str, base_url: str) -> None:
    for config in (read({"upstream": {"base_url": written}}), load(environ={"OPENAI_BASE_URL": written})):
        assert config.upstream
        assert config.upstream.base_url == base_url


OPENAI = ("https://api.openai.com/v1", "gpt-4.1")
FILE_URL = {"base_url": "https://file.example"}
FILE_KEY = {"api_key": "sk-of-the-file"}
Endpoint = tuple[str, str | None, str | None]
UPSTREAMS: list[tuple[Mapping[str, object], dict[str, str], Endpoint | None]] = [
    # of the file, of the environment -> base URL, model, key
    ({}, {}, None),
    ({}, {"OPENAI_API_KEY": "", "OPENAI_BASE_URL": " "}, None),
    ({}, {"OPENAI_MODEL": "o3"}, None),
    ({"model": "o3", "headers": {"X-Title": "t"}}, {}, None),
    ({"api_key": ""}, {}, None),
    ({}, KEY, (*OPENAI, KEY["OPENAI_API_KEY"])),
    ({"api_key": ""}, KEY, (*OPENAI, KEY["OPENAI_API_KEY"])),
    ({}, {"OPENAI_API_KEY": "sk-read-from-a-file\n"}, (*OPENAI, "sk-read-from-a-file")),
    ({}, {**KEY, "OPENAI_BASE_URL": "https://api.openai.com"}, (*OPENAI, KEY["OPENAI_API_KEY"])),
    ({}, RELAY, ("https://relay.example/v1", "o3-pro", KEY["OPENAI_API_KEY"])),
    ({}, {"OPENAI_BASE_URL": "http://127.0.0.1:1"}, ("http://127.0.0.1:1/v1", None, None)),
    ({"model": "o3"}, RELAY, ("https://relay.example/v1", "o3", KEY["OPENAI_API_KEY"])),
    (FILE_KEY, {}, (*OPENAI, "sk-of-the-file")),
    (FILE_KEY, KEY, (*OPENAI, "sk-of-the-file")),
    ({"api_key": "${env:OPENAI_API_KEY}"}, KEY, (*OPENAI, KEY["OPENAI_API_KEY"])),
    (
        {"api_key": "${env:OPENAI_API_KEY}"},
        {**RELAY, "OPENAI_API_KEY": "sk-read-from-a-file\n"},
        ("https://relay.example/v1", "o3-pro", "sk-read-from-a-file"),
    ),
    ({"api_key": "${env:OPENAI_API_KEY}"}, RELAY, ("https://relay.example/v1", "o3-pro", KEY["OPENAI_API_KEY"])),
    (FILE_URL, RELAY, ("https://file.example/v1", None, None)),
    ({**FILE_URL, "api_key": ""}, RELAY, ("https://file.example/v1", None, None)),
    ({**FILE_URL, **FILE_KEY, "model": "m"}, RELAY, ("https://file.example/v1", "m", "sk-of-the-file")),
    ({**FILE_URL, "api_key": "${env:OPENAI_API_KEY}"}, RELAY, ("https://file.example/v1", None, KEY["OPENAI_API_KEY"])),
    ({"base_url": "https://api.openai.com"}, RELAY, (*OPENAI, None)),
]


@pytest.mark.rule("S10")
@pytest.mark.parametrize(("section", "environ", "expected"), UPSTREAMS, ids=range(len(UPSTREAMS)))
def test_a_key_goes_only_where_it_was_meant_to_go(
    read: Read,
    section: Mapping[str, object],
    environ: dict[str, str],
    expected: Endpoint | None,
) -> None:
    upstream = read({"upstream": section}, environ).upstream
    assert (upstream and (upstream.base_url, upstream.model, upstream.api_key)) == expected


@pytest.mark.parametrize("secret", [FILE_KEY, {"headers": {"api-key": "k"}}, {"query": {"key": "k"}}])
def test_a_credential_of_the_file_is_refused_beside_a_base_url_of_the_environment(
    complaint: Callable[..., str], secret: dict[str, object]
) -> None:
    assert complaint({"upstream": secret}, RELAY) == (
        f"upstream.{next(iter(secret))}: would be sent to OPENAI_BASE_URL of the environment; "
        "also set the base_url that it is meant for"
    )


def test_create_parameters_are_free_text_but_for_env_references(read: Read) -> None:
    defaults = {"instructions": "Print ${HOME} and ${env:WHO}", "temperature": 0.5, "text": {"verbosity": "low"}}
    upstream = read({"upstream": {"defaults": defaults}}, {**KEY, "WHO": "me"}).upstream
    assert upstream
    assert upstream.defaults == {**defaults, "instructions": "Print ${HOME} and me"}


# -- server entries ----------------------------------------------------------------------------------------------------


def test_an_entry_needs_nothing_but_a_command(read: Read) -> None:
    assert server(read(entry(command="uvx"))) == ServerConfig(key="git", command="uvx", transport="stdio")
    assert server(read(entry(command="uvx"))).model_dump() == {
        "key": "git",
        "command": "uvx",
        "args": (),
        "env": {},
        "cwd": None,
        "url": None,
        "headers": {},
        "oauth": None,
        "transport": "stdio",
        "tools": {"allow": (), "deny": (), "ask": (), "only": None, "strict": (), "repeat": ()},
        "require_approval": "writes",
        "prefix": True,
        "protocol": "auto",
        "disabled": False,
        "pin": True,
        "serial": False,
        "stateful": False,
        "structured_content": "both",
        "keep_empty": False,
        "max_parallel": 64,
        "idle_timeout_s": None,
        "call_timeout_s": None,
        "connect_timeout_s": None,
    }


def test_every_setting_of_an_entry_is_read(read: Read) -> None:
    values = {
        "command": "/bin/x",
        "args": ["$HOME", "*", "; rm"],
        "env": {"A": "1"},
        "cwd": "/here",
        "tools": {"allow": ["a"], "deny": ["b"], "ask": ["c"], "only": ["*"], "strict": ["d"], "repeat": ["e"]},
        "require_approval": "always",
        "prefix": False,
        "protocol": "2025-11-25",
        "serial": True,
        "max_parallel": 4,
        "idle_timeout_s": 2,
        "call_timeout_s": 5,
        "connect_timeout_s": 0.5,
    }
    read_back = json.loads(server(read(entry(**values))).model_dump_json(exclude={"key", "transport"}))
    assert {key: read_back[key] for key in values} == values


@pytest.mark.parametrize(
    ("written", "transport"),
    [
        ({"command": "x"}, "stdio"),
        ({"command": "x", "type": "stdio"}, "stdio"),
        ({"command": "x", "url": None, "env": None}, "stdio"),
        ({"url": "http://a/mcp"}, "auto"),
        ({"serverUrl": "http://a/mcp"}, "auto"),
        ({"httpUrl": "http://a/mcp", "type": "http"}, "http"),
        ({"url": "http://a/mcp", "type": "streamable-http"}, "http"),
        ({"url": "http://a/mcp", "type": "streamableHttp"}, "http"),
        ({"url": "http://a/mcp", "type": "sse"}, "sse"),
    ],
)
def test_the_shapes_of_every_host_become_one(read: Read, written: dict[str, object], transport: str) -> None:
    config = server(read(entry(**written)))
    assert config.transport == transport
    assert (config.command, config.url) == (("x", None) if transport == "stdio" else (None, "http://a/mcp"))


def test_both_sections_are_merged_in_file_order(read: Read) -> None:
    config = read({"servers": {"b": {"command": "x"}}, "mcpServers": {"a": {"command": "x"}, "c": {"url": "http://c"}}})
    assert [server.key for server in config.servers] == ["b", "a", "c"]


def test_a_disabled_entry_needs_neither_be_right_nor_have_its_variables(read: Read) -> None:
    config = read({"mcpServers": {"a": {"disabled": True, "args": ["${NOPE}"]}, "b": {"command": "x"}}})
    assert [server.key for server in config.servers] == ["b"]
    assert read(entry(command="x", disabled="${OFF}"), {"OFF": "true"}).servers == ()


def test_keys_of_other_programs_are_ignored_with_one_notice(read: Read) -> None:
    config = read({"globalShortcut": "", **entry(command="x", gallery=True, timeout=5)})
    assert server(config).command == "x"
    assert config.notices == (
        Notice(
            code="ignored_keys",
            message="Ignored, as settings of another program: mcpServers.git.gallery, mcpServers.git.timeout, "
            "globalShortcut.",
        ),
    )


def test_many_ignored_keys_are_counted(read: Read) -> None:
    (notice,) = read({"limits": {}, **{f"{letter * 3}": 1 for letter in "zyxwqkj"}}).notices
    assert notice["message"].endswith("qqq and 2 more.")


@pytest.mark.rule("S17")
@pytest.mark.parametrize(
    ("rules", "decision"),
    [
        (ToolRules(), None),
        (ToolRules(allow=("git_*",)), "allow"),
        (ToolRules(allow=("git_*",), ask=("*_commit",)), "ask"),
        (ToolRules(allow=("git_commit",), ask=("*",), deny=("git_[a-c]*",)), "deny"),
        (ToolRules(allow=("GIT_*", "git", "")), None),
    ],
)
def test_the_strictest_rule_decides(rules: ToolRules, decision: str | None) -> None:
    assert rules.decision("git_commit") == decision


# -- references --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${env:A}", "one"),
        ("${A}", "one"),
        ("-${A}-${env:B}-", "-one-two-"),
        ("${env:NOPE:-x y}", "x y"),
        ("${NOPE:-http://a:1/}", "http://a:1/"),
        ("${NOPE:-}", ""),
        ("${EMPTY:-x}", "x"),
        ("${EMPTY}", ""),
        ("${env:Program(x86)}", "odd"),
        ("${TOKEN}", "${TOKEN}"),
        ("$A %A% ${} ${1} ${A", "$A %A% ${} ${1} ${A"),
        ("${input:gh-token}", "from-the-environment"),
        ("${input:region}", "eu"),
    ],
)
def test_a_reference_in_an_entry_is_filled_in(read: Read, written: str, value: str) -> None:
    environ = {"A": "one", "B": "two", "EMPTY": "", "Program(x86)": "odd", "GH_TOKEN": "from-the-environment"}
    inputs = [{"id": "gh-token", "type": "promptString"}, {"id": "region", "type": "promptString", "default": "eu"}]
    config = read({"inputs": inputs, **entry(command="x", args=[written], env={"TOKEN": "of the entry"})}, environ)
    assert server(config).args == (value,)


@pytest.mark.rule("S7")
def test_a_value_is_filled_in_once(read: Read) -> None:
    assert server(read(entry(command="${A}"), {"A": "${B}", "B": "no"})).command == "${B}"


def test_a_number_and_a_flag_can_come_from_a_reference(read: Read) -> None:
    environ = {"PORT": "8080", "OFF": "false", "T": "2.5"}
    content = {"serve": {"port": "${env:PORT}"}, "builtin_tools": "${env:OFF}", "limits": {"timeout_s": "${env:T}"}}
    config = read(content, environ)
    assert (config.serve.port, config.builtin_tools, config.limits.timeout_s) == (8080, False, 2.5)


# -- no bridge in the bridge -------------------------------------------------------------------------------------------

OURS: list[list[str]] = [
    ["mcp-responses-bridge", "serve"],
    ["/opt/x/.venv/bin/mcp-responses-bridge", "serve"],
    ["C:\\Program Files\\x\\Scripts\\mcp-responses-bridge.EXE"],
    ["python", "-m", "bridge", "serve"],
    ["/usr/bin/python3.12", "-X", "dev", "-m", "bridge"],
    ["/x/.venv/bin/python", "/x/.venv/bin/mcp-responses-bridge", "serve"],
    ["uvx", "mcp-responses-bridge"],
    ["uvx", "--from", "git+https://host.example/mcp-responses-bridge", "mcp-responses-bridge"],
    ["uvx", "mcp-responses-bridge==0.1", "serve"],
    ["uvx", "mcp-responses-bridge[dev]@latest", "serve"],
    ["uv", "run", "--directory", "/x", "mcp-responses-bridge", "serve"],
    ["uv", "run", "python", "-m", "bridge"],
    ["pipx", "run", "mcp-responses-bridge"],
    ["npx", "-y", "some-launcher", "mcp-responses-bridge"],
    ["env", "A=1", "/usr/bin/mcp-responses-bridge"],
    ["cmd", "/c", "mcp-responses-bridge", "serve"],
    ["bash", "-lc", "exec /x/bin/mcp-responses-bridge serve"],
]
OTHERS: list[list[str]] = [
    ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/home/me/mcp-responses-bridge"],
    ["uvx", "mcp-server-git", "--repository", "C:\\src\\mcp-responses-bridge"],
    ["uv", "--directory", "/home/me/mcp-responses-bridge", "run", "other"],
    ["python", "-m", "builtin_tools"],
    ["python", "-m", "bridge_club"],
    ["network-tool", "-m", "bridge"],
    ["mcp-responses-bridge-logs"],
    ["uvx", "some-server", "--note", "made for mcp-responses-bridge users"],
]


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_an_entry_that_starts_this_program_is_left_out_with_a_notice(read: Read, words: list[str]) -> None:
    config = read(entry(command=words[0], args=words[1:], env={"OPENAI_API_KEY": "${NOPE}"}))
    assert config.servers == ()
    assert config.notices == (Notice(code="own_entry", message="mcpServers.git starts this program and is left out."),)


@pytest.mark.parametrize("words", OTHERS, ids=" ".join)
def test_an_entry_that_only_mentions_this_program_is_kept(read: Read, words: list[str]) -> None:
    config = read(entry(command=words[0], args=words[1:]))
    assert server(config).args == tuple(words[1:])
    assert config.notices == ()


def test_plain_names_belong_to_the_first_server_that_asks_for_them(read: Read) -> None:
    plain = {"command": "x", "prefix": False}
    config = read({"mcpServers": {"off": {**plain, "disabled": True}, "a": {"command": "x"}, "b": plain, "c": plain}})
    assert [(server.key, server.prefix) for server in config.servers] == [("a", True), ("b", False), ("c", True)]
    words = 'Only one server can have plain names: "b" has them, the tools of "c" keep their prefix.'
    assert config.notices == (Notice(code="prefix", message=words),)


def test_inside_a_bridge_no_server_is_connected(read: Read) -> None:
    content = {"limits": {"max_turns": 3}, **entry(command="x", env={"A": "${NOPE}"})}
    config = read(content, {"MCP_RESPONSES_BRIDGE_DEPTH": "1"})
    assert config.servers == ()
    assert [notice["code"] for notice in config.notices] == ["inside_bridge"]
    assert config.builtin_tools
    assert config.limits.max_turns == 3


# -- secrets -----------------------------------------------------------------------------------------------------------

CANARIES = {
    "upstream": {
        "base_url": "https://a",
        "api_key": "canary-1",
        "headers": {"X-Key": "canary-header-2"},
        "query": {"k": "canary-query-3"},
    },
    "serve": {"token": "canary-4"},
    "mcpServers": {
        "a": {"command": "x", "env": {"T": "canary-env-5", "LEVEL": "info"}},
        "b": {"url": "https://b?k=canary%2Furl-6", "headers": {"Authorization": "Bearer canary-bearer-7"}},
    },
}


@pytest.mark.rule("S13")
def test_every_secret_is_known_and_no_ordinary_word_is_one(read: Read) -> None:
    assert read(CANARIES).secrets() == {
        "canary-1",
        "canary-header-2",
        "canary-query-3",
        "canary-4",
        "canary-env-5",
        "canary%2Furl-6",
        "canary/url-6",
        "Bearer canary-bearer-7",
        "canary-bearer-7",
    }
    assert load(environ={}).secrets() == frozenset()


@pytest.mark.parametrize("dummy", ["ollama", "EMPTY", "none", "no-key", "dummy", "lm-studio"])
def test_a_dummy_in_place_of_a_key_is_no_secret(read: Read, dummy: str) -> None:
    config = read({"upstream": {"base_url": "http://a", "api_key": dummy}})
    assert (config.secrets(), config.notices) == (frozenset(), ())


def test_a_key_that_is_too_short_to_be_blanked_is_noticed(read: Read) -> None:
    config = read({"upstream": {"base_url": "http://a", "api_key": "k"}, "serve": {"token": "1234567"}})
    assert config.secrets() == frozenset()
    assert [(notice["code"], notice["message"]) for notice in config.notices] == [
        ("short_key", f"{place}: the key is too short to be blanked in logs.")
        for place in ("upstream.api_key", "serve.token")
    ]


@pytest.mark.rule("S10")
def test_no_secret_is_shown_by_repr(read: Read) -> None:
    assert "canary" not in repr(read(CANARIES))


def test_no_secret_is_shown_by_a_complaint(complaint: Callable[..., str]) -> None:
    canaries = json.dumps(CANARIES).replace("canary", "${env:NUL}canary\\u0007")
    assert "canary" not in complaint(canaries, {"NUL": "x"})
    assert "hunter2" not in complaint({"upstream": {"api_key": ["hunter2"]}})
    assert "hunter2" not in complaint({"upstream": {"base_url": "https://u:hunter2@\u2100"}})


@pytest.mark.rule("S8")
@posix_only
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o604, 0o644])
def test_a_readable_file_with_literal_secrets_is_noticed_once(tmp_path: Path, mode: int) -> None:
    path = write(tmp_path / "config.json", CANARIES)
    path.chmod(mode)
    notices = load(path, environ={}).notices
    assert [notice["code"] for notice in notices] == ([] if mode == 0o600 else ["readable_secrets"])
    assert all("canary" not in notice["message"] for notice in notices)
    assert all("upstream.api_key, upstream.headers.X-Key" in notice["message"] for notice in notices)


@posix_only
def test_a_readable_file_without_literal_secrets_is_fine(tmp_path: Path) -> None:
    content = {"upstream": {"api_key": "${env:K}"}, **entry(command="x", env={"LEVEL": "info", "T": "Bearer ${K}"})}
    path = write(tmp_path / "config.json", content)
    path.chmod(0o644)
    assert load(path, environ={"K": "a-long-key"}).notices == ()


# -- the module itself, and the files that we give away ----------------------------------------------------------------


def test_a_config_cannot_be_changed(read: Read) -> None:
    config = read(CANARIES)
    sections: list[BaseModel] = [config, config.limits, config.serve, config.servers[0], config.servers[0].tools]
    for section in sections:
        with pytest.raises(ValidationError, match="frozen"):
            setattr(section, next(iter(type(section).model_fields)), None)


@posix_only
@pytest.mark.parametrize(("name", "is_secret"), [("GITHUB_TOKEN", True), ("api_key", True), ("NODE_OPTIONS", False)])
def test_only_variables_that_are_named_like_a_secret_count_as_one(tmp_path: Path, name: str, is_secret: bool) -> None:
    server = {"command": "x", "env": {name: "--max-old-space-size=4096"}}
    path = write(tmp_path / "config.json", {"mcpServers": {"s": server}})
    path.chmod(0o644)
    assert bool(load(path, environ={}).notices) is is_secret


def test_offline_the_embedded_upstream_is_the_one_and_no_key_of_another_has_to_be_set(tmp_path: Path) -> None:
    path = write(tmp_path / "config.json", {"upstream": {"api_key": "${env:NOT_SET}"}, "limits": {"max_turns": 3}})
    config = load(path, environ={"OPENAI_API_KEY": "sk-1", "OPENAI_BASE_URL": "no URL"}, offline=True)
    assert config.upstream == EMBEDDED
    assert config.limits.max_turns == 3


@pytest.mark.parametrize(
    ("place", "is_here"),
    [
        ("localhost", True),
        ("127.0.0.1", True),
        ("127.8.9.1", True),
        ("::1", True),
        ("http://[::1]:8080/v1", True),
        ("http://localhost/v1", True),
        ("127.evil.com", False),
        ("http://127.0.0.1.evil.com/v1", False),
        ("localhost.evil.com", False),
        ("0.0.0.0", False),
        ("10.0.0.1", False),
    ],
)
def test_only_this_machine_counts_as_loopback(place: str, is_here: bool) -> None:
    assert is_loopback(place) is is_here


def test_importing_it_imports_no_heavy_library() -> None:
    program = "import sys, bridge.config.load; print(*{'mcp', 'httpx2', 'anyio', 'rich', 'typer'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_example_loads(path: Path) -> None:
    config = load(path, environ={**KEY, "RELAY_API_KEY": "sk-of-the-relay"})
    assert config.path == path
    assert config.upstream
    assert {notice["code"] for notice in config.notices} <= {"own_entry", "readable_secrets"}


@pytest.mark.parametrize("host", ["claude-desktop", "claude-code", "cursor", "vscode"])
def test_an_entry_for_a_host_is_recognised_as_ours(host: str) -> None:
    path = next(path for path in CONFIGS if path.stem == host)
    config = load(path, environ={})
    assert config.servers == ()
    assert "own_entry" in {notice["code"] for notice in config.notices}


def test_the_full_example_shows_what_there_is() -> None:
    config = load(next(path for path in CONFIGS if path.stem == "bridge.example"), environ=KEY)
    assert [server.key for server in config.servers] == ["time", "git", "filesystem"]
    assert config.servers[1].tools.decision("git_reset") == "deny"
    assert config.upstream
    assert config.upstream.api_key == KEY["OPENAI_API_KEY"]


def test_the_relay_example_sends_the_relay_its_own_key_only() -> None:
    path = next(path for path in CONFIGS if path.stem == "bridge.relay")
    upstream = load(path, environ={**KEY, "RELAY_API_KEY": "sk-of-the-relay"}).upstream
    assert upstream
    assert (upstream.base_url, upstream.api_key, upstream.model) == (
        "https://new.22codex.xyz/v1",
        "sk-of-the-relay",
        "gpt-4.1",
    )
