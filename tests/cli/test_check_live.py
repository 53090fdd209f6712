"""`check --live`: what it says before, what it finds of endpoints that differ, and what it writes down.

None of these endpoints is a real one.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge.offline.app import build_app
from tests.fakes.commands import Done, run
from tests.fakes.http import HttpServer
from tests.fakes.items import Json
from tests.fakes.upstream import (
    Reply,
    Request,
    ScriptedUpstream,
    api_error,
    call,
    http_error,
    message,
    reasoning,
    responds,
)

pytestmark = pytest.mark.anyio

KEY = "sk-canary-0123456789"


def answer(request: Request) -> list[Json]:
    """As a model that does what it is asked."""
    body = request.json
    if body.get("tool_choice") == "required":
        return [call(tool["name"], {"city": "Oslo"}, call_id=f"call_{tool['name']}") for tool in body["tools"]]
    if "text" in body:
        return [message('{"n": 8}')]
    if "include" in body:
        return [reasoning("hm", encrypted="gAAAA"), message("no")]
    knows = body.get("previous_response_id") or "kumquat" in str(body["input"])
    return [message(f"kumquat, {KEY}" if knows else "ok")]


def bear_all(request: Request) -> Reply:
    if "no_such_parameter" in request.json:
        return api_error(400, "Unknown parameter: 'no_such_parameter'.", code="unknown_parameter")
    return responds(*answer(request))


def bear_little(request: Request) -> Reply:
    """JSON only, texts only, nothing kept, no developers, no reasoning."""
    body = request.json
    items = body["input"]
    refusals = [
        ("previous_response_id" in body, "previous_response_id is not supported"),
        ("background" in body, "Unsupported parameter: background"),
        ("include" in body, "Unsupported parameter: include"),
        (any(item.get("role") == "developer" for item in items), "Unexpected message role."),
        (any(isinstance(item.get("output"), list) for item in items), "'output' of a tool call must be a string"),
    ]
    for is_met, words in refusals:
        if is_met:
            return api_error(400, words)
    return responds(message("kumquat"), as_json=True)


async def check(
    choose: Callable[[Request], Reply], folder: Path, capfd: pytest.CaptureFixture[str], *options: str, **sections: Any
) -> tuple[Done, list[Request]]:
    async with ScriptedUpstream(choose) as upstream:
        done = await check_at(upstream.base_url, folder, capfd, *options, **sections)
    return done, upstream.requests


async def check_at(
    base_url: str, folder: Path, capfd: pytest.CaptureFixture[str], *options: str, **sections: Any
) -> Done:
    config = folder / "config.json"
    unit = {"base_url": base_url, "api_key": KEY, "model": "m", "defaults": {"temperature": 1}}
    config.write_text(json.dumps({"upstream": unit, **sections}), encoding="utf-8")
    config.chmod(0o600)
    file = str(folder / "live.jsonl")
    return await run(capfd, "check", "--live", "--config", str(config), "--record", file, *options)


async def test_without_a_yes_it_says_what_it_costs_and_sends_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done, requests = await check(bear_all, tmp_path, capfd)
    assert (done.code, done.stdout, requests) == (2, "", [])
    assert "at most 14 times, for up to 120 tokens each" in done.stderr
    assert "at most $0.049 for a model of up to $5 and $20 a million" in done.stderr
    assert not (tmp_path / "live.jsonl").exists()


async def test_a_model_that_could_cost_more_is_not_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done, requests = await check(bear_all, tmp_path, capfd, "--yes", prices={"m": {"input": 15, "output": 120}})
    assert (done.code, done.stdout, requests) == (2, "", [])
    assert "--live: with m it could cost 0.25, and may cost 0.05" in done.stderr


async def test_an_endpoint_that_bears_all_needs_no_setting(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done, requests = await check(bear_all, tmp_path, capfd, "--yes", "--json")
    report = json.loads(done.stdout)
    assert done.code == 0
    assert {outcome["verdict"] for outcome in report["outcomes"]} == {"works"}
    assert report["upstream"] == {"profile": "openai"}
    assert len(requests) <= 14
    assert all(request.json["max_output_tokens"] == 120 for request in requests)


async def test_an_endpoint_that_bears_little_is_told_feature_by_feature_and_as_settings(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done, _ = await check(bear_little, tmp_path, capfd, "--yes")
    assert json.loads("{" + done.stdout + "}") == {
        "upstream": {
            "profile": "openai",
            "state": "stateless",
            "stream": "never",
            "background": False,
            "developer_role": "system",
            "content_parts": False,
            "drop": ["include"],
        }
    }
    assert "✗ developer messages: " in done.stderr
    assert "Unexpected message role." in done.stderr
    assert "! parallel calls: 0 of 2 calls were made" in done.stderr
    assert "✗ structured output: accepted, but the answer does not have the form" in done.stderr
    assert "✗ unknown parameters: an unknown parameter is ignored" in done.stderr


async def test_a_relay_that_takes_an_id_and_keeps_nothing_is_stateless(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done, requests = await check(lambda _: responds(message("ok")), tmp_path, capfd, "--yes", "--json")
    assert len(requests) <= 14
    assert json.loads(done.stdout)["upstream"] == {"profile": "openai", "state": "stateless"}


async def test_the_recording_is_private_and_has_everything_but_secrets(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    done, requests = await check(bear_all, tmp_path, capfd, "--yes")
    file = tmp_path / "live.jsonl"
    text = file.read_text(encoding="utf-8")
    lines = [json.loads(line) for line in text.splitlines()]
    assert "canary" not in text + done.stdout + done.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    assert [line["kind"] for line in lines] == ["live", *["request", "reply"] * len(requests), "profile"]
    assert lines[-1]["settings"] == {"profile": "openai"}
    replayed = await run(capfd, "ask", "--replay", str(file))
    assert (replayed.code, replayed.stderr.endswith("it is not a recording of `ask`\n")) == (2, True)


async def test_without_an_answer_nothing_more_is_asked(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    done, requests = await check(lambda _: http_error(401, "no such key"), tmp_path, capfd, "--yes")
    assert (done.code, done.stdout, len(requests)) == (1, "", 1)
    assert "no such key" in done.stderr


async def test_of_the_embedded_upstream_it_finds_a_profile_too(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with HttpServer(build_app) as served:
        base_url = served.url.replace("/mcp", "/v1")
        done = await check_at(base_url, tmp_path, capfd, "--yes", "--json")
    assert done.code == 0
    report = json.loads(done.stdout)
    assert [outcome["verdict"] for outcome in report["outcomes"]].count("works") == 5
    assert report["upstream"] == {"profile": "openai"}
