"""Metrics of a bridge: what its runs come to, at `/metrics`."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from bridge.app import Bridge
from bridge.config.changes import compare
from bridge.signals.choice import Signals
from bridge.signals.counts import MAX_SERIES, Counts
from bridge.signals.names import COUNTED, QUESTIONS, READ, spell_metric
from tests.fakes.bridges import configure, open_without_host
from tests.fakes.clock import VirtualClock
from tests.fakes.servers import OrderedServer
from tests.fakes.service import TOKEN, Served, serving
from tests.fakes.telling import build_server
from tests.fakes.upstream import ScriptedUpstream, call, http_error, message, responds

pytestmark = pytest.mark.anyio

Series = dict[str, dict[tuple[str, ...], float]]


@asynccontextmanager
async def counted(model: ScriptedUpstream, servers: Any = None, **options: Any) -> AsyncIterator[tuple[Bridge, Served]]:
    """A bridge that is served, and its metrics with it; `serve` are the settings of the service."""
    settings = options.pop("serve", {})
    upstream = {"base_url": model.base_url, "model": "gpt-4.1"}
    prices = options.get("prices", {})
    serve = {"token": TOKEN, **settings}
    config = configure({}, upstream=upstream, serve=serve, prices=prices)
    signals = Signals(config, Counts())
    watching: dict[str, Any] = {"observers": signals.observers, "is_service": True, "serve": serve}
    async with open_without_host(model, servers, **watching, **options) as bridge:
        signals.attach(bridge)
        async with serving(bridge, routes=signals.routes, layers=signals.layers, **settings) as served:
            yield bridge, served


async def read(served: Served) -> Series:
    """The samples by name, and by the values of their labels, in the order of the labels' names; without empty ones."""
    reply = await served.send("GET", "/metrics", served.right)
    assert reply.status == 200, reply.body
    samples: Series = {}
    for family in text_string_to_metric_families(reply.body):
        for sample in family.samples:
            labels = tuple(value for name, value in sorted(sample.labels.items()) if value and name != "le")
            samples.setdefault(sample.name, {})[labels] = sample.value
    return samples


async def respond(served: Served, **arguments: Any) -> Any:
    async with served.client() as host:
        return (await host.call_tool("respond", {"input": "Hello", **arguments})).structured_content


PRICES = {"gpt-4.1": {"input": 2, "output": 8}}


async def test_a_run_is_counted_with_its_turns_calls_tokens_and_money() -> None:
    script = [responds(call("telling__tell")), responds(message("Hi."))]
    async with (
        ScriptedUpstream(script) as model,
        counted(model, {"telling": build_server()}, prices=PRICES) as (_, served),
    ):
        assert (await respond(served))["status"] == "completed"
        found = await read(served)
    assert found["mcp_responses_bridge_runs_total"] == {("default", "completed"): 1}
    assert found["gen_ai_invoke_agent_duration_seconds_count"] == {("mcp-responses-bridge", "invoke_agent"): 1}
    assert found["gen_ai_client_operation_duration_seconds_count"] == {("chat", "openai", "gpt-4.1"): 2}
    assert found["gen_ai_client_operation_time_to_first_chunk_seconds_count"] == {("chat", "openai", "gpt-4.1"): 1}
    assert found["gen_ai_execute_tool_duration_seconds_count"] == {("execute_tool", "tell", "telling"): 1}
    assert found["gen_ai_client_token_usage_sum"][("chat", "openai", "gpt-4.1", "input")] > 0
    assert found["mcp_responses_bridge_cost_total"][("gpt-4.1", "default")] > 0
    assert found["mcp_responses_bridge_servers"] == {("telling", "ready"): 1}
    assert found["mcp_responses_bridge_runs_active"] == {(): 0}


async def test_runs_that_go_on_and_that_wait_are_seen() -> None:
    ordered = OrderedServer()
    script = [responds(call("ordered__answer", {"key": "a"})), responds(message("Hi.")), responds(message("Hi."))]
    async with (
        ScriptedUpstream(script) as model,
        counted(model, {"ordered": ordered.server}, limits={"max_runs": 1}) as (bridge, served),
    ):
        first, _ = await bridge.start({"input": "one"}, principal="host")
        await ordered.reached("a")
        second, _ = await bridge.start({"input": "two"}, principal="host")
        found = await read(served)
        ordered.release("a")
        await bridge.see_out(first)
        await bridge.see_out(second)
        later = await read(served)
    names = [f"mcp_responses_bridge_runs_{what}" for what in ("active", "waiting", "places")]
    assert [found[name][()] for name in names] == [1, 1, 1]
    assert [later[name][()] for name in names] == [0, 0, 1]


