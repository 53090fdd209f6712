"""A server on a loopback port, which can be stopped in the middle of a call and started again."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Literal, Self

import anyio
import anyio.lowlevel
import uvicorn
from anyio.abc import TaskGroup
from mcp.server.mcpserver import MCPServer
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from typing_extensions import override

from tests.fakes.items import Json
from tests.fakes.rogue import Rogue, describe
from tests.fakes.servers import rogue


class HttpServer:
    """`async with HttpServer(build) as served: served.url`. `build` makes it anew for each start: a real MCP server, or
    an ASGI app that plays one."""

    def __init__(self, build: Callable[[], MCPServer | Starlette], wire: Literal["http", "sse"] = "http") -> None:
        self._build = build
        self._wire = wire
        self._port = 0

    async def __aenter__(self) -> Self:
        self._tasks: TaskGroup = anyio.create_task_group()
        await self._tasks.__aenter__()
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()
        await self._tasks.__aexit__(None, None, None)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}/{'mcp' if self._wire == 'http' else 'sse'}"

    async def start(self) -> None:
        """Listen, on the same port every time."""
        app = self._build()
        if isinstance(app, MCPServer):
            app = app.streamable_http_app() if self._wire == "http" else app.sse_app()
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        config = uvicorn.Config(app, log_config=None, log_level="critical", ws="none", timeout_graceful_shutdown=0)
        self._server = _Uvicorn(config)
        self._tasks.start_soon(self._server.serve, [listener])
        await self._server.is_up.wait()

    async def stop(self) -> None:
        """Cut all connections and close the port."""
        while self._server.server_state.connections:
            for connection in list(self._server.server_state.connections):
                connection.transport.abort()
            await anyio.lowlevel.checkpoint()
        self._server.leave.set()
        await self._server.is_down.wait()


class _Uvicorn(uvicorn.Server):
    """Tells when it is up and down, and leaves the signals to the tests."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = anyio.Event()
        self.leave = anyio.Event()
        self.is_down = anyio.Event()

    @override
    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.is_up.set()

    @override
    async def main_loop(self) -> None:
        await self.leave.wait()  # uvicorn's own looks ten times a second whether it should

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        for listener in sockets or ():
            listener.close()
        self.is_down.set()


WIRES = ("stdio", "json", "stream", "sse")
"""How a rogue is reached: as a child process, by HTTP with JSON or a stream for each reply, or by SSE."""


@asynccontextmanager
async def serve_rogue(wire: str, *modes: str) -> AsyncIterator[Json]:
    """A rogue (see rogue.py), in these modes: its entry in `mcpServers`."""
    if wire == "stdio":
        yield rogue(*modes) | {"require_approval": "never"}
        return
    told = {name: argument for name, _, argument in (mode.partition("=") for mode in modes)}
    async with HttpServer(lambda: build_rogue(told, wire), "sse" if wire == "sse" else "http") as served:
        yield {"url": served.url, "require_approval": "never"}


class _Heard(Rogue):
    """A rogue whose lines are kept."""

    def __init__(self, modes: dict[str, str]) -> None:
        super().__init__(modes)
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()

    @override
    def write(self, line: bytes) -> None:
        self.lines.put_nowait(line)

    @override
    def listen(self, message: Json) -> None:
        self.send({"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no subscriptions"}})

    async def tell(self) -> AsyncIterator[bytes]:
        """Its lines as events."""
        yield b"event: endpoint\ndata: /messages\n\n"
        while True:
            yield b"data: " + await self.lines.get() + b"\n\n"


def build_rogue(modes: dict[str, str], wire: str) -> Starlette:
    """A rogue on the network."""
    server = _Heard(modes)

    async def open_stream(_: Request) -> Response:
        return StreamingResponse(server.tell(), media_type="text/event-stream")

    async def accept(request: Request) -> Response:
        server.receive(await request.json())
        return Response(status_code=202)

    async def answer(request: Request) -> Response:
        server.receive(await request.json())
        lines = [server.lines.get_nowait() for _ in range(server.lines.qsize())]
        if not lines:
            return Response(status_code=202)
        if wire == "json":
            return Response(lines[0], media_type="application/json")
        return Response(b"".join(b"data: " + line + b"\n\n" for line in lines), media_type="text/event-stream")

    return Starlette(
        routes=[
            Route("/mcp", answer, methods=["POST"]),
            Route("/sse", open_stream),
            Route("/messages", accept, methods=["POST"]),
        ]
    )


FAULTS: dict[str, Callable[[str], Response]] = {
    "unauthorized": lambda _: PlainTextResponse("who are you?", 401),
    "page": lambda _: HTMLResponse("<h1>Bad Gateway</h1>", 502),
    "refusal": lambda id: JSONResponse({"jsonrpc": "2.0", "id": id, "error": {"code": -32050, "message": "no"}}, 400),
    "cut": lambda id: StreamingResponse(_cut_short(_reply(id, "never whole")), media_type="application/json"),
    "large": lambda id: Response(_reply(id, "x" * 2_000_000), media_type="application/json"),
    "half_emoji": lambda id: Response(_reply(id, "\\ud83d"), media_type="application/json"),
    "latin1": lambda id: Response(_reply(id, "caf\xe9").encode("latin-1"), media_type="application/json"),
    "nonsense": lambda _: Response("[1, 2", media_type="application/json"),
    "untyped": lambda id: PlainTextResponse(_reply(id, "text/plain")),
}
"""The tools of the faulty server, and what it answers to a call with this id."""


