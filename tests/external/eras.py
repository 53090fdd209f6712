"""The parts of the matrix of eras: servers and hosts of every revision, over every transport each can have."""

import json
import re
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
from mcp import Client, MCPError, types
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ImageContent

from tests.fakes.http import HttpServer
from tests.fakes.servers import PIXEL

HANDSHAKES = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")
MODERN = "2026-07-28"
REVISIONS = (*HANDSHAKES, MODERN)
WIRES = ("stdio", "http", "sse")
CELLS = [(revision, wire) for revision in REVISIONS for wire in WIRES if (revision, wire) != ("2024-11-05", "http")]
"""Streamable HTTP came with 2025-03-26; SSE is still spoken for the sake of older ones."""
OLD = Path(__file__).parent / "old"
PATIENCE_S = 300
"""For what hangs: a server that changes its tools often is left alone for a minute before it is listed again, and a
change that comes meanwhile may wait for the next time, on a machine that does much else."""

Json = dict[str, Any]


def build_modern() -> MCPServer:
    """A server of the modern revision with the tools of `old/server.py`."""
    server = MCPServer("modern")
    waiting: dict[str, anyio.Event] = defaultdict(anyio.Event)
    given_up: dict[str, anyio.Event] = defaultdict(anyio.Event)

    async def echo(text: str = "") -> str:
        return text

    @server.tool()
    async def draw() -> CallToolResult:
        return CallToolResult(
            content=[ImageContent(type="image", data=PIXEL, mime_type="image/png")], structured_content={"width": 1}
        )

    @server.tool()
    async def fail() -> str:
        raise ToolError("out of paper")

    @server.tool()
    async def steps(ctx: Context) -> str:
        for step in (1, 2, 3):
            await ctx.report_progress(step, 3, "on the way")
        return "done"

    @server.tool()
    async def wait(key: str) -> None:
        waiting[key].set()
        try:
            await anyio.sleep_forever()
        finally:
            given_up[key].set()

    @server.tool(name="waiting")
    async def tell_waiting(key: str) -> str:
        await waiting[key].wait()
        return "waiting"

    @server.tool(name="given_up")
    async def tell_given_up(key: str) -> str:
        with anyio.move_on_after(10):
            await given_up[key].wait()
            return "given up"
        return "still waiting"

    @server.tool()
    async def grow(ctx: Context) -> str:
        server.add_tool(echo, name=f"grown_{len(await server.list_tools())}")
        await ctx.notify_tools_changed()
        return "grown"

    server.add_tool(echo, name="echo")
    return server


def name(cell: tuple[str, str]) -> str:
    """The name of a host, and the config key of a server."""
    return "-".join(cell)


@asynccontextmanager
async def start_servers(old_python: str) -> AsyncIterator[dict[str, Json]]:
    """The `mcpServers` entries of all servers; those over HTTP run already."""
    entries: dict[str, Json] = {}
    async with AsyncExitStack() as stack:
        for revision in HANDSHAKES:
            command = [old_python, str(OLD / "server.py"), revision]
            entries[name((revision, "stdio"))] = {"command": command[0], "args": [*command[1:], "stdio"]}
            process = await stack.enter_async_context(await anyio.open_process([*command, "http"], stderr=None))
            stack.callback(process.terminate)
            assert process.stdout
            port = int(await process.stdout.receive())
            entries[name((revision, "http"))] = {"type": "http", "url": f"http://127.0.0.1:{port}/mcp"}
            entries[name((revision, "sse"))] = {"type": "sse", "url": f"http://127.0.0.1:{port}/sse"}
        program = "from tests.external.eras import build_modern; build_modern().run('stdio')"
        entries[name((MODERN, "stdio"))] = {"command": sys.executable, "args": ["-c", program]}
        for wire in ("http", "sse"):
            served = await stack.enter_async_context(HttpServer(build_modern, "sse" if wire == "sse" else "http"))
            entries[name((MODERN, wire))] = {"type": wire, "url": served.url}
        yield {name(cell): {**entries[name(cell)], "require_approval": "never"} for cell in CELLS}


