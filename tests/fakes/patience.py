"""Hosts whose patience ends, each with a model that does what its tools tell it; on a virtual clock.

A host shows its model the text of a result, its structured content or both, and gives up a call after its time. The
model reads nothing but that: it waits on where it is told how, and calls again what was given up.
"""

import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import httpx2
from mcp.server.mcpserver import MCPServer
from typing_extensions import override

from bridge.app import Bridge
from bridge.config.settings import Config, Limits, ServerConfig, UpstreamConfig
from tests.fakes.clock import VirtualClock
from tests.fakes.items import Json, call, message
from tests.fakes.rawhost import RawHost, raw_host

MAX_CALLS = 200
"""No model is as patient as that."""

View = Literal["text", "structure", "both"]


@dataclass(frozen=True)
class Patience:
    """How long a host waits for a call, in seconds."""

    seconds: float
    is_reset: bool = False
    """Whether each progress notification begins it anew."""


@dataclass(frozen=True)
class Outcome:
    """What came of one question: the answer that the host's model got, and how often the tool was executed."""

    answer: str | None
    executed: int


class _Upstream(httpx2.AsyncBaseTransport):
    """A model that calls `s__work` once and answers with what it said; without a socket, so that the clock is all
    there is to wait for."""

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        items: list[Json] = json.loads(await request.aread())["input"]
        outputs = [item["output"] for item in items if "output" in item]
        item = message(f"It said {outputs[0]}") if outputs else call("s__work")
        body = {"id": "resp_1", "object": "response", "status": "completed", "model": "m", "output": [item]}
        return httpx2.Response(200, json=body)


class _Host:
    """One host in front of a bridge."""

    def __init__(self, wire: RawHost, clock: VirtualClock, patience: Patience, view: View) -> None:
        self._wire, self._clock, self._patience, self._view = wire, clock, patience, view

    async def ask(self) -> str | None:
        """What the model makes of a question to `respond`: its answer, or None where it gives up."""
        name, arguments = "respond", {"input": "Do the work"}
        for _ in range(MAX_CALLS):
            seen = await self._call(name, arguments)
            if seen is None:
                continue  # given up by the host: the model tries the same again
            if told := re.search(r"call respond_wait with run_id (run_\w+)", seen):
                name, arguments = "respond_wait", {"run_id": told[1]}
            elif answer := re.search(r"It said (done-\d+)", seen):
                return answer[1]
            else:
                return None
        return None

    async def _call(self, name: str, arguments: Json) -> str | None:
        """What the model sees of one call; None where the host gives it up."""
        number = await self._wire.call(name, arguments, _meta={"progressToken": name})
        heard, deadline = len(self._wire.heard), self._clock.now() + self._patience.seconds
        try:
            while not self._wire.has_result(number):
                await self._clock.drive(partial(self._is_news, number, heard), deadline)
                heard, deadline = len(self._wire.heard), self._clock.now() + self._patience.seconds
        except TimeoutError:
            await self._clock.advance(deadline - self._clock.now())
        if self._wire.has_result(number):
            return self._show(await self._wire.result(number))
        await self._wire.cancel(number, "McpError: MCP error -32001: Request timed out")
        return None

    def _is_news(self, number: int, heard: int) -> bool:
        return self._wire.has_result(number) or (self._patience.is_reset and len(self._wire.heard) > heard)

    def _show(self, result: Json) -> str:
        text = "\n".join(block["text"] for block in result["content"])
        structure = json.dumps(result["structuredContent"])
        return {"text": text, "structure": structure, "both": text + structure}[self._view]


async def simulate(patience: Patience, view: View, mode: str, run_s: float) -> Outcome:
    """One question through such a host, whose run takes `run_s` seconds."""
    clock, server, executed = VirtualClock(), MCPServer("s"), list[str]()

    @server.tool()
    async def work() -> str:
        executed.append(f"done-{len(executed)}")
        name = executed[-1]
        await clock.sleep(run_s)
        return name

    async with _open(clock, server) as bridge, raw_host(bridge.server, mode) as wire:
        answer = await _Host(wire, clock, patience, view).ask()
    return Outcome(answer, len(executed))


@asynccontextmanager
async def _open(clock: VirtualClock, server: MCPServer) -> AsyncIterator[Bridge]:
    settings: dict[str, Any] = {"command": "in this process", "require_approval": "never"}
    config = Config(
        upstream=UpstreamConfig(model="m", base_url="http://in.process.invalid/v1", stream="never"),
        servers=(ServerConfig(key="s", **settings),),
        limits=Limits(timeout_s=7200, call_timeout_s=7200),
        builtin_tools=False,
    )
    bridge = Bridge(config, environ={}, clock=clock, in_process={"s": server}, transport=_Upstream())
    async with bridge:
        await bridge.hub.catalogue()
        yield bridge