def _reply(id: str, text: str) -> str:
    block = f'{{"type": "text", "text": "{text}"}}'
    return f'{{"jsonrpc": "2.0", "id": {json.dumps(id)}, "result": {{"resultType": "complete", "content": [{block}]}}}}'


async def _cut_short(text: str) -> AsyncIterator[str]:
    yield text[:60]
    raise OSError("the cable was pulled")


def build_faulty() -> Starlette:
    """Plays an MCP server whose tools are named after the fault of their reply."""
    server = Rogue({})

    async def answer(request: Request) -> Response:
        message = await request.json()
        method, params = message["method"], message.get("params", {})
        if "id" not in message:
            return Response(status_code=202)
        if method == "tools/call" and params["name"] in FAULTS:
            return FAULTS[params["name"]](message["id"])
        found = server.answer(method, params, message) or {}
        if method == "tools/list":
            found["result"]["tools"] += [describe(name) for name in FAULTS]
        return JSONResponse({"jsonrpc": "2.0", "id": message["id"], **found})

    return Starlette(routes=[Route("/mcp", answer, methods=["POST"])])


def build_altered(method: str, alter: Callable[[Json, Json], None]) -> Starlette:
    """An obedient server whose result of `method` is changed before it leaves; `alter` gets the params and the result.
    What it puts there need be no text: half an emoji is written as its escape."""
    server = Rogue({})

    async def answer(request: Request) -> Response:
        message = await request.json()
        if "id" not in message:
            return Response(status_code=202)
        params = message.get("params", {})
        found = server.answer(message["method"], params, message) or {}
        if message["method"] == method:
            alter(params, found["result"])
        reply = json.dumps({"jsonrpc": "2.0", "id": message["id"], **found})
        return Response(reply, media_type="application/json")

    return Starlette(routes=[Route("/mcp", answer, methods=["POST"])])


def build_answering(
    answer: Callable[[Json], Json | Response | None],
    modes: Mapping[str, str] | None = None,
    *,
    hear: Callable[[Mapping[str, str]], object] = lambda _headers: None,
) -> Starlette:
    """An obedient server in these modes of the rogue, but for the messages that `answer` answers itself: with a reply,
    with the result or error of one. `hear` gets the headers of each."""
    server = Rogue(dict(modes or {}))

    async def reply(request: Request) -> Response:
        hear(request.headers)
        message = await request.json()
        found = answer(message)
        if isinstance(found, Response):
            return found
        if "id" not in message or "method" not in message:
            return Response(status_code=202)
        found = found or server.answer(message["method"], message.get("params") or {}, message) or {}
        text = json.dumps({"jsonrpc": "2.0", "id": message["id"], **found})
        return Response(text, media_type="application/json")

    return Starlette(routes=[Route("/mcp", reply, methods=["POST"])])


def build_sse(modes: Mapping[str, str]) -> Starlette:
    """The rogue in these modes behind the HTTP+SSE transport, for one client at a time."""
    server = Rogue(dict(modes))
    outbox = asyncio.Queue[str]()

    async def stream(_: Request) -> Response:
        async def events() -> AsyncIterator[str]:
            yield "event: endpoint\ndata: /messages\n\n"
            while True:
                yield f"event: message\ndata: {await outbox.get()}\n\n"

        return StreamingResponse(events(), media_type="text/event-stream")

    async def take(request: Request) -> Response:
        message = await request.json()
        if "id" in message and "method" in message:
            found = server.answer(message["method"], message.get("params") or {}, message) or {}
            outbox.put_nowait(json.dumps({"jsonrpc": "2.0", "id": message["id"], **found}))
        return Response(status_code=202)

    return Starlette(routes=[Route("/sse", stream), Route("/messages", take, methods=["POST"])])


Judge = Callable[[Request, Json], "Response | Awaitable[Response | None] | None"]


def build_judging(judge: Judge, *modes: str) -> Starlette:
    """An obedient server in these modes; `judge` gets each message first, and may answer in its place."""
    server = Rogue(dict.fromkeys(modes, ""))

    async def answer(request: Request) -> Response:
        message = await request.json()
        judged = judge(request, message)
        if isinstance(judged, Awaitable):
            judged = await judged
        if judged is not None:
            return judged
        if "id" not in message:
            return Response(status_code=202)
        return JSONResponse(answer_with(server, message))

    return Starlette(routes=[Route("/mcp", answer, methods=["POST"])])


def answer_with(server: Rogue, message: Json) -> Json:
    """The reply of the server to a request."""
    found = server.answer(message["method"], message.get("params") or {}, message)
    return {"jsonrpc": "2.0", "id": message["id"], **(found or {})}
