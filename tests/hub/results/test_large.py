"""A tool output of 31 MB: what the model gets of it, how it reads the rest, and what it costs the event loop."""

import base64
import io
import json
import random
import re
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydantic_core
import pytest
from PIL import Image

from tests.fakes.bridges import open_bridge
from tests.fakes.stalls import untraced, watched_loops
from tests.fakes.upstream import call

pytestmark = [pytest.mark.anyio, pytest.mark.external]

Json = dict[str, Any]

MEGABYTE = 1_000_000
PAGE_BYTES = 65_536
SERVER = """
import json, sys
result = json.load(open(sys.argv[1], encoding="utf-8"))
answers = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "large", "version": "1"},
    },
    "tools/list": {"tools": [{"name": "all", "inputSchema": {"type": "object"}}]},
    "tools/call": result,
}
for line in sys.stdin:
    asked = json.loads(line)
    if "id" in asked:
        known = asked["method"] in answers
        answer = {"result": answers[asked["method"]]} if known else {"error": {"code": -32601, "message": "no"}}
        print(json.dumps({"jsonrpc": "2.0", "id": asked["id"], **answer}, ensure_ascii=False), flush=True)
"""


def time_reading(data: bytes) -> float:
    """Seconds that pydantic's reader takes for these bytes."""
    began = time.thread_time()
    pydantic_core.from_json(data)
    return time.thread_time() - began


def write_text(megabytes: int, line: Callable[[int], str]) -> str:
    lines, size = list[str](), 0
    while size < megabytes * MEGABYTE:
        lines.append(line(len(lines)))
        size += len(lines[-1].encode())
    return "".join(lines)


def serve(folder: Path, result: Json) -> dict[str, Any]:
    """The entry of a server that answers with this result."""
    (folder / "result").write_text(json.dumps(result), encoding="utf-8")
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    entry = {"command": sys.executable, "args": [str(folder / "server.py"), str(folder / "result")]}
    return {**entry, "env": {"PYTHONUTF8": "1"}, "require_approval": "never"}


def say(text: str) -> Json:
    return {"content": [{"type": "text", "text": text}]}


KINDS: dict[str, Callable[[int], str]] = {
    "plain": lambda n: f"line {n}: all is well here and nothing has to be escaped\n",
    "other scripts": lambda n: f"行 {n}: 一切正常 Größe 😀\n",
    "json": lambda n: json.dumps({"n": n, "path": "C:\\a", "ok": True}) + "\n",
}


def write_rows(megabytes: int) -> list[Json]:
    return [
        {"id": n, "name": f"row {n}", "tags": ["a", "b"], "share": n / 7} for n in range(megabytes * MEGABYTE // 75)
    ]


def draw(megabytes: int) -> Json:
    """A picture that does not compress."""
    side = int((megabytes * MEGABYTE / 4) ** 0.5)
    written = io.BytesIO()
    Image.frombytes("RGB", (side, side), random.Random(1).randbytes(side * side * 3)).save(written, "PNG")
    return {"type": "image", "mimeType": "image/png", "data": base64.b64encode(written.getvalue()).decode()}


SHAPES: dict[str, Callable[[int], Json]] = {
    "an error": lambda megabytes: {**say(write_text(megabytes, KINDS["other scripts"])), "isError": True},
    "many texts": lambda megabytes: {
        "content": [{"type": "text", "text": f"part {n}"} for n in range(megabytes * MEGABYTE // 40)]
    },
    "many links": lambda megabytes: {
        "content": [
            {"type": "resource_link", "uri": f"test://{n}", "name": str(n)} for n in range(megabytes * MEGABYTE // 60)
        ]
    },
    "structured": lambda megabytes: {"content": [], "structuredContent": {"rows": write_rows(megabytes)}},
    "structured, and as text": lambda megabytes: {
        **say(json.dumps({"rows": (rows := write_rows(megabytes // 2))})),
        "structuredContent": {"rows": rows},
    },
    "structured, and another text": lambda megabytes: {
        **say(json.dumps({"rows": (rows := write_rows(megabytes // 2))})),
        "structuredContent": {"rows": rows[1:]},
    },
    "an image": lambda megabytes: {"content": [draw(megabytes)]},
}
READ_AT_ONCE = {"2 MB, plain", "2 MB, other scripts", "2 MB, json", "4 MB, an image"}
"""Read in a millisecond or two, in which the loop can do nothing else of its work either: only reported."""


@pytest.mark.parametrize("kind", KINDS)
async def test_31_megabytes_are_cut_paged_to_the_last_byte_and_searched(kind: str, tmp_path: Path) -> None:
    text = write_text(31, KINDS[kind])
    entry = serve(tmp_path, say(text))
    data, needle = text.encode(), text.splitlines()[-9][:20]
    limits = {
        "max_tool_calls": 1000,
        "max_turn_calls": 1000,
        "max_parallel": 4,
        "turn_bytes": 1 << 30,
        "run_bytes": 1 << 30,
    }
    async with open_bridge({"far": entry}, limits=limits) as bridge:
        wishes = [{"search": needle}, *({"offset": offset} for offset in range(0, len(data), PAGE_BYTES - 4))]
        turns = [[call("far__all")], [call("read_output", {"id": 1, **wish}) for wish in wishes]]
        outcome = await bridge.run(turns)
    first, found, *pages = outcome.outputs
    assert len(first.encode()) < PAGE_BYTES + 200
    assert f"of {len(data):,} bytes left out here" in first
    assert f"\n{data.index(needle.encode())}: …" in found
    whole = b""
    for page in pages:
        head, _, body = page.partition("\n")
        found_start = re.match(r"\[output 1, bytes ([\d,]+) to", head)
        assert found_start, head
        whole = whole[: int(found_start[1].replace(",", ""))] + body.encode()
    assert whole == data


@pytest.mark.rule("REL10")
@pytest.mark.parametrize(
    ("megabytes", "shape"),
    [*((4, shape) for shape in SHAPES), *((megabytes, kind) for megabytes in (2, 8, 31) for kind in KINDS)],
)
async def test_the_event_loop_stands_no_longer_than_reading_the_same_bytes_takes(
    shape: str, megabytes: int, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    result = SHAPES[shape](megabytes) if shape in SHAPES else say(write_text(megabytes, KINDS[shape]))
    entry = serve(tmp_path, result)
    message = json.dumps({"jsonrpc": "2.0", "id": 1, "result": result}, ensure_ascii=False).encode()
    turns = [[call("far__all")], [call("read_output", {"id": 1, "search": "9"})]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with open_bridge({"far": entry}) as bridge:
        await bridge.use()
        readings, stalls = list[float](), list[float]()
        for _ in range(3):  # by turns, so that both meet the same machine
            with untraced(), watched_loops() as loops:
                await bridge.run(turns)
                stalls.append(loops.stall.longest)
                readings.append(time_reading(message))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ratio = min(stalls) / statistics.median(readings)
    record_testsuite_property(f"{megabytes} MB, {shape}: stall in readings of the same bytes", round(ratio, 2))
    record_testsuite_property(f"{megabytes} MB, {shape}: memory at the most, KiB more", grown)
    assert ratio <= 3 or f"{megabytes} MB, {shape}" in READ_AT_ONCE
