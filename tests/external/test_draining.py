"""SIGTERM and a service with runs: they end, or are kept, before it does; real processes."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client, MCPError

from tests.fakes.bridges import respond
from tests.fakes.clock import until
from tests.fakes.items import Json
from tests.fakes.living import Living, living, starting
from tests.fakes.service import connect
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, gated, message, responds

pytestmark = [
    pytest.mark.anyio,
    pytest.mark.external,
    pytest.mark.filterwarnings("ignore:Exception ignored in.*MemoryObject:pytest.PytestUnraisableExceptionWarning"),
]
LONG_S = 300


class Slow:
    """A model that answers when the gate is open."""

    def __init__(self) -> None:
        self.gate = anyio.Event()

    def answer(self, _request: Request) -> Reply:
        return gated(responds(message("done")), self.gate)


async def ask(client: Client, into: list[Json]) -> None:
    with suppress(MCPError):  # cut off with the service
        into.append(await respond(client, "Hello"))


async def refuses(service: Living, client: Client) -> Json:
    """What a new run is answered once the service has heard SIGTERM."""
    while (await service.health())[1]["status"] != "draining":  # noqa: ASYNC110 - each look is a request
        await asyncio.sleep(0)
    return await respond(client, "One more")


@asynccontextmanager
async def with_a_run(
    folder: Path, model: Slow, path: str, mode: Any, **serve: Any
) -> AsyncIterator[tuple[Living, Client, list[Json], ScriptedUpstream]]:
    """A service with a run that goes on, its host, and what that gets."""
    receipts = list[Json]()
    async with (
        ScriptedUpstream(model.answer) as upstream,
        living(folder, upstream, serve=serve) as (service, _),
        connect(service.port, path, mode) as client,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(ask, client, receipts)
        await upstream.arrivals.wait()
        yield service, client, receipts, upstream
        tasks.cancel_scope.cancel()


@pytest.mark.rule("S31")
@pytest.mark.parametrize(("path", "mode"), [("/mcp", "auto"), ("/sse", "legacy")])
async def test_a_run_that_goes_on_ends_first_and_its_host_gets_the_result(path: str, mode: Any, tmp_path: Path) -> None:
    """As Kuadrant/mcp-gateway#1363 and wso2/api-platform#2122: what goes on is cut, and nobody is sent elsewhere."""
    model = Slow()
    async with with_a_run(tmp_path, model, path, mode, drain_s=LONG_S) as (service, client, receipts, _):
        assert await service.health(None) == (200, {"status": "ok"})
        service.process.terminate()
        assert "1 may go on for 300 s" in await service.said("stopping: no more runs are begun")
        refused = await refuses(service, client)
        assert refused["error"]["code"] == "busy"
        assert refused["error"]["message"].startswith("The service is stopping and begins no more runs. Nothing was ")
        assert 0 < refused["error"]["retry_after_s"] <= 10
        assert await service.health(None) == (503, {"status": "draining"})
        assert (await service.health())[0] == 503
        listed = await client.call_tool("respond_wait", {})
        assert (listed.structured_content or {})["runs"][0]["status"] == "in_progress"
        service.process.send_signal(signal.SIGHUP)
        model.gate.set()
        assert await service.ends() == 0
        await until(lambda: bool(receipts))
        assert receipts[0]["output_text"] == "done"
        assert [line for line in service.lines if "reloaded" in line or "Traceback" in line] == []


async def test_a_run_that_does_not_end_in_time_is_cancelled(tmp_path: Path) -> None:
    """As avelino/mcp#70, where the time that runs are given, and what comes after it, is written nowhere."""
    async with with_a_run(tmp_path, Slow(), "/mcp", "auto", drain_s=0.2) as (service, _, _, _):
        service.process.terminate()
        assert "1 of the runs did not end in time (serve.drain_s) and are cancelled" in await service.said("in time")
        assert await service.ends() == 0


@pytest.mark.parametrize(("second", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
async def test_a_second_signal_ends_it_at_once(second: signal.Signals, code: int, tmp_path: Path) -> None:
    """As modelcontextprotocol/python-sdk#1272, where nothing but SIGKILL ends a server with an open connection."""
    async with with_a_run(tmp_path, Slow(), "/mcp", "legacy", drain_s=LONG_S) as (service, _, _, _):
        service.process.terminate()
        await service.said("stopping: no more runs are begun")
        service.process.send_signal(second)
        assert await service.ends() == code


async def test_a_run_that_is_kept_in_a_file_goes_on_in_the_next_process(tmp_path: Path) -> None:
    model, receipts = Slow(), list[Json]()
    async with ScriptedUpstream(model.answer) as upstream:
        sections = {"serve": {"drain_s": 0.2}, "runs": {"store": f"sqlite:///{tmp_path / 'runs.sqlite'}"}}
        async with (
            living(tmp_path, upstream, **sections) as (service, _),
            connect(service.port, "/mcp", "auto") as client,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(ask, client, receipts)
            await upstream.arrivals.wait()
            listed = await client.call_tool("respond_wait", {})
            run_id = (listed.structured_content or {})["runs"][0]["run_id"]
            service.process.terminate()
            assert "are kept for the next process" in await service.said("in time")
            assert await service.ends() == 0
            tasks.cancel_scope.cancel()
        async with starting(tmp_path / "config.json") as service:
            await upstream.arrivals.wait(2)
            model.gate.set()
            async with connect(service.port, "/mcp", "auto") as client:
                got = await client.call_tool("respond_wait", {"run_id": run_id})
            assert (got.structured_content or {})["output_text"] == "done"


async def test_without_runs_it_ends_at_once_and_without_a_drain_as_ever(tmp_path: Path) -> None:
    async with ScriptedUpstream(Slow().answer) as upstream, living(tmp_path, upstream) as (service, _):
        async with connect(service.port, "/mcp", "legacy"):
            service.process.terminate()
            assert await service.ends() == 0
        assert service.lines[1:] == []
    async with with_a_run(tmp_path, Slow(), "/mcp", "auto", drain_s=0) as (service, _, _, _):
        service.process.terminate()
        assert await service.ends() == 0
        assert [line for line in service.lines if "stopping" in line] == []
