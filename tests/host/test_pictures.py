"""Pictures that tools return reach people: as image content of `respond`'s result, in either era and over any wire."""

import base64
import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.server.mcpserver import MCPServer
from mcp.types import (
    AudioContent,
    BlobResourceContents,
    CallToolResult,
    ContentBlock,
    EmbeddedResource,
    ImageContent,
    TextContent,
)

from bridge.run.weight import weigh
from tests.fakes.bridges import ERAS, open_bridge, open_without_host, outputs_of, text_of
from tests.fakes.clock import VirtualClock
from tests.fakes.kinds import SILENCE
from tests.fakes.service import serving
from tests.fakes.upstream import Reply, Request, ScriptedUpstream, api_error, call, message, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("Here you are."))


def png(number: int, size: int = 60) -> str:
    """A picture of so many bytes, as base64; each number another."""
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + str(number).encode().rjust(size - 8, b"\0")).decode()


def picture(data: str, kind: str = "image/png") -> ImageContent:
    return ImageContent(type="image", data=data, mime_type=kind)


class Painter:
    """Tool `draw(key)`: the content of that key, once it may; a key that is not known is an error with a picture."""

    def __init__(self, **contents: Sequence[ContentBlock]) -> None:
        self.server = MCPServer("painter")
        self.reached, self.may = anyio.Event(), anyio.Event()
        self.may.set()
        self._contents = contents
        self.server.tool()(self.draw)

    async def draw(self, key: str) -> CallToolResult:
        self.reached.set()
        await self.may.wait()
        found = self._contents.get(key)
        return CallToolResult(content=list(found or [picture(png(9))]), is_error=found is None)


def draw(key: str) -> dict[str, Any]:
    return call("paint__draw", {"key": key})


async def show(
    painter: Painter, *turns: Reply, mode: ConnectMode = "auto", detail: str = "summary", **sections: Any
) -> CallToolResult:
    """The result of a run whose model does so turn by turn."""
    async with open_bridge({"paint": painter.server}, script=turns, mode=mode, **sections) as bridge:
        return await bridge.client.call_tool("respond", {"input": "Draw", "detail": detail})


def shown(result: CallToolResult) -> list[str]:
    return [block.data for block in result.content if isinstance(block, ImageContent)]


def of(result: CallToolResult, field: str = "images") -> Any:
    assert result.structured_content is not None
    return result.structured_content.get(field)


def told(result: CallToolResult, code: str = "images_left_out") -> list[str]:
    """The notices with this code, which a host that shows only text has too."""
    messages = [notice["message"] for notice in of(result, "notices") if notice["code"] == code]
    assert all(f"[{words}]" in text_of(result) for words in messages)
    return messages


@pytest.mark.parametrize("mode", ERAS)
async def test_a_picture_of_a_tool_is_in_the_result_and_its_bytes_are_there_once(mode: ConnectMode) -> None:
    painter = Painter(a=[TextContent(type="text", text="drawn"), picture(png(1))])
    result = await show(painter, responds(draw("a")), DONE, mode=mode)
    assert shown(result) == [png(1)]
    assert of(result) == [{"server": "paint", "tool": "draw", "type": "image/png", "bytes": 60}]
    assert text_of(result) == "Here you are.\n[with an image of paint.draw, image/png, 60 bytes]"
    assert png(1) not in json.dumps(result.structured_content)
    assert [block.type for block in result.content] == ["text", "text", "image"], "the answer comes first"


async def test_the_full_result_has_its_bytes_among_the_items_alone() -> None:
    result = await show(Painter(a=[picture(png(1))]), responds(draw("a")), DONE, detail="full")
    assert of(result, "tool_calls")[0]["output"][0]["image_url"] == "data:image/png;base64,…"
    assert json.dumps(result.structured_content).count(png(1)) == 1
    assert of(result, "output")[1]["output"][0]["image_url"].endswith(png(1))


async def test_a_picture_of_half_a_megabyte_comes_over_http_in_both_eras() -> None:
    painter = Painter(a=[picture(png(1, 500_000))])
    for mode in ERAS:
        async with (
            ScriptedUpstream([responds(draw("a")), DONE]) as upstream,
            open_without_host(upstream, {"paint": painter.server}) as bridge,
            serving(bridge) as served,
            served.client(mode=mode) as client,
        ):
            assert shown(await client.call_tool("respond", {"input": "x"})) == [png(1, 500_000)]