class ModernHost:
    """What `old/host.py` does, on the SDK of today."""

    def __init__(self, client: Client, host: str) -> None:
        self._client = client
        self._host = host
        self._changed = anyio.Event()

    async def use(self, key: str) -> Json:
        """All that a host can do with one server."""
        arguments: dict[str, Json] = {"echo": {"text": "hello"}, "draw": {}, "fail": {}, "steps": {}}
        used = [[f"{key}__{tool}", given] for tool, given in arguments.items()]
        outputs, lines, result = await self._ask(used)
        await self._give_up(key)
        [given_up], *_ = await self._ask([[f"{key}__given_up", {"key": self._host}]])
        return {
            "outputs": outputs,
            "heard of progress": any("on the way" in line for line in lines),
            "structured": result.structured_content is not None,
            "given up": given_up,
            "heard of a change": await self._grow(key),
            "revision": self._client.protocol_version,
            "unknown tool": await self._call_unknown(),
        }

    async def _call_unknown(self) -> int | None:
        try:
            await self._client.call_tool("unknown", {})
        except MCPError as error:
            return error.code
        return None

    async def follow(self) -> None:
        """Hear of changed tools until cancelled. A subscription may end, and what came meanwhile is not told again."""
        while True:
            async with self._client.listen(tools_list_changed=True) as changes:
                self._look()
                async for _ in changes:
                    self._look()

    def _look(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    async def _ask(self, calls: list[Any]) -> tuple[Any, list[str], CallToolResult]:
        lines: list[str] = []

        async def note(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
            lines.append(message or "")

        result = await self._client.call_tool("respond", {"input": json.dumps(calls)}, progress_callback=note)
        for _ in range(100):  # the SDK hands each notification to a task of its own, which may come after the result
            await anyio.lowlevel.checkpoint()
        [first, *_] = result.content
        assert isinstance(first, types.TextContent)
        assert not result.is_error, result.structured_content
        answer, *_ = first.text.split("\n[")  # notices follow: of an image, of a server that a busy machine starts late
        return json.loads(answer), lines, result

    async def _give_up(self, key: str) -> None:
        async def cancel(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001
            if f"✓ {key}__waiting" in (message or ""):  # a call that has not reached its server is not sent
                tasks.cancel_scope.cancel()

        calls = json.dumps([[f"{key}__{tool}", {"key": self._host}] for tool in ("wait", "waiting")])
        async with anyio.create_task_group() as tasks:
            await self._client.call_tool("respond", {"input": calls}, progress_callback=cancel)

    async def _count_tools(self, key: str) -> int:
        page = await self._client.list_tools(cache_mode="bypass")
        found = re.search(re.escape(key) + r" \((\d+) tools\)", page.tools[0].description or "")
        return int(found[1]) if found else 0

    async def _grow(self, key: str) -> bool:
        before, changed = await self._count_tools(key), self._changed
        await self._ask([[f"{key}__grow", {}]])
        with anyio.move_on_after(PATIENCE_S):
            while True:
                await changed.wait()
                changed = self._changed
                if await self._count_tools(key) > before:
                    return True
        raise AssertionError(f"{self._host} did not hear that {key} has more than {before} tools")


async def visit(client: Client, host: str, servers: Iterable[str]) -> dict[tuple[str, str], Json]:
    """What a modern host found, by its name and the server's."""
    modern, found = ModernHost(client, host), dict[tuple[str, str], Json]()
    few = anyio.CapacityLimiter(5)

    async def use(server: str) -> None:
        async with few:  # over SSE the SDK posts one message at a time, and drops a cancellation that waits for long
            found[host, server] = await modern.use(server)

    async with anyio.create_task_group() as around:
        around.start_soon(modern.follow)
        async with anyio.create_task_group() as tasks:
            for server in servers:
                tasks.start_soon(use, server)
        around.cancel_scope.cancel()
    return found
