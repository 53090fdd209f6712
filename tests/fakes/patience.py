"""Hosts whose patience ends, each with a model that does what its tools tell it; on a virtual clock.

A host shows its model the text of a result, its structured content or both, and gives up a call after its time. The
model reads nothing but that: it waits on where it is told how, and calls again what was given up.
"""

import json
import math
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import httpx2
from mcp.server.mcpserver import MCPServer
from typing_extensions import override

from bridge.app import Bridge
from bridge.config.settings import Config, Limits, RunsConfig, ServerConfig, UpstreamConfig
from bridge.run.store.choice import choose_engine
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


class Dropped(Exception):
    """The bridge of a host has ended in the middle of a call."""


class _Host:
    """One host, in front of a bridge and then of another one; and its model, which remembers what it was told."""

    def __init__(self, clock: VirtualClock, patience: Patience, view: View) -> None:
        self._clock, self._patience, self._view = clock, patience, view
        self._name, self._arguments = "respond", {"input": "Do the work"}
        self._calls = 0

    async def ask(self, wire: RawHost, until: float) -> str | None:
        """What the model makes of a question to `respond`: its answer, or None where it gives up. Raises Dropped at the
        instant `until`."""
        self._wire = wire
        while self._calls < MAX_CALLS:
            self._calls += 1
            seen = await self._call(self._name, self._arguments, until)
            if seen is None:
                continue  # given up by the host: the model tries the same again
            if told := re.search(r"call respond_wait with run_id (run_\w+)", seen):
                self._name, self._arguments = "respond_wait", {"run_id": told[1]}
            elif answer := re.search(r"It said (done-\d+|.*may have been executed)", seen):
                return answer[1]
            else:
                return None
        return None

    async def _call(self, name: str, arguments: Json, until: float) -> str | None:
        """What the model sees of one call; None where the host gives it up."""
        number = await self._wire.call(name, arguments, _meta={"progressToken": name})
        heard, deadline = len(self._wire.heard), self._clock.now() + self._patience.seconds
        try:
            while not self._wire.has_result(number):
                await self._clock.drive(partial(self._is_news, number, heard), min(deadline, until))
                heard, deadline = len(self._wire.heard), self._clock.now() + self._patience.seconds
        except TimeoutError:
            await self._clock.advance(min(deadline, until) - self._clock.now())
        if self._wire.has_result(number):
            return self._show(await self._wire.result(number))
        if self._clock.now() >= until:
            raise Dropped
        await self._wire.cancel(number, "McpError: MCP error -32001: Request timed out")
        return None

    def _is_news(self, number: int, heard: int) -> bool:
        return self._wire.has_result(number) or (self._patience.is_reset and len(self._wire.heard) > heard)

    def _show(self, result: Json) -> str:
        text = "\n".join(block["text"] for block in result["content"])
        structure = json.dumps(result["structuredContent"])
        return {"text": text, "structure": structure, "both": text + structure}[self._view]


async def simulate(
    patience: Patience, view: View, mode: str, run_s: float, *, file: Path | None = None, drop_s: float = math.inf
) -> Outcome:
    """One question through such a host, whose run takes `run_s` seconds. With a file of runs, the bridge may be dropped
    after `drop_s` seconds, and another one takes its place."""
    clock, server, executed = VirtualClock(), MCPServer("s"), list[str]()

    @server.tool()
    async def work() -> str:
        executed.append(f"done-{len(executed)}")
        name = executed[-1]
        await clock.sleep(run_s)
        return name

    host = _Host(clock, patience, view)
    for until in (drop_s, math.inf):
        async with _open(clock, server, file) as bridge, raw_host(bridge.server, mode) as wire:
            try:
                return Outcome(await host.ask(wire, until), len(executed))
            except Dropped:
                continue
    raise AssertionError("the second bridge is not dropped")


@asynccontextmanager
async def _open(clock: VirtualClock, server: MCPServer, file: Path | None) -> AsyncIterator[Bridge]:
    settings: dict[str, Any] = {"command": "in this process", "require_approval": "never"}
    config = Config(
        upstream=UpstreamConfig(model="m", base_url="http://in.process.invalid/v1", stream="never"),
        servers=(ServerConfig(key="s", **settings),),
        limits=Limits(timeout_s=7200, call_timeout_s=7200),
        builtin_tools=False,
        runs=RunsConfig(store=f"sqlite:///{file}" if file else "memory"),
    )
    build_engine = choose_engine(config, {}, default="memory")
    inside = {"s": server}
    bridge = Bridge(
        config, environ={}, clock=clock, in_process=inside, transport=_Upstream(), build_engine=build_engine
    )
    async with bridge:
        await bridge.hub.catalogue()
        yield bridge