async def test_pictures_come_in_the_order_of_the_calls_and_the_same_one_once() -> None:
    both = [picture(png(2)), picture(png(1)), picture(png(2))]
    painter = Painter(a=[picture(png(1))], b=both, c=[picture(png(3)), picture(png(1))])
    result = await show(painter, responds(draw("a"), draw("b")), responds(draw("c")), DONE)
    assert shown(result) == [png(1), png(2), png(3)]
    assert len(of(result)) == 3


async def test_of_too_many_pictures_the_last_ones_are_shown_and_the_others_named() -> None:
    painter = Painter(**{f"k{n}": [picture(png(n))] for n in range(6)})
    result = await show(painter, *(responds(draw(f"k{n}")) for n in range(6)), DONE)
    assert shown(result) == [png(2), png(3), png(4), png(5)]
    one = "paint.draw, image/png, 60 bytes (limits.result_images is 4)"
    assert told(result) == [f"2 images are not in this result: {one}; {one}"]


async def test_what_does_not_fit_beside_the_others_is_named_with_its_size_and_the_setting() -> None:
    painter = Painter(a=[picture(png(1, 400))], b=[picture(png(2, 5000))], c=[picture(png(3, 500))])
    turns = [responds(draw("a"), draw("b"), draw("c")), DONE]
    result = await show(painter, *turns, limits={"result_image_bytes": 1000})
    assert shown(result) == [png(1, 400), png(3, 500)]
    assert told(result) == [
        "1 image is not in this result: paint.draw, image/png, 5,000 bytes (limits.result_image_bytes is 1,000)"
    ]


async def test_a_thousand_pictures_are_counted_and_not_all_named() -> None:
    painter = Painter(a=[picture(png(n)) for n in range(1000)])
    result = await show(painter, responds(draw("a")), DONE)
    assert shown(result) == [png(n) for n in range(996, 1000)]
    [words] = told(result)
    assert words.startswith("996 images are not in this result: ")
    assert words.endswith("; and 986 more")


WAV = picture(SILENCE, "image/webp")


@pytest.mark.parametrize(
    ("block", "words"),
    [
        (picture("not base64!"), "image, image/png, 8 bytes: not shown, it is not base64"),
        (picture("aGVsbG8gd29ybGQ="), "image, image/png, 11 bytes: not shown, it is not a PNG, JPEG, WebP or GIF"),
        (WAV, "image, image/webp, 44 bytes: not shown, it is not a PNG, JPEG, WebP or GIF"),
        (
            picture("PHN2Zz4=", "image/svg+xml"),
            "image, image/svg+xml, 5 bytes: not shown, it is not a PNG, JPEG, WebP or GIF",
        ),
        (picture("", "image/png"), "image, image/png, 0 bytes: not shown, it is not a PNG, JPEG, WebP or GIF"),
    ],
    ids=["wrong base64", "a text", "a sound", "a drawing in XML", "nothing"],
)
async def test_what_is_no_picture_is_named_and_not_passed_on(block: ContentBlock, words: str) -> None:
    result = await show(Painter(a=[block, picture(png(1))]), responds(draw("a")), DONE)
    assert shown(result) == [png(1)]
    assert told(result, "image_not_shown") == [f"paint__draw: {words}"]


async def test_the_type_is_that_of_the_bytes_whatever_the_server_says() -> None:
    """anthropics/claude-code#12103, microsoft/vscode#311732: a wrong type cost a host its whole conversation."""
    result = await show(Painter(a=[picture(png(1), "image/jpeg")]), responds(draw("a")), DONE)
    [block] = [block for block in result.content if isinstance(block, ImageContent)]
    assert block.mime_type == of(result)[0]["type"] == "image/png"


