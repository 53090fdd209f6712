"""The bridge's face: what its tools say of themselves, and how hosts hear that it has changed."""

from collections.abc import Iterator
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.types import ToolListChangedNotification

from tests.fakes.bridges import ERAS, open_bridge, open_without_host
from tests.fakes.clock import PATIENCE_S
from tests.fakes.servers import error_server, ordered_server
from tests.fakes.upstream import ScriptedUpstream

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("mode", ERAS)
async def test_respond_is_listed_with_honest_annotations_and_room_for_its_result(mode: ConnectMode) -> None:
    async with open_bridge(mode=mode, limits={"result_chars": 12345}) as bridge:
        tool, *_ = (await bridge.client.list_tools()).tools
    assert tool.name == "respond"
    assert tool.meta is not None
    assert tool.meta["anthropic/maxResultSizeChars"] == 12345
    assert tool.annotations is not None
    assert (tool.annotations.read_only_hint, tool.annotations.open_world_hint) == (False, True)
    assert tool.input_schema["required"] == ["input"]
    assert tool.input_schema["additionalProperties"] is False
    assert "anyOf" not in tool.input_schema, "some hosts refuse a choice at the root"


async def test_every_value_in_a_schema_has_one_type_or_a_choice_of_such() -> None:
    """What the Inspector calls portable: hosts hand these schemas on in dialects with less in them."""

    def find_types(schema: dict[str, Any]) -> Iterator[object]:
        parts = [*schema.get("anyOf", []), *schema.get("properties", {}).values()]
        parts += [schema[name] for name in ("items", "additionalProperties") if isinstance(schema.get(name), dict)]
        yield "a choice" if "anyOf" in schema else schema.get("type")
        for part in parts:
            yield from find_types(part)

    async with open_bridge(upstream=None) as bridge:
        tools = (await bridge.client.list_tools()).tools
    types = [
        found
        for tool in tools
        for schema in (tool.input_schema, tool.output_schema)
        for found in find_types(schema or {})
    ]
    assert len(types) > 50
    assert {str(found) for found in types if not isinstance(found, str)} == set()


async def test_the_description_names_the_model_and_each_server_with_its_number_of_tools() -> None:
    servers = {"files": ordered_server().server, "faults": error_server()}
    async with open_bridge(servers, builtin_tools=True, upstream={"model": "o3-pro"}) as bridge:
        await bridge.hub.catalogue()
        tool, *_ = (await bridge.client.list_tools()).tools
    assert tool.description is not None
    assert "o3-pro" in tool.description
    for words in ("math_calculator", "files (1", "faults (3"):
        assert words in tool.description


@pytest.mark.parametrize("mode", ERAS)
async def test_a_changed_description_is_told_to_hosts_of_both_eras(mode: ConnectMode) -> None:
    heard = anyio.Event()

    async def hear(message: object) -> None:
        if isinstance(message, ToolListChangedNotification):
            heard.set()

    async with (
        ScriptedUpstream([]) as upstream,
        open_without_host(upstream, {"late": ordered_server().server}) as bridge,
        anyio.create_task_group() as tasks,
        Client(bridge.server, mode=mode, message_handler=hear, cache=None) as client,
    ):

        async def listen() -> None:
            async with client.listen(tools_list_changed=True) as changes:
                tasks.start_soon(bridge.server.tell_changes)
                async for _ in changes:
                    heard.set()

        if mode == "legacy":
            assert client.server_capabilities.tools is not None
            assert client.server_capabilities.tools.list_changed
            tasks.start_soon(bridge.server.tell_changes)
        else:
            tasks.start_soon(listen)
        await bridge.hub.catalogue()
        bridge.server.note_change()
        with anyio.fail_after(PATIENCE_S):
            await heard.wait()
        tool, *_ = (await client.list_tools()).tools
        assert "late (1" in (tool.description or "")
        tasks.cancel_scope.cancel()
