"""`check`: what it finds wrong, what it advises, and what the exit code says."""

import json
import socket
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request as HttpRequest
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from bridge import __version__
from tests.fakes.clock import until
from tests.fakes.commands import Done, run
from tests.fakes.http import HttpServer
from tests.fakes.servers import rogue
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, api_error, gated, http_error

pytestmark = [pytest.mark.anyio, pytest.mark.external]

KEY, SECRET = "sk-0123456789", "s3cret-of-the-shop"
REFUSED = api_error(400, "input must not be empty")


class Check:
    """Runs `check` with a config of these sections; the upstream lists the models `m` and `n`."""

    def __init__(self, folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
        self._file = folder / "config.json"
        self._capfd = capfd

    async def __call__(self, answer: Reply = REFUSED, *options: str, model: str = "m", **sections: Any) -> Done:
        def choose(request: Request) -> Reply:
            models = {"data": [{"id": "m"}, {"id": "n"}]}
            return http_error(200, models) if request.path.endswith("/models") else answer

        async with ScriptedUpstream(choose) as upstream:
            unit = {"base_url": upstream.base_url, "api_key": KEY, "model": model, **sections.pop("unit", {})}
            return await self.plain(*options, **{"upstream": unit, "builtin_tools": False, **sections})

    async def plain(self, *options: str, **sections: Any) -> Done:
        self._file.write_text(json.dumps(sections), encoding="utf-8")
        self._file.chmod(0o600)
        done = await run(self._capfd, "check", "--config", str(self._file), *options)
        assert KEY not in done.stdout + done.stderr
        assert SECRET not in done.stdout + done.stderr
        return done


@pytest.fixture
def check(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Check:
    return Check(tmp_path, capfd)


async def test_when_all_is_right_it_says_so_and_exits_0(check: Check) -> None:
    done = await check(mcpServers={"r": rogue("good")})
    assert done.code == 0
    marks = [line.split()[:2] for line in done.stdout.splitlines() if line[0] in "✓!✗"]
    assert marks == [["✓", "config:"], ["✓", "upstream"], ["✓", "server"]]
    assert "reachable, key accepted, m known" in done.stdout
    assert "server r: ready, 5 tools, MCP 2026-07-28" in done.stdout


async def test_it_says_what_the_upstream_is_taken_for(check: Check) -> None:
    done = await check(unit={"profile": "vllm"})
    assert "reachable, key accepted, m known; taken for vllm" in done.stdout


async def test_a_refused_key_is_an_error_told_in_the_upstreams_words_without_the_key(check: Check) -> None:
    done = await check(api_error(401, f"Incorrect API key provided: {KEY}"))
    assert done.code == 1
    assert "✗ upstream http://127.0.0.1:" in done.stdout
    assert "Incorrect API key provided: ***" in done.stdout
    assert "→ set the key that belongs to this address" in done.stdout


async def test_an_upstream_that_nobody_listens_at_is_an_error(check: Check) -> None:
    with socket.socket() as unheard:
        unheard.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unheard.getsockname()[1]}"
        done = await check.plain(upstream={"base_url": url, "model": "m"})
    assert done.code == 1
    assert f"✗ upstream {url}/v1: {url} cannot be reached" in done.stdout


async def test_an_unknown_model_is_a_warning_and_exits_0(check: Check) -> None:
    done = await check(model="gpt-9")
    assert done.code == 0
    assert "! upstream http://127.0.0.1:" in done.stdout
    assert "gpt-9 is not among its models\n  → it lists: m, n" in done.stdout


async def test_no_upstream_is_an_error_that_says_what_to_set(check: Check) -> None:
    done = await check.plain()
    assert done.code == 1
    assert "✗ upstream: none is configured" in done.stdout
    assert "set OPENAI_API_KEY" in done.stdout
    assert "--offline" not in done.stdout


@pytest.mark.rule("REL3")
async def test_each_failed_server_is_explained_with_its_own_last_words(check: Check) -> None:
    words = f"\x1b[31mrogue: the key {SECRET} is refused"
    servers: Mapping[str, Any] = {
        "loud": rogue(f"exit_at_start={words}", env={"KEY": SECRET}),
        "absent": {"command": "no-such-command-anywhere"},
        "slow": {**rogue("silent"), "connect_timeout_s": 0.3},
        "partly": rogue('tools=[{"inputSchema": {}}]'),
        "unheard": {"url": "http://127.0.0.1:9/mcp"},
        "mute": {"command": sys.executable, "args": ["-c", "pass"]},
    }
    done = await check(mcpServers=servers)
    assert done.code == 1
    loud = find_words(done, "loud")
    assert "exited with status 1" in loud
    assert "\n    | rogue: the key *** is refused\n  → above are the last lines" in loud
    assert "command not found: no-such-command-anywhere" in find_words(done, "absent")
    assert "give the absolute path of the command" in find_words(done, "absent")
    assert "not ready after 0.3 s" in find_words(done, "slow")
    assert "→ give it longer with connect_timeout_s" in find_words(done, "slow")
    assert "rogue.py silent" in find_words(done, "slow")
    assert "connection refused; start it there, or correct url" in find_words(done, "unheard")
    assert f"→ start it by hand: {sys.executable} -c pass" in find_words(done, "mute")
    assert "! server partly: tool 6 of its list is left out: it has no name" in done.stdout
    assert "cannot be reached" in find_words(done, "unheard")


async def test_last_words_are_heard_however_long_the_upstream_takes(check: Check, tmp_path: Path) -> None:
    """Meanwhile the server is started again, in both of its ways, and again."""
    pids, gate = tmp_path / "pids", anyio.Event()
    pids.mkdir()

    async def open_late() -> None:
        await until(lambda: len(list(pids.iterdir())) > 2)
        gate.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(open_late)
        done = await check(gated(REFUSED, gate), mcpServers={"loud": rogue("exit_at_start=no paper", pids=pids)})
    assert "    | no paper\n" in find_words(done, "loud")


def find_words(done: Done, server: str) -> str:
    """What was said of this server."""
    [_, rest] = done.stdout.split(f"✗ server {server}: ")
    return rest.partition("\n✗")[0].partition("\n✓")[0]


async def test_json_holds_the_same_findings(check: Check) -> None:
    server = rogue(f"exit_at_start=the key {SECRET} is refused", env={"KEY": SECRET})
    done = await check(REFUSED, "--json", mcpServers={"loud": server}, limits={"max_turns": 3})
    findings = json.loads(done.stdout)["findings"]
    assert done.code == 1
    assert {tuple(finding) for finding in findings} == {("level", "what", "message", "hint", "causes")}
    assert [finding["level"] for finding in findings] == ["ok", "ok", "error"]
    assert findings[2]["what"] == "server loud"
    assert "the key *** is refused" in findings[2]["message"]


async def test_it_says_what_runs_here_and_where_its_files_are(check: Check, tmp_path: Path) -> None:
    done = await check(REFUSED, "--log-file", str(tmp_path / "log"))
    first, *others = done.stdout.splitlines()
    assert first.startswith(f"mcp-responses-bridge {__version__}, Python 3.")
    assert f"mcp {version('mcp')}" in first
    lines = {line.split()[0]: line.split(maxsplit=1)[1] for line in others if line.startswith("  ")}
    assert lines["config:"] == str(tmp_path / "config.json")
    assert lines["state:"].endswith("mcp-responses-bridge")
    assert lines["log:"] == str(tmp_path / "log")
    report = json.loads((await check(REFUSED, "--json")).stdout)
    assert report["version"].keys() == {"bridge", "python", "mcp", "system"}
    assert report["version"]["bridge"] == __version__
    assert report["paths"] == {
        "program": sys.argv[0],
        "config": str(tmp_path / "config.json"),
        "state": lines["state:"],
        "log": None,
    }


async def test_each_thing_that_was_tried_has_its_own_cause(check: Check) -> None:
    """A URL may be of two transports, and a server refuses each in its own words."""

    async def refuse(request: HttpRequest) -> PlainTextResponse:
        is_post = request.method == "POST"
        return PlainTextResponse("no posts here" if is_post else "no such page", 405 if is_post else 404)

    app = Starlette(routes=[Route("/mcp", refuse, methods=["GET", "POST"])])
    async with HttpServer(lambda: app) as server:
        done = await check(REFUSED, "--json", mcpServers={"web": {"url": server.url}})
        shown = await check(REFUSED, mcpServers={"web": {"url": server.url}})
    [finding] = [each for each in json.loads(done.stdout)["findings"] if each["what"] == "server web"]
    assert [cause.partition(":")[0] for cause in finding["causes"]] == ["Streamable HTTP", "SSE"]
    assert all(f"    · {cause}" in shown.stdout for cause in finding["causes"])


async def test_a_key_that_occurs_in_every_line_leaves_the_report_whole(check: Check) -> None:
    done = await check(api_error(401, "Incorrect API key"), "--json", unit={"api_key": "e"})
    findings = json.loads(done.stdout)["findings"]
    assert findings[1]["message"] == "upstream.api_key: the key is too short to be blanked in logs."
    assert "Incorrect API key" in findings[2]["message"]


async def test_a_secret_that_json_is_made_of_leaves_the_report_valid(check: Check) -> None:
    done = await check(REFUSED, "--json", unit={"headers": {"X-Key": '{"level":'}})
    assert [finding["level"] for finding in json.loads(done.stdout)["findings"]] == ["ok", "ok"]


async def test_each_fault_of_a_server_is_told_once(check: Check) -> None:
    done = await check(mcpServers={"absent": {"command": "no-such-command-anywhere"}})
    assert done.stdout.count("command not found") == 1
    assert done.stderr == ""


async def test_a_notice_about_the_config_is_a_warning(check: Check) -> None:
    done = await check(theme="dark")
    assert done.code == 0
    assert "! config: " in done.stdout


async def test_what_an_upstream_says_cannot_write_to_the_terminal(check: Check) -> None:
    done = await check(api_error(401, "no\x1b[2J\n✓ server fine: ready \u202e"))
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout
    assert not [line for line in done.stdout.splitlines() if line.startswith("✓ server")]