@pytest.mark.parametrize("data", [f"data:image/png;base64,{png(1)}", png(1)[:40] + "\n" + png(1)[40:]])
async def test_base64_in_any_spelling_is_passed_on_in_the_one_that_hosts_read(data: str) -> None:
    """PrefectHQ/fastmcp#1036 and Consensys/ask-o11y-plugin#170 met others."""
    assert shown(await show(Painter(a=[picture(data)]), responds(draw("a")), DONE)) == [png(1)]


async def test_a_picture_in_an_embedded_resource_is_one_and_a_sound_is_none() -> None:
    resource = BlobResourceContents(uri="test://a", mime_type="image/png", blob=png(1))
    sound = AudioContent(type="audio", data=SILENCE, mime_type="audio/wav")
    painter = Painter(a=[EmbeddedResource(type="resource", resource=resource), sound])
    assert shown(await show(painter, responds(draw("a")), DONE)) == [png(1)]


async def test_a_call_that_failed_or_was_refused_has_no_picture() -> None:
    async with open_bridge(
        {"paint": {"command": Painter(a=[picture(png(1))]).server, "tools": {"ask": ["*"]}}},
        script=[responds(draw("a")), DONE],
        ask=None,
    ) as bridge:
        refused = await bridge.client.call_tool("respond", {"input": "x"})
    failed = await show(Painter(), responds(draw("?")), DONE)
    for result in (refused, failed):
        assert of(result, "tool_calls")[0]["is_error"]
        assert (shown(result), of(result), told(result)) == ([], None, [])


async def test_zero_is_none_and_nothing_is_said_of_them() -> None:
    painter = Painter(a=[picture(png(1))])
    result = await show(painter, responds(draw("a")), DONE, limits={"result_images": 0})
    assert (shown(result), of(result), text_of(result)) == ([], None, "Here you are.")


async def test_an_upstream_that_takes_no_images_keeps_none_from_the_person() -> None:
    painter, script = Painter(a=[picture(png(1))]), [responds(draw("a")), DONE]
    async with open_bridge({"paint": painter.server}, script=script, upstream={"images": False}) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x"})
    assert outputs_of(bridge.requests[1])[0][0]["type"] == "input_text"
    assert shown(result) == [png(1)]


@pytest.mark.parametrize(
    ("ends", "status"),
    [(responds(message("so far"), status="incomplete"), "incomplete"), (api_error(400, "Bad"), "failed")],
    ids=["incomplete", "failed"],
)
async def test_a_run_that_ended_otherwise_still_shows_its_pictures(ends: Reply, status: str) -> None:
    result = await show(Painter(a=[picture(png(1))]), responds(draw("a")), ends)
    assert (of(result, "status"), shown(result)) == (status, [png(1)])


@pytest.mark.parametrize("mode", ERAS)
async def test_pictures_come_with_the_result_that_ends_a_run_however_often_it_is_asked_for(mode: ConnectMode) -> None:
    painter, clock = Painter(a=[picture(png(1))], b=[picture(png(2))]), VirtualClock()
    limits = {"call_timeout_s": 9999, "timeout_s": 9999}
    results = list[CallToolResult]()
    async with (
        ScriptedUpstream([responds(draw("a")), responds(draw("b")), DONE]) as upstream,
        open_without_host(upstream, {"paint": painter.server}, clock=clock, limits=limits) as bridge,
        Client(bridge.server, mode=mode) as client,
    ):

        async def begin() -> None:
            results.append(await client.call_tool("respond", {"input": "x"}))

        painter.may = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin)
            await painter.reached.wait()
            await clock.advance(45)
        assert (of(results[0], "status"), shown(results[0])) == ("in_progress", [])
        painter.may.set()
        for _ in range(2):
            result = await client.call_tool("respond_wait", {"run_id": of(results[0], "run_id")})
            assert (of(result, "status"), shown(result)) == ("completed", [png(1), png(2)])


