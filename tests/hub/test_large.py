"""A tool output of 31 MB: what the model gets of it, how it reads the rest, and what it costs the event loop."""

import gc
import json
import re
import resource
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import pydantic_core
import pytest

from tests.fakes.scene import scene
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


class Stall:
    """The longest that the event loop was not free, in seconds of this thread: other programs do not count."""

    def __init__(self) -> None:
        self.longest = 0.0

    async def watch(self) -> None:
        """Until cancelled."""
        before = time.thread_time()
        while True:
            await anyio.lowlevel.checkpoint()
            now = time.thread_time()
            self.longest, before = max(self.longest, now - before), now


@asynccontextmanager
async def watched() -> AsyncIterator[Stall]:
    stall = Stall()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(stall.watch)
        yield stall
        tasks.cancel_scope.cancel()


@contextmanager
def untraced() -> Iterator[None]:
    """Without the tracer of coverage, which slows Python code and not what it is compared with; and without the garbage
    collector, which would look through whatever the tests before have left."""
    tracer = sys.gettrace()
    sys.settrace(None)
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        sys.settrace(tracer)


def time_reading(data: bytes) -> float:
    """Seconds that pydantic's reader takes for these bytes, the most of three."""

    def once() -> float:
        began = time.thread_time()
        pydantic_core.from_json(data)
        return time.thread_time() - began

    return max(once() for _ in range(3))


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
@pytest.mark.parametrize("megabytes", [2, 31])
async def test_the_event_loop_stands_no_longer_than_reading_the_same_bytes_takes(
    kind: str, megabytes: int, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    entry, text = write_text(tmp_path, megabytes, KINDS[kind])
    message = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "result": {"content": [{"type": "text", "text": text}]}}, ensure_ascii=False
    )
    baseline = time_reading(message.encode())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    async with scene({"far": entry}) as bridge:
        await bridge.use()
        stalls = list[float]()
        for _ in range(3):  # what comes of a collection of garbage, or of the first use of something, comes once
            with untraced():
                async with watched() as stall:
                    await bridge.run([[call("far__all")], [call("read_output", {"id": 1, "search": text[-60:-40]})]])
            stalls.append(stall.longest)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    record_testsuite_property(f"{megabytes} MB, {kind}: stall in readings of the same bytes", min(stalls) / baseline)
    record_testsuite_property(f"{megabytes} MB, {kind}: memory at the most, KiB more", grown)
    assert min(stalls) <= 3 * baseline
