"""`tools`: what a person and a program learn of the servers and of each tool as the model sees it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.commands import Done, run
from tests.fakes.servers import rogue

pytestmark = [pytest.mark.anyio, pytest.mark.external]

SECRET = "s3cret-of-the-shop"
SERVERS = {
    "shop": {
        **rogue("bad_tool", env={"SHOP_KEY": SECRET}),
        "tools": {"deny": ["sleep_*"], "ask": ["add"], "allow": ["echo"]},
    },
    "twin": {**rogue("good"), "prefix": False, "tools": {"allow": ["*"]}},
    "shadow": {**rogue("good"), "prefix": False, "require_approval": "never"},
    "broken": rogue(f"exit_at_start=rogue: {SECRET} is refused", env={"SHOP_KEY": SECRET}),
    "absent": {"command": "no-such-command-anywhere"},
}


@pytest.fixture
def config(tmp_path: Path) -> str:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"mcpServers": SERVERS}), encoding="utf-8")
    file.chmod(0o600)
    return str(file)


async def test_json_tells_everything_in_a_fixed_shape(config: str, capfd: pytest.CaptureFixture[str]) -> None:
    done = await run(capfd, "tools", "--json", "--config", config)
    report = json.loads(done.stdout)
    assert done.code == 0
    assert SECRET not in done.stdout + done.stderr
    assert report.keys() == {"servers", "request"}
    assert report["request"].keys() == {"tools", "tokens", "max_tools", "tool_tokens", "is_searched"}
    servers = {server["name"]: server for server in report["servers"]}
    assert [*servers] == ["builtin_tools", *SERVERS]
    for server in servers.values():
        assert server.keys() == {"name", "state", "reason", "era", "tools"}
        for tool in server["tools"]:
            assert tool.keys() == {"name", "tool", "tokens", "approval", "notes"}
            assert (tool["name"] is None) == (tool["tokens"] == 0)

    assert {name: server["state"] for name, server in servers.items()} == {
        **dict.fromkeys(("builtin_tools", "shop", "twin", "shadow"), "ready"),
        **dict.fromkeys(("broken", "absent"), "failed"),
    }
    assert (servers["shop"]["era"], servers["broken"]["era"]) == ("2026-07-28", None)
    assert "*** is refused" in servers["broken"]["reason"]
    assert "no-such-command-anywhere" in servers["absent"]["reason"]

    shop = {tool["tool"]: (tool["name"], tool["approval"]) for tool in servers["shop"]["tools"]}
    assert shop == {
        "echo": ("shop__echo", "run"),
        "add": ("shop__add", "ask"),
        "sleep_forever": (None, "deny"),
        "write": ("shop__write", "ask"),
        "read": ("shop__read", "run"),
        "broken": ("shop__broken", "ask"),
    }
    assert servers["shop"]["tools"][-1]["notes"] == [
        "its inputSchema, null, is no schema: any arguments are let through"
    ]
    assert {tool["name"] for tool in servers["builtin_tools"]["tools"]} >= {"math_calculator"}


async def test_the_tables_show_the_same_to_a_person(config: str, capfd: pytest.CaptureFixture[str]) -> None:
    done = await run(capfd, "tools", "--config", config)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    assert done.code == 0
    assert SECRET not in done.stdout
    assert "shop: ready (6 tools, MCP 2026-07-28)" in lines
    assert any(
        line.startswith("absent: failed: command not found: no-such-command-anywhere ") and line.endswith("(0 tools)")
        for line in lines
    )
    assert any(line.startswith("shop__echo echo") and line.endswith("run") for line in lines)
    assert "– sleep_forever deny" in lines
    assert any(line.startswith("shop__broken broken") and "its inputSchema, null, is no" in line for line in lines)
    assert lines[-1].startswith("All together ")
    assert lines[-1].endswith(" tokens in every request.")


async def test_what_a_server_calls_its_tools_cannot_write_to_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    names = ["\x1b[2Jgone", "two\nlines", f"key {SECRET}", "right-to-left \u202e"]
    program = build_hostile([describe(name) for name in names])
    for_programs, done = await show(tmp_path, capfd, program, "--json"), await show(tmp_path, capfd, program)
    assert SECRET not in for_programs.stdout
    assert "key ***" in for_programs.stdout
    assert done.code == 0
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert '"two\\nlines"' in done.stdout
    assert SECRET not in done.stdout
    assert "key ***" in done.stdout


async def test_a_tool_that_cannot_be_offered_is_left_out_with_the_reason(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    endless = describe("endless", default=float("nan"))
    done = await show(tmp_path, capfd, build_hostile([endless, describe("sound")]), "--json")
    [server] = json.loads(done.stdout)["servers"]
    tools = {tool["tool"]: (tool["name"], tool["approval"]) for tool in server["tools"]}
    assert tools == {"endless": (None, "left out"), "sound": ("hostile__sound", "ask")}
    assert server["tools"][0]["notes"][0].startswith("Out of range float values are not JSON compliant")


async def test_one_tool_is_shown_as_the_model_sees_it_with_what_was_changed_and_why(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tools = [
        describe("a.b", anyOf=[{"required": ["x"]}], properties={"x": {"type": "any"}}),
        describe("plain"),
        describe("vast", description="x" * 70_000),
    ]
    program = build_hostile(tools)
    done = await show(tmp_path, capfd, program, "a.b")
    lines = done.stdout.splitlines()
    assert done.code == 0
    assert lines[0].startswith("hostile__a_b_")
    assert lines[0].endswith(": a.b of hostile")
    assert lines[1].startswith("approval: ask; about ")
    assert "  - renamed to hostile__a_b_" in done.stdout
    assert "  - #/properties/x/type is removed, it is not valid JSON Schema: " in done.stdout
    assert "  - anyOf beside `properties` became a condition" in done.stdout
    assert json.loads(done.stdout[done.stdout.index("{") :])["parameters"]["properties"] == {"x": {}}

    assert "unchanged:" in (await show(tmp_path, capfd, program, "plain")).stdout
    plain = await show(tmp_path, capfd, program, "hostile__plain", "--json")
    [tool] = json.loads(plain.stdout)["tools"]
    assert (tool["name"], tool["tool"], tool["notes"]) == ("hostile__plain", "plain", [])
    assert tool["function"]["parameters"] == {"type": "object", "properties": {}}

    server = await show(tmp_path, capfd, program, "hostile")
    assert server.stdout.startswith("hostile: ")
    assert "hostile__plain" in server.stdout
    assert "builtin_tools" not in server.stdout
    vast = await show(tmp_path, capfd, program, "vast")
    assert "the model does not get it: its definition of 70," in vast.stdout
    unknown = await show(tmp_path, capfd, program, "plane")
    assert (unknown.code, unknown.stdout) == (2, "")
    assert unknown.stderr.startswith("mcp-responses-bridge: there is no tool or server 'plane'; near names: ")
    assert unknown.stderr.endswith("`tools` without a name shows all\n")


def describe(name: str, **schema: Any) -> dict[str, Any]:
    return {"name": name, "inputSchema": {"type": "object", **schema}}


async def show(tmp_path: Path, capfd: pytest.CaptureFixture[str], program: str, *options: str) -> Done:
    file, server = tmp_path / "config.json", tmp_path / "server.py"
    server.write_text(program, encoding="utf-8")
    entry: dict[str, Any] = {"command": sys.executable, "args": ["-S", "-E", str(server)], "env": {"KEY": SECRET}}
    file.write_text(json.dumps({"mcpServers": {"hostile": entry}, "builtin_tools": False}), encoding="utf-8")
    file.chmod(0o600)
    return await run(capfd, "tools", *options, "--config", str(file))


def build_hostile(tools: list[dict[str, Any]]) -> str:
    """A server of the handshake era that lists these tools."""
    answers = {
        "initialize": {
            "protocolVersion": "2025-11-25",
            "capabilities": {"tools": {"listChanged": False}},
            "serverInfo": {"name": "h", "version": "1"},
        },
        "tools/list": {"tools": tools},
    }
    return f"""
