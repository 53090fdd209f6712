"""What a result says twice is read once, and base64 is named wherever a model would read it as text."""

import base64
import json
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge.config.settings import StructuredContent
from tests.fakes.bridges import open_bridge
from tests.fakes.kinds import SILENCE
from tests.fakes.servers import PIXEL, rogue
from tests.fakes.upstream import call

pytestmark = pytest.mark.anyio

Json = dict[str, Any]
POLICIES: tuple[StructuredContent, ...] = ("both", "unless_text", "prefer", "only")
FILE_BYTES = 49_152
NOISE = random.Random(1).randbytes(FILE_BYTES)


def encode(start: bytes) -> str:
    return base64.b64encode(start + NOISE[len(start) :]).decode()


PNG, WAV, ZIP = encode(b"\x89PNG\r\n\x1a\n"), encode(b"RIFF\x24\x00\x00\x00WAVEfmt "), encode(b"PK\x03\x04")
ANY = encode(b"")


def say(text: str) -> Json:
    return {"type": "text", "text": text}


def part(kind: str, data: str, mime: str) -> Json:
    return {"type": kind, "data": data, "mimeType": mime}


def nulls(part: Json) -> Json:
    """As FastMCP writes a part into the structured content: all of its fields."""
    return {**part, "annotations": None, "_meta": None}


def blob(data: str, mime: str = "application/zip") -> Json:
    return {"type": "resource", "resource": {"uri": "test://f", "mimeType": mime, "blob": data}}


async def read_all(results: Sequence[Json], folder: Path, policy: StructuredContent = "both") -> list[Any]:
    """What the model reads of each."""
    (folder / "results").write_text("\n".join(map(json.dumps, results)), encoding="utf-8")
    entry = rogue(f"answers={folder / 'results'}") | {"structured_content": policy}
    limits = {"max_tool_calls": 500, "max_turn_calls": 500, "turn_bytes": 1 << 30, "run_bytes": 1 << 30}
    async with open_bridge({"odd": entry}, limits=limits) as bridge:
        return (await bridge.use(*(call("odd__answer", {"line": line}) for line in range(len(results))))).outputs


async def read(result: Json, folder: Path, policy: StructuredContent = "both") -> Any:
    [output] = await read_all([result], folder, policy)
    return output


def texts(output: Any) -> str:
    if isinstance(output, str):
        return output
    return "\n".join(part["text"] for part in output if part["type"] == "input_text")


def both(*content: Json, structured: Any) -> Json:
    return {"content": list(content), "structuredContent": structured}


MEDIA: dict[str, tuple[Json, str]] = {
    "picture": (part("image", PNG, "image/png"), ""),
    "sound": (part("audio", WAV, "audio/wav"), "[audio, audio/wav, 49,152 bytes: not shown]"),
    "archive": (
        part("blob", ZIP, "application/zip"),
        '{"type":"blob","data":"[application/zip, 49,152 bytes as base64: not shown]","mimeType":"application/zip"}',
    ),
    "embedded archive": (blob(ZIP), "[resource test://f, application/zip, 49,152 bytes: not shown]"),
}
FRAMES: dict[str, Callable[[Json], Any]] = {
    "content, as read_media_file": lambda part: {"content": [part]},
    "result, as neka-nat/freecad-mcp#102": lambda part: {"result": [nulls(part)]},
    "one": lambda part: {"result": part},
    "bare": lambda part: [part],
}


@pytest.mark.parametrize("kind", MEDIA)
async def test_parts_that_the_structured_content_repeats_are_told_once(kind: str, tmp_path: Path) -> None:
    media, named = MEDIA[kind]
    outputs = await read_all([both(media, structured=frame(media)) for frame in FRAMES.values()], tmp_path)
    assert dict(zip(FRAMES, map(texts, outputs), strict=True)) == dict.fromkeys(FRAMES, named)


@pytest.mark.parametrize("policy", POLICIES)
async def test_no_setting_lets_the_base64_of_a_part_be_read_as_text(policy: StructuredContent, tmp_path: Path) -> None:
    results = list[Json]()
    for media, _ in MEDIA.values():
        results.append(both(say("here"), media, structured={"content": [media], "size": 49152}))
        results.append(both(say(json.dumps({"content": [media]})), media, structured={"content": [media]}))
    outputs = await read_all(results, tmp_path, policy)
    assert max(map(len, map(texts, outputs))) < 600
    pictures = [
        [part["type"] for part in output].count("input_image") for output in outputs if isinstance(output, list)
    ]
    assert pictures == ([] if policy == "only" else [1, 1])
    is_named = ["49,152 bytes as base64: not shown]" in texts(output) for output in outputs]
    assert all(is_named) or policy in ("both", "unless_text")


LONG: dict[str, tuple[str, str]] = {
    "a picture": (PNG, "image/png"),
    "a sound": (WAV, "audio/wav"),
    "an archive": (ZIP, "application/zip"),
    "anything": (ANY, "binary"),
    "a URL": (f"data:image/webp;base64,{ANY}", "image/webp"),
    "for URLs": (ANY.replace("+", "-").replace("/", "_"), "binary"),
    "without padding": (base64.b64encode(NOISE[:-1]).decode().rstrip("="), "binary"),
    "in lines": ("\n".join(ANY[place : place + 76] for place in range(0, len(ANY), 76)), "binary"),
    "one letter": (base64.b64encode(b"x" * FILE_BYTES).decode(), "binary"),
}


