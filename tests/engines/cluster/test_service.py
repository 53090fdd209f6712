"""Two replicas of the service behind a proxy that gives each request to the next of them."""

import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import anyio
import httpx2
import pytest
from mcp import Client
from starlette.applications import Starlette
from starlette.requests import Request as WebRequest
from starlette.responses import StreamingResponse
from starlette.routing import Route

from tests.engines.cluster.postgres import Postgres
from tests.engines.cluster.replicas import LONG_S
from tests.fakes.replies import gated
from tests.fakes.service import connect, serving_app, start_service
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, call, message, responds

pytestmark = [pytest.mark.anyio, pytest.mark.external]

RUNS = 4


def build_proxy(ports: Sequence[int], served: Counter[int], client: httpx2.AsyncClient) -> Starlette:
    """An application that gives each request to the next port."""
    turns = itertools.cycle(ports)

    async def forward(request: WebRequest) -> StreamingResponse:
        port, body = next(turns), await request.body()
        served[port] += 1
        headers = [(name, value) for name, value in request.headers.items() if name not in ("host", "content-length")]
        sent = client.build_request(
            request.method, f"http://127.0.0.1:{port}{request.url.path}", headers=headers, content=body
        )
        reply = await client.send(sent, stream=True)

        async def stream() -> AsyncIterator[bytes]:
            try:
                async for part in reply.aiter_raw():
                    yield part
            finally:
                await reply.aclose()

        kept = {name: value for name, value in reply.headers.items() if name in ("content-type", "mcp-session-id")}
        return StreamingResponse(stream(), reply.status_code, kept)

    return Starlette(routes=[Route("/{path:path}", forward, methods=["GET", "POST", "DELETE"])])


async def wait(client: Client, run_id: str) -> str:
    """How a run ends, asked for at one replica and the other in turns."""
    with anyio.fail_after(LONG_S):
        while True:
            waited = await client.call_tool("respond_wait", {"run_id": run_id})
            assert waited.structured_content
            if waited.structured_content["status"] != "in_progress":
                return str(waited.structured_content["status"])


async def test_clients_without_sessions_are_served_by_any_replica(postgres: Postgres, tmp_path: Path) -> None:
    gate, served = anyio.Event(), Counter[int]()

    def answer(request: Request) -> Reply:
        has_called = len(request.json["input"]) > 1
        return responds(message("done")) if has_called else gated(responds(call("current_time")), gate)

    async with AsyncExitStack() as stack:
        model = await stack.enter_async_context(ScriptedUpstream(answer))
        upstream = {"base_url": model.base_url, "model": "m"}
        config = {"upstream": upstream, "runs": {"store": postgres.url}, "limits": {"soft_deadline_s": 1}}
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config), encoding="utf-8")
        file.chmod(0o600)
        ports = [(await stack.enter_async_context(start_service("--config", str(file))))[1] for _ in range(2)]
        sender = await stack.enter_async_context(httpx2.AsyncClient(timeout=LONG_S))
        proxy = await stack.enter_async_context(serving_app(build_proxy(ports, served, sender)))
        client = await stack.enter_async_context(connect(int(proxy.rpartition(":")[2]), "/mcp", "2026-07-28"))
        run_ids = list[str]()
        for number in range(RUNS):
            begun = await client.call_tool("respond", {"input": f"Hello {number}"})
            assert begun.structured_content
            assert begun.structured_content["status"] == "in_progress"
            run_ids.append(begun.structured_content["run_id"])
        gate.set()
        for run_id in run_ids:
            assert await wait(client, run_id) == "completed"
            further = await client.call_tool("respond", {"input": "And now?", "run_id": run_id})
            assert not further.is_error
    assert abs(served[ports[0]] - served[ports[1]]) <= 1
    assert len(model.requests) == 3 * RUNS
