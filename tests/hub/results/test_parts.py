"""The content of a result: all that is known of it arrives, and what is not arrives in words."""

import json
import math
from typing import Any

import pytest

from bridge.jsonrpc.messages import MENDED_WORDS
from tests.fakes.bridges import open_bridge
from tests.fakes.http import HttpServer, build_altered
from tests.fakes.servers import PIXEL
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

TEXT = {"type": "text", "text": "hello"}
LINK = {"type": "resource_link", "uri": "test://note", "name": "note"}
IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
SHOWN = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}


def texts(count: int) -> list[Any]:
    return [{"type": "text", "text": f"part {number}"} for number in range(count)]


async def use(*results: Any) -> list[Any]:
    """What the model reads of each: a call is answered with the one whose place it names."""

    def choose(params: Any, result: Any) -> None:
        result.pop("content")
        result |= results[int(params["arguments"]["text"])]

    async with (
        HttpServer(lambda: build_altered("tools/call", choose)) as server,
        open_bridge({"odd": {"url": server.url, "require_approval": "never"}}) as bridge,
    ):
        outcome = await bridge.use(*(call("odd__echo", {"text": str(place)}) for place in range(len(results))))
    return outcome.outputs


ODD: dict[str, tuple[Any, Any]] = {
    "a kind that is not known yet": (
        {"content": [TEXT, {"type": "hologram", "data": "xyz", "size": 3}, TEXT]},
        'hello\n{"type":"hologram","data":"xyz","size":3}\nhello',
    ),
    "a kind of another place": (
        {"content": [TEXT, {"type": "tool_use", "id": "1", "name": "n", "input": {}}]},
        'hello\n{"type":"tool_use","id":"1","name":"n","input":{}}',
    ),
    "a text that is none": ({"content": [{"type": "text", "text": {"a": 1}}]}, '{"type":"text","text":{"a":1}}'),
    "a text without its kind": ({"content": ["hello", None]}, "hello\nnull"),
    "a text for all content": ({"content": "hello"}, "hello"),
    "a part for all content": ({"content": TEXT}, "hello"),
    "no content": ({"content": None}, "(no output)"),
    "no content beside structured": ({"structuredContent": {"a": 1}}, '{"a":1}'),
    "an image of no kind": ({"content": [{"type": "image", "data": PIXEL}]}, [SHOWN]),
    "odd annotations": ({"content": [{**TEXT, "annotations": {"priority": 7}}]}, "hello"),
    "no word on errors": ({"content": [TEXT], "isError": None, "_meta": [1]}, "hello"),
    "a resource that is nowhere": (
        {"content": [TEXT, {"type": "resource", "resource": {"text": "x"}}]},
        'hello\n{"type":"resource","resource":{"text":"x"}}',
    ),
}


async def test_what_is_no_known_content_arrives_in_words_and_costs_nothing_else() -> None:
    outputs = await use(*(result for result, _ in ODD.values()))
    assert dict(zip(ODD, outputs, strict=True)) == {name: said for name, (_, said) in ODD.items()}


async def test_what_json_cannot_hold_is_said_in_words() -> None:
    deep: Any = 0
    for _ in range(150):
        deep = [deep]
    outputs = await use({"content": [TEXT, {"type": "odd", "x": math.nan}]}, {"content": [TEXT, {"x": deep}]})
    assert outputs[0] == 'hello\n{"type":"odd","x":"NaN"}'
    assert outputs[1].startswith('hello\n{"x":[[')


async def test_all_parts_of_a_thousand_arrive_in_their_order() -> None:
    odd = {"type": "hologram"}
    parts = [*texts(600), odd, *texts(399), LINK]
    [output] = await use({"content": parts, "structuredContent": {"n": 1}, "_meta": {"a": 1}})
    link = {"name": "note", "uri": "test://note", "type": "resource_link"}
    said = [part["text"] if part["type"] == "text" else json.dumps(part, separators=(",", ":")) for part in parts[:-1]]
    assert output == "\n".join([*said, json.dumps(link, separators=(",", ":")), '{"n":1}'])


async def test_an_image_among_a_thousand_texts_is_seen() -> None:
    [parts] = await use({"content": [*texts(600), IMAGE, *texts(400)]})
    assert [part["type"] for part in parts] == ["input_text"] * 600 + ["input_image"] + ["input_text"] * 400
    assert [part["text"] for part in parts[601:]] == [part["text"] for part in texts(400)]


async def test_half_an_emoji_among_a_thousand_texts_is_told() -> None:
    [output] = await use({"content": [*texts(1000), {"type": "text", "text": "\ud83d"}]})
    assert output.splitlines()[1000:] == ["\ufffd", f"[{MENDED_WORDS}]"]
