"""`ask --dry-run`: what would leave, byte for byte, and that nothing does."""

import json
import re
from pathlib import Path

import pytest

from tests.fakes.commands import run
from tests.fakes.upstream import ScriptedUpstream, message, responds

pytestmark = pytest.mark.anyio

UNIT = {"model": "m", "api_key": "sk-canary-0123", "drop": ["top_p"], "defaults": {"top_p": 0.5, "temperature": 1}}


@pytest.mark.rule("S15")
async def test_it_prints_the_very_bytes_that_a_run_sends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "config.json"
    async with ScriptedUpstream([responds(message("ok"))]) as upstream:
        config.write_text(json.dumps({"upstream": {**UNIT, "base_url": upstream.base_url}}), encoding="utf-8")
        config.chmod(0o600)
        shown = await run(capfd, "ask", "现在几点 😀", "--dry-run", "--config", str(config))
        assert upstream.requests == []
        await run(capfd, "ask", "现在几点 😀", "--config", str(config))
    assert shown.code == 0
    assert shown.stdout.encode() == upstream.requests[0].body + b"\n"
    assert "top_p" not in shown.stdout
    assert UNIT["api_key"] not in shown.stdout + shown.stderr


@pytest.mark.rule("S15")
async def test_it_tells_where_it_would_go_what_was_changed_and_what_each_tool_costs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"upstream": {**UNIT, "base_url": "http://127.0.0.1:9"}}), encoding="utf-8")
    done = await run(capfd, "ask", "hello", "--dry-run", "--config", str(config))
    assert "POST http://127.0.0.1:9/v1/responses (" in done.stderr
    assert "! top_p was left out, as this upstream does not take it" in done.stderr
    costs = re.findall(r"^ *(\d+) tokens  (\w+)$", done.stderr, re.MULTILINE)
    assert [name for _, name in costs] == ["random_generator", "system_info", "math_calculator", "current_time"]
    total = sum(int(tokens) for tokens, _ in costs)
    assert f"\nabout {total} tokens in 4 tools, " in done.stderr


async def test_what_no_request_can_be_made_of_is_told_and_exits_2(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = tmp_path / "config.json"
    unit = {**UNIT, "base_url": "http://127.0.0.1:9", "state": "stateless"}
    config.write_text(json.dumps({"upstream": unit}), encoding="utf-8")
    config.chmod(0o600)
    for way in ("--dry-run", "--json"):
        done = await run(capfd, "ask", "hello", "--previous", "resp_1", "--config", str(config), way)
        assert (done.code, done.stdout) == (2, "")
        assert done.stderr.startswith("mcp-responses-bridge: previous_response_id: there is no such response")
        assert len(done.stderr.splitlines()) == 1
