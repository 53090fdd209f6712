"""The same faults against the bare SDK and the hub, each in a process of its own: `python -m tests.bench.faults`.

Prints docs/track-record.md's table. `python -m tests.bench.faults ARM CASE` is one measurement, as JSON.
"""

import json
import logging
import os
import subprocess
import sys
import time
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import anyio
import httpx2
import psutil
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from typing_extensions import override

from bridge.call_options import CallOptions
from bridge.clock import Clock
from bridge.config.settings import Config, Limits, ServerConfig
from bridge.hub.hub import Hub
from bridge.hub.transports.connect import Connectors
from bridge.items import Call
from bridge.telemetry import Redactor
from tests.fakes.bridges import use_hub
from tests.fakes.rogue import Rogue
from tests.fakes.servers import ROGUE

Json = dict[str, Any]
Arm = Literal["sdk", "hub"]
Use = Callable[[str, Json], Any]
"""Calls a tool by its plain name; the answer in words."""
CAP = 8 << 20
PATIENCE_S = 5.0
IDLE_S = 4.0
BOMB_BYTES = 150_000_000


class Bombs(httpx2.AsyncBaseTransport):
    """A server of the handshake era whose calls are answered by a small body that is large, and whose streams end."""

    def __init__(self, size: int = BOMB_BYTES) -> None:
        self.gets = 0
        self._size = size
        self._rogue = Rogue({"legacy": ""})

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            self.gets += request.method == "GET"
            body = b"id: 1\nretry: 0\n\n"
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=body)
        message: Json = json.loads(request.content)
        if "id" not in message:
            return httpx2.Response(202)
        if message["method"] == "tools/call":
            headers = {"content-type": "application/json", "content-encoding": "gzip"}
            return httpx2.Response(200, headers=headers, stream=_Chunks(build_bomb(message["id"], self._size)))
        found = self._rogue.answer(message["method"], message.get("params") or {}, message) or {}
        reply = {"jsonrpc": "2.0", "id": message["id"], **found}
        return httpx2.Response(200, headers={"mcp-session-id": "one"}, json=reply)


