"""Fifty clients of five principals at once, with equal request ids, over every transport and era: none meets another.

As anthropics/claude-ai-mcp#539, where all requests have the id 1 and answers go to somebody else.
"""

import gc
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from tests.fakes.bridges import open_without_host
from tests.fakes.clock import PATIENCE_S
from tests.fakes.commands import run
from tests.fakes.httphost import http_host
from tests.fakes.items import Json
from tests.fakes.service import TOKEN, Served, connect, serving, start_service
from tests.fakes.upstream import Request, ScriptedUpstream, call, gated, message, responds

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.external,
    pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"),
]

NAMES = ("ann", "bob", "eve", "ida", "tom")
CLIENTS_OF_EACH = 10
PATHS: tuple[tuple[str, Any], ...] = (("/mcp", "auto"), ("/mcp", "legacy"), ("/sse", "auto"), ("/sse", "legacy"))


def token_of(name: str) -> str:
    return f"token-of-{name}-for-the-tests"


class Meeting:
    """A model that answers nobody until all are there. Each is given a call, and then told its own words."""

    def __init__(self, clients: int) -> None:
        self._missing = clients
        self._all_here = anyio.Event()

    def answer(self, request: Request) -> Any:
        items = request.json["input"]
        asked = str(items[0]["content"])
        if asked.startswith("go on") or any("output" in item for item in items):
            return responds(message(f"answer to {asked}"), id="resp_same")
        self._missing -= 1
        if not self._missing:
            self._all_here.set()
        made = call("math_calculator", {"expression": f"{asked.split('-')[-1]}+0"}, call_id="call_same")
        return gated(responds(made), self._all_here)


@asynccontextmanager
async def service() -> AsyncIterator[Served]:
    people: Json = {name: {"token": token_of(name), "max_runs": 20} for name in NAMES}
    async with (
        ScriptedUpstream(Meeting(50).answer) as upstream,
        open_without_host(upstream, builtin_tools=True, serve={"principals": people}) as bridge,
        serving(bridge, principals=people) as served,
    ):
        yield served
    gc.collect()  # the SDK does not close the channels of a stream of SSE


@pytest.mark.rule("S28")
async def test_fifty_clients_of_five_principals_never_meet() -> None:
    """Each asks with its canary; then each tries every run of the others, by its id and by the equal response id."""
    canaries: dict[str, list[str]] = {name: [] for name in NAMES}
    runs: dict[str, str] = {}
    wrong: list[str] = []

    async def ask(client: Client, name: str, canary: str) -> None:
        with anyio.fail_after(10 * PATIENCE_S):
            receipt = (await client.call_tool("respond", {"input": canary})).structured_content or {}
        if receipt.get("output_text") != f"answer to {canary}":
            wrong.append(f"{canary}: {json.dumps(receipt)[:200]}")
        runs[canary] = str(receipt.get("run_id"))
        canaries[name].append(canary)

    async with service() as served, AsyncExitStack() as stack:
        clients: list[tuple[str, str, Client]] = []
        for number in range(CLIENTS_OF_EACH * len(NAMES)):
            name, (path, mode) = NAMES[number % len(NAMES)], PATHS[number // len(NAMES) % len(PATHS)]
            client = await stack.enter_async_context(connect(served.port, path, mode, token=token_of(name)))
            clients.append((name, f"canary-{name}-{number}", client))
        async with anyio.create_task_group() as tasks:
            for name, canary, client in clients:
                tasks.start_soon(ask, client, name, canary)
        assert (wrong, len(runs)) == ([], 50)
        for name in NAMES:
            await meet(served, name, canaries, runs, wrong)
        assert wrong == []


async def meet(
    served: Served, name: str, canaries: dict[str, list[str]], runs: dict[str, str], wrong: list[str]
) -> None:
    """What one principal finds: all of its own, by whichever client, and nothing else."""
    for mode in ("auto", "legacy"):
        async with http_host(served.port, mode, token=token_of(name), name="the same") as host:
            listed = await (await host.call("", tool="respond_wait", arguments={})).result()
            said = json.dumps(listed)
            for canary, run_id in runs.items():
                is_own = canary in canaries[name]
                found = await (await host.call(run_id, tool="respond_wait")).receipt()
                if (found.get("output_text") == f"answer to {canary}") != is_own or (run_id in said) != is_own:
                    wrong.append(f"{name} and {canary} in {mode}: {json.dumps(found)[:200]}")
            going_on = {"input": "go on", "previous_response_id": "resp_same"}
            receipt = await (await host.call("", arguments=going_on)).receipt()
            others = [canary for each in NAMES if each != name for canary in canaries[each]]
            if any(canary in json.dumps(receipt) for canary in others):
                wrong.append(f"{name} goes on from {json.dumps(receipt)[:200]}")


async def test_a_real_service_takes_a_token_that_is_made_while_it_runs(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"serve": {"principals": {"ann": {"tools": {"only": ["current_time"]}}}}}), "utf-8")
    async with start_service("--offline", "--config", str(file), says="token") as (_, port):
        made = await run(capfd, "tokens", "add", "ann", "--config", str(file))
        for token in (made.stdout.strip(), TOKEN):
            async with connect(port, "/mcp", "auto", token=token) as client:
                receipt = (await client.call_tool("respond", {"input": "hello"})).structured_content or {}
                assert receipt["status"] == "completed"
        await run(capfd, "tokens", "remove", "ann", "--config", str(file))
        async with httpx2.AsyncClient(verify=False) as http:
            headers = {"Authorization": f"Bearer {made.stdout.strip()}"}
            reply = await http.get(f"http://127.0.0.1:{port}/healthz", headers=headers)
            assert reply.status_code == 401
