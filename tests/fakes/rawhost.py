"""A host that writes its own JSON-RPC messages: for what an SDK's client would not say, or not in these words.

async with raw_host(bridge.server, "legacy") as host:
    number = await host.send("tools/call", {"name": "respond", "arguments": {"input": "Hello"}})
    await host.cancel(number, "Request timed out")
"""

import itertools
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import anyio
from mcp.client.sse import sse_client
from mcp.server import Server
from mcp.shared.message import SessionMessage
from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    CLIENT_INFO_META_KEY,
    PROTOCOL_VERSION_META_KEY,
    JSONRPCError,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)

from tests.fakes.clock import PATIENCE_S
from tests.fakes.items import Json
from tests.fakes.service import TOKEN

VERSIONS = {"legacy": "2025-11-25", "auto": "2026-07-28"}
INFO = {"name": "raw", "version": "1"}

Answer = Callable[[Json], Json | None]
"""What the host answers to a request of the server's, by its params; None never answers."""


class RawHost:
    """One connection. `heard` are the notifications that came, in order; `asked` the requests of the server."""

    def __init__(self, outgoing: Any, mode: str, capabilities: Json, answer: Answer) -> None:
        self.heard: list[Json] = []
        self.asked: list[Json] = []
        self.version = VERSIONS[mode]
        self._outgoing = outgoing
        self._mode = mode
        self._capabilities = capabilities
        self._answer = answer
        self._numbers = itertools.count(1)
        self._answers: dict[int, Json] = {}
        self._answered = anyio.Event()

    async def send(self, method: str, params: Json) -> int:
        """Send a request; its number."""
        number = next(self._numbers)
        if self._mode != "legacy":
            params = {**params, "_meta": self._envelope() | params.get("_meta", {})}
        await self._write(JSONRPCRequest(jsonrpc="2.0", id=number, method=method, params=params))
        return number

    async def call(self, name: str, arguments: Json, **params: Any) -> int:
        """Call a tool; the request's number."""
        return await self.send("tools/call", {"name": name, "arguments": arguments, **params})

    async def notify(self, method: str, params: Json | None = None) -> None:
        await self._write(JSONRPCNotification(jsonrpc="2.0", method=method, params=params))

    async def cancel(self, number: int, reason: str | None = None) -> None:
        """Give a request up, in these words."""
        params: Json = {"requestId": number} | ({"reason": reason} if reason is not None else {})
        await self.notify("notifications/cancelled", params)

    async def result(self, number: int) -> Json:
        """The result of a request, when it is there; TimeoutError after PATIENCE_S."""
        with anyio.fail_after(PATIENCE_S):
            while number not in self._answers:
                await self._answered.wait()
        return self._answers.pop(number)

    async def receipt(self, number: int) -> Json:
        """The structured content of a call's result."""
        receipt: Json = (await self.result(number))["structuredContent"]
        return receipt

    def has_result(self, number: int) -> bool:
        return number in self._answers

    async def open(self) -> None:
        """The handshake, where the era has one."""
        if self._mode == "legacy":
            hello = {"protocolVersion": self.version, "capabilities": self._capabilities, "clientInfo": INFO}
            await self.result(await self.send("initialize", hello))
            await self.notify("notifications/initialized")

    async def read(self, incoming: Any) -> None:
        """Take what comes until the connection ends."""
        async for message in incoming:
            match message.message:
                case JSONRPCResponse(id=number, result=result):
                    self._take(number, result)
                case JSONRPCError(id=number, error=error):
                    self._take(number, {"error": error.model_dump()})
                case JSONRPCNotification(method=method, params=params):
                    self.heard.append({"method": method, **(params or {})})
                case JSONRPCRequest(id=number, method=method, params=params):
                    self.asked.append({"method": method, **(params or {})})
                    if (result := self._answer(params or {})) is not None:
                        await self._write(JSONRPCResponse(jsonrpc="2.0", id=number, result=result))

    def _take(self, number: Any, result: Json) -> None:
        self._answers[number] = result
        self._answered.set()
        self._answered = anyio.Event()

    def _envelope(self) -> Json:
        return {
            PROTOCOL_VERSION_META_KEY: VERSIONS[self._mode],
            CLIENT_INFO_META_KEY: INFO,
            CLIENT_CAPABILITIES_META_KEY: self._capabilities,
        }

    async def _write(self, message: Any) -> None:
        await self._outgoing.send(SessionMessage(message=message))


@asynccontextmanager
async def sse_host(port: int, *, token: str = TOKEN) -> AsyncIterator[RawHost]:
    """A host of the handshake era on a connection of SSE."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        sse_client(f"http://127.0.0.1:{port}/sse", headers=headers, timeout=60) as (incoming, outgoing),
        anyio.create_task_group() as tasks,
    ):
        host = RawHost(outgoing, "legacy", {}, lambda _: None)
        tasks.start_soon(host.read, incoming)
        await host.open()
        yield host
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def raw_host(
    server: Server[Any],
    mode: str,
    *,
    capabilities: Json | None = None,
    answer: Answer = lambda _: None,
    version: str | None = None,
) -> AsyncIterator[RawHost]:
    """A host on a stream to `server`, as on stdio: `mode` "legacy" is the handshake era, in which it may speak an older
    `version`; "auto" is the modern one."""
    to_server, from_host = anyio.create_memory_object_stream[Any](100)
    to_host, from_server = anyio.create_memory_object_stream[Any](1000)
    host = RawHost(to_server, mode, capabilities or {}, answer)
    host.version = version or host.version
    async with anyio.create_task_group() as tasks, to_server, from_server:
        tasks.start_soon(server.run, from_host, to_host, server.create_initialization_options())
        tasks.start_soon(host.read, from_server)
        await host.open()
        yield host
        tasks.cancel_scope.cancel()
