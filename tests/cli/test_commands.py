"""The commands as a person types them: what they print where, and the exit code."""

import io
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio.to_thread
import pytest

from bridge.config.load import load
from bridge.config.settings import Config
from bridge.hosts.start import find_command
from tests.fakes.commands import Done, run
from tests.fakes.screen import answer_on_terminal
from tests.fakes.upstream import Reply, ScriptedUpstream, call, http_error, message, responds

pytestmark = pytest.mark.anyio

ANSWER = "The sum is 580.2."


Bridge = Callable[..., Awaitable[Done]]


@pytest.fixture
def bridge(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Bridge:
    """Runs a command, with this on its stdin and these variables in its environment."""

    async def run_with(*args: str, stdin: str = "", **environ: str) -> Done:
        for name, value in environ.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(sys, "stdin", io.StringIO(stdin))
        return await run(capfd, *args)

    return run_with


def script() -> list[Reply]:
    add = call("math_calculator", {"operation": "add", "a": 123.5, "b": 456.7}, call_id="call_1")
    return [responds(add), responds(message(ANSWER))]


async def test_ask_prints_the_answer_alone_on_stdout_and_the_run_on_stderr(bridge: Bridge) -> None:
    async with ScriptedUpstream(script()) as upstream:
        done = await bridge("ask", "add them", OPENAI_BASE_URL=upstream.base_url, OPENAI_MODEL="m")
    assert done.stdout == ANSWER + "\n"
    assert done.code == 0
    lines = done.stderr.splitlines()
    assert lines[0] == "turn 1: asking m (4 tools)"
    assert "math_calculator(operation=add, a=123.5, b=456.7) on builtin_tools" in lines[1]
    assert "✓ math_calculator" in lines[2]
    assert "580.2" in lines[2]


async def test_the_words_of_a_question_need_no_quotes(bridge: Bridge) -> None:
    async with ScriptedUpstream(script()) as upstream:
        done = await bridge("ask", "add", "them", "both", OPENAI_BASE_URL=upstream.base_url, OPENAI_MODEL="m")
    assert done.code == 0
    assert upstream.requests[0].json["input"] == [{"role": "user", "content": "add them both"}]


async def test_no_command_prints_the_commands_and_where_the_config_is(bridge: Bridge) -> None:
    done = await bridge()
    assert (done.code, done.stdout) == (2, "")
    for words in ("serve", "ask", "init", "The config file: --config, else MCP_RESPONSES_BRIDGE_CONFIG", "config.json"):
        assert words in done.stderr


@pytest.mark.parametrize("place", [(), ("--config", "deep/mine.json")])
async def test_init_writes_a_config_that_loads_and_never_writes_over_one(
    bridge: Bridge, place: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = await bridge("init", *place)
    assert (done.code, done.stderr.partition(";")[2]) == (0, " then: mcp-responses-bridge check\n")
    file = Path(done.stdout.strip())
    text = read_private(file)
    config = load(file, environ={})
    assert config.notices == ()
    uncommented = re.sub(r'(?m)^  // (?=["} ])', "  ", text)
    servers = load_text(uncommented, tmp_path).servers
    assert [(server.key, server.headers) for server in servers] == [
        ("git", {}),
        ("notes", {"Authorization": "Bearer 0123456789"}),
    ]
    again = await bridge("init", *place)
    assert (again.code, again.stdout) == (2, "")
    assert f"{file} exists; it is left as it is" in again.stderr
    assert read_private(file) == text


def read_private(file: Path) -> str:
    assert file.stat().st_mode & 0o077 == 0
    return file.read_text(encoding="utf-8")


def load_text(text: str, folder: Path) -> Config:
    (folder / "uncommented.json").write_text(text, encoding="utf-8")
    return load(folder / "uncommented.json", environ={"OPENAI_API_KEY": "sk-0123456789", "NOTES_TOKEN": "0123456789"})


async def test_a_setting_of_the_upstream_at_the_top_is_told_where_it_belongs(bridge: Bridge, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"base_url": "http://127.0.0.1:1/v1", "model": "m", "mcpServers": {}}', encoding="utf-8")
    done = await bridge("tools", "--config", str(file))
    assert 'base_url: it is read inside of "upstream" only: {"upstream": {"base_url": …}}.' in done.stderr
    assert 'model: it is read inside of "upstream" only' in done.stderr


async def test_a_server_that_is_left_out_is_named_by_tools_by_check_and_by_a_run(
    bridge: Bridge, tmp_path: Path
) -> None:
    file = tmp_path / "config.json"
    file.write_text('{"mcpServers": {"bad": {"command": "x", "env": {"A": "${NOPE}"}}}}', encoding="utf-8")
    reason = "mcpServers.bad.env.A: ${NOPE}: the environment variable NOPE is not set"
    done = await bridge("tools", "--config", str(file))
    assert f"bad: left out: {reason}" in done.stdout
    assert json.loads((await bridge("tools", "--json", "--config", str(file))).stdout)["servers"][-1]["name"] == "bad"
    async with ScriptedUpstream([responds(message(ANSWER))] * 3) as upstream:
        environ = {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_MODEL": "m"}
        done = await bridge("check", "--config", str(file), **environ)
        assert done.code == 1
        assert f"server bad: left out: {reason}" in done.stdout
        done = await bridge("ask", "hi", "--json", "--config", str(file), **environ)
    assert done.code == 0
    assert [notice["code"] for notice in json.loads(done.stdout)["notices"]] == ["server_left_out"]


async def test_ask_prints_the_whole_result_as_json_on_request(bridge: Bridge) -> None:
    async with ScriptedUpstream(script()) as upstream:
        done = await bridge(
            "ask", "-", "--json", "--model", "other", stdin="add them", OPENAI_BASE_URL=upstream.base_url
        )
    result = json.loads(done.stdout)
    assert result["status"] == "completed"
    assert [called["name"] for called in result["tool_calls"]] == ["math_calculator"]
    assert upstream.requests[0].json["input"] == [{"role": "user", "content": "add them"}]
    assert upstream.requests[0].json["model"] == "other"


async def test_ask_exits_1_with_the_reason_when_the_upstream_refuses(bridge: Bridge) -> None:
    async with ScriptedUpstream([http_error(401, '{"error":{"message":"no such key"}}')]) as upstream:
        done = await bridge("ask", "hello", OPENAI_BASE_URL=upstream.base_url, OPENAI_MODEL="m", OPENAI_API_KEY="k" * 9)
    assert done.code == 1
    assert done.stdout == ""
    assert "failed: The upstream answered with status 401: no such key" in done.stderr


async def test_ask_exits_3_when_the_answer_is_incomplete(bridge: Bridge) -> None:
    cut = responds(message("half of"), status="incomplete", incomplete_details={"reason": "max_output_tokens"})
    async with ScriptedUpstream([cut]) as upstream:
        done = await bridge("ask", "hello", OPENAI_BASE_URL=upstream.base_url, OPENAI_MODEL="m")
    assert (done.code, done.stdout) == (3, "half of\n")
    assert "incomplete: max_output_tokens" in done.stderr


async def test_ask_without_an_upstream_exits_2_and_says_what_to_set(bridge: Bridge) -> None:
    done = await bridge("ask", "hello")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("mcp-responses-bridge: No upstream is configured: set OPENAI_API_KEY")
    assert done.stderr.endswith(", or start with --offline.\n")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("command", [["ask", "hello"], ["demo"]])
async def test_a_wrong_config_is_one_line_and_exit_2(bridge: Bridge, command: list[str], tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"limits": {"max_turn": 3}}', encoding="utf-8")
    done = await bridge(*command, "--config", str(config))
    assert (done.code, done.stdout) == (2, "")
    assert len(done.stderr.splitlines()) == 1
    assert str(config) in done.stderr
    assert "limits.max_turn" in done.stderr
    assert "max_turns" in done.stderr


async def test_a_log_file_that_cannot_be_written_is_one_line_and_exit_2(bridge: Bridge, tmp_path: Path) -> None:
    done = await bridge("ask", "hello", "--offline", "--log-file", str(tmp_path / "no" / "log"))
    assert done.code == 2
    assert len(done.stderr.splitlines()) == 1


async def test_an_unknown_option_is_told_with_the_usage_of_its_command(bridge: Bridge) -> None:
    done = await bridge("ask", "hello", "--bogus")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr.startswith("usage: mcp-responses-bridge ask ")
    assert done.stderr.endswith("mcp-responses-bridge ask: error: unrecognized arguments: --bogus\n")


async def test_ask_without_a_model_is_one_line_and_exit_2(bridge: Bridge) -> None:
    done = await bridge("ask", "hello", OPENAI_BASE_URL="http://127.0.0.1:9/v1")
    assert done.code == 2
    assert done.stderr.splitlines()[-1].startswith("mcp-responses-bridge: model: none is configured")
    assert "Traceback" not in done.stderr


async def test_offline_no_key_that_the_config_names_has_to_be_set(bridge: Bridge, tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    config.write_text('{"upstream": {"api_key": "${env:NOT_SET}"}}', encoding="utf-8")
    done = await bridge("ask", "Compute 2 + 3", "--offline", "--config", str(config))
    assert done.code == 0, done.stderr
    assert "5" in done.stdout


@pytest.mark.parametrize(("place", "zone"), [("Lisbon", "Europe/Lisbon"), ("Ho Chi Minh", "Asia/Ho_Chi_Minh")])
async def test_offline_the_time_of_a_place_is_that_of_the_zone_named_after_it(
    bridge: Bridge, place: str, zone: str
) -> None:
    done = await bridge("ask", f"What time is it in {place}?", "--offline")
    assert done.stdout.endswith(f"({zone})\n")


def test_a_reader_that_has_seen_enough_gets_no_traceback() -> None:
    """`mcp-responses-bridge config cursor | head -0`."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "bridge", "config", "cursor"]
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, encoding="utf-8", timeout=30, check=False
    )
    os.close(writer)
    assert "Traceback" not in done.stderr
    assert done.returncode == 1


@pytest.mark.external
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_ask_answers_though_its_stderr_cannot_be_written() -> None:
    command = [sys.executable, "-m", "bridge", "ask", "What is 2 + 3?", "--offline", "--log-level", "info"]
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=full, encoding="utf-8", timeout=60, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "- math_calculator: 5")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["offline", "--port", "99999"], "'99999' is not a port"),
        (["serve", "--host", "0.0.0.0"], "belong to --transport http"),
        (["serve", "--transport", "http", "--host", "0.0.0.0"], "set serve.token"),
        (["serve", "--transport", "http", "--host", "0.0.0.0", "--no-auth"], "only on a loopback address"),
        (["serve", "--port", "0"], "belong to --transport http"),
        (["config", "cursor", "--config", "/no/such/file"], "there is no such file"),
        (["tools", "--serach", "time"], "unrecognized arguments: --serach; did you mean --search?"),
        (["aks", "hi"], "'aks' is no command; did you mean ask?"),
        (["\x1b[2J"], "'\\x1b[2J' is no command"),
        (["check", "--yes"], "check: --yes and --record belong to --live"),
        (["check", "--record", "file"], "check: --yes and --record belong to --live"),
    ],
)
async def test_a_wrong_option_is_told_in_one_sentence_and_exit_2(bridge: Bridge, args: list[str], words: str) -> None:
    done = await bridge(*args)
    assert (done.code, done.stdout) == (2, "")
    assert words in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("command", [["offline"], ["serve", "--transport", "http"]])
async def test_a_port_in_use_is_one_line_and_exit_2(bridge: Bridge, command: list[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = await bridge(*command, "--port", str(port))
    assert done.code == 2
    words = "address already in use; end what uses it, or choose another port"
    assert done.stderr == f"mcp-responses-bridge: 127.0.0.1 port {port} cannot be listened on: {words}\n"


async def test_the_demo_does_the_four_calls_and_prints_the_entry_to_paste(bridge: Bridge) -> None:
    done = await bridge("demo")
    assert done.code == 0
    assert done.stderr.count("✓") == 4
    assert "580.2" in done.stdout
    entry = json.loads(done.stderr[done.stderr.index("{\n") :])
    assert entry["mcpServers"]["responses"]["command"] == find_command()


@pytest.mark.external
async def test_the_demo_goes_to_the_configured_upstream_if_there_is_one(bridge: Bridge) -> None:
    async with ScriptedUpstream([responds(message(ANSWER))]) as upstream:
        done = await bridge("demo", OPENAI_BASE_URL=upstream.base_url, OPENAI_MODEL="m")
    assert done.stdout == ANSWER + "\n"
    assert upstream.requests[0].json["model"] == "m"
    assert upstream.requests[0].json["metadata"] == {"model_id": "32"}
    entry = json.loads(done.stderr[done.stderr.index("{\n") :])["mcpServers"]["responses"]
    assert entry["env"] == {"OPENAI_BASE_URL": upstream.base_url, "OPENAI_MODEL": "m"}, "it is for that address alone"


async def test_config_prints_json_alone_on_stdout(bridge: Bridge) -> None:
    done = await bridge("config", "cursor")
    assert "mcpServers" in json.loads(done.stdout)
    assert done.code == 0


async def test_an_unknown_host_is_a_usage_error_that_lists_the_hosts(bridge: Bridge) -> None:
    done = await bridge("config", "emacs")
    assert done.code == 2
    assert "claude-desktop" in done.stderr


@pytest.mark.external
async def test_ask_on_a_terminal_asks_before_each_tool_that_may_write(tmp_path: Path, repository: Path) -> None:
    """The person sees server, tool and arguments, and types y or n."""
    counts, config, written = tmp_path / "counts", tmp_path / "config.json", tmp_path / "written"
    rogue = [str(repository / "tests" / "fakes" / "rogue.py"), "good", f"counts={counts}"]
    calls = [call("r__write", {"path": str(written)}), call("r__echo", {"text": "no"})]
    async with ScriptedUpstream([responds(*calls), responds(message("done"))]) as upstream:
        settings = {
            "upstream": {"base_url": upstream.base_url, "model": "m"},
            "mcpServers": {"r": {"command": sys.executable, "args": rogue}},
        }
        config.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "bridge", "ask", "hi", "--config", str(config)]
        seen, code = await anyio.to_thread.run_sync(
            answer_on_terminal, command, {'"write"': "y", '"echo"': "perhaps", "answer y or n": "n"}
        )
    assert code == 0
    assert f'The model wants to run "write" of "r" with {{"path":"{written}"}}. Run it?' in seen
    assert 'The model wants to run "echo" of "r" with {"text":"no"}. Run it?' in seen
    assert "done" in seen
    assert "echo of r was not run: the answer was no. To allow it: " in seen
    assert counts.read_text(encoding="utf-8").split() == ["write"]


@pytest.mark.external
async def test_ctrl_c_at_the_question_ends_the_command(tmp_path: Path, repository: Path) -> None:
    config = tmp_path / "config.json"
    async with ScriptedUpstream([responds(call("r__write", {"path": str(tmp_path / "written")}))]) as upstream:
        rogue = {"command": sys.executable, "args": [str(repository / "tests" / "fakes" / "rogue.py"), "good"]}
        settings = {"upstream": {"base_url": upstream.base_url, "model": "m"}, "mcpServers": {"r": rogue}}
        config.write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "bridge", "ask", "hi", "--config", str(config)]
        seen, code = await anyio.to_thread.run_sync(answer_on_terminal, command, {'"write"': "\x03"})
    assert code == 130
    assert "Traceback" not in seen
