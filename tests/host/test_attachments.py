"""Files that `input` names by path: what is in an allowed folder is sent, and nothing of what is outside."""

import base64
import json
import os
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from bridge.errors import ArgumentError
from bridge.host.attachments import attach_files
from bridge.json_text import Json
from tests.fakes.bridges import ask, open_bridge
from tests.fakes.upstream import message, responds

pytestmark = pytest.mark.anyio

DONE = responds(message("a cat"))
PNG = b"\x89PNG\r\n\x1a\n and what follows"


def show(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "input_text", "text": "What is it?"}, *parts]}]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    allowed = tmp_path / "allowed"
    allowed.mkdir()
    (allowed / "cat.png").write_bytes(PNG)
    (allowed / "report.pdf").write_bytes(b"%PDF-1.7")
    (tmp_path / "secret.png").write_bytes(PNG)
    (allowed / "link.png").symlink_to(tmp_path / "secret.png")
    (allowed / "circle.png").symlink_to(allowed / "circle.png")
    os.mkfifo(allowed / "pipe.png")
    return allowed


async def test_an_image_and_a_file_are_sent_with_their_content(folder: Path) -> None:
    items = show(
        {"type": "input_image", "path": str(folder / "cat.png"), "detail": "low"},
        {"type": "input_file", "path": str(folder / "report.pdf")},
    )
    _, (request,) = await ask([DONE], None, {"input": items}, input_roots=[str(folder)])
    text, image, file = request.json["input"][0]["content"]
    assert text == {"type": "input_text", "text": "What is it?"}
    url = f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert image == {"type": "input_image", "detail": "low", "image_url": url}
    data = f"data:application/pdf;base64,{base64.b64encode(b'%PDF-1.7').decode()}"
    assert file == {"type": "input_file", "filename": "report.pdf", "file_data": data}


async def test_urls_and_data_urls_are_sent_as_they_are() -> None:
    parts = [
        {"type": "input_image", "image_url": "https://example.com/cat.png"},
        {"type": "input_image", "image_url": "data:image/png;base64,AAAA"},
        {"type": "input_file", "file_url": "https://example.com/report.pdf"},
    ]
    _, (request,) = await ask([DONE], None, {"input": show(*parts)})
    assert request.json["input"] == show(*parts)


@pytest.mark.rule("S33")
@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("{folder}/../secret.png", "there is no such file in"),
        ("{folder}/link.png", "there is no such file in"),
        ("{folder}/dog.png", "there is no such file in"),
        ("{folder}/circle.png", "there is no such file in"),
        ("{folder}/pipe.png", "there is no such file in"),
        ("{folder}", "there is no such file in"),
        ("/etc/passwd", "there is no such file in"),
        ("cat.png", "give the absolute path"),
        ("~/cat.png", "give the absolute path"),
        ("", "give the absolute path"),
        (5, "give the absolute path"),
        ("{folder}/cat\0.png", "give the absolute path"),
        ("{folder}/report.pdf", "report.pdf is not a PNG, JPEG, WebP or GIF image"),
        ("{folder}/huge.png", "it is over 20 MiB"),
    ],
)
async def test_any_other_path_is_an_error_that_names_the_argument_before_anything_is_sent(
    folder: Path, path: object, words: str
) -> None:
    with (folder / "huge.png").open("wb") as huge:
        os.truncate(huge.fileno(), (20 << 20) + 1)
    named = path.format(folder=folder) if isinstance(path, str) else path
    items = show({"type": "input_image", "path": named})
    receipt, requests = await ask([], None, {"input": items}, input_roots=[str(folder)])
    assert (receipt["status"], receipt["error"]["code"]) == ("failed", "invalid_argument")
    assert receipt["error"]["message"].startswith(f"input[0].content[1].path: {words}")
    assert not requests


async def test_without_a_folder_no_path_is_read(folder: Path) -> None:
    items = show({"type": "input_image", "path": str(folder / "cat.png")})
    receipt, _ = await ask([], None, {"input": items})
    assert '"input_roots"' in receipt["error"]["message"]


async def test_the_output_of_a_call_may_name_a_file_too(folder: Path) -> None:
    items = [
        {"type": "function_call", "call_id": "c", "name": "shot", "arguments": "{}"},
        {
            "type": "function_call_output",
            "call_id": "c",
            "output": [{"type": "input_image", "path": str(folder / "cat.png")}],
        },
    ]
    async with open_bridge(script=[DONE], input_roots=[str(folder)]) as bridge:
        assert (await bridge.respond(items))["output_text"] == "a cat"
    assert "path" not in bridge.requests[0].json["input"][1]["output"][0]


async def test_all_files_of_a_request_together_are_within_a_bound(folder: Path) -> None:
    large = folder / "large.pdf"
    with large.open("wb") as file:
        file.truncate(30 << 20)
    items = show(*[{"type": "input_file", "path": str(large)}] * 2)
    async with open_bridge(script=[], input_roots=[str(folder)]) as bridge:
        receipt = await bridge.respond(items)
    assert receipt["error"]["message"] == "input[0].content[2].path: all files together are over 50 MiB"
    assert not bridge.requests


@pytest.mark.rule("S33")
@pytest.mark.external
def test_a_folder_that_becomes_a_link_while_a_file_is_opened_lets_nothing_out(tmp_path: Path) -> None:
    inside, outside, parked = tmp_path / "allowed" / "inside", tmp_path / "outside", tmp_path / "parked"
    for folder, content in ((inside, PNG), (outside, b"secret")):
        folder.mkdir(parents=True)
        (folder / "cat.png").write_bytes(content)
    is_over = threading.Event()

    def swap() -> None:
        while not is_over.is_set():
            inside.rename(parked)
            inside.symlink_to(outside)
            inside.unlink()
            parked.rename(inside)

    sent = set[str]()
    items: Json = [{"content": [{"type": "input_image", "path": str(inside / "cat.png")}]}]
    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        for _ in range(5000):
            with suppress(ArgumentError):
                sent.add(json.dumps(attach_files(items, [str(tmp_path / "allowed")])))
    finally:
        is_over.set()
        swapping.join()
    assert not any(base64.b64encode(b"secret").decode() in request for request in sent)
