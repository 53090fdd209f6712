"""What the model reads of a tool's result: nothing is dropped in silence, and nothing the API refuses is sent."""

import json
from typing import Any

import pytest
from mcp import types

from bridge.cuts import cut_middle
from bridge.hub.outputs import render_result
from tests.fakes.servers import PIXEL

TEXT = types.TextContent(type="text", text="words")
IMAGE = types.ImageContent(type="image", data=PIXEL, mime_type="image/png")
SHOWN = {"type": "input_image", "image_url": f"data:image/png;base64,{PIXEL}", "detail": "auto"}
NAMED = "[image, image/png, 68 bytes: not shown]"


def image(kind: str, data: str) -> types.ImageContent:
    return types.ImageContent(type="image", data=data, mime_type=kind)


def resource(contents: types.TextResourceContents | types.BlobResourceContents) -> types.EmbeddedResource:
    return types.EmbeddedResource(type="resource", resource=contents)


def blob(kind: str | None, data: str = PIXEL) -> types.EmbeddedResource:
    return resource(types.BlobResourceContents(uri="file:///a", mime_type=kind, blob=data))


def render(*blocks: Any, limit: int = 1000, **fields: Any) -> Any:
    result = types.CallToolResult(content=list(blocks), **fields)
    return render_result(result, limit_bytes=limit)[0]


def text(words: str) -> dict[str, str]:
    return {"type": "input_text", "text": words}


LINK = types.ResourceLink(type="resource_link", uri="file:///etc/passwd", name="half \ud83d")
AUDIO = types.AudioContent(type="audio", data="AAAA", mime_type="audio/wav")
NOTE = types.TextResourceContents(uri="note://1", text="half \ud83d")


@pytest.mark.parametrize(
    ("blocks", "fields", "output"),
    [
        ([], {}, "(no output)"),
        ([TEXT], {}, "words"),
        ([types.TextContent(type="text", text="")], {}, "(no output)"),
        ([types.TextContent(type="text", text="half \ud83d")], {}, "half \ufffd"),
        ([TEXT, TEXT], {}, "words\nwords"),
        ([TEXT], {"structured_content": {"n": 1}}, "words"),
        ([], {"structured_content": {"n": 1, "s": "é"}}, '{"n":1,"s":"é"}'),
        ([], {"structured_content": {}}, "{}"),
        ([IMAGE], {}, [SHOWN]),
        ([IMAGE], {"structured_content": {"n": 1}}, [SHOWN, text('{"n":1}')]),
        ([TEXT, IMAGE, TEXT], {}, [text("words"), SHOWN, text("words")]),
        ([image("image/svg+xml", PIXEL)], {}, "[image, image/svg+xml, 68 bytes: not shown]"),
        ([image("image/png", "no base64!")], {}, "[image, image/png, 7 bytes: not shown]"),
        ([image("image/png", "")], {}, "[image, image/png, 0 bytes: not shown]"),
        ([image("image/png", "A" * (20 << 20) + "AAAA")], {}, "[image, image/png, 15,728,643 bytes: not shown]"),
        ([AUDIO], {}, "[audio, audio/wav, 3 bytes: not shown]"),
        ([LINK], {}, '{"type":"resource_link","name":"half \ufffd","uri":"file:///etc/passwd"}'),
        ([resource(NOTE)], {}, "[resource note://1]\nhalf \ufffd"),
        ([blob("application/zip")], {}, "[resource file:///a, application/zip, 68 bytes: not shown]"),
        ([blob(None)], {}, "[resource file:///a, binary, 68 bytes: not shown]"),
        ([blob("image/png")], {}, [SHOWN]),
    ],
)
def test_each_kind_of_result_has_its_form(blocks: list[Any], fields: dict[str, Any], output: object) -> None:
    found = render(*blocks, **fields)
    if isinstance(output, str) and output.startswith("{"):
        found, output = json.loads(found), json.loads(output)
    assert found == output


def test_an_error_says_so_and_is_always_text() -> None:
    result = types.CallToolResult(content=[TEXT, IMAGE], is_error=True)
    output, is_error = render_result(result, limit_bytes=1000)
    assert is_error
    assert isinstance(output, str)
    assert json.loads(output) == {"error": "tool_error", "message": f"words\n{NAMED}"}


def test_a_long_error_is_cut_and_still_json() -> None:
    output = render(types.TextContent(type="text", text='"' * 5000), is_error=True)
    assert "4,000 of 5,000 bytes left out" in json.loads(output)["message"]


@pytest.mark.rule("R36")
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


def test_what_fits_is_not_cut_and_short_parts_leave_their_share_to_long_ones() -> None:
    def part(size: int) -> types.TextContent:
        return types.TextContent(type="text", text="x" * size)

    fits = render(part(990), IMAGE, part(10))
    assert [len(p["text"]) for p in fits if "text" in p] == [990, 10]
    long, _, short = render(part(5000), IMAGE, part(10))
    assert short == text("x" * 10)
    assert "4,010 of 5,000 bytes left out" in long["text"]
