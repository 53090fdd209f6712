"""MCP servers to connect to: real ones in this process, and config entries for the rogue one in a child process."""

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import anyio
import psutil
from mcp import MCPError
from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ImageContent, TextContent

from tests.fakes.clock import PATIENCE_S

ROGUE = Path(__file__).parent / "rogue.py"
PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR4nGNgAAIAAAUAAXpeqz8AAAAASUVORK5CYII="
"""A PNG of one transparent pixel, in base64."""


def rogue(*modes: str, pids: Path | None = None, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """An `mcpServers` entry that starts the rogue server in these modes (see rogue.py).

    `-S -E` keep its start short. With `pids`, each of its processes leaves its pid there as a file name.
    """
    told = {**(env or {}), **({"ROGUE_PIDS": str(pids)} if pids else {})}
    return {"command": sys.executable, "args": ["-S", "-E", str(ROGUE), *modes], "env": told}


def survivors(pids: Path) -> list[str]:
    """The modes of the rogue processes that signed in here and are still running; a zombie is not."""
    return [file.read_text(encoding="utf-8") for file in pids.iterdir() if _is_rogue(int(file.name))]


def _is_rogue(pid: int) -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and str(ROGUE) in process.cmdline()
    except psutil.NoSuchProcess:
        return False


class Gate:
    """Holds a `slow_start` server back: `rogue(gate.mode)`, then `reached()`, then `open()`."""

    async def __aenter__(self) -> Self:
        self._held: list[asyncio.StreamWriter] = []
        self._reached = anyio.Event()
        self._server = await asyncio.start_server(self._hold, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        self.mode = f"slow_start={self.port}"
        return self

    async def __aexit__(self, *_: object) -> None:
        self.open()
        self._server.close()

    @property
    def count(self) -> int:
        """How many stand at it."""
        return len(self._held)

    async def reached(self) -> None:
        """Until a server stands at the gate."""
        with anyio.fail_after(PATIENCE_S):
            await self._reached.wait()

    def open(self) -> None:
        """Let those at the gate go on."""
        for writer in self._held:
            writer.transport.abort()

    def _hold(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._held.append(writer)
        self._reached.set()


def rendezvous_server(n: int) -> MCPServer:
    """Tool `meet(key)`: answers with its key when `n` calls are in flight at once, and fails after five seconds."""
    server = MCPServer("rendezvous")
    waiting: list[str] = []
    complete = anyio.Event()

    @server.tool()
    async def meet(key: str) -> str:
        nonlocal complete
        together = complete
        waiting.append(key)
        if len(waiting) == n:
            waiting.clear()
            complete = anyio.Event()
            together.set()
        with anyio.move_on_after(PATIENCE_S):
            await together.wait()
            return key
        raise ToolError(f"{len(waiting)} of {n} calls came")

    return server


class OrderedServer:
    """Tool `answer(key)`: answers with its key when the test says `release(key)`.

    `server` is what to connect to; `started` and `answered` are the keys in the order in which that happened, and
    `cancelled` are those whose call was given up.
    """

    def __init__(self) -> None:
        self.server = MCPServer("ordered")
        self.started: list[str] = []
        self.answered: list[str] = []
        self.cancelled: list[str] = []
        self._gates: dict[str, anyio.Event] = {}
        self._begun: dict[str, anyio.Event] = {}
        self.server.tool()(self.answer)

    async def answer(self, key: str) -> str:
        """Answer when released."""
        self.started.append(key)
        self._begun.setdefault(key, anyio.Event()).set()
        try:
            await self._gates.setdefault(key, anyio.Event()).wait()
        except asyncio.CancelledError:
            self.cancelled.append(key)
            raise
        self.answered.append(key)
        return key

    async def reached(self, *keys: str) -> None:
        """Until the calls with these keys are in flight; TimeoutError after five seconds."""
        with anyio.fail_after(PATIENCE_S):
            for key in keys:
                await self._begun.setdefault(key, anyio.Event()).wait()

    def release(self, *keys: str) -> None:
        """Let the calls with these keys answer, in this order."""
        for key in keys:
            self._gates.setdefault(key, anyio.Event()).set()


def ordered_server() -> OrderedServer:
    """A server whose calls are answered in an order that the test controls."""
    return OrderedServer()


def image_server() -> MCPServer:
    """Tool `draw()`: a text, an image of one pixel and structured content at once."""
    server = MCPServer("image")

    @server.tool()
    def draw() -> CallToolResult:
        return CallToolResult(
            content=[
                TextContent(type="text", text="one pixel"),
                ImageContent(type="image", data=PIXEL, mime_type="image/png"),
            ],
            structured_content={"width": 1, "height": 1},
        )

    return server


def error_server() -> MCPServer:
    """Three ways to fail: `refuse` (told to the model), `crash` (an exception), `break_protocol` (a JSON-RPC error)."""
    server = MCPServer("error")

    @server.tool()
    def refuse() -> str:
        raise ToolError("the printer is out of paper")

    @server.tool()
    def crash() -> str:
        raise ValueError("a secret of the server")

    @server.tool()
    def break_protocol() -> str:
        raise MCPError(-32050, "the server refuses the request")

    return server


def adding_server() -> tuple[MCPServer, list[tuple[int, int]]]:
    """Tool `add(a, b)`, and the arguments of each of its executions."""
    server, executed = MCPServer("adding"), list[tuple[int, int]]()

    @server.tool()
    async def add(a: int, b: int) -> str:
        executed.append((a, b))
        return str(a + b)

    return server, executed
