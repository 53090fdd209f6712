"""A server that knows no revision after REVISION, on mcp 1.x: `python server.py REVISION stdio|http`.

Over HTTP it is at `/mcp` and `/sse` of the port that it prints. Runs in an environment of its own (`.ci/peers`).
"""

import collections
import socket
import sys

import anyio
import uvicorn
from mcp import types
from mcp.server.lowlevel import NotificationOptions, Server
from mcp.server.sse import SseServerTransport
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.version import SUPPORTED_PROTOCOL_VERSIONS
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Mount, Route

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAAC0lEQVR4nGNgAAIAAAUAAXpeqz8AAAAASUVORK5CYII="
PATIENCE_S = 10
NAMES = ("echo", "draw", "fail", "steps", "wait", "waiting", "given_up", "grow")
TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}


class OldServer(Server):
    """One of `revision`: everything that came later is neither known nor sent."""

    def __init__(self, revision: str) -> None:
        super().__init__("old", version="1")
        self.revision = revision
        self.names = list(NAMES)
        self.waiting = collections.defaultdict(anyio.Event)
        self.given_up = collections.defaultdict(anyio.Event)
        self.list_tools()(self.describe)
        self.call_tool(validate_input=False)(self.answer)

    def create_initialization_options(self, *_args, **_named):
        return super().create_initialization_options(NotificationOptions(tools_changed=True))

    async def describe(self) -> list[types.Tool]:
        return [types.Tool(name=name, inputSchema=TEXTS) for name in self.names]

    async def answer(self, name: str, arguments: dict) -> types.CallToolResult:
        if name == "draw":
            drawn = [types.ImageContent(type="image", data=PIXEL, mimeType="image/png")]
            structured = {"width": 1} if self.revision >= "2025-06-18" else None
            return types.CallToolResult(content=drawn, structuredContent=structured)
        if name == "fail":
            words = types.TextContent(type="text", text="out of paper")
            return types.CallToolResult(content=[words], isError=True)
        words = await getattr(self, f"do_{name}", self.do_echo)(**arguments)
        return types.CallToolResult(content=[types.TextContent(type="text", text=words)])

    async def do_echo(self, text: str = "") -> str:
        return text

    async def do_steps(self) -> str:
        request = self.request_context
        message = {"message": "on the way"} if self.revision >= "2025-03-26" else {}
        for step in (1, 2, 3) if request.meta and request.meta.progressToken is not None else ():
            token = request.meta.progressToken
            await request.session.send_progress_notification(
                token, step, 3, **message, related_request_id=str(request.request_id)
            )
        return "done"

    async def do_wait(self, key: str) -> str:
        self.waiting[key].set()
        try:
            await anyio.sleep_forever()
        finally:
            self.given_up[key].set()
        return ""

    async def do_waiting(self, key: str) -> str:
        await self.waiting[key].wait()
        return "waiting"

    async def do_given_up(self, key: str) -> str:
        with anyio.move_on_after(PATIENCE_S):
            await self.given_up[key].wait()
            return "given up"
        return "still waiting"

    async def do_grow(self) -> str:
        self.names.append(f"grown_{len(self.names)}")
        await self.request_context.session.send_tool_list_changed()
        return "grown"


async def serve_stdio(server: OldServer) -> None:
    async with stdio_server() as (incoming, outgoing):
        await server.run(incoming, outgoing, server.create_initialization_options())


def build_app(server: OldServer) -> Starlette:
    manager, sse = StreamableHTTPSessionManager(server), SseServerTransport("/messages/")

    async def serve_sse(request) -> Response:
        async with sse.connect_sse(request.scope, request.receive, request._send) as (incoming, outgoing):
            await server.run(incoming, outgoing, server.create_initialization_options())
        return Response()

    routes = [
        Route("/sse", serve_sse),
        Mount("/messages/", sse.handle_post_message),
        Mount("/", manager.handle_request),
    ]
    return Starlette(routes=routes, lifespan=lambda _: manager.run())


def main(revision: str, wire: str) -> None:
    del SUPPORTED_PROTOCOL_VERSIONS[SUPPORTED_PROTOCOL_VERSIONS.index(revision) + 1 :]
    types.LATEST_PROTOCOL_VERSION = revision
    server = OldServer(revision)
    if wire == "stdio":
        anyio.run(serve_stdio, server)
        return
    listening = socket.create_server(("127.0.0.1", 0))
    print(listening.getsockname()[1], flush=True)  # noqa: T201
    config = uvicorn.Config(build_app(server), log_level="error", ws="none", timeout_graceful_shutdown=0)
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    main(*sys.argv[1:])
