"""The service, or another application, on a loopback port, of this process or of its own; requests byte by byte or by
an MCP client."""

import asyncio
import os
import re
import socket
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.client import ConnectMode
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client
from starlette.middleware import Middleware
from starlette.routing import BaseRoute
from starlette.types import ASGIApp

from bridge.app import Bridge
from bridge.clock import Clock
from bridge.config.settings import ServeConfig
from bridge.host.http import Listening, listen, serve_http
from bridge.host.personal_tokens import open_tokens
from bridge.host.web_server import HEAD_TIMEOUT_S, build_web
from tests.fakes.clock import PATIENCE_S

TOKEN = "a-token-of-the-tests"


@dataclass(frozen=True)
class Reply:
    """What came back, byte by byte."""

    status: int
    headers: dict[str, str]
    body: str


@dataclass(frozen=True)
class Served:
    """A service that runs; `port` is where."""

    listening: Listening

    @property
    def port(self) -> int:
        return int(self.listening.socket.getsockname()[1])

    async def send(
        self, method: str, path: str, headers: Sequence[tuple[str, str | bytes]] = (), body: bytes = b""
    ) -> Reply:
        """One request with exactly these headers, `Connection: close` and the length of the body."""
        head = f"{method} {path} HTTP/1.1\r\nConnection: close\r\n".encode()
        for name, value in [*headers, *([("Content-Length", str(len(body)))] if body else [])]:
            head += f"{name}: ".encode() + (value.encode() if isinstance(value, str) else value) + b"\r\n"
        return parse(await self.exchange(head + b"\r\n" + body))

    async def exchange(self, data: bytes, begun: anyio.Event | None = None) -> bytes:
        """Everything that comes back until the service closes the connection; `begun` is set at the first of it."""
        with anyio.fail_after(PATIENCE_S):
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(data)
            try:
                first = await reader.read(1)
                if begun:
                    begun.set()
                return first + await reader.read()
            except ConnectionError:
                return b""
            finally:
                writer.close()

    @property
    def right(self) -> list[tuple[str, str | bytes]]:
        """The headers of a request that is let in."""
        return [("Host", f"127.0.0.1:{self.port}"), ("Authorization", f"Bearer {TOKEN}")]

    def client(
        self, path: str = "/mcp", mode: ConnectMode = "auto", **options: Any
    ) -> AbstractAsyncContextManager[Client]:
        """An MCP client of `/mcp` or `/sse`."""
        return connect(self.port, path, mode, **options)


@asynccontextmanager
async def connect(
    port: int, path: str, mode: ConnectMode, *, token: str | None = TOKEN, **options: Any
) -> AsyncIterator[Client]:
    """An MCP client of `/mcp` or `/sse` of a service on this port."""
    url = f"http://127.0.0.1:{port}{path}"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with httpx2.AsyncClient(headers=headers, timeout=60, verify=False) as http:
        target = (
            sse_client(url, headers=headers, timeout=60)
            if path == "/sse"
            else streamable_http_client(url, http_client=http, max_sse_event_size=None)
        )
        is_leaving = False
        try:
            async with Client(target, mode=mode, **options) as client:
                yield client
                is_leaving = True
        except* anyio.BrokenResourceError:  # of the SDK's SSE client, when a message comes while it is closed
            if not is_leaving or path != "/sse":
                raise


def parse(data: bytes) -> Reply:
    """A whole HTTP/1.1 reply."""
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Reply(int(first.split()[1]), headers, body.decode("utf-8", "replace"))


@asynccontextmanager
async def serving(
    bridge: Bridge,
    *,
    clock: Clock | None = None,
    no_auth: bool = False,
    head_timeout_s: float = HEAD_TIMEOUT_S,
    room: int | None = None,
    environ: Mapping[str, str] = os.environ,
    routes: Sequence[BaseRoute] = (),
    layers: Sequence[Middleware] = (),
    **settings: Any,
) -> AsyncIterator[Served]:
    """Serve this bridge to as many connections as there is `room` for; `settings` are those of the config's `serve`,
    `routes` and `layers` what the service has beside its own."""
    unit: dict[str, Any] = {"port": 0, "token": TOKEN, **settings}
    config = ServeConfig.model_validate(unit)
    verifiers = (open_tokens(config, environ),) if config.principals else ()
    listening = listen(config, no_auth=no_auth, verifiers=verifiers, clock=clock)
    stop = anyio.Event()
    with listening.socket:  # also where the test fails
        async with anyio.create_task_group() as tasks:

            async def serve() -> None:
                timing = clock or Clock()
                more: dict[str, Any] = {"head_timeout_s": head_timeout_s, "room": room}
                await serve_http(bridge.server, listening, timing, stop, routes=routes, layers=layers, **more)

            tasks.start_soon(serve)
            yield Served(listening)
            stop.set()


@asynccontextmanager
async def serving_app(app: ASGIApp, *, head_timeout_s: float = HEAD_TIMEOUT_S) -> AsyncIterator[str]:
    """Serve any application; the address of its root."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        web = build_web(app, head_timeout_s=head_timeout_s)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(web.serve, [listening])
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
            web.should_exit = True


@asynccontextmanager
async def start_service(
    *options: str, ulimit: str | None = None, variables: Mapping[str, str] | None = None, says: str = ""
) -> AsyncIterator[tuple[int, int]]:
    """`serve --transport http` with these options and variables in a process of its own, under a limit of the shell's
    such as `-Sn 256`: its pid and its port. It says nothing until its end, or one line with these words."""
    command = [sys.executable, "-m", "bridge", "serve", "--transport", "http", "--port", "0"]
    command += ["--log-level", "warning", *options]
    if ulimit:
        command = ["/bin/sh", "-c", f'ulimit {ulimit} && exec "$@"', "sh", *command]
    process = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **(variables or {}), "MCP_RESPONSES_BRIDGE_TOKEN": TOKEN},
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr
    try:
        said = await process.stderr.readline()
        found = re.search(rb":(\d+)/mcp", said)
        assert found, said
        yield process.pid, int(found[1])
    finally:
        process.terminate()
        said = await process.stderr.read()
    assert (await process.wait(), said.count(b"\n")) == (0, bool(says)), said
    assert says.encode() in said
