"""What the model reads of a tool's result: nothing is dropped in silence, and nothing the API refuses is sent."""

import base64
import io
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from mcp import types
from PIL import Image

from bridge.config.settings import StructuredContent
from bridge.hub.results.outputs import render_result
from bridge.texts import cut_middle
from tests.fakes.servers import PIXEL

TEXT = types.TextContent(type="text", text="words")
IMAGE = types.ImageContent(type="image", data=PIXEL, mime_type="image/png")
SHOWN = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}
NAMED = "[image, image/png, 68 bytes: not shown in an error]"

pytestmark = pytest.mark.anyio


def image(kind: str, data: str) -> types.ImageContent:
    return types.ImageContent(type="image", data=data, mime_type=kind)


def resource(contents: types.TextResourceContents | types.BlobResourceContents) -> types.EmbeddedResource:
    return types.EmbeddedResource(type="resource", resource=contents)


def blob(kind: str | None, data: str = PIXEL) -> types.EmbeddedResource:
    return resource(types.BlobResourceContents(uri="file:///a", mime_type=kind, blob=data))


async def render(*blocks: Any, limit: int = 1000, policy: StructuredContent = "both", **fields: Any) -> Any:
    result = types.CallToolResult(content=list(blocks), **fields)
    return (await render_result(result, limit_bytes=limit, image_bytes=100_000, policy=policy))[0]


def text(words: str) -> dict[str, str]:
    return {"type": "input_text", "text": words}


LINK = types.ResourceLink(type="resource_link", uri="file:///etc/passwd", name="half \ud83d")
AUDIO = types.AudioContent(type="audio", data="AAAA", mime_type="audio/wav")
NOTE = types.TextResourceContents(uri="note://1", text="half \ud83d")


@pytest.mark.rule("S16")
@pytest.mark.parametrize(
    ("blocks", "fields", "output"),
    [
        ([], {}, "(no output)"),
        ([TEXT], {}, "words"),
        ([types.TextContent(type="text", text="")], {}, "(no output)"),
        ([types.TextContent(type="text", text="half \ud83d")], {}, "half \ufffd"),
        ([TEXT, TEXT], {}, "words\nwords"),
        ([TEXT], {"structured_content": {"n": 1}}, 'words\n{"n":1}'),
        ([], {"structured_content": {"n": 1, "s": "é"}}, '{"n":1,"s":"é"}'),
        ([], {"structured_content": {}}, "{}"),
        ([IMAGE], {}, [SHOWN]),
        ([IMAGE], {"structured_content": {"n": 1}}, [SHOWN, text('{"n":1}')]),
        ([TEXT, IMAGE, TEXT], {}, [text("words"), SHOWN, text("words")]),
        ([image("image/svg+xml", PIXEL)], {}, [SHOWN]),
        (
            [image("image/svg+xml", "PHN2Zz4=")],
            {},
            "[image, image/svg+xml, 5 bytes: not shown, it is not a PNG, JPEG, WebP or GIF]",
        ),
        ([image("image/png", "no base64!")], {}, "[image, image/png, 7 bytes: not shown, it is not base64]"),
        ([image("image/png", "")], {}, "[image, image/png, 0 bytes: not shown, it is not a PNG, JPEG, WebP or GIF]"),
        ([AUDIO], {}, "[audio, audio/wav, 3 bytes: not shown]"),
        ([LINK], {}, '{"type":"resource_link","name":"half \ufffd","uri":"file:///etc/passwd"}'),
        ([resource(NOTE)], {}, "[resource note://1]\nhalf \ufffd"),
        ([blob("application/zip")], {}, "[resource file:///a, application/zip, 68 bytes: not shown]"),
        ([blob(None)], {}, "[resource file:///a, binary, 68 bytes: not shown]"),
        ([blob("image/png")], {}, [SHOWN]),
    ],
)
async def test_each_kind_of_result_has_its_form(blocks: list[Any], fields: dict[str, Any], output: object) -> None:
    found = await render(*blocks, **fields)
    if isinstance(output, str) and output.startswith("{"):
        found, output = json.loads(found), json.loads(output)
    assert found == output


async def test_an_error_says_so_and_is_always_text() -> None:
    result = types.CallToolResult(content=[TEXT, IMAGE], is_error=True)
    output, is_error, _ = await render_result(result, limit_bytes=1000, image_bytes=100_000)
    assert is_error
    assert isinstance(output, str)
    assert json.loads(output) == {"error": "tool_error", "message": f"words\n{NAMED}"}


async def test_a_long_error_is_cut_and_still_json() -> None:
    output = await render(types.TextContent(type="text", text='"' * 5000), is_error=True)
    assert "4,000 of 5,000 bytes left out" in json.loads(output)["message"]


@pytest.mark.rule("R36", "S16", "L13")
@pytest.mark.parametrize("limit", [1, 2, 7, 100, 999])
def test_a_cut_keeps_head_and_tail_within_the_limit_and_no_half_character(limit: int) -> None:
    whole = "head " + "日本" * 300 + " tail"
    cut = cut_middle(whole, limit)
    head, _, rest = cut.partition("\n[… ")
    tail = rest.partition(" bytes left out here …]\n")[2]
    assert len((head + tail).encode()) <= limit
    assert whole.startswith(head)
    assert whole.endswith(tail)
    assert f"of {len(whole.encode()):,}" in cut


