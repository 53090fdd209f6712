"""The schema of a result says what every result has, for programs: whatever way the run ended, no client refuses it."""

import json
from collections.abc import Iterator
from copy import deepcopy
from typing import Any

import jsonschema
import jsonschema_rs
import pytest
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import MCPServer

from bridge.errors import Busy
from bridge.host.result_schema import RESULT
from bridge.run.limits import fail_with
from bridge.run.receipt import build_receipt
from bridge.texts import estimate_tokens
from tests.fakes.bridges import ERAS, open_bridge
from tests.fakes.endings import ENDINGS, go_on_and_stop, reach
from tests.fakes.upstream import message, responds

pytestmark = pytest.mark.anyio

MOST_TOKENS = 900
"""For the names, descriptions and input schemas of our tools, which a host shows its model with every request."""
SERVERS = {
    **{"filesystem": 14, "git": 12, "github": 101, "playwright": 34, "memory": 9, "notion": 22},
    "google-workspace": 113,
}


def close(schema: Any) -> Any:
    """The schema as it would be if it allowed nothing that it does not name; what has no names stays open."""
    if isinstance(schema, list):
        return [close(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: close(part) for key, part in schema.items()}
    return closed | ({"additionalProperties": False} if "properties" in schema and "type" in schema else {})


def list_fields(schema: Any, at: str = "") -> Iterator[str]:
    """Every field that the schema names, with the way to it."""
    for choice in schema.get("anyOf", []):
        yield from list_fields(choice, at)
    if isinstance(schema.get("items"), dict):
        yield from list_fields(schema["items"], at)
    for name, part in schema.get("properties", {}).items():
        yield f"{at}{name}"
        yield from list_fields(part, f"{at}{name}.")


def list_seen(value: Any, at: str = "") -> Iterator[str]:
    if isinstance(value, list):
        for part in value:
            yield from list_seen(part, at)
    elif isinstance(value, dict):
        for name, part in value.items():
            yield f"{at}{name}"
            yield from list_seen(part, f"{at}{name}.")


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("name", ENDINGS)
async def test_a_strict_client_accepts_every_result(name: str, mode: ConnectMode) -> None:
    receipt = await reach(ENDINGS[name], mode)
    assert receipt["status"] == ENDINGS[name].status
    for schema in (RESULT, close(RESULT)):
        assert jsonschema_rs.validator_for(schema).is_valid(receipt)
        jsonschema.validate(receipt, schema)


@pytest.mark.parametrize("mode", ERAS)
async def test_it_accepts_those_of_a_run_that_goes_on_and_is_stopped_and_of_one_that_is_not_known(
    mode: ConnectMode,
) -> None:
    receipts = await go_on_and_stop(mode)
    assert [receipt["status"] for receipt in receipts] == ["in_progress", "in_progress", "cancelled", "failed"]
    for receipt in receipts:
        jsonschema.validate(receipt, close(RESULT))


async def test_the_schema_names_what_results_have_and_nothing_else() -> None:
    """A field that is added to a result, or taken away from it, is so in the schema."""
    receipts = [await reach(ending) for ending in ENDINGS.values()] + await go_on_and_stop()
    async with open_bridge(script=[responds(message("Hi."))]) as bridge:
        await bridge.respond()
        listed = await bridge.client.call_tool("respond_wait", {})
    assert isinstance(listed.structured_content, dict)
    receipts.append(listed.structured_content)
    receipts.append(build_receipt(None, [], fail_with(Busy("busy", retry_after_s=1)), limit_chars=4000))
    seen = {name for receipt in receipts for name in list_seen(receipt)}
    named = set(list_fields(RESULT))
    assert named - seen == set()
    assert {
        name for name in seen - named if name.partition(".")[0] not in ("output", "output_parsed", "pending", "runs")
    } == {
        name for name in seen if name.startswith(("usage.per_turn.", "tool_calls.arguments.", "tool_calls.output."))
    }, "their fields are the upstream's, the tools' and the API's"
    assert set(RESULT["required"]) == set.intersection(*(set(receipt) for receipt in receipts))  # type: ignore[arg-type]


@pytest.mark.parametrize("mode", ERAS)
async def test_all_three_tools_declare_it_in_both_eras_and_it_is_a_schema(mode: ConnectMode) -> None:
    async with open_bridge(mode=mode) as bridge:
        tools = (await bridge.client.list_tools()).tools
    assert [tool.output_schema for tool in tools] == [RESULT] * 3
    for draft in (jsonschema.Draft7Validator, jsonschema.Draft202012Validator):
        draft.check_schema(deepcopy(RESULT))
    assert RESULT["type"] == "object"
    assert "additionalProperties" not in json.dumps(RESULT), "a later version may add fields"


async def test_what_a_host_shows_its_model_of_us_costs_900_tokens_at_most() -> None:
    """With seven servers and 305 tools behind us. In o200k it is 0.97 of the estimate, as `bpe-openai` counts."""
    servers = {name: have_tools(name, number) for name, number in SERVERS.items()}
    async with open_bridge(servers, builtin_tools=True, upstream={"model": "gpt-5.4"}) as bridge:
        await bridge.hub.catalogue()
        tools = (await bridge.client.list_tools()).tools
    assert all(name in (tools[0].description or "") for name in servers)
    shown = [{"name": tool.name, "description": tool.description, "input_schema": tool.input_schema} for tool in tools]
    assert estimate_tokens(json.dumps(shown, ensure_ascii=False, separators=(",", ":"))) <= MOST_TOKENS


def have_tools(name: str, number: int) -> MCPServer:
    server = MCPServer(name)
    for n in range(number):
        server.tool(name=f"tool_{n}")(lambda: "done")
    return server
