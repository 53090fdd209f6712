"""The log of the service: what an operator sees of each request and each run, and what does not flood it."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest

from bridge.cli.setup import TOLD_BY_SERVICE
from bridge.run.run_log import RunLog
from bridge.telemetry import Redactor, configure_logging
from tests.fakes.bridges import open_without_host, respond
from tests.fakes.browser import browser
from tests.fakes.clock import VirtualClock, until
from tests.fakes.service import Served, serving
from tests.fakes.upstream import ScriptedUpstream, call, message, responds
from tests.host.test_tasks import begin_over_http, place, post

pytestmark = pytest.mark.anyio

ADA, BOB = "a-token-of-ada-1234", "a-token-of-bob-1234"
PEOPLE = {"ada": {"token": ADA}, "bob": {"token": BOB}}
FORGED = "x\n2026-01-01 00:00:00,000 ERROR admin: forged\r\x1b[2J\u2028\u202e"


@pytest.fixture
def log(tmp_path: Path) -> "Log":
    """The log, set up as the service does it where no level is asked for."""
    return Log(tmp_path / "log", as_json=False)


@pytest.fixture
def json_log(tmp_path: Path) -> "Log":
    return Log(tmp_path / "log", as_json=True)


class Log:
    def __init__(self, file: Path, *, as_json: bool, level: str = "warning") -> None:
        self.file = file
        configure_logging(level, file, Redactor(["a-secret-value"]), as_json=as_json, telling=TOLD_BY_SERVICE)

    @property
    def lines(self) -> list[str]:
        """The lines, without their times."""
        return [line[24:] for line in self.raw.splitlines()]

    @property
    def raw(self) -> str:
        return self.file.read_text(encoding="utf-8")

    @property
    def values(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.raw.splitlines()]

    def about(self, logger: str) -> list[dict[str, Any]]:
        return [value for value in self.values if value["logger"] == logger]


def headers(served: Served, token: str = ADA) -> list[tuple[str, str | bytes]]:
    return [("Host", f"127.0.0.1:{served.port}"), ("Authorization", f"Bearer {token}")]


async def test_each_request_has_a_line_with_who_what_and_how_it_ended(log: Log) -> None:
    async with open_without_host(None) as bridge, serving(bridge, clock=VirtualClock(), principals=PEOPLE) as served:
        await served.send("GET", "/nothing?token=a-secret-in-a-query", headers(served))
        await served.send("DELETE", "/mcp", headers(served, BOB))
    first, second = log.lines
    assert first == "INFO bridge.host.request_log: GET /nothing, 404, 0 ms, principal ada"
    assert second.startswith("INFO bridge.host.request_log: DELETE /mcp, 4")
    assert second.endswith(", 0 ms, principal bob")


async def test_a_path_cannot_look_like_the_rest_of_its_line(log: Log) -> None:
    async with open_without_host(None) as bridge, serving(bridge, clock=VirtualClock(), principals=PEOPLE) as served:
        await served.send("GET", "/x,%20200,%201%20ms,%20principal%20bob", headers(served))
    [line] = log.lines
    assert line.endswith(': GET "/x, 200, 1 ms, principal bob", 404, 0 ms, principal ada')


async def test_a_request_of_the_page_has_its_principal_too(log: Log) -> None:
    async with (
        open_without_host(None) as bridge,
        serving(bridge, clock=VirtualClock(), principals=PEOPLE) as served,
        browser(served.port, ADA) as page,
    ):
        await page.get("usage")
    assert [line.partition(": ")[2] for line in log.lines] == [
        "POST /page/session, 200, 0 ms, principal ada",
        "GET /page/usage, 200, 0 ms, principal ada",
    ]


async def test_what_the_gate_refuses_has_a_line_too_and_what_to_change_is_told(log: Log) -> None:
    async with open_without_host(None) as bridge, serving(bridge, clock=VirtualClock()) as served:
        host = ("Host", f"127.0.0.1:{served.port}")
        await served.send("GET", "/mcp", [("Host", "evil.test")])
        await served.send("GET", "/mcp", [host, ("Origin", "https://evil.test")])
        await served.send("GET", "/mcp", [host])
        await served.send("GET", "/mcp", [host, ("Authorization", "Bearer wrong")])
    told = [line for line in log.lines if "request_log" in line]
    assert [line.split(", ")[1] for line in told] == ["421", "403", "401", "401"]
    warned = [line for line in log.lines if line.startswith("WARNING")]
    assert ["serve.allowed_hosts" in warned[0], "serve.allowed_origins" in warned[1]] == [True, True]
    assert warned[2].startswith("WARNING bridge.host.refused: 1 requests were refused that had no token")
    assert "tokens list" in warned[3]


async def test_ten_thousand_refusals_are_a_few_lines_and_a_count(log: Log) -> None:
    clock = VirtualClock()
    async with open_without_host(None) as bridge, serving(bridge, clock=clock) as served:
        host = ("Host", f"127.0.0.1:{served.port}")
        for number in range(100):
            await served.send("GET", "/mcp", [host, ("Authorization", f"Bearer {number}")])
            await served.send("GET", "/mcp", [host, ("Origin", f"https://{number}.test")])
        await clock.advance(61)
        await served.send("GET", "/mcp", [host, ("Authorization", "Bearer x")])
    assert sum("request_log: GET" in line for line in log.lines) == 21
    assert "180 more requests were refused" in log.raw
    assert sum("Origin" in line for line in log.lines) == 20
    assert sum("token opens nothing" in line for line in log.lines) == 2


@pytest.mark.rule("S31")
async def test_health_checks_are_not_told_unless_they_are_refused(log: Log) -> None:
    """IBM/mcp-context-forge#5880, benoitc/gunicorn#1781: probes were most of the log."""
    async with open_without_host(None) as bridge, serving(bridge) as served:
        host = ("Host", f"127.0.0.1:{served.port}")
        for _ in range(5):
            assert (await served.send("GET", "/healthz", [host])).status == 200
        assert log.lines == []
        await served.send("GET", "/healthz", [host, ("Authorization", "Bearer wrong")])
    assert any("GET /healthz, 401" in line for line in log.lines)


