"""Results of very many parts: read a few at a time, and all that they say arrives."""

import json
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tests.fakes.http import HttpServer
from tests.fakes.rogue import Rogue
from tests.fakes.scene import scene
from tests.fakes.servers import PIXEL
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

LINK = {"type": "resource_link", "uri": "test://note", "name": "note"}
IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}


def texts(count: int) -> list[Any]:
    return [{"type": "text", "text": f"part {number}"} for number in range(count)]


def build(content: list[Any]) -> Starlette:
    """A server whose every call is answered with this content."""
    server = Rogue({})

    async def answer(request: Request) -> Response:
        message = await request.json()
        if "id" not in message:
            return Response(status_code=202)
        found = server.answer(message["method"], message.get("params", {}), message) or {}
        if message["method"] == "tools/call":
            found["result"] |= {"content": content, "structuredContent": {"n": 1}, "_meta": {"a": 1}}
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], **found})

    return Starlette(routes=[Route("/mcp", answer, methods=["POST"])])


async def use(content: list[Any]) -> Any:
    async with (
        HttpServer(lambda: build(content)) as server,
        scene({"many": {"url": server.url, "require_approval": "never"}}) as bridge,
    ):
        outcome = await bridge.use(call("many__echo", {"text": "x"}))
    return outcome.outputs[0]


async def test_all_parts_of_a_thousand_arrive_in_their_order() -> None:
    said = [part["text"] for part in texts(999)]
    link = json.dumps({"name": "note", "uri": "test://note", "type": "resource_link"}, separators=(",", ":"))
    assert await use([*texts(999), LINK]) == "\n".join([*said, link, '{"n":1}'])


async def test_an_image_among_a_thousand_texts_is_seen() -> None:
    parts = await use([*texts(600), IMAGE, *texts(399)])
    assert [part["type"] for part in parts] == ["input_text"] * 600 + ["input_image"] + ["input_text"] * 400
    assert [part["text"] for part in parts[601:1000]] == [part["text"] for part in texts(399)]


@pytest.mark.parametrize("bad", [{"type": "hologram"}, None])
async def test_one_that_is_no_part_is_named_by_its_place(bad: Any) -> None:
    told = json.loads(await use([*texts(300), bad, *texts(300)]))
    assert told["error"] == "unreadable_result"
    assert "content.300: " in told["message"]
