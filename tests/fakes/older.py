"""A server of the older HTTP transport (HTTP+SSE of 2024-11-05), which says where messages go as it is told to."""

import asyncio
import itertools
import json
import math
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import anyio
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route

from tests.fakes.http import answer_with
from tests.fakes.items import Json
from tests.fakes.rogue import Rogue

NAMED = b"event: endpoint\ndata: /messages/?session_id=ID\n\n"
"""What the SDK's server says first."""


@dataclass
class Older:
    """`HttpServer(older.build, "sse")`. `posts` are the paths that messages were sent to, with their methods."""

    first: Callable[[Request], bytes] | bytes = NAMED
    """What a stream begins with; ID stands for its session, and ORIGIN for that of the request."""
    posted: Callable[["Older", Request], Response] | None = None
    """What is answered to a POST to the stream's own URL."""
    reply: Callable[[Json], bytes] = lambda reply: b"event: message\ndata: " + json.dumps(reply).encode() + b"\n\n"
    """How a reply is framed."""
    accept: Callable[[Request, Json], Response | None] = lambda _request, _message: None
    """What is answered to a message in place of 202; the server does not see it then."""
    accepted: Callable[[], Response] = lambda: PlainTextResponse("Accepted", 202)
    """What is answered to a message that the server has seen."""
    prefix: str = ""
    """Where a proxy has put it, which it does not know."""
    modes: tuple[str, ...] = ("legacy",)
    posts: list[str] = field(default_factory=list[str])
    gets: int = 0

    def build(self) -> Starlette:
        self._numbers = itertools.count(1)
        self._sessions: dict[str, tuple[Rogue, asyncio.Queue[bytes]]] = {}
        taken = [Route(path, self.take, methods=["POST"]) for path in ("/messages/", "/elsewhere/", "/page/")]
        routes = [Route("/sse", self.open, methods=["GET", "POST"]), *taken]
        elsewhere = [
            Route("/elsewhere/", RedirectResponse("https://login.example/"), methods=["POST"]),
            Route("/page/", HTMLResponse("<title>Home</title>"), methods=["POST"]),
        ]
        return Starlette(routes=[Mount(self.prefix, routes=routes), *elsewhere] if self.prefix else routes)

    async def open(self, request: Request) -> Response:
        if request.method == "POST":
            if self.posted is None:
                return PlainTextResponse("Method Not Allowed", 405)
            return self.posted(self, request)
        self.gets += 1
        return self.stream(request)

    def stream(self, request: Request) -> Response:
        """An event stream, as GET opens one."""
        session = str(next(self._numbers))
        events = asyncio.Queue[bytes]()
        self._sessions[session] = Rogue(dict.fromkeys(self.modes, "")), events
        first = self.first if isinstance(self.first, bytes) else self.first(request)
        origin = f"{request.url.scheme}://{request.url.netloc}"
        events.put_nowait(first.replace(b"ID", session.encode()).replace(b"ORIGIN", origin.encode()))
        return StreamingResponse(_drain(events), media_type="text/event-stream")

    async def take(self, request: Request) -> Response:
        message = await request.json()
        self.posts.append(f"{request.url.path} {message.get('method')}")
        if (answer := self.accept(request, message)) is not None:
            return answer
        rogue, events = self._sessions[request.query_params["session_id"]]
        if "id" in message:
            events.put_nowait(self.reply(answer_with(rogue, message)))
        return self.accepted()

    def end_streams(self) -> None:
        for _, events in self._sessions.values():
            events.put_nowait(b"")
        self._sessions.clear()


async def _drain(events: asyncio.Queue[bytes]) -> AsyncIterator[bytes]:
    while part := await events.get():
        yield part


async def silence() -> AsyncIterator[bytes]:
    """A body that never begins."""
    await anyio.sleep(math.inf)
    yield b""
