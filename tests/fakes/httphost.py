"""A host that writes its own requests to `/mcp`: it repeats a call before the bridge can know that it cut the first.

async with http_host(served.port, "legacy") as host:
    first = await host.call("Hello")
    again = await host.call("Hello")
    first.hang_up()
    receipt = await again.receipt()
"""

import itertools
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import anyio
import httpx2
from anyio.abc import TaskGroup
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY

from tests.fakes.clock import PATIENCE_S
from tests.fakes.items import Json
from tests.fakes.rawhost import VERSIONS
from tests.fakes.service import TOKEN

TIMED_OUT = "McpError: MCP error -32001: Request timed out"
"""What the TypeScript clients say when they cancel."""


class HttpCall:
    """One call, whose answer somebody may wait for or not."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._life = anyio.CancelScope()
        self._answered = anyio.Event()
        self._answer: Json = {}

    @property
    def is_answered(self) -> bool:
        return self._answered.is_set()

    def hang_up(self) -> None:
        """Close its request."""
        self._life.cancel()

    async def result(self) -> Json:
        """Its result, when it is there; TimeoutError after PATIENCE_S."""
        with anyio.fail_after(PATIENCE_S):
            await self._answered.wait()
        result: Json = self._answer["result"]
        return result

    async def receipt(self) -> Json:
        """The structured content of its result."""
        receipt: Json = (await self.result())["structuredContent"]
        return receipt

    async def exchange(
        self, http: httpx2.AsyncClient, request: Json, headers: dict[str, str], *, until_answered: bool
    ) -> None:
        """Send it and read its answer, until it is hung up; to the end, or only `until_answered`."""
        with self._life:
            async with http.stream("POST", "/mcp", json=request, headers=headers) as reply:
                body = ""
                async for line in reply.aiter_lines():
                    body += f"{line}\n"
                    if until_answered and '"result":' in line:
                        break
                self._answer = read_answer(body)
            self._answered.set()


class HttpHost:
    """One host: a session in the handshake era, a name in the modern one."""

    def __init__(self, http: httpx2.AsyncClient, tasks: TaskGroup, mode: str, name: str, capabilities: Json) -> None:
        self._http = http
        self._tasks = tasks
        self._mode = mode
        self._info = {"name": name, "version": "1"}
        self._capabilities = capabilities
        self._numbers = itertools.count(1)
        self.headers = {"MCP-Protocol-Version": VERSIONS[mode], "Accept": "application/json, text/event-stream"}

    async def open(self) -> None:
        """The handshake, where the era has one."""
        if self._mode == "legacy":
            version = {"protocolVersion": VERSIONS["legacy"]}
            hello = {**version, "capabilities": self._capabilities, "clientInfo": self._info}
            reply = await self._post({"id": next(self._numbers), "method": "initialize", "params": hello})
            self.headers["Mcp-Session-Id"] = reply.headers["Mcp-Session-Id"]
            await self._post({"method": "notifications/initialized"})

    async def call(
        self,
        input: str,
        *,
        tool: str = "respond",
        meta: Json | None = None,
        until_answered: bool = False,
        **params: Any,
    ) -> HttpCall:
        """Call a tool of ours, by default `respond`; hang up once it is `until_answered`."""
        key = "input" if tool == "respond" else "run_id"
        call = HttpCall(next(self._numbers))
        params = {"name": tool, "arguments": {key: input}, "_meta": (meta or {}) | self._envelope(), **params}
        request = {"jsonrpc": "2.0", "id": call.number, "method": "tools/call", "params": params}
        headers = self.headers | {"Mcp-Method": "tools/call", "Mcp-Name": tool}
        exchange = partial(call.exchange, until_answered=until_answered)
        self._tasks.start_soon(exchange, self._http, request, headers)
        return call

    async def cancel(self, call: HttpCall, reason: Any = TIMED_OUT) -> None:
        """Give a call up in these words, as in the handshake era."""
        params = {"requestId": call.number, "reason": reason}
        await self._post({"method": "notifications/cancelled", "params": params})

    async def end(self) -> None:
        """End the session."""
        await self._http.delete("/mcp", headers=self.headers)

    def _envelope(self) -> Json:
        if self._mode == "legacy":
            return {}
        return {
            PROTOCOL_VERSION_META_KEY: VERSIONS[self._mode],
            CLIENT_INFO_META_KEY: self._info,
            CLIENT_CAPABILITIES_META_KEY: self._capabilities,
        }

    async def _post(self, message: Json) -> httpx2.Response:
        reply = await self._http.post("/mcp", json={"jsonrpc": "2.0", **message}, headers=self.headers)
        assert reply.status_code < 300, reply.text
        return reply


def read_answer(body: str) -> Json:
    """The answer in a reply, which is JSON or the last event of a stream; nothing where the session has ended."""
    events = [line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: {")]
    answer: Json = json.loads(body if body.startswith("{") else events[-1] if events else "{}")
    return answer


@asynccontextmanager
async def http_host(
    port: int, mode: str, *, name: str = "raw", token: str | None = TOKEN, capabilities: Json | None = None
) -> AsyncIterator[HttpHost]:
    """A host of the service on this port: `mode` "legacy" is the handshake era, "auto" the modern one."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)  # an idle one may be closed by now
    async with (
        httpx2.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", headers=headers, timeout=60, limits=limits, verify=False
        ) as http,
        anyio.create_task_group() as tasks,
    ):
        host = HttpHost(http, tasks, mode, name, capabilities or {})
        await host.open()
        yield host
        tasks.cancel_scope.cancel()
