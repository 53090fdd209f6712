"""The three ways to do a workload: the floor, a bridge in this process, and `respond` of a bridge in its own.

The hop is a fourth arm that does none of it: what a call of `respond` costs when nothing is behind it.
"""

import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from mcp import Client, StdioServerParameters

from bridge.app import Bridge
from bridge.config.load import load
from bridge.events import CallEnded, Event, TextArrived
from bridge.host.waiting import TEXT_META
from tests.bench.floor import Hear, open_floor
from tests.bench.workloads import MANY, ROOT, Setup, Workload

HERE = Path(__file__).parent
FEW = 8


class Arm(Protocol):
    """Does one run of a workload; `hear` gets what streams in."""

    async def __call__(self, workload: Workload, hear: Hear | None = None) -> None: ...


def write_config(
    folder: Path, base_url: str, servers: dict[str, list[str]], *, builtin_tools: bool = False, stream: str = "never"
) -> Path:
    """The config of a bridge in front of these Python scripts, whose tools need no yes; those of the first keep their
    names."""
    entries = {
        key: {
            "command": sys.executable,
            "args": args,
            "require_approval": "never",
            "prefix": number > 0,
            "tools": {"repeat": ["*"]},  # ten turns make the same call ten times
        }
        for number, (key, args) in enumerate(servers.items())
    }
    path = folder / "config.json"
    content = {
        "mcpServers": entries,
        "upstream": {"base_url": base_url, "model": "text", "stream": stream},
        "limits": {"max_tools": 10_000, "tool_tokens": 10_000_000},
        "builtin_tools": builtin_tools,
    }
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def far_end(tools: int, *journal: Path) -> list[str]:
    """The arguments of Python for the far end."""
    return [str(HERE / "server.py"), str(tools), *map(str, journal)]


def start_bridge(config: Path) -> StdioServerParameters:
    """How a host starts a bridge."""
    module = start_module("bridge", "serve", "--config", str(config))
    return module.model_copy(update={"env": (module.env or {}) | keep_state(config)})


def keep_state(config: Path) -> dict[str, str]:
    """Keep what a bridge remembers beside its config: the server of one setup is another in the next, and would have to
    be approved."""
    return {"MCP_RESPONSES_BRIDGE_STATE": str(config.parent / "state")}


def start_module(*arguments: str) -> StdioServerParameters:
    """How a host starts a Python module of this project."""
    return StdioServerParameters(
        command=sys.executable, args=["-m", *arguments], cwd=str(ROOT), env=dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    )


@asynccontextmanager
async def open_arms(setup: Setup, base_url: str, folder: Path) -> AsyncIterator[dict[str, Arm]]:
    """All of them for a setup, the three with a far end each. The floor has the built-in tools over stdio."""
    is_builtin = setup == "builtin"
    script = far_end(MANY if setup == "many" else FEW)
    config = write_config(
        folder,
        base_url,
        {} if is_builtin else {"bench": script},
        builtin_tools=is_builtin,
        stream="always" if setup == "sse" else "never",
    )
    server = start_module("builtin_tools") if is_builtin else StdioServerParameters(command=sys.executable, args=script)
    async with (
        open_floor(base_url, server) as floor,
        open_direct(config) as direct,
        open_respond(start_bridge(config)) as respond,
        open_respond(start_module("tests.bench.bare_server", "stdio")) as hop,
    ):
        yield {"floor": floor.run, "direct": direct, "respond": respond, "hop": hop}


@asynccontextmanager
async def open_direct(config: Path) -> AsyncIterator[Arm]:
    """A bridge in this process."""
    async with Bridge(load(config, environ={}), environ=os.environ | keep_state(config)) as bridge:

        async def run(workload: Workload, hear: Hear | None = None) -> None:
            def listen(event: Event) -> None:
                if hear and isinstance(event, TextArrived):
                    hear(event.delta.encode())

            started = await bridge.run(workload.arguments, listen if hear else None)
            assert started.ending
            assert started.ending["status"] == "completed", started.ending
            assert not [event for event in started.events if isinstance(event, CallEnded) and event.is_error]

        yield run


@asynccontextmanager
async def open_respond(server: StdioServerParameters) -> AsyncIterator[Arm]:
    """A server with the tool, over stdio. Streamed text is asked for as progress; without it nobody asks for any."""
    async with Client(server) as client:

        async def run(workload: Workload, hear: Hear | None = None) -> None:
            async def note(_progress: float, _total: float | None, message: str | None) -> None:
                if hear and message:
                    hear(message.encode())

            streamed: dict[str, Any] = {}
            if workload.setup == "sse":
                streamed = {"progress_callback": note, "meta": {TEXT_META: True}}
            result = await client.call_tool("respond", workload.arguments, **streamed)
            assert not result.is_error, result
            assert not [made for made in (result.structured_content or {}).get("tool_calls", []) if made["is_error"]]

        yield run