@pytest.mark.parametrize("policy", POLICIES)
async def test_long_base64_in_structured_content_is_named(policy: StructuredContent, tmp_path: Path) -> None:
    results, said = list[Json](), list[Json]()
    for data, kind in LONG.values():
        value = {"name": "f", "deep": [{"value": data}]}
        as_text, as_php = json.dumps(value), json.dumps(value, indent=2).replace("/", "\\/")
        for content in (list[Json](), [say(as_text)], [say(as_php)]):
            results.append(both(*content, structured=value))
        results.append(both(structured={"result": as_text}))
        results.append(both(say(f"Here: {as_text}."), structured=value))
        size = len("".join(data.rpartition(",")[2].split()).rstrip("=")) * 3 // 4
        named = f"[{kind}, {size:,} bytes as base64: not shown]"
        said.append({"name": "f", "deep": [{"value": named}]})
    outputs = await read_all(results, tmp_path, policy)
    for place, value in enumerate(said):
        *plain, inner, framed = outputs[place * 5 : place * 5 + 5]
        assert list(map(json.loads, plain)) == [value] * 3
        assert json.loads(json.loads(inner)["result"]) == value
        assert json.dumps(value, separators=(",", ":")) in framed
        assert len(framed) < 300


KEPT = {
    "a key": "A1b2" * 256,
    "a token": ".".join(base64.urlsafe_b64encode(NOISE[:900]).decode() for _ in range(3)),
    "hexadecimal": NOISE[:4000].hex(),
    "hexadecimal data": {"data": NOISE[:600].hex(), "mimeType": "text/plain"},
    "a genome": "ACGT" * 2000,
    "digits": "31415926" * 1000,
    "a word": "x" * 5000,
    "words": "Some 5 words of a long text " * 500,
    "ids": "\n".join(f"Id{n:05}" for n in range(2000)),
    "a path": "/usr/lib/Python3/" * 300 + ".",
    "a text url": "data:text/plain," + "Ab1" * 1000,
    "other scripts": "第5行Ab" * 1000,
}


async def test_a_long_text_that_is_no_base64_stays(tmp_path: Path) -> None:
    outputs = await read_all([both(structured={"value": text}) for text in KEPT.values()], tmp_path)
    assert {what: json.loads(output)["value"] for what, output in zip(KEPT, outputs, strict=True)} == KEPT


async def test_a_text_that_is_base64_and_nothing_else_is_what_the_tool_says(tmp_path: Path) -> None:
    output = await read(both(say(PIXEL * 40), structured={"result": PIXEL * 40}), tmp_path)
    assert output == PIXEL * 40


@pytest.mark.parametrize("data", [PIXEL, SILENCE, "UEsFBg=="])
async def test_data_of_a_part_are_named_in_structured_content_however_short(data: str, tmp_path: Path) -> None:
    output = await read(both(part("audio", data, "audio/x"), structured={"again": data, "n": 1}), tmp_path)
    size = f"{len(data.rstrip('=')) * 3 // 4:,} bytes"
    named = json.dumps({"again": f"[audio/x, {size} as base64: not shown]", "n": 1}, separators=(",", ":"))
    assert output == f"[audio, audio/x, {size}: not shown]\n{named}"


SAME: dict[str, tuple[list[Json], Any]] = {
    "a text in a part": ([say("a"), say("b")], {"result": [nulls(say("a")), nulls(say("b"))]}),
    "a text that is JSON of the value": ([say('{"result": [1]}')], [1]),
    "a text in a frame": ([say('```json\n{\n  "a": 1\n}\n```')], {"a": 1}),
    "a text after words": ([say('Found:\n{"a": [1, 2]}')], {"a": [1, 2]}),
    "a file, as read_text_file": ([say("line 1\nline 2")], {"content": "line 1\nline 2"}),
    "among other texts": ([say("Found:"), say('{"a": 1}')], {"a": 1}),
    "a line each": ([say('{"a": 1}\n{"a": 2}')], {"result": [{"a": 1}, {"a": 2}]}),
    "a line with its end": ([say("a\n")], {"result": "a"}),
    "the result in the result": ([say("a")], {"content": [say("a")], "isError": False}),
    "annotations of no meaning": ([say("a")], {"result": {**say("a"), "annotations": {"priority": None}}}),
    "a number": ([say("5")], 5),
    "a boolean": ([say("true")], {"result": True}),
}


async def test_structured_content_that_the_texts_say_is_not_told_again(tmp_path: Path) -> None:
    results = [both(*content, structured=structured) for content, structured in SAME.values()]
    outputs = dict(zip(SAME, await read_all(results, tmp_path), strict=True))
    assert outputs == {way: "\n".join(said["text"] for said in content) for way, (content, _) in SAME.items()}


async def test_a_picture_and_its_words_are_told_once_in_any_order(tmp_path: Path) -> None:
    content = [say("one pixel"), part("image", PIXEL, "image/png")]
    output = await read(both(*content, structured={"result": list(map(nulls, content))}), tmp_path)
    assert [part["type"] for part in output] == ["input_text", "input_image"]


async def test_a_long_text_is_named_where_structured_content_repeats_it_beside_other_things(tmp_path: Path) -> None:
    text = 'line "1"\n' * 100
    structured = {"path": "a.txt", "content": text, "lines": 100}
    embedded = {"type": "resource", "resource": {"uri": "a:b", "text": text}}
    results = [both(say(text), structured=structured), both(embedded, structured=structured)]
    for output in await read_all(results, tmp_path):
        assert output.endswith('{"path":"a.txt","content":"[the text above, 900 characters]","lines":100}')
        assert text in output
    only = await read(results[0], tmp_path, "only")
    assert json.loads(only.splitlines()[0]) == structured
