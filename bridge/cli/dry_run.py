"""`ask --dry-run`: prints the first request of a run, byte for byte as it would be sent, and sends nothing."""

import os
import sys
from collections.abc import Iterator, Mapping

import anyio
import httpx2
from typing_extensions import override

from bridge.app import Bridge
from bridge.cli.ask import run_once
from bridge.cli.exits import COMPLETED, FAILED
from bridge.cli.output import tell
from bridge.config.settings import Config
from bridge.json_text import JsonObject, decode, encode
from bridge.processes.children import Child
from bridge.questions import ask_nobody
from bridge.run.memory import MemoryEngine
from bridge.run.store.choice import choose_engine
from bridge.telemetry import Redactor
from bridge.texts import estimate_tokens
from bridge.visible import show_exactly

SAID = b'{"status":"completed","output":[{"type":"message","content":"-"}]}'
NOTHING = b'data: {"type":"response.completed","response":%b}\n\n' % SAID
"""A response that ends the run, so that its receipt has the notices of what was changed in the request."""


class FirstRequest(httpx2.AsyncBaseTransport):
    """A transport that keeps the first request and sends none."""

    url: httpx2.URL | None = None
    body: bytes = b""

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.url, self.body = request.url, await request.aread()
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=NOTHING)


def show_request(config: Config, redact: Redactor, children: Mapping[str, Child], arguments: JsonObject) -> int:
    """Print the body alone on stdout; on stderr its destination and the cost of each tool in it."""
    first = FirstRequest()
    receipt = anyio.run(_run, config, redact, children, arguments, first)
    for line in _describe(receipt, first):
        tell(redact(line))
    if first.url is None:
        return FAILED
    _print_body(first.body)
    return COMPLETED


def _print_body(body: bytes) -> None:
    """Print the very bytes; on a terminal, what would act on it is written as JSON's escape of it."""
    if sys.stdout.isatty():
        body = show_exactly(body.decode()).encode()
    sys.stdout.buffer.write(body + b"\n")
    sys.stdout.flush()


async def _run(
    config: Config, redact: Redactor, children: Mapping[str, Child], arguments: JsonObject, first: FirstRequest
) -> JsonObject:
    engine = (
        choose_engine(config, os.environ, default="sqlite", writes=False) if "run_id" in arguments else MemoryEngine
    )
    bridge = Bridge(
        config,
        environ=os.environ,
        children=children,
        ask=ask_nobody,
        redact=redact,
        transport=first,
        build_engine=engine,
    )
    return await run_once(bridge, arguments)


def _describe(receipt: JsonObject, first: FirstRequest) -> Iterator[str]:
    notices, error = receipt["notices"], receipt["error"]
    for notice in notices if isinstance(notices, list) else ():
        yield f"! {notice['message']}" if isinstance(notice, dict) else ""
    if first.url is None:
        yield f"failed: {error['message']}" if isinstance(error, dict) else "failed: there is no request"
        return
    costs = _weigh_tools(first.body)
    yield f"POST {first.url} ({len(first.body):,} bytes; not sent)"
    for name, tokens in costs.items():
        yield f"{tokens:>7,} tokens  {name}"
    total = estimate_tokens(first.body.decode())
    yield f"about {sum(costs.values()):,} tokens in {len(costs)} tools, {total:,} in the whole request"


def _weigh_tools(body: bytes) -> dict[str, int]:
    request = decode(body)
    tools = request.get("tools") if isinstance(request, dict) else None
    named = [tool for tool in tools if isinstance(tool, dict)] if isinstance(tools, list) else []
    return {str(tool.get("name") or tool.get("type")): estimate_tokens(encode(tool)) for tool in named}
