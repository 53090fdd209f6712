"""A tool output of 31 MB: what the model gets of it, how it reads the rest, and what it costs the event loop."""

import json
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

from tests.fakes.scene import scene
from tests.fakes.stalls import untraced, watched_loops
from tests.fakes.upstream import call

pytestmark = [pytest.mark.anyio, pytest.mark.external]

MEGABYTE = 1_000_000
PAGE_BYTES = 65_536
SERVER = """
import json, sys
text = open(sys.argv[1], encoding="utf-8").read()
answers = {
    "initialize": {
        "protocolVersion": "2025-11-25",
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "large", "version": "1"},
    },
    "tools/list": {"tools": [{"name": "all", "inputSchema": {"type": "object"}}]},
    "tools/call": {"content": [{"type": "text", "text": text}]},
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


def write_text(folder: Path, megabytes: int, line: Callable[[int], str]) -> tuple[dict[str, Any], str]:
    """The entry of a server that answers with a text of so many megabytes, and the text."""
    lines, size = list[str](), 0
    while size < megabytes * MEGABYTE:
        lines.append(line(len(lines)))
        size += len(lines[-1].encode())
    text = "".join(lines)
    (folder / "text").write_text(text, encoding="utf-8", newline="")
    (folder / "server.py").write_text(SERVER, encoding="utf-8")
    entry = {"command": sys.executable, "args": [str(folder / "server.py"), str(folder / "text")]}
    return {**entry, "env": {"PYTHONUTF8": "1"}, "require_approval": "never"}, text


KINDS: dict[str, Callable[[int], str]] = {
    "plain": lambda n: f"line {n}: all is well here and nothing has to be escaped\n",
    "other scripts": lambda n: f"行 {n}: 一切正常 Größe 😀\n",
    "json": lambda n: json.dumps({"n": n, "path": "C:\\a", "ok": True}) + "\n",
}


@pytest.mark.parametrize("kind", KINDS)
async def test_31_megabytes_are_cut_paged_to_the_last_byte_and_searched(kind: str, tmp_path: Path) -> None:
    entry, text = write_text(tmp_path, 31, KINDS[kind])
    data, needle = text.encode(), text.splitlines()[-9][:20]
    limits = {
        "max_tool_calls": 1000,
        "max_turn_calls": 1000,
        "max_parallel": 4,
        "turn_bytes": 1 << 30,
        "run_bytes": 1 << 30,
    }
    async with scene({"far": entry}, limits=limits) as bridge:
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


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("megabytes", [2, 8, 31])
async def test_the_event_loop_stands_no_longer_than_reading_the_same_bytes_takes(
    kind: str, megabytes: int, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    entry, text = write_text(tmp_path, megabytes, KINDS[kind])
    message = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": text}]}}, ensure_ascii=False
    ).encode()
    turns = [[call("far__all")], [call("read_output", {"id": 1, "search": text[-60:-40]})]]
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with scene({"far": entry}) as bridge:
        await bridge.use()
        readings, stalls = list[float](), list[float]()
        for _ in range(5):  # by turns, so that both meet the same machine
            with untraced(), watched_loops() as loops:
                await bridge.run(turns)
                stalls.append(loops.stall.longest)
                readings.append(time_reading(message))
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    ratio = min(stalls) / statistics.median(readings)
    record_testsuite_property(f"{megabytes} MB, {kind}: stall in readings of the same bytes", round(ratio, 2))
    record_testsuite_property(f"{megabytes} MB, {kind}: memory at the most, KiB more", grown)
    # Two megabytes are read in a millisecond, in which the loop cannot even begin a run: they are only reported.
    assert ratio <= 3 or megabytes == 2