def build_bomb(id: object, size: int) -> bytes:
    """A reply of `size` bytes that is small on the wire."""
    head, tail = json.dumps(
        {"jsonrpc": "2.0", "id": id, "result": {"content": [{"type": "text", "text": "?"}], "isError": False}}
    ).split("?")
    packer, block = zlib.compressobj(1, wbits=31), b"x" * 1_000_000
    parts = [packer.compress(head.encode()), *(packer.compress(block) for _ in range(size // len(block)))]
    return b"".join([*parts, packer.compress(tail.encode()), packer.flush()])


class _Chunks(httpx2.AsyncByteStream):
    def __init__(self, data: bytes) -> None:
        self._data = data

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self._data), 65536):
            yield self._data[start : start + 65536]


@asynccontextmanager
async def connect(arm: Arm, modes: list[str] | None, bombs: Bombs) -> AsyncIterator[tuple[Use, Callable[[], int]]]:
    """A connection to the rogue server in these modes, or to `bombs`: how to call it, and how many tools it has."""
    command = ["-S", "-E", str(ROGUE), *(modes or [])]
    if arm == "hub":
        how = {"command": sys.executable, "args": tuple(command)} if modes else {"url": "http://far/mcp"}
        wire = {"transport": "stdio" if modes else "http", "protocol": "legacy", "require_approval": "never"}
        server = ServerConfig.model_validate({"key": "far", **how, **wire})
        config = Config(servers=(server,), builtin_tools=False, limits=Limits(message_bytes=CAP))
        connectors = Connectors(transport=bombs)
        async with Hub(
            config, clock=Clock(), environ=os.environ, redact=Redactor(), in_process={}, connectors=connectors
        ) as hub:
            await hub.catalogue()

            async def use(tool: str, arguments: Json) -> str:
                made = Call("1", f"far__{tool}", json.dumps(arguments), {})
                terms = CallOptions(deadline=anyio.current_time() + PATIENCE_S)
                return str((await use_hub(hub, made, terms))["output"])

            yield use, lambda: len(hub.snapshot().tools)
        return
    async with httpx2.AsyncClient(transport=bombs) as http:
        far = StdioServerParameters(command=sys.executable, args=command)
        target = far if modes else streamable_http_client("http://far/mcp", http_client=http)
        async with Client(target, mode="legacy") as client:
            listed = len((await client.list_tools()).tools)

            async def use_bare(tool: str, arguments: Json) -> str:
                # The SDK waits for ever by default; here it gets the time that a 32 MB line takes it.
                patience = PATIENCE_S if tool != "huge" else 120
                result = await client.call_tool(tool, arguments, read_timeout_seconds=patience)
                return str(result.content[0].text)  # type: ignore[union-attr]

            yield use_bare, lambda: listed


async def time_call(arm: Arm, modes: list[str] | None, tool: str, arguments: Json) -> Json:
    """One call and one good one after it: how long, how much memory, and what came of both."""
    async with connect(arm, modes, Bombs()) as (use, _):
        before, began = psutil.Process().memory_info().rss, time.perf_counter()
        first = await attempt(use, tool, arguments)
        took = time.perf_counter() - began
        grown = peak() - before
        after = await attempt(use, "read", {}) if modes else ""
    return {"s": round(took, 2), "mb": max(0, round(grown / 1e6)), "answer": first[:70], "next call": after[:30]}


async def attempt(use: Use, tool: str, arguments: Json) -> str:
    try:
        return str(await use(tool, arguments))
    except Exception as error:  # noqa: BLE001  what the SDK raises is what is measured
        return f"{type(error).__name__}: {error}".split("\n")[0]


def peak() -> float:
    """The most memory that this process has had, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


async def count_gets(arm: Arm) -> Json:
    bombs = Bombs()
    async with connect(arm, None, bombs):
        await anyio.sleep(IDLE_S)
        return {"GETs": bombs.gets}


async def count_tools(arm: Arm) -> Json:
    try:
        async with connect(arm, ["bad_tool"], Bombs()) as (_, count):
            return {"tools": count()}
    except Exception:  # noqa: BLE001  the SDK loses the whole list
        return {"tools": 0}


CASES: Mapping[str, Callable[[Arm], Any]] = {
    "a line of 32 MiB": lambda arm: time_call(arm, ["huge=32"], "huge", {}),
    "a gzip body of 150 MB": lambda arm: time_call(arm, None, "echo", {"text": "x"}),
    "`retry: 0`, GETs of an idle session in 4 s": count_gets,
    "5 good tools and an invalid one": count_tools,
    "half an emoji in an argument": lambda arm: time_call(arm, ["good"], "echo", {"text": "\ud83d"}),
    "half an emoji in a reply": lambda arm: time_call(arm, ["surrogate"], "surrogate", {}),
}


def measure(arm: Arm, case: str) -> Json:
    """In a process of its own, so that one cannot spoil the other; what it dies of is its figure."""
    command = [sys.executable, "-m", "tests.bench.faults", arm, case]
    done = subprocess.run(
        command, capture_output=True, text=True, encoding="utf-8", cwd=Path.cwd(), timeout=180, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    said = [line.strip(" |+-") for line in done.stderr.splitlines() if "Error" in line]
    return json.loads(lines[-1]) if lines else {"died": (said or ["without a word"])[-1][:80]}


def write_row(case: str) -> str:
    cells = ["; ".join(f"{name} {value}" for name, value in measure(arm, case).items()) for arm in ("sdk", "hub")]
    return f"| {case} | {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def main(words: list[str]) -> None:
    logging.disable(logging.CRITICAL)
    if words:
        arm: Arm = "hub" if words[0] == "hub" else "sdk"
        found = anyio.run(CASES[words[1]], arm)
        sys.stdout.write(json.dumps(found) + "\n")
        return
    sys.stdout.write("| fault | the bare SDK | the hub |\n|---|---|---|\n")
    for case in CASES:
        sys.stdout.write(write_row(case) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
