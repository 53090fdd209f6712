"""A host that says what a test tells it, in its own JSON, over each transport: for the first words of a connection.

async with show(bridge) as faces, faces.open("sse") as wire:
    [answer] = await wire.say(discover(1))
    assert answer["result"]["supportedVersions"]
"""

import asyncio
import json
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

import anyio
import httpx2
from mcp_types import CLIENT_CAPABILITIES_META_KEY, CLIENT_INFO_META_KEY, PROTOCOL_VERSION_META_KEY
from typing_extensions import override

from bridge.app import Bridge
from bridge.host.server import BridgeServer
from bridge.host.stdio import serve_stdio
from bridge.jsonrpc.descriptors import read_lines
from tests.fakes.clock import PATIENCE_S
from tests.fakes.items import Json
from tests.fakes.service import TOKEN, serving

Transport: TypeAlias = Literal["stdio", "http", "sse"]
TRANSPORTS: tuple[Transport, ...] = ("stdio", "http", "sse")
INFO = {"name": "opener", "version": "1"}
LIMIT = 1 << 20


def envelope(version: Any = "2026-07-28", **others: Any) -> Json:
    """The `_meta` of a request of the modern era."""
    return {
        PROTOCOL_VERSION_META_KEY: version,
        CLIENT_INFO_META_KEY: INFO,
        CLIENT_CAPABILITIES_META_KEY: {},
        **others,
    }


def request(number: Any, method: str, **params: Any) -> Json:
    """A request; without params it has none."""
    return {"jsonrpc": "2.0", "id": number, "method": method} | ({"params": params} if params else {})


def notice(method: str, **params: Any) -> Json:
    """A notification."""
    return {"jsonrpc": "2.0", "method": method} | ({"params": params} if params else {})


def discover(number: Any, **meta: Any) -> Json:
    """A probe of the modern era."""
    return request(number, "server/discover", _meta=envelope(**meta))


def initialize(number: Any, version: str = "2025-11-25", **params: Any) -> Json:
    """The handshake's first half."""
    return request(number, "initialize", protocolVersion=version, capabilities={}, clientInfo=INFO, **params)


INITIALIZED = notice("notifications/initialized")


class Wire(ABC):
    """One connection, or over HTTP one host's requests."""

    def __init__(self) -> None:
        self._replies: list[Json] = []
        self._replied = anyio.Event()

    async def say(self, *messages: Any) -> list[Json]:
        """Say all of this at once; the replies to the requests among it, in the order of the requests."""
        await self.send(*messages)
        asked = [each["id"] for each in messages if isinstance(each, dict) and "id" in each and "method" in each]
        cancelled = [each["params"]["requestId"] for each in messages if "cancelled" in str(each)]
        return [await self.reply(number) for number in asked if number not in cancelled]

    @abstractmethod
    async def send(self, *messages: Any) -> None:
        """Say all of this at once."""

    async def reply(self, number: Any) -> Json:
        """The reply to this request; None is what could not be told whose it is."""
        with anyio.fail_after(PATIENCE_S):
            while True:
                for at, reply in enumerate(self._replies):
                    if reply.get("id") == number and type(reply.get("id")) is type(number):
                        return self._replies.pop(at)
                await self._replied.wait()

    def take(self, reply: Json) -> None:
        """Take a message that came."""
        self._replies.append(reply)
        self._replied.set()
        self._replied = anyio.Event()


class Pipes(Wire):
    """stdio: what is said before the server reads waits in the pipe, as for a process that is still starting."""

    def __init__(self, sink: int) -> None:
        super().__init__()
        self._sink = sink

    @override
    async def send(self, *messages: Any) -> None:
        os.write(self._sink, b"".join(json.dumps(each).encode() + b"\n" for each in messages))


class Posts(Wire):
    """A wire whose messages are POSTed."""

    def __init__(self, http: httpx2.AsyncClient, url: str) -> None:
        super().__init__()
        self._http = http
        self._url = url

    @override
    async def send(self, *messages: Any) -> None:
        async with anyio.create_task_group() as tasks:
            for each in messages:
                tasks.start_soon(self.post, each)

    @abstractmethod
    async def post(self, message: Any) -> None:
        """Post one."""


class Sse(Posts):
    """SSE: replies come on the stream."""

    @override
    async def post(self, message: Any) -> None:
        answer = await self._http.post(self._url, json=message)
        if answer.status_code >= 400:
            self.take({"id": message.get("id") if isinstance(message, dict) else None, **_read_refusal(answer)})


