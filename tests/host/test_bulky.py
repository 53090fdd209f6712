"""Requests that would be too much as objects: each ends in an answer or in one clear sentence, and a neighbour is
served meanwhile.

As scottcrosby-securebine/kali-mcp-server#84, syncable-dev/memtrace-public#18 and flop-labs/technocore-chat#130: what is
nested too deeply gets no answer, ends the session, or is a fault of the server's own.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import psutil
import pytest
from mcp_types import CLIENT_CAPABILITIES_META_KEY, PROTOCOL_VERSION_META_KEY

from tests.fakes.bridges import open_without_host
from tests.fakes.clock import PATIENCE_S
from tests.fakes.items import Json
from tests.fakes.rawhost import VERSIONS
from tests.fakes.service import TOKEN, Served, serving, start_service
from tests.fakes.upstream import ScriptedUpstream, message, responds

pytestmark = pytest.mark.anyio

VALUES = "the message is too large: it has over 200,000 JSON values; send less at once, or long data as text"
LEVELS = "the message is too large: it is nested over 200 levels deep; send what is deeper as text"
ITEM = '{"role":"user","content":"hello"}'
TOOL = '{"type":"function","name":"t","parameters":{"type":"object","properties":{}}}'
SHAPES = {
    "20 MB of empty lists": ('"input":[{"role":"user","content":[' + "[]," * 7_000_000 + "1]}]", VALUES),
    "200,000 items": (f'"input":[{f"{ITEM}," * 199_999}{ITEM}]', VALUES),
    "100,000 tools": (f'"input":"hello","tools":[{f"{TOOL}," * 99_999}{TOOL}]', VALUES),
    "a deep item": ('"input":[{"role":"user","content":' + "[" * 100_000 + "]" * 100_000 + "}]", LEVELS),
    "a deep extra": ('"input":"hello","extra":{"a":' + '{"a":' * 300 + "1" + "}" * 300 + "}", LEVELS),
    "half a body of brackets": ("[" * 1_000_000, LEVELS),
}


def write_call(arguments: str, id: int = 7, *, mode: str = "auto", is_id_last: bool = False) -> bytes:
    """One call of `respond` with these arguments, as bytes."""
    meta: Json = {PROTOCOL_VERSION_META_KEY: VERSIONS["auto"], CLIENT_CAPABILITIES_META_KEY: {}}
    meta = meta if mode == "auto" else {}
    params = f'{{"_meta":{json.dumps(meta)},"name":"respond","arguments":{{{arguments}}}}}'
    end = f',"jsonrpc":"2.0","id":{id}' if is_id_last else ""
    begin = "" if is_id_last else f'"jsonrpc":"2.0","id":{id},'
    return f'{{{begin}"method":"tools/call","params":{params}{end}}}'.encode()


def name_headers(mode: str) -> dict[str, str]:
    modern = {"MCP-Protocol-Version": VERSIONS["auto"], "Mcp-Method": "tools/call", "Mcp-Name": "respond"}
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    return headers | {"Accept": "application/json, text/event-stream"} | (modern if mode == "auto" else {})


@asynccontextmanager
async def place() -> AsyncIterator[Served]:
    async with (
        ScriptedUpstream(lambda _: responds(message("Hello."))) as upstream,
        open_without_host(upstream) as bridge,
        serving(bridge) as served,
    ):
        yield served


async def post(port: int, body: Any, mode: str = "auto", path: str = "/mcp") -> httpx2.Response:
    url = f"http://127.0.0.1:{port}{path}"
    async with httpx2.AsyncClient(timeout=60, verify=False) as http:
        return await http.post(url, content=body, headers=name_headers(mode))


def read_receipt(reply: httpx2.Response) -> Json:
    text = next((line[6:] for line in reply.text.splitlines() if line.startswith("data: {")), reply.text)
    receipt: Json = json.loads(text)["result"]["structuredContent"]
    return receipt


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_too_large_a_body_gets_one_clear_error_with_the_id_of_its_request(mode: str, shape: str) -> None:
    arguments, said = SHAPES[shape]
    async with place() as served:
        reply = await post(served.port, write_call(arguments, mode=mode), mode)
        neighbour = await post(served.port, write_call('"input":"hello"'))
    assert reply.status_code == 400
    assert reply.json() == {"jsonrpc": "2.0", "id": 7, "error": {"code": -32700, "message": said}}
    assert read_receipt(neighbour)["output_text"] == "Hello."


async def test_the_id_is_found_where_it_comes_last_and_told_to_be_unknown_where_it_is_nowhere() -> None:
    deep = SHAPES["a deep item"][0]
    async with place() as served:
        for body, found in ((write_call(deep, is_id_last=True), 7), (b"[" * 5000, None)):
            assert (await post(served.port, body)).json()["id"] == found


async def test_a_body_in_pieces_without_a_length_is_counted_too() -> None:
    async def send_pieces() -> AsyncIterator[bytes]:
        data = write_call(SHAPES["200,000 items"][0])
        for start in range(0, len(data), 999_999):
            yield data[start : start + 999_999]

    async with place() as served:
        assert (await post(served.port, send_pieces())).json()["error"]["message"] == VALUES


async def test_a_message_of_sse_is_refused_in_the_answer_to_its_post() -> None:
    async with place() as served:
        reply = await post(served.port, write_call(SHAPES["a deep item"][0]), "legacy", "/messages/?session_id=1")
        assert (reply.status_code, reply.json()["error"]["message"], reply.json()["id"]) == (400, LEVELS, 7)


async def test_long_texts_and_as_many_values_as_may_be_are_an_ordinary_call() -> None:
    texts = json.dumps('[,{:\\"' * 500_000)
    parts = ",".join(['{"type":"input_text","text":"x"}'] * 40_000)
    async with place() as served:
        for arguments in (f'"input":{texts}', f'"input":[{{"role":"user","content":[{parts}]}}]'):
            assert read_receipt(await post(served.port, write_call(arguments)))["output_text"] == "Hello."


@asynccontextmanager
async def serve_offline() -> AsyncIterator[asyncio.subprocess.Process]:
    """`serve` on stdio, in a process of its own."""
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "bridge", "serve", "--offline"]
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe, stderr=pipe, limit=1 << 26)
    yield process
    assert process.stdin
    process.stdin.close()
    await process.wait()


@pytest.mark.external
async def test_on_stdio_a_line_that_is_too_large_gets_the_same_error_and_the_next_one_is_served() -> None:
    shapes = [SHAPES[shape] for shape in SHAPES if shape != "half a body of brackets"]
    async with serve_offline() as process:
        assert process.stdin
        assert process.stdout
        with anyio.fail_after(PATIENCE_S * 4):
            for number, (arguments, said) in enumerate(shapes):
                process.stdin.write(write_call(arguments, number) + b"\n")
                answer = json.loads(await process.stdout.readline())
                assert (answer["id"], answer["error"]["message"]) == (number, said)
            process.stdin.write(write_call('"input":"hello"', 99) + b"\n")
            answer = json.loads(await process.stdout.readline())
            assert (answer["id"], answer["result"]["structuredContent"]["status"]) == (99, "completed")


class Service:
    """A service in a process of its own: its memory at most, and the longest that a neighbour waited."""

    def __init__(self, pid: int, port: int) -> None:
        self._process = psutil.Process(pid)
        self._port = port
        self._begun = 0
        self.peak = 0
        self.longest = 0.0

    async def watch(self) -> None:
        async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{self._port}", timeout=60, verify=False) as http:
            while True:
                since = anyio.current_time()
                await http.get("/healthz")
                self.longest = max(self.longest, anyio.current_time() - since)
                self.peak = max(self.peak, self._process.memory_info().rss - self._begun)
                await anyio.sleep(0.005)

    async def serve(self, content: bytes) -> int:
        """Serve one message with this content, watched; its status."""
        self.peak, self.longest, self._begun = 0, 0.0, self._process.memory_info().rss
        body = write_call(f'"input":[{{"role":"user","content":{content.decode()}}}]')
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.watch)
            reply = await post(self._port, body)
            tasks.cancel_scope.cancel()
        return reply.status_code


@pytest.mark.rule("REL10")
@pytest.mark.external
async def test_20_mb_of_empty_lists_cost_no_more_than_20_mb_of_text(tmp_path: Path) -> None:
    """Before they were counted, they took 6 times the memory and 17 times the wait of the text."""
    size, path = 20 << 20, tmp_path / "config.json"
    async with ScriptedUpstream(lambda _: responds(message("Hello."))) as upstream:
        path.write_text(json.dumps({"upstream": {"base_url": upstream.base_url, "model": "m"}, "builtin_tools": False}))
        async with start_service("--config", str(path)) as (pid, port):
            service = Service(pid, port)
            await service.serve(b'"hello"')
            assert await service.serve(b'"' + b"x" * size + b'"') == 200
            text_peak, text_wait = service.peak, service.longest
            for content in (b"[" + b"[]," * (size // 3) + b"1]", b"[" * (size // 2)):
                assert await service.serve(content) == 400
                figures = f"memory {service.peak / text_peak:.2f}, wait {service.longest / text_wait:.2f} of the text's"
                assert service.peak < text_peak, figures
                assert service.longest < text_wait, figures