async def test_a_run_that_was_stopped_shows_what_it_had_by_then() -> None:
    painter, clock = Painter(a=[picture(png(1))]), VirtualClock()
    async with (
        ScriptedUpstream([responds(draw("a"), draw("a")), responds(call("paint__draw", {"key": "wait"}))]) as upstream,
        open_without_host(upstream, {"paint": painter.server}, clock=clock) as bridge,
        Client(bridge.server) as client,
        anyio.create_task_group() as tasks,
    ):
        results = list[CallToolResult]()

        async def begin() -> None:
            results.append(await client.call_tool("respond", {"input": "x"}))

        tasks.start_soon(begin)
        await painter.reached.wait()
        painter.may = anyio.Event()
        await upstream.arrivals.wait(2)
        painter.reached = anyio.Event()
        await painter.reached.wait()
        [run] = await bridge.engine.list(principal="host")
        result = await client.call_tool("respond_cancel", {"run_id": run.run_id})
        assert (of(result, "status"), shown(result)) == ("cancelled", [png(1)])


async def test_a_conversation_that_goes_on_does_not_show_its_earlier_pictures_again() -> None:
    painter = Painter(a=[picture(png(1))], b=[picture(png(2))])
    script = [responds(draw("a")), DONE, responds(draw("b")), DONE]
    async with open_bridge({"paint": painter.server}, script=script) as bridge:
        first = await bridge.client.call_tool("respond", {"input": "x"})
        second = await bridge.client.call_tool("respond", {"input": "y", "run_id": of(first, "run_id")})
    assert (shown(first), shown(second)) == ([png(1)], [png(2)])


def made(result: object, **fields: Any) -> dict[str, Any]:
    return {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": result, **fields}


async def test_a_picture_that_the_upstream_makes_is_one_too() -> None:
    result = await show(Painter(), responds(made(png(1)), message("Here.")))
    assert shown(result) == [png(1)]
    assert of(result) == [{"server": None, "tool": "image_generation", "type": "image/png", "bytes": 60}]


@pytest.mark.parametrize("nothing", [None, "", 5, {"a": 1}])
async def test_a_picture_that_the_upstream_did_not_make_is_none(nothing: object) -> None:
    result = await show(Painter(), responds(made(nothing, status="failed"), message("Sorry.")))
    assert (shown(result), of(result), told(result)) == ([], None, [])


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("aGVsbG8=", "of no known kind, 5 bytes (it is not a PNG, JPEG, WebP or GIF)"),
        (png(1)[:-3] + "!!!", "image/png, 60 bytes (it is not base64)"),
    ],
)
async def test_what_the_upstream_makes_and_is_no_picture_is_named(data: str, words: str) -> None:
    result = await show(Painter(), responds(made(data), message("Here.")))
    assert told(result) == [f"1 image is not in this result: image_generation, {words}"]


async def test_with_the_longest_text_and_the_largest_pictures_a_result_is_below_one_mebibyte() -> None:
    """What Claude Desktop takes (PrefectHQ/fastmcp#1036, CursorTouch/Windows-MCP#155)."""
    painter = Painter(a=[picture(png(n, 163_840)) for n in range(4)])
    result = await show(painter, responds(draw("a")), responds(message("long " * 20_000)))
    assert len(shown(result)) == 4
    assert len(text_of(result)) > 38_000
    assert len(result.model_dump_json(by_alias=True, exclude_none=True)) < 1 << 20


async def test_a_picture_is_kept_with_its_run_and_weighed_like_all_of_it() -> None:
    painter = Painter(a=[picture(png(1, 300_000))])
    async with open_bridge({"paint": painter.server}, script=[responds(draw("a")), DONE]) as bridge:
        await bridge.respond("x")
        [run] = await bridge.engine.list(principal="host")
        assert weigh(run) > 400_000


async def test_names_of_servers_tools_and_types_act_on_nobody() -> None:
    hostile, server = "draw\x1b[31m", MCPServer("odd")
    content: list[ContentBlock] = [picture(png(1)), picture("x", "a\x1b[0m")]
    server.tool(name=hostile)(lambda: CallToolResult(content=content))

    def use(request: Request) -> Reply:
        [name, *_] = [tool["name"] for tool in request.json["tools"] if "draw" in tool["name"]]
        return DONE if len(request.json["input"]) > 1 else responds(call(name))

    async with open_bridge({"odd": server}, script=use) as bridge:
        result = await bridge.client.call_tool("respond", {"input": "x"})
    assert of(result)[0]["tool"] == hostile, "programs read names as they are"
    assert told(result, "image_not_shown")
    assert "\x1b" not in text_of(result)