async def test_what_fits_is_not_cut_and_short_parts_leave_their_share_to_long_ones() -> None:
    def part(size: int) -> types.TextContent:
        return types.TextContent(type="text", text="x" * size)

    fits = await render(part(990), IMAGE, part(10))
    assert [len(p["text"]) for p in fits if "text" in p] == [990, 10]
    long, _, short = await render(part(5000), IMAGE, part(10))
    assert short == text("x" * 10)
    assert "4,010 of 5,000 bytes left out" in long["text"]


def say(*texts: str) -> list[types.TextContent]:
    return [types.TextContent(type="text", text=words) for words in texts]


@pytest.mark.parametrize(
    ("texts", "structured"),
    [
        (['{"b": 2,\n "a": [1]}'], {"a": [1], "b": 2}),
        (["5"], {"result": 5}),
        (["words"], {"result": "words"}),
        (["1", '{"a":2}'], {"result": [1, {"a": 2}]}),
        ([], {"a": 1}),
    ],
)
async def test_what_text_and_structured_content_both_say_is_said_once(texts: list[str], structured: Any) -> None:
    output = await render(*say(*texts), structured_content=structured)
    assert output == ("\n".join(texts) or json.dumps(structured, separators=(",", ":")))


@pytest.mark.parametrize(
    ("policy", "output"),
    [
        ("both", [text("words"), SHOWN, text('{"n":1}')]),
        ("unless_text", [text("words"), SHOWN]),
        ("prefer", [SHOWN, text('{"n":1}'), text("[1 left out beside the structured content, as configured]")]),
        ("only", '{"n":1}\n[2 left out beside the structured content, as configured]'),
    ],
)
async def test_the_config_says_what_is_read_beside_structured_content(policy: Any, output: object) -> None:
    assert await render(TEXT, IMAGE, structured_content={"n": 1}, policy=policy) == output
    assert await render(TEXT, policy=policy) == "words"
    assert await render(*say('{"n": 1}'), structured_content={"n": 1}, policy=policy) in ('{"n":1}', '{"n": 1}')


def draw(width: int, height: int, kind: str = "PNG") -> str:
    """A noisy picture in base64: it does not compress."""
    picture = Image.frombytes("RGB", (width, height), random.Random(1).randbytes(width * height * 3))
    written = io.BytesIO()
    picture.save(written, kind)
    return base64.b64encode(written.getvalue()).decode()


async def show(data: str, limit: int) -> Any:
    result = types.CallToolResult(content=[image("image/png", data)])
    return (await render_result(result, limit_bytes=1000, image_bytes=limit))[0]


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
async def test_an_image_over_the_bound_is_scaled_and_says_so(kind: str) -> None:
    shown, told = await show(draw(300, 200, kind), 9000)
    data = base64.b64decode(shown["image_url"].removeprefix("data:image/jpeg;base64,"))
    assert len(data) <= 9000
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.width / picture.height == pytest.approx(1.5, rel=0.05)
        assert told["text"] == (f"[image, image/png: scaled from 300x200 pixels to {picture.width}x{picture.height}]")


WAYS: dict[str, Callable[[str], str]] = {
    "as a URL": lambda data: f"data:image/png;base64,{data}",
    "in lines": lambda data: "\n".join(data[place : place + 76] for place in range(0, len(data), 76)),
    "without padding": lambda data: data.rstrip("="),
    "for URLs": lambda data: data.replace("+", "-").replace("/", "_"),
}


@pytest.mark.parametrize("write", WAYS.values(), ids=WAYS)
async def test_an_image_is_seen_however_its_base64_is_written(write: Callable[[str], str]) -> None:
    data = draw(31, 20)
    [shown] = await show(write(data), 9000)
    assert shown["image_url"] == f"data:image/png;base64,{data}"


@pytest.mark.parametrize(
    ("kind", "data", "shown"),
    [
        ("text/csv", b"a,b\n1,2", "[resource test://f]\na,b\n1,2"),
        ("application/vnd.api+json; charset=utf-8", b'{"a":1}', '[resource test://f]\n{"a":1}'),
        ("text/plain", b"\xff\xfe", "[resource test://f, text/plain, 2 bytes: not shown]"),
        ("application/zip", b"text", "[resource test://f, application/zip, 4 bytes: not shown]"),
    ],
)
async def test_a_file_that_is_a_text_is_read_as_one(kind: str, data: bytes, shown: str) -> None:
    blob = types.BlobResourceContents(uri="test://f", mime_type=kind, blob=base64.b64encode(data).decode())
    assert await render(types.EmbeddedResource(type="resource", resource=blob)) == shown


async def test_an_image_within_the_bound_is_sent_as_it_is() -> None:
    data = draw(30, 20)
    [shown] = await show(data, 9000)
    assert shown["image_url"] == f"data:image/png;base64,{data}"


async def test_an_image_that_cannot_be_scaled_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"x" * 5000).decode()
    assert "not shown, it cannot be read: " in await show(broken, 1000)
    assert "not shown, it cannot be made smaller than 10 bytes" in await show(draw(30, 20), 10)
    monkeypatch.setattr("bridge.hub.results.images.MAX_PIXELS", 599)
    assert "not shown, it has 30x20 pixels" in await show(draw(30, 20), 1000)
    monkeypatch.setattr("bridge.hub.results.images.CAN_SCALE", False)
    words = "it is over the limit of 1,000 bytes, and nothing is installed to scale it"
    assert f"not shown, {words}]" in await show(draw(30, 20), 1000)
