"""A host's entries as ours: what is started and reached stays the same, and no secret comes with it."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bridge.config.file import parse
from bridge.config.load import load
from bridge.config.settings import Config, ServerConfig
from bridge.config.text import read_text
from bridge.hosts.edits import find_value
from bridge.hosts.known import WRITTEN, find_host
from bridge.hosts.secret_names import name_secret
from bridge.hosts.translation import FILLED_IN, LITERAL, Taken, Translation, Translator
from tests.config.test_host_corpus import CASES, HOME, place, read
from tests.config.test_secrets import PLAIN, SECRET

ENVIRON = {"HOME": HOME, "USERPROFILE": HOME}
GRANTS = ("require_approval", "pin")
KEY = "ghp_16C7e42F292c6912E7710c838347Ae178B4a"


def translate(
    entries: Mapping[str, object],
    host: str = "claude-desktop",
    *,
    file: str = "/home/me/x.json",
    moves: bool = False,
    **more: Any,
) -> Translation:
    raw: dict[str, Any] = {"mcpServers": dict(entries), **more}
    return Translator(raw, Path(file), host, environ=ENVIRON, platform="linux", moves=moves).translate({})


def take(entry: Mapping[str, object], host: str = "claude-desktop", **more: Any) -> Taken:
    translation = translate({"x": entry}, host, **more)
    assert not translation.left
    return translation.taken[0]


def values(taken: Taken) -> dict[str, str]:
    return {name: secret.value for name, secret in taken.kept.items()}


def compared(server: ServerConfig) -> dict[str, Any]:
    """All of a server that must be the same in our config: not the folder it starts in, nor what was granted."""
    shown = json.loads(server.model_dump_json(exclude={*GRANTS, "cwd"}))
    del shown["tools"]["allow"]
    only = shown["tools"]["only"]
    return shown | {"tools": shown["tools"] | {"only": None if only == ["*"] else only}}


def read_ours(translation: Translation, folder: Path, environ: Mapping[str, str]) -> Config:
    """Our config as it is read again, with what was kept there in the environment."""
    ours = folder / "ours.json"
    text = json.dumps({"mcpServers": {taken.name: taken.entry for taken in translation.taken}})
    ours.write_text(text, encoding="utf-8")
    kept = {name: value for taken in translation.taken for name, value in values(taken).items()}
    assert not [value for value in kept.values() if len(value) > 11 and json.dumps(value)[1:-1] in text]
    return load(ours, environ={**environ, **kept})


FILLED_BY_THE_HOST = {"gemini-cli", "opencode"}
"""Hosts with references of their own, which are ours afterwards, so that they are filled in here too."""


@pytest.mark.parametrize(
    "number", range(len(CASES)), ids=[f"{number} {each['host']}" for number, each in enumerate(CASES)]
)
def test_each_server_of_somebodys_file_is_the_same_in_our_config(number: int, tmp_path: Path) -> None:
    case = CASES[number]
    config, _ = read(case, tmp_path)
    if config is None:
        return
    environ = {"HOME": str(tmp_path), "USERPROFILE": str(tmp_path)}
    environ |= {name: str(value).replace(HOME, str(tmp_path)) for name, value in case.get("environ", {}).items()}
    file = place(case, tmp_path)
    raw = parse(read_text(file), file.suffix.lower())
    translator = Translator(
        raw, file, case["host"], environ=environ, platform="linux", project=case.get("project"), moves=False
    )
    translation = translator.translate({})
    ours = {server.key: server for server in read_ours(translation, tmp_path, environ).servers}
    project: Any = raw.get("projects")
    of_project = project[case["project"]]["mcpServers"] if case.get("project") else None
    servers = [server for server in config.servers if of_project is None or server.key in of_project]
    written = {taken.name: find_value(raw, (*taken.path, "args")) for taken in translation.taken}
    for server in servers:
        there, here = compared(server), compared(ours[server.key])
        if case["host"] in FILLED_BY_THE_HOST:
            assert {key: there[key] for key in ("command", "args", "url")} == {
                key: here[key] for key in ("command", "args", "url")
            }
            assert there["env"].keys() == here["env"].keys()
        elif case["host"] in LITERAL and "${" in str(written.get(server.key)):
            assert here["args"] == written[server.key], "its host hands it over as it stands"
        else:
            assert there == here
    told = {left.name for left in translation.left}
    assert of_project is not None or set(config.off) <= told
    assert {*(taken.name for taken in translation.taken), *told} >= {server.key for server in servers}


@pytest.mark.parametrize("host", sorted(LITERAL))
@pytest.mark.parametrize("moves", [False, True])
def test_what_a_host_hands_over_as_it_stands_is_no_reference_in_our_config(host: str, moves: bool) -> None:
    """mcp-remote fills in its headers itself, a shell its variables, and a password may begin with a dollar."""
    entry = {
        "command": "sh",
        "args": ["-c", "D=1; exec echo ${D}", "Authorization: Bearer ${AUTH_TOKEN}"],
        "env": {"X_TOKEN": "$ecret123", "Q_TOKEN": "pa${ss}word1", "MODE": "ro"},
    }
    taken = take(entry, host, moves=moves)
    assert taken.entry["env"] == {
        "X_TOKEN": "${env:MRB_X__X_TOKEN}",
        "Q_TOKEN": "${env:MRB_X__Q_TOKEN}",
        "MODE": "ro",
    }
    assert taken.entry["args"] == ["-c", "${env:MRB_X__ARG_2}", "${env:MRB_X__ARG_3}"]
    assert {*values(taken).values()} >= {"$ecret123", "pa${ss}word1", "D=1; exec echo ${D}"}
    assert taken.list_variables() == []


@pytest.mark.rule("S36")
def test_secrets_stay_where_they_are_and_nothing_else_does() -> None:
    entry = {
        "command": "npx",
        "args": ["-y", "srv", "--api-key", KEY, "--region", "eu-west-1", f"--dsn=postgres://me:pw-0815x@db/x?k={KEY}"],
        "env": {"GITHUB_TOKEN": KEY, "REGION": "cn", "LOG_LEVEL": "debug", "DATA_DIR": "/home/me/data"},
    }
    taken = take(entry)
    assert taken.entry["env"] == {
        "GITHUB_TOKEN": "${env:MRB_X__GITHUB_TOKEN}",
        "REGION": "cn",
        "LOG_LEVEL": "debug",
        "DATA_DIR": "/home/me/data",
    }
    assert taken.entry["args"][:4] == ["-y", "srv", "--api-key", "${env:MRB_X__ARG_4}"]  # type: ignore[index]
    assert "pw-0815x" not in json.dumps(taken.entry)
    assert KEY not in json.dumps(taken.entry)
    assert {secret.place for secret in taken.kept.values()} == {"env.GITHUB_TOKEN", "args[3]", "args[6]"}
    assert KEY not in repr(taken.kept)


def test_a_password_that_is_a_word_stays_there_too() -> None:
    args = ["--user", "me", "--password", "hunter", "--pin=1234", "hunters", "--token-file", "tokens", "--auth", "true"]
    taken = take({"command": "srv", "args": args, "env": {"DB_PASSWORD": "secret", "USE_AUTH": "true"}})
    assert taken.entry["args"] == [
        *("--user", "me", "--password", "${env:MRB_X__ARG_4}", "--pin=${env:MRB_X__ARG_5}", "hunters"),
        *("--token-file", "tokens", "--auth", "true"),
    ]
    assert taken.entry["env"] == {"DB_PASSWORD": "${env:MRB_X__DB_PASSWORD}", "USE_AUTH": "true"}


def test_every_header_is_a_secret_unless_it_is_known_to_be_none() -> None:
    headers = {
        "Authorization": f"Bearer {KEY}",
        "X-Team": "blue-team-4711",
        "Accept": "application/json",
        "X-On": "true",
    }
    taken = take({"url": "https://mcp.example/mcp", "headers": headers})
    assert taken.entry["headers"] == {
        "Authorization": "${env:MRB_X__HEADER_AUTHORIZATION}",
        "X-Team": "${env:MRB_X__HEADER_X_TEAM}",
        "Accept": "application/json",
        "X-On": "true",
    }
    assert values(taken)["MRB_X__HEADER_AUTHORIZATION"] == f"Bearer {KEY}"


def test_a_key_in_a_url_stays_there_and_the_rest_of_the_url_is_seen() -> None:
    taken = take({"url": f"https://mcp.example/mcp?project=abc&api_key={KEY}"})
    assert taken.entry["url"] == "https://mcp.example/mcp?project=abc&api_key=${env:MRB_X__URL}"


def test_what_restricts_comes_along_and_what_grants_does_not() -> None:
    entry = {
        "command": "srv",
        "autoApprove": ["write"],
        "disabledTools": ["drop"],
        "tools": {"allow": ["write"], "only": ["read", "write"]},
        "require_approval": "never",
        "pin": False,
    }
    translation = translate({"x": entry})
    assert translation.taken[0].entry == {"command": "srv", "tools": {"only": ["read", "write"], "deny": ["drop"]}}
    assert "autoApprove" in translation.notes[0]


def test_each_entry_that_is_left_out_is_named_with_the_reason() -> None:
    translation = translate(
        {
            "off": {"command": "a", "disabled": True},
            "ours": {"command": "mcp-responses-bridge", "args": ["serve"]},
            "odd": {"command": "a", "args": {"x": 1}},
            "ours too": {"command": "uvx", "args": ["mcp-responses-bridge", "serve"]},
            "none": {},
            "good": {"command": "a"},
        }
    )
    assert [taken.name for taken in translation.taken] == ["good"]
    reasons = {left.name: left.reason for left in translation.left}
    assert reasons["off"] == "it is switched off"
    assert reasons["ours"] == reasons["ours too"] == "it starts this program"
    assert "mcpServers.odd.args" in reasons["odd"]
    assert "neither command nor url" in reasons["none"]


def test_a_variable_that_is_not_set_here_may_be_set_there() -> None:
    entry = {"command": "srv", "args": ["${env:TEAM}", "${HOME}", "${SET:-yes}"], "env": {"TOKEN": "${TOKEN_THERE}"}}
    taken = take(entry, "claude-code")
    assert taken.entry == entry
    assert taken.list_variables() == ["TEAM", "TOKEN_THERE"]


@pytest.mark.parametrize(
    ("host", "written", "ours"),
    [
        ("gemini-cli", "$TEAM_KEY", "${env:TEAM_KEY}"),
        ("gemini-cli", "${TEAM_KEY}", "${TEAM_KEY}"),
        ("opencode", "{env:TEAM_KEY}", "${env:TEAM_KEY}"),
        ("cursor", "${env:TEAM_KEY}", "${env:TEAM_KEY}"),
        ("claude-code", "${TEAM_KEY:-none}", "${TEAM_KEY:-none}"),
    ],
)
def test_a_reference_of_the_hosts_is_ours_or_is_handed_over_by_the_host(host: str, written: str, ours: str) -> None:
    entry = {"command": "srv", "env": {"API_KEY": written}}
    plain = take(entry, host)
    assert (plain.entry["env"], plain.kept) == ({"API_KEY": ours}, {})
    moved = take(entry, host, moves=True)
    assert moved.entry["env"] == {"API_KEY": "${env:MRB_X__API_KEY}"}
    assert values(moved) == {"MRB_X__API_KEY": written}


def test_what_vs_code_asks_for_is_asked_for_by_vs_code_also_after_a_move() -> None:
    entry = {"command": "srv", "args": ["--key=${input:key}", "--level=${input:level}"]}
    inputs = [{"id": "key", "type": "promptString"}, {"id": "level", "type": "pickString", "default": "info"}]
    moved = take(entry, "vscode", moves=True, inputs=inputs)
    assert values(moved) == {"MRB_X__ARG_1": "${input:key}", "MRB_X__ARG_2": "${input:level}"}
    plain = take(entry, "vscode", inputs=inputs)
    assert plain.entry["args"] == ["--key=${input:key}", "--level=${env:LEVEL:-info}"]


def test_codex_passes_variables_on_by_their_names() -> None:
    entry = {"command": "srv", "env_vars": ["TEAM", "TOKEN"], "env": {"MODE": "ro"}}
    taken = take(entry, "codex", moves=True)
    assert taken.entry == {"command": "srv", "env": {"MODE": "ro"}, "env_vars": ["TEAM", "TOKEN"]}
    assert taken.passed == ("TEAM", "TOKEN")
    remote = take({"url": "https://mcp.example/mcp", "bearer_token_env_var": "TOKEN"}, "codex", moves=True)
    assert remote.passed == ("TOKEN",)
    assert remote.entry["headers"] == {"Authorization": "Bearer ${env:TOKEN}"}


def test_a_projects_server_starts_in_the_project() -> None:
    entry = {"command": "./srv", "args": ["${workspaceFolder}/data"]}
    taken = take(entry, "cursor", file="/home/me/p/.cursor/mcp.json")
    assert taken.entry == {"command": "./srv", "args": ["/home/me/p/data"], "cwd": "/home/me/p"}


def test_what_only_the_editor_knows_moves_with_it_and_is_not_copied_without_it() -> None:
    entry = {"command": "srv", "args": ["${workspaceFolder}"]}
    assert values(take(entry, "cursor", moves=True)) == {"MRB_X__ARG_1": "${workspaceFolder}"}
    [left] = translate({"x": entry}, "cursor").left
    assert "only known to the editor" in left.reason


def test_the_names_of_secrets_never_collide() -> None:
    servers = ("a", "a-b", "a_b", "A", "a b", "日本", "中文", "a--b", "b", "", "__")
    keys = ("B_C", "C", "b_c", "KEY", "B__C", "_C", "HEADER_X", "键", "值")
    names = [name_secret(server, key) for server in servers for key in keys]
    assert len(set(names)) == len(names)
    assert all(name.isascii() and name.replace("_", "A").isalnum() for name in names)
    assert name_secret("notes-1", "API_KEY") == "MRB_NOTES_1__API_KEY"


def test_two_secrets_in_one_place_have_two_names() -> None:
    entry = {"url": f"https://mcp.example/mcp?key={KEY}&token={KEY[::-1]}"}
    assert values(take(entry)) == {"MRB_X__URL": KEY, "MRB_X__URL_2": KEY[::-1]}


@pytest.mark.parametrize("command", PLAIN)
def test_an_ordinary_command_needs_no_variable(command: str) -> None:
    program, *args = command.split()
    taken = take({"command": program, "args": args})
    assert (taken.entry["args"], taken.kept) == (args, {})


@pytest.mark.parametrize(("args", "secrets"), SECRET, ids=[str(number) for number in range(len(SECRET))])
def test_no_secret_of_a_command_comes_along(args: list[str], secrets: set[str]) -> None:
    taken = take({"command": "srv", "args": args})
    text = json.dumps(taken.entry, ensure_ascii=False)
    assert not [secret for secret in secrets if secret in text or json.dumps(secret, ensure_ascii=False)[1:-1] in text]
    kept = values(taken)
    given: Any = taken.entry["args"]
    assert [re.sub(r"\$\{env:(\w+)\}", lambda match: kept.get(match[1], match[0]), arg) for arg in given] == args


@pytest.mark.parametrize("host", WRITTEN)
def test_a_host_fills_in_at_least_the_references_that_we_write_for_it(host: str) -> None:
    reference = find_host(host).reference
    assert reference is None or re.fullmatch(FILLED_IN[host], reference.format("NAME"))
