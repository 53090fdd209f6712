"""A host's trace: by the headers of its requests, or by what its messages name."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from starlette.middleware import Middleware

from bridge.signals.passage import IncomingTrace
from tests.fakes.bridges import ERAS, open_without_host
from tests.fakes.collector import Span, Traced
from tests.fakes.service import TOKEN, Served, serving
from tests.fakes.upstream import ScriptedUpstream, message, responds

pytestmark = pytest.mark.anyio

RUN = "invoke_agent mcp-responses-bridge"


def name(digit: int) -> str:
    """A `traceparent`, each of its ids of one digit."""
    return f"00-{str(digit) * 32}-{str(digit) * 16}-01"


@asynccontextmanager
async def traced_service(traced: Traced) -> AsyncIterator[Served]:
    layers = [Middleware(IncomingTrace)]
    async with (
        ScriptedUpstream(lambda _: responds(message("Hi."))) as model,
        open_without_host(model, is_service=True, **traced.options) as bridge,
        serving(bridge, layers=layers) as served,
    ):
        yield served


@asynccontextmanager
async def connect(served: Served, mode: Any) -> AsyncIterator[tuple[Client, httpx2.AsyncClient]]:
    """A host, and the HTTP client whose headers its requests have."""
    async with httpx2.AsyncClient(headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60) as http:
        target = streamable_http_client(f"http://127.0.0.1:{served.port}/mcp", http_client=http)
        async with Client(target, mode=mode) as client:
            yield client, http


def parents(spans: list[Span]) -> list[str]:
    return [f"{span.trace[:1]} {span.parent[:1] or 'none'}" for span in spans]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_run_is_a_child_of_what_the_headers_of_its_own_request_name(mode: Any) -> None:
    traced = Traced()
    async with traced_service(traced) as served, connect(served, mode) as (client, http):
        for digit in (1, 2):
            http.headers["traceparent"] = name(digit)
            await client.call_tool("respond", {"input": f"Hello {digit}"})
    assert parents(traced.read().all(RUN)) == ["1 1", "2 2"], "and not of the request that began the session"


@pytest.mark.parametrize("mode", ERAS)
async def test_what_a_message_names_comes_before_the_headers(mode: Any) -> None:
    traced = Traced()
    async with traced_service(traced) as served, connect(served, mode) as (client, http):
        http.headers["traceparent"] = name(1)
        meta: Any = {"traceparent": name(3)}
        await client.call_tool("respond", {"input": "Hello"}, meta=meta)
    assert parents(traced.read().all(RUN)) == ["3 3"]


@pytest.mark.parametrize(
    "value",
    ["", "nonsense", "00-" + "0" * 32 + "-" + "1" * 16 + "-01", "ff-" + "1" * 32 + "-" + "1" * 16 + "-01", "x" * 5000],
)
async def test_a_header_that_names_no_trace_costs_nothing_but_that(value: str) -> None:
    traced = Traced()
    async with traced_service(traced) as served, connect(served, "auto") as (client, http):
        http.headers["traceparent"] = value
        result = await client.call_tool("respond", {"input": "Hello"})
    assert not result.is_error
    [run] = traced.read().all(RUN)
    assert run.parent == ""
