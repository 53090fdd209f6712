"""What was too long for the model stays readable in its run: page by page, and by words."""

import json
import re
from typing import Any

import pytest
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from tests.fakes.bridges import ask, open_bridge, outputs_of
from tests.fakes.upstream import Request, call, message, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("done"))
LIMITS = {"output_bytes": 1000}
TEXT = "".join(f"line {n}: 日本 Größe\n" for n in range(500))
ID = "read_output with id 1 has all of it"


def library() -> MCPServer:
    """Tools `book(text)`: the text; `burn(text)`: fails with it."""
    server = MCPServer("library")

    @server.tool()
    def book(text: str = TEXT) -> str:
        return text

    @server.tool()
    def burn() -> str:
        raise ToolError(TEXT)

    return server


async def read(*turns: list[dict[str, Any]], limits: dict[str, Any] = LIMITS) -> tuple[list[Any], dict[str, Any]]:
    """The outputs of the calls of these turns, and the receipt."""
    script = [*(responds(*calls) for calls in turns), DONE]
    receipt, requests = await ask(script, {"lib": library()}, limits=limits)
    return outputs_of(requests[-1]), receipt


@pytest.mark.rule("S16", "L13")
async def test_a_cut_output_is_read_page_by_page_to_the_last_byte() -> None:
    size = len(TEXT.encode())

    def go_on(request: Request) -> Any:
        page = outputs_of(request)[-1]
        if found := re.search(r"^\[output 1, bytes .* the next begins at offset (\d+)\]$", page.split("\n")[0]):
            return responds(call("read_output", {"id": 1, "offset": int(found[1])}))
        return DONE if "this is its end" in page else responds(call("read_output", {"id": 1}))

    limits = LIMITS | {"max_turns": 50}
    receipt, requests = await ask(
        lambda request: go_on(request) if outputs_of(request) else responds(call("lib__book")),
        {"lib": library()},
        limits=limits,
    )
    first, *pages = outputs_of(requests[-1])
    assert re.search(rf"bytes left out here, from offset \d+ on; {ID} …\]", first)
    assert f"of {size:,}" in first
    assert "".join(page.partition("\n")[2] for page in pages) == TEXT
    assert all(len(page.partition("\n")[2].encode()) <= 1000 for page in pages)
    assert {made["server"] for made in receipt["tool_calls"][1:]} == {"bridge"}
    assert not any(made["is_error"] for made in receipt["tool_calls"])


async def test_words_are_found_with_the_place_to_read_on_from() -> None:
    offset = TEXT.encode().index(b"line 321:")
    turns = [
        [call("lib__book")],
        [
            call("read_output", {"id": 1, "search": "LINE 321: 日本"}),
            call("read_output", {"id": 1, "offset": offset}),
            call("read_output", {"id": 1, "search": "nowhere"}),
            call("read_output", {"id": 1, "search": "line", "offset": offset}),
        ],
    ]
    (_, found, page, nowhere, many), _ = await read(*turns)
    head, hit = found.split("\n")
    assert "'LINE 321: 日本' is in 1 places from offset 0 on" in head
    assert hit.startswith(f"{offset}: …")
    assert "line 321: 日本 Größe line 322" in hit
    assert page.partition("\n")[2].startswith("line 321: 日本 Größe\n")
    assert nowhere.endswith("'nowhere' is in 0 places from offset 0 on]")
    assert "'line' is in 179 places" in many
    assert f"search on from offset {TEXT.encode().index(b'line 341:')}]" in many
    assert len(many.split("\n")) == 21