async def test_a_stream_has_its_line_when_it_ends(log: Log) -> None:
    async with open_without_host(None) as bridge, serving(bridge) as served:
        async with served.client("/sse", "legacy"):
            assert not any("GET /sse" in line for line in log.lines)
        await until(lambda: any("GET /sse, 200" in line for line in log.lines))


async def test_a_run_is_told_when_it_begins_and_ends_and_by_its_request(json_log: Log) -> None:
    turns = [responds(call("none"), usage={"input_tokens": 7, "output_tokens": 3}), responds(message("Hi."))]
    async with (
        ScriptedUpstream(turns) as upstream,
        open_without_host(upstream, observers=[RunLog()]) as bridge,
        serving(bridge, principals=PEOPLE, token=None) as served,
        served.client(token=ADA) as client,
    ):
        receipt = await respond(client, "a canary of the host")
    begin, end = json_log.about("bridge.run.run_log")
    run_id = receipt["run_id"]
    assert (begin["message"], begin["run"], begin["principal"]) == (f"{run_id} begins, of ada", run_id, "ada")
    assert end["message"].startswith(f"{run_id} is completed: 2 turns, 1 calls, ")
    told = {name: end[name] for name in ("run", "principal", "status", "reason", "turns", "calls")}
    assert told == {"run": run_id, "principal": "ada", "status": "completed", "reason": None, "turns": 2, "calls": 1}
    requests = [value for value in json_log.about("bridge.host.request_log") if value["run"]]
    assert [(value["run"], value["principal"], value["status"]) for value in requests] == [(run_id, "ada", 200)]
    assert "canary" not in json_log.raw


async def test_a_call_that_comes_to_no_run_is_told_by_its_code_and_not_by_its_words(json_log: Log) -> None:
    async with (
        ScriptedUpstream([]) as upstream,
        open_without_host(upstream, observers=[RunLog()]) as bridge,
        serving(bridge) as served,
        served.client() as client,
    ):
        await client.call_tool("respond", {"input": "x", "canary": 1})
    [told] = json_log.about("bridge.run.run_log")
    assert told["message"].startswith("respond of token:")
    assert (told["tool"], told["reason"]) == ("respond", "invalid_argument")
    assert "canary" not in json_log.raw


async def test_a_host_that_polls_for_a_task_does_not_flood_the_log(log: Log) -> None:
    async with place() as at, serving(at.bridge, no_auth=True) as served:
        task = await begin_over_http(at, served)
        for _ in range(5):
            assert (await post(served, "tasks/get", {"taskId": task["taskId"]})).status == 200
        await post(served, "tasks/cancel", {"taskId": task["taskId"]})
    told = [line for line in log.lines if "request_log" in line]
    assert len(told) == 2
    assert all(line.endswith(f", {task['taskId']}") for line in told)


FIELDS = ["ts", "level", "logger", "message", "method", "path", "status", "ms", "principal", "run", "client"]


@pytest.mark.rule("S30")
async def test_a_json_line_has_the_documented_fields_and_is_one_line_whatever_a_client_sends(json_log: Log) -> None:
    async with open_without_host(None) as bridge, serving(bridge) as served:
        path = "/%0AERROR%20admin:%20forged%1b%e2%80%ae?a-secret-value"
        await served.send("GET", path, served.right)
        await served.send("GET", "/a-secret-value/" + "x" * 5000, served.right)
    forged, long = json_log.values
    assert [*forged] == FIELDS
    assert forged["path"] == "/\\nERROR admin: forged\\u001b\\u202e"
    assert (forged["level"], forged["client"]) == ("info", "127.0.0.1")
    assert long["path"].startswith("/***/x")
    assert len(long["path"]) < 200
    assert "a-secret" not in json_log.raw


@pytest.mark.rule("S30")
def test_a_traceback_is_a_part_of_its_line(json_log: Log) -> None:
    """bluesky/tiled#409: what spans lines is many events for those who read a line at a time."""
    try:
        raise ValueError(FORGED)
    except ValueError:
        logging.getLogger("bridge.test").exception("%s broke", FORGED)
    [value] = json_log.values
    assert value["level"] == "error"
    assert " | Traceback (most recent call last): | " in value["message"]
    assert value["message"].isprintable()


def test_a_level_that_is_asked_for_holds_for_these_lines_too(tmp_path: Path) -> None:
    configure_logging("warning", tmp_path / "log", Redactor())
    assert not any(logging.getLogger(name).isEnabledFor(logging.INFO) for name in TOLD_BY_SERVICE)