async def test_requests_that_are_repeated_and_that_fail_are_counted() -> None:
    script = [http_error(503, {"error": {"message": "x"}}), http_error(401, {"error": {"message": "x"}})]
    clock = VirtualClock(autojump=True)
    async with ScriptedUpstream(script) as model, counted(model, clock=clock) as (_, served):
        await respond(served)
        found = await read(served)
    assert found["mcp_responses_bridge_retries_total"] == {(): 1}
    assert found["gen_ai_client_operation_duration_seconds_count"] == {("401", "chat", "openai", "gpt-4.1"): 1}
    assert found["mcp_responses_bridge_runs_total"] == {("default", "failed"): 1}


async def test_what_is_refused_is_counted_by_what_refuses_it() -> None:
    async with ScriptedUpstream([]) as model, counted(model) as (_, served):
        host, token = served.right
        await served.send("GET", "/metrics", [host])
        await served.send("GET", "/metrics", [host, ("Authorization", "Bearer wrong")])
        await served.send("GET", "/metrics", [("Host", "evil.example"), token])
        await served.send("GET", "/mcp", [host, token, ("Origin", "https://evil.example")])
        for n in range(3):
            await served.send("GET", f"/wp-admin/{n}.php", [host, token])
        await respond(served, max_turns=-1)
        found = await read(served)
    assert found["mcp_responses_bridge_refusals_total"] == {
        ("http 401",): 2,
        ("http 421",): 1,
        ("http 403",): 1,
        ("http 404",): 3,
        ("invalid_argument",): 1,
    }


async def test_models_that_callers_make_up_are_one() -> None:
    def refuse(_: Any) -> Any:
        return http_error(404, {"error": {"message": "no such model"}})

    async with ScriptedUpstream(refuse) as model, counted(model) as (_, served):
        async with served.client() as host:
            for n in range(5):
                await host.call_tool("respond", {"input": "Hello", "model": f"canary-{n}"})
        found = await read(served)
    assert found["gen_ai_client_operation_duration_seconds_count"] == {("404", "chat", "openai", "_OTHER"): 5}


def test_a_metric_has_only_so_many_series() -> None:
    counts = Counts()
    for n in range(MAX_SERIES + 50):
        counts.add(QUESTIONS, 1, f"server-{n}")
    assert len(counts.sums[QUESTIONS]) == MAX_SERIES + 1
    assert counts.sums[QUESTIONS][("_OTHER",)] == 50


ALICE = "token-of-alice-1234"
PRINCIPALS = {"alice": {"token": ALICE}}


@pytest.mark.parametrize(("token", "status"), [(ALICE, 403), ("wrong", 401), (None, 401), (TOKEN, 200)])
async def test_figures_of_everybody_are_for_no_principal_among_others(token: str | None, status: int) -> None:
    settings = {"principals": PRINCIPALS}
    async with ScriptedUpstream([]) as model, counted(model, serve=settings) as (_, served):
        headers = served.right[:1] + ([("Authorization", f"Bearer {token}")] if token else [])
        reply = await served.send("GET", "/metrics", headers)
    assert reply.status == status
    assert ("runs_total" in reply.body) is (status == 200)
    assert "alice" not in reply.body or status == 200


async def test_who_may_read_them_is_what_the_config_says_by_now() -> None:
    settings = {"principals": PRINCIPALS}
    async with ScriptedUpstream([]) as model, counted(model, serve=settings) as (bridge, served):
        for others, status in (({"operator": False}, 403), ({"operator": True}, 200)):
            people = {name: entry | others for name, entry in PRINCIPALS.items()}
            serve = bridge.config.serve.model_validate({"principals": people})
            bridge.reconfigure(compare(bridge.config, bridge.config.model_copy(update={"serve": serve})))
            for entry in PRINCIPALS.values():
                headers = [served.right[0], ("Authorization", f"Bearer {entry['token']}")]
                assert (await served.send("GET", "/metrics", headers)).status == status


async def test_metrics_are_written_as_prometheus_and_as_openmetrics() -> None:
    async with ScriptedUpstream([]) as model, counted(model) as (_, served):
        plain = await served.send("GET", "/metrics", served.right)
        accept = ("Accept", "application/openmetrics-text; version=1.0.0")
        newer = await served.send("GET", "/metrics", [*served.right, accept])
    assert plain.headers["content-type"].startswith("text/plain")
    assert newer.headers["content-type"].startswith("application/openmetrics-text")
    assert newer.body.endswith("# EOF\n")
    assert plain.headers["cache-control"] == "no-store"
    for instrument in (*COUNTED, *READ):
        assert f"# TYPE {spell_metric(instrument)}" in plain.body