class StreamableHttp(Posts):
    """Streamable HTTP: replies come in the response, and the session is that of the last handshake."""

    headers: Mapping[str, str] | None = None
    """In place of those that a request should have, but for the session's id."""
    _session: Mapping[str, str] = MappingProxyType({})

    @override
    async def post(self, message: Any) -> None:
        headers = {"Accept": "application/json, text/event-stream", **self._headers(message)}
        async with self._http.stream("POST", self._url, json=message, headers=headers) as answer:
            await self._read(answer, message)

    async def _read(self, answer: httpx2.Response, message: Any) -> None:
        if answer.headers.get("content-type", "").startswith("text/event-stream"):
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    self._take(json.loads(line.removeprefix("data: ")), answer)
            return
        await answer.aread()
        if answer.status_code >= 400:
            number = message.get("id") if isinstance(message, dict) else None
            self.take({**_read_refusal(answer), "id": number})
        elif answer.content:
            self._take(answer.json(), answer)

    def _take(self, reply: Json, answer: httpx2.Response) -> None:
        if "mcp-session-id" in answer.headers and "protocolVersion" in reply.get("result", {}):
            self._session = {
                "Mcp-Session-Id": answer.headers["mcp-session-id"],
                "MCP-Protocol-Version": reply["result"]["protocolVersion"],
            }
        self.take(reply)

    def _headers(self, message: Any) -> Mapping[str, str]:
        params = message.get("params", {}) if isinstance(message, dict) else {}
        meta = params.get("_meta") if isinstance(params, dict) else None
        version = meta.get(PROTOCOL_VERSION_META_KEY) if isinstance(meta, dict) else None
        if self.headers is not None:
            return {**self._session, **self.headers}
        if version is None or message["method"] == "initialize":
            return self._session
        name = {"Mcp-Name": params["name"]} if "name" in params else {}
        return {"MCP-Protocol-Version": str(version), "Mcp-Method": message["method"], **name}


def _read_refusal(answer: httpx2.Response) -> Json:
    """What a refused POST says: a JSON-RPC error, or words alone."""
    try:
        refusal: Json = answer.json()
        return refusal
    except ValueError:
        return {"error": {"code": answer.status_code, "message": answer.text}}


@dataclass(frozen=True)
class Faces:
    """One bridge, over every transport."""

    server: BridgeServer
    http: httpx2.AsyncClient

    @asynccontextmanager
    async def open(self, transport: Transport, *early: Any) -> AsyncIterator[Wire]:
        """A connection over this transport. What is said `early` on stdio is there before anybody reads."""
        match transport:
            case "stdio":
                async with _open_pipes(self.server, early) as wire:
                    yield wire
            case "http":
                yield StreamableHttp(self.http, "/mcp")
            case "sse":
                async with _open_sse(self.http) as wire:
                    yield wire


@asynccontextmanager
async def show(bridge: Bridge) -> AsyncIterator[Faces]:
    """Serve a bridge over every transport."""
    async with serving(bridge) as served:
        url, headers = f"http://127.0.0.1:{served.port}", {"Authorization": f"Bearer {TOKEN}"}
        async with httpx2.AsyncClient(base_url=url, headers=headers, timeout=PATIENCE_S, verify=False) as http:
            yield Faces(bridge.server, http)


@asynccontextmanager
async def _open_pipes(server: BridgeServer, early: tuple[Any, ...]) -> AsyncIterator[Wire]:
    source, host_writes = os.pipe()
    host_reads, sink = os.pipe()
    wire = Pipes(host_writes)

    async def serve() -> None:
        await serve_stdio(server, source, sink, message_bytes=LIMIT)
        os.close(sink)

    async def read() -> None:
        async for line in read_lines(host_reads, LIMIT):
            assert isinstance(line, bytes)
            wire.take(json.loads(line))

    await wire.send(*early)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(serve)
        tasks.start_soon(read)
        yield wire
        os.close(host_writes)
    for each in (source, host_reads):
        os.close(each)


@asynccontextmanager
async def open_process(*arguments: str) -> AsyncIterator[Wire]:
    """A bridge of its own process, on stdio."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bridge", *arguments, stdin=pipe, stdout=pipe)
    assert process.stdin
    assert process.stdout
    stdout = process.stdout
    wire = Pipes(process.stdin.get_extra_info("pipe").fileno())

    async def read() -> None:
        while line := await stdout.readline():
            wire.take(json.loads(line))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        yield wire
        process.stdin.close()
    await process.wait()


@asynccontextmanager
async def _open_sse(http: httpx2.AsyncClient) -> AsyncIterator[Wire]:
    async with http.stream("GET", "/sse") as stream, anyio.create_task_group() as tasks:
        events = _read_events(stream)
        wire = Sse(http, await anext(events))

        async def read() -> None:
            async for data in events:
                wire.take(json.loads(data))

        tasks.start_soon(read)
        yield wire
        tasks.cancel_scope.cancel()


async def _read_events(stream: httpx2.Response) -> AsyncIterator[str]:
    async for line in stream.aiter_lines():
        if line.startswith("data: "):
            yield line.removeprefix("data: ")
