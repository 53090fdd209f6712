"""The example request that the product is held to, through the whole path."""

import json
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp.client.client import ConnectMode

from tests.fakes.bridges import ERAS, open_bridge
from tests.fakes.items import example_calls
from tests.fakes.servers import OrderedServer, ordered_server
from tests.fakes.upstream import Request, call, message, reasoning, responds, validate_request

pytestmark = pytest.mark.anyio

EXAMPLE = Path(__file__).parents[2] / "bridge" / "example.json"
BODY: dict[str, Any] = json.loads(EXAMPLE.read_text(encoding="utf-8"))
NAMES = ["random_generator", "system_info", "math_calculator", "current_time"]
FOUR_CALLS = example_calls()


def four_gates(ordered: OrderedServer) -> None:
    """Give the server the example's four tools: each is answered with its name when the test says so."""
    for name in NAMES:

        async def answer(key: str = name) -> str:
            return await ordered.answer(key)

        ordered.server.tool(name=name)(answer)


def tools_text(request: Request) -> bytes:
    """A request as it was written up to its input: parameters and tools."""
    return request.body[: request.body.index(b'],"input":[')]


@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("stream", ["auto", "never"])
async def test_the_example_is_answered_by_the_built_in_tools(mode: ConnectMode, stream: str) -> None:
    async with open_bridge(
        script=[responds(*FOUR_CALLS), responds(message("580.2"))],
        builtin_tools=True,
        mode=mode,
        upstream={"stream": stream},
    ) as bridge:
        result = await bridge.client.call_tool("respond", BODY | {"detail": "full"})
        bridge.upstream.assert_complete()
    receipt = result.structured_content
    assert receipt is not None
    assert (receipt["status"], receipt["output_text"], receipt["turns"]) == ("completed", "580.2", 2)
    assert [(made["name"], made["server"], made["is_error"]) for made in receipt["tool_calls"]] == [
        (name, "builtin_tools", False) for name in NAMES
    ]
    assert "580.2" in receipt["tool_calls"][2]["output"]


@pytest.mark.rule("R2", "L10")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("stream", ["auto", "never"])
async def test_four_calls_run_at_once_and_are_answered_in_call_order(mode: ConnectMode, stream: str) -> None:
    ordered = ordered_server()
    four_gates(ordered)
    calls = [call(name, {}) for name in NAMES]
    async with (
        open_bridge(
            {"owner": {"command": ordered.server, "prefix": False, "require_approval": "never"}},
            script=[responds(*calls), responds(message("done"))],
            mode=mode,
            upstream={"stream": stream},
        ) as bridge,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(bridge.client.call_tool, "respond", BODY)
        await ordered.reached(*NAMES)  # all four are in flight: none has been answered yet
        ordered.release(*reversed(NAMES))
    bridge.upstream.assert_complete()
    assert ordered.answered == NAMES[::-1]
    outputs = bridge.requests[1].json["input"][-4:]
    assert [output["call_id"] for output in outputs] == [made["call_id"] for made in calls]
    assert [output["output"] for output in outputs] == NAMES


@pytest.mark.rule("R5")
@pytest.mark.parametrize("mode", ERAS)
@pytest.mark.parametrize("stream", ["auto", "never"])
async def test_the_next_input_is_the_last_one_and_every_output_item_as_it_came(mode: ConnectMode, stream: str) -> None:
    thought = reasoning("four at once", encrypted="gAAAA", vendor_field={"kept": [1, None]})
    comment = message("一会儿 😀", phase="commentary")
    first, *others = FOUR_CALLS
    output = [thought, comment, first | {"caller": {"type": "program", "caller_id": "prg_1"}}, *others]
    async with open_bridge(
        script=[responds(*output), responds(message("done"))],
        builtin_tools=True,
        mode=mode,
        upstream={"stream": stream},
    ) as bridge:
        await bridge.client.call_tool("respond", BODY)
    asked, again = (request.json for request in bridge.requests)
    begun, echoed, answers = again["input"][:1], again["input"][1:7], again["input"][7:]
    assert begun == asked["input"] == BODY["input"]
    assert echoed == output
    assert [list(item) for item in echoed] == [list(item) for item in output], "not even the order of keys has changed"
    assert [answer["call_id"] for answer in answers] == [made["call_id"] for made in FOUR_CALLS]
    assert answers[0]["caller"] == {"type": "program", "caller_id": "prg_1"}
    assert "caller" not in answers[1]
    assert "一会儿 😀".encode() in bridge.requests[1].body, "other scripts are written as they are"


@pytest.mark.rule("R37")
@pytest.mark.parametrize("stream", ["auto", "never"])
async def test_tools_are_the_same_bytes_in_every_turn(stream: str) -> None:
    replies = [responds(call("current_time")), responds(call("current_time")), responds(message("done"))]
    async with open_bridge(script=replies, builtin_tools=True, upstream={"stream": stream}) as bridge:
        await bridge.client.call_tool("respond", {"input": "x"})
        first, *others = map(tools_text, bridge.requests)
    assert b"math_calculator" in first
    assert others == [first, first]


async def test_what_is_sent_is_what_the_relay_and_the_api_describe() -> None:
    output = [reasoning("hm", encrypted="gAAAA"), message("wait", phase="commentary"), *FOUR_CALLS]
    async with open_bridge(
        script=[responds(*output), responds(message("done"))], builtin_tools=True, upstream={"stream": "never"}
    ) as bridge:
        await bridge.client.call_tool("respond", BODY)
    for request in bridge.requests:
        validate_request(request.json, as_written=NAMES)
    sent = bridge.requests[0].json
    assert {name: sent[name] for name in BODY} == BODY
    assert sent.keys() == BODY.keys()


async def test_the_relays_own_example_response_asks_for_an_unknown_tool_and_the_run_goes_on() -> None:
    horoscope = call("get_horoscope", {"sign": "Aquarius"}, call_id="call_6kbB2GTk62PPUNdGuBJPx9KQ")
    async with open_bridge(
        script=[responds(horoscope, content_filters=None, model="gpt-4.1-data"), responds(message("no idea"))],
        builtin_tools=True,
        upstream={"stream": "never"},
    ) as bridge:
        result = await bridge.client.call_tool("respond", BODY)
    told = json.loads(bridge.requests[1].json["input"][-1]["output"])
    assert told["error"] == "unknown_tool"
    assert result.structured_content is not None
    assert result.structured_content["output_text"] == "no idea"
    assert result.structured_content["tool_calls"][0]["is_error"]