import json, sys
answers = json.loads({json.dumps(json.dumps(answers))})
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        known = asked["method"] in answers
        answer = {{"result": answers[asked["method"]]}} if known else {{"error": {{"code": -32601, "message": "no"}}}}
        print(json.dumps({{"jsonrpc": "2.0", "id": asked["id"], **answer}}), flush=True)
"""


async def test_a_search_prints_what_the_model_would_find(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    tools = [{**describe("send_mail", properties={"to": {}}), "description": "Sends an e-mail"}, describe("x\x1b[2J")]
    program = build_hostile(tools)
    done = await show(tmp_path, capfd, program, "--search", "发送邮件")
    assert done.code == 0
    assert done.stdout.splitlines() == [
        "the model sees      server   tokens",
        "hostile__send_mail  hostile      35",
    ]
    for_programs = await show(tmp_path, capfd, program, "--json", "--search", "send an e-mail")
    report = json.loads(for_programs.stdout)
    assert report["query"] == "send an e-mail"
    [found] = report["tools"]
    assert found.pop("tokens") > 10
    assert found == {
        "name": "hostile__send_mail",
        "server": "hostile",
        "tool": "send_mail",
        "description": "Sends an e-mail",
    }
    near = await show(tmp_path, capfd, program, "--search", "my aunt in Lisbon wants a long letter, not a mail")
    assert near.stdout.startswith("Nothing clearly fits 'my aunt")
    assert "hostile__send_mail" in near.stdout
    nothing = await show(tmp_path, capfd, program, "--search", "walk the dog")
    assert nothing.stdout.startswith("No tool fits 'walk the dog'.")
    empty = await show(tmp_path, capfd, program, "--search", " ")
    assert (empty.code, empty.stdout) == (2, "")
    assert empty.stderr.splitlines()[-1].endswith("--search: WORDS: nothing to search for; it is empty")


async def test_where_all_tools_are_too_many_it_says_so(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    program = build_hostile([describe(f"tool_{n}") for n in range(130)])
    done = await show(tmp_path, capfd, program)
    last = " ".join(done.stdout.split())
    assert "All together 130 tools" in last
    assert last.endswith("so a request carries those that fit its input, and find_tools.")
