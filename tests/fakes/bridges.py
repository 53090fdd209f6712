"""A bridge in this process, between a host's client and a scripted upstream, with servers of this process behind it."""

import os
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from mcp import Client
from mcp.client.client import ConnectMode
from mcp.types import CallToolResult, TextContent

from bridge.app import Bridge
from bridge.clock import Clock
from bridge.config.settings import Config, Limits, Price, ServerConfig, ToolRules, ToolSearch, UpstreamConfig
from bridge.hub.member import InProcess
from bridge.telemetry import Redactor
from tests.fakes.items import Json
from tests.fakes.upstream import Answer, Reply, Request, ScriptedUpstream

ERAS: tuple[ConnectMode, ...] = ("auto", "legacy")
"""How a host may speak: the modern revision, and the handshake era's."""


@asynccontextmanager
async def open_bridge(
    upstream: ScriptedUpstream | None,
    servers: Mapping[str, InProcess] | None = None,
    *,
    limits: Mapping[str, Any] | None = None,
    tool_search: Mapping[str, Any] | None = None,
    clock: Clock | None = None,
    builtin_tools: bool = False,
    prefix: bool = True,
    redact: Redactor | None = None,
    input_roots: Sequence[str] = (),
    prices: Mapping[str, Any] | None = None,
    tools: Mapping[str, Any] | None = None,
    **settings: Any,
) -> AsyncIterator[Bridge]:
    """A running bridge in front of `upstream`, whose `settings` are those of the config; none of its tools need a yes.

    Without an upstream and without a `base_url` in the settings none is configured.
    """
    unit: dict[str, Any] = {"model": "gpt-4.1", **({"base_url": upstream.base_url} if upstream else {}), **settings}
    config = Config(
        upstream=UpstreamConfig(**unit) if "base_url" in unit else None,
        servers=tuple(
            ServerConfig(
                key=key,
                command="in this process",
                require_approval="never",
                prefix=prefix,
                tools=ToolRules(**(tools or {})),
            )
            for key in servers or {}
        ),
        limits=Limits(**(limits or {})),
        tool_search=ToolSearch.model_validate(tool_search or {}),
        builtin_tools=builtin_tools,
        input_roots=tuple(input_roots),
        prices={model: Price(**price) for model, price in (prices or {}).items()},
    )
    bridge = Bridge(config, environ=os.environ, clock=clock or Clock(), redact=redact, in_process=servers)
    async with bridge:
        yield bridge


@asynccontextmanager
async def open_client(
    upstream: ScriptedUpstream | None,
    servers: Mapping[str, InProcess] | None = None,
    *,
    mode: ConnectMode = "auto",
    **options: Any,
) -> AsyncIterator[Client]:
    """A host's client of such a bridge; `options` as for `open_bridge`."""
    async with open_bridge(upstream, servers, **options) as bridge, Client(bridge.server, mode=mode) as client:
        yield client


async def respond(client: Client, input: str | list[Json] = "Hello", **arguments: Any) -> Json:
    """What `respond` comes to: its structured content."""
    result = await client.call_tool("respond", {"input": input, **arguments})
    assert result.structured_content is not None
    assert result.is_error == (result.structured_content["status"] in ("failed", "cancelled"))
    return result.structured_content


async def ask(
    script: Sequence[Answer] | Callable[[Request], Reply],
    servers: Mapping[str, InProcess] | None = None,
    /,
    arguments: Mapping[str, Any] | None = None,
    **options: Any,
) -> tuple[Json, list[Request]]:
    """One `respond` call, with its arguments besides `input`: what it comes to, and the requests that were sent."""
    async with ScriptedUpstream(script) as upstream, open_client(upstream, servers, **options) as client:
        receipt = await respond(client, **(arguments or {}))
        upstream.assert_complete()
    return receipt, upstream.requests


def outputs_of(request: Request) -> list[Any]:
    """The call outputs in a request's input, in order."""
    return [item["output"] for item in request.json["input"] if str(item.get("type")).endswith("_call_output")]


def text_of(result: CallToolResult, index: int = 0) -> str:
    """A text that a host without structured content shows: 0 is the answer, 1 what is needed to go on from it."""
    return [block.text for block in result.content if isinstance(block, TextContent)][index]