async def test_a_long_error_is_still_json_and_stays_readable_too() -> None:
    (error, page), receipt = await read([call("lib__burn")], [call("read_output", {"id": 1, "offset": 0})])
    assert ID in json.loads(error)["message"]
    assert page.partition("\n")[2].startswith("Error executing tool burn: line 0: 日本")
    assert [made["is_error"] for made in receipt["tool_calls"]] == [True, False]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"id": 2}, "there is no long output 2; stored are: 1"),
        ({}, '"id" is a required property'),
        ({"id": "1"}, "is not of type"),
        ({"id": 1, "offset": -1}, "less than the minimum of 0"),
        ({"id": 1, "search": "x" * 201}, "longer than 200 characters"),
        ("no JSON", "Expecting value"),
    ],
)
async def test_a_wrong_wish_is_answered_in_words(arguments: Any, words: str) -> None:
    (_, output), receipt = await read([call("lib__book")], [call("read_output", arguments)])
    assert json.loads(output)["error"] == "invalid_arguments"
    assert words in json.loads(output)["message"]
    assert receipt["tool_calls"][1]["is_error"]


async def test_an_offset_inside_a_character_or_behind_the_end_breaks_nothing() -> None:
    offset = TEXT.encode().index("日".encode()) + 1
    wishes = [call("read_output", {"id": 1, "offset": place}) for place in (offset, 10**9)]
    (_, inside, behind), _ = await read([call("lib__book")], wishes)
    assert inside.partition("\n")[2].startswith("日本")
    assert behind.endswith("this is its end]\n")


async def test_a_run_keeps_its_newest_outputs_and_says_which_it_gave_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bridge.run.tools.read_output.MAX_BYTES", 5000)
    books = [[call("lib__book", {"text": letter * 2000})] for letter in "abc"]
    outputs, receipt = await read(*books, [call("read_output", {"id": number}) for number in (1, 2, 3)])
    gone, second, third = outputs[3:]
    assert "output 1 is no longer kept" in json.loads(gone)["message"]
    assert second.endswith("b" * 1000)
    assert third.endswith("c" * 1000)
    [notice] = receipt["notices"]
    assert notice["code"] == "output_dropped"
    assert notice["message"].startswith("Long output 1 (2,000 bytes) is no longer kept")


async def test_it_is_offered_from_the_first_turn_on_in_the_same_bytes_and_only_beside_a_servers_tools() -> None:
    script = [responds(call("lib__book")), responds(call("read_output", {"id": 1})), DONE]
    _, requests = await ask(script, {"lib": library()}, builtin_tools=True, limits=LIMITS)
    first, *others = [request.body[: request.body.index(b'],"input":[')] for request in requests]
    assert b"read_output" in first
    assert others == [first, first]
    for chosen in (["current_time"], list[str]()):
        _, (alone,) = await ask([DONE], {"lib": library()}, {"tools": chosen}, builtin_tools=True)
        assert b"read_output" not in alone.body


@pytest.mark.rule("S28")
async def test_no_run_reads_the_outputs_of_another() -> None:
    await read([call("lib__book")])
    (output,), _ = await read([call("read_output", {"id": 1})])
    assert "there is no long output 1; stored are: none" in json.loads(output)["message"]


async def test_pages_share_the_bytes_of_their_turn() -> None:
    pages = [call("read_output", {"id": 1, "offset": n * 1000}) for n in range(4)]
    (_, *read_pages), _ = await read([call("lib__book")], pages, limits=LIMITS | {"turn_bytes": 2000})
    assert [len(page.partition("\n")[2].encode()) for page in read_pages] == pytest.approx([500] * 4, abs=4)


async def test_an_id_of_an_earlier_run_of_the_conversation_is_not_given_again() -> None:
    script = [
        responds(call("lib__book")),
        DONE,
        responds(call("lib__book")),
        responds(call("read_output", {"id": 1})),
        DONE,
    ]
    async with open_bridge({"lib": library()}, script=script, limits=LIMITS) as bridge:
        first = await bridge.respond()
        await bridge.respond("Go on.", previous_response_id=first["response_id"])
    old, new, gone = outputs_of(bridge.requests[-1])
    assert ID in old
    assert "read_output with id 2 has all of it" in new
    assert "belonged to an earlier run" in json.loads(gone)["message"]
