"""The official conformance suite, on the service and on impostors that speak no MCP: what only ours passes counts.

Scenarios that are not named here need tools, prompts or resources made for the suite.
"""

import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import anyio
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from bridge.app import Bridge
from bridge.config.settings import EMBEDDED, Config
from tests.external.conftest import RunNode
from tests.fakes.service import serving, serving_app
from tests.fakes.toy_tasks import serve_toys

pytestmark = [pytest.mark.anyio, pytest.mark.external]

Checks = Mapping[str, Mapping[str, set[str]]]
"""What was found, by scenario and check."""

PASSED = {
    "2025-11-25": {
        "server-initialize",
        "ping",
        "tools-list",
        "dns-rebinding-protection",
        "server-session-lifecycle",
        "server-sse-multiple-streams",
    },
    "2026-07-28": {
        "server-stateless",
        "tools-list",
        "caching",
        "dns-rebinding-protection",
        "http-header-validation",
    },
}
"""What the service passes, but for the differences, and no impostor does."""

NOT_OFFERED = "the bridge announces no prompts, resources, completions and log levels, and has none"
NEEDS_TOOL = "needs a tool made for the suite"
DIFFERENCES = {
    ("prompts-list", "prompts-list"): NOT_OFFERED,
    ("resources-list", "resources-list"): NOT_OFFERED,
    ("completion-complete", "completion-complete"): NOT_OFFERED,
    ("logging-set-level", "logging-set-level"): NOT_OFFERED,
    ("caching", "sep-2549-prompts-list-caching-hints"): NOT_OFFERED,
    ("caching", "sep-2549-resources-list-caching-hints"): NOT_OFFERED,
    ("caching", "sep-2549-resources-templates-list-caching-hints"): NOT_OFFERED,
    ("server-stateless", "sep-2575-server-rejects-undeclared-capability"): NEEDS_TOOL,
    ("server-stateless", "sep-2575-missing-capability-http-400"): NEEDS_TOOL,
    ("server-stateless", "sep-2575-http-server-no-independent-requests-on-stream"): NEEDS_TOOL,
    ("server-stateless", "sep-2575-server-no-log-without-loglevel"): NEEDS_TOOL,
    ("server-stateless", "sep-2575-server-sends-tools-list-changed-on-subscription"): NEEDS_TOOL,
}
"""What the service does not pass, and why."""


def reply_with(**parts: object) -> Callable[[object], Response]:
    return lambda number: JSONResponse({"jsonrpc": "2.0", "id": number, **parts})


TASKS = {
    "tasks-lifecycle": 9,
    "tasks-capability-negotiation": 5,
    "tasks-wire-fields": 4,
    "tasks-request-state-removal": 3,
    "tasks-mrtr-input": 4,
    "tasks-request-headers": 5,
    "tasks-dispatch-and-envelope": 9,
    "tasks-required-task-error": 3,
    "tasks-mrtr-composition": 2,
}
"""The scenarios of the Tasks extension, with how many checks each has. One more is skipped by the suite itself."""

IMPOSTORS: dict[str, Callable[[object], Response]] = {
    "is not there": lambda _: Response(status_code=404),
    "says yes": reply_with(result={}),
    "says no": reply_with(error={"code": -32601, "message": "Method not found"}),
}
"""Endpoints with one answer to everything, given the id of the request."""


@asynccontextmanager
async def open_service() -> AsyncIterator[str]:
    async with Bridge(Config(upstream=EMBEDDED), environ=os.environ) as bridge, serving(bridge, no_auth=True) as served:
        yield served.listening.url


@asynccontextmanager
async def open_impostor(answer: Callable[[object], Response]) -> AsyncIterator[str]:
    async def endpoint(request: Request) -> Response:
        body = await request.body()
        return answer(json.loads(body).get("id") if body else None)

    async with serving_app(Starlette(routes=[Route("/mcp", endpoint, methods=["GET", "POST"])])) as root:
        yield f"{root}/mcp"


def read_checks(folder: Path) -> Checks:
    """The suite writes a folder for each scenario: `server-NAME-TIME`."""
    found: defaultdict[str, defaultdict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for file in folder.glob("*/checks.json"):
        scenario = file.parent.name.removeprefix("server-").partition("-20")[0]
        for check in json.loads(file.read_text(encoding="utf-8")):
            found[scenario][check["id"]].add(check["status"])
    return found


def find_passed(checks: Mapping[str, set[str]]) -> set[str]:
    return {check for check, found in checks.items() if found == {"SUCCESS"}}


def find_failed(scenario: str, checks: Mapping[str, set[str]]) -> set[tuple[str, str]]:
    return {(scenario, check) for check, found in checks.items() if found & {"FAILURE", "WARNING"}}


@pytest.mark.parametrize("revision", PASSED)
async def test_the_service_passes_what_needs_no_fixtures(revision: str, run_node: RunNode, tmp_path: Path) -> None:
    reports: dict[str, Checks] = {}

    async def judge(name: str, target: AbstractAsyncContextManager[str]) -> None:
        async with target as url:
            options = ["--requirements", revision, "--output-dir", str(tmp_path / name)]
            done = await run_node("conformance", "server", "--url", url, *options)
        reports[name] = read_checks(tmp_path / name)
        assert reports[name], done.stderr.decode()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(judge, "ours", open_service())
        for name, answer in IMPOSTORS.items():
            tasks.start_soon(judge, name, open_impostor(answer))
    ours = reports.pop("ours")
    telling = {
        scenario
        for scenario, checks in ours.items()
        if not any(find_passed(checks) <= find_passed(theirs.get(scenario, {})) for theirs in reports.values())
    }
    failed = {scenario: find_failed(scenario, checks) for scenario, checks in ours.items()}
    assert {scenario for scenario in telling if failed[scenario] <= DIFFERENCES.keys()} == PASSED[revision]
    for scenario in failed.keys() & {name for name, _ in DIFFERENCES}:
        assert failed[scenario] == {key for key in DIFFERENCES if key[0] == scenario}


@pytest.mark.parametrize("scenario", TASKS)
async def test_our_tasks_pass_every_check_of_the_extension(scenario: str, run_node: RunNode, tmp_path: Path) -> None:
    async with serve_toys() as url:
        options = ["--scenario", scenario, "--output-dir", str(tmp_path)]
        done = await run_node("conformance", "server", "--url", url, *options)
    [checks] = read_checks(tmp_path).values()
    assert {check: found for check, found in checks.items() if found != {"SUCCESS"}} == {}, done.stderr.decode()
    assert len(checks) == TASKS[scenario]
