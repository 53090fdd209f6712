"""An HTTP server with sessions, without a network: it refuses what a test says, and knows what it has executed."""

import json
import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from typing_extensions import override

from bridge.config.settings import Config, ServerConfig
from bridge.hub.hub import Hub
from bridge.hub.transports.connect import Connectors
from bridge.items import CallOutput
from bridge.telemetry import Redactor
from tests.fakes.clock import PATIENCE_S, VirtualClock
from tests.fakes.rogue import Rogue
from tests.fakes.simulation import call

Json = dict[str, Any]
Refuse = Callable[[Json], httpx2.Response | None]
OPENING = ("initialize", "server/discover")
MODERN, LEGACY = "2026-07-28", "2025-11-25"


class Far(httpx2.AsyncBaseTransport):
    """`http://far/mcp` speaks Streamable HTTP, `http://far/sse` the older transport.

    `refuse` is asked about every request but the first of a session, and may answer in its place. After `forget` the
    sessions that are open are refused with `lost`; a call whose text begins with "slow" is answered once it is let go.
    """

    def __init__(
        self,
        *,
        era: str = LEGACY,
        lost: Callable[[Json], httpx2.Response | Awaitable[httpx2.Response]] | None = None,
        names_sessions: bool = True,
    ) -> None:
        self.lost = lost or (lambda _: httpx2.Response(404))
        self.refuse: Refuse = lambda _: None
        self.get: Callable[[httpx2.Request], httpx2.Response | Awaitable[httpx2.Response]] = lambda _: httpx2.Response(
            405
        )
        self.opened = 0
        """How many sessions were opened."""
        self.executed = Counter[str]()
        """By its text, how often a call was executed."""
        self.asked = list[str]()
        """Every request, by method and path, and with what the message wants."""
        self.slow = anyio.Event()
        self._is_modern = era == MODERN
        self._names_sessions = names_sessions
        self._rogue = Rogue({"good" if self._is_modern else "legacy": ""})
        self._known = set[str]()
        self._nameless = ""
        self._streams = dict[str, _Stream]()

    def forget(self) -> None:
        """Lose every session."""
        self._known.clear()

    def age(self) -> None:
        """Go back to the era of the handshake."""
        self._is_modern = False
        self._rogue = Rogue({"legacy": ""})

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            self.asked.append(f"{request.method} {request.url.path}")
            if request.method == "DELETE":
                return httpx2.Response(204)
            return self._open_stream() if request.url.path == "/sse" else await settle(self.get(request))
        message: Json = json.loads(request.content)
        self.asked.append(f"POST {request.url.path} {message.get('method')}")
        if "id" not in message:
            return httpx2.Response(202)
        is_sse = request.url.path == "/messages"
        session = request.url.params["session"] if is_sse else request.headers.get("mcp-session-id", "")
        session = session or self._nameless
        if message["method"] in OPENING and not is_sse:
            session = self._open_session()
        elif session not in self._known and not self._is_modern:
            return await settle(self.lost(message))
        elif message["method"] not in OPENING and (refusal := self.refuse(message)):
            return refusal
        return await self._answer(message, self._streams[session] if is_sse else None, session)

    def _open_session(self) -> str:
        self.opened += 1
        self._known.add(session := f"session-{self.opened}")
        self._nameless = "" if self._names_sessions else session
        return session

    def _open_stream(self) -> httpx2.Response:
        session = self._open_session()
        self._streams[session] = stream = _Stream()
        stream.send(f"event: endpoint\ndata: /messages?session={session}\n\n".encode())
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)

    async def _answer(self, message: Json, stream: "_Stream | None", session: str) -> httpx2.Response:
        text = str(message.get("params", {}).get("arguments", {}).get("text", ""))
        if message["method"] == "tools/call":
            self.executed[text] += 1
        found = self._rogue.answer(message["method"], message.get("params") or {}, message)
        reply = json.dumps({"jsonrpc": "2.0", "id": message["id"], **(found or {})}).encode()
        headers = {"mcp-session-id": session} if self._names_sessions and not self._is_modern else {}
        if stream:
            stream.send(b"event: message\ndata: " + reply + b"\n\n")
            return httpx2.Response(202)
        if text.startswith("slow"):
            body = _Late(self.slow, b"data: " + reply + b"\n\n")
            return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=body)
        return httpx2.Response(200, headers={"content-type": "application/json", **headers}, content=reply)


async def settle(answer: httpx2.Response | Awaitable[httpx2.Response]) -> httpx2.Response:
    return answer if isinstance(answer, httpx2.Response) else await answer


def build_app(far: Far) -> Starlette:
    """It as an application, for a real port."""

    async def answer(request: Request) -> StreamingResponse:
        sent = httpx2.Request(
            request.method, str(request.url), headers=dict(request.headers), content=await request.body()
        )
        reply = await far.handle_async_request(sent)
        return StreamingResponse(reply.aiter_bytes(), reply.status_code, dict(reply.headers))

    methods = ["GET", "POST", "DELETE"]
    return Starlette(routes=[Route("/{path:path}", answer, methods=methods)])


class _Stream(httpx2.AsyncByteStream):
    """A body that goes on for ever."""

    def __init__(self) -> None:
        self._send, self._receive = anyio.create_memory_object_stream[bytes](math.inf)

    def send(self, part: bytes) -> None:
        self._send.send_nowait(part)

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._receive:
            yield part

    @override
    async def aclose(self) -> None:
        self._send.close()
        self._receive.close()


class _Late(httpx2.AsyncByteStream):
    """A body that begins at once, and ends with `part` once it is let go."""

    def __init__(self, gone: anyio.Event, part: bytes) -> None:
        self._gone = gone
        self._part = part

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b": wait\n\n"
        await self._gone.wait()
        yield self._part


class Visit:
    """A hub that has connected to it, and its calls."""

    def __init__(self, hub: Hub, clock: VirtualClock) -> None:
        self.hub = hub
        self.clock = clock

    @property
    def state(self) -> str:
        return self.hub.members[0].state

    async def call(self, text: str = "hello", tool: str = "echo", *, within_s: float = math.inf) -> Any:
        """What one call comes to: its text, or the failure."""
        return read(await call(self.hub, f"far__{tool}", text, self.clock.now() + within_s))

    async def call_all(self, *texts: str, then: Callable[[], None] = lambda: None) -> list[Any]:
        """Several at once, while time passes as far as anything waits for it; `then` is done once."""
        outputs = dict[str, Any]()

        async def use(text: str) -> None:
            outputs[text] = await self.call(text)

        async with anyio.create_task_group() as tasks:
            for text in texts:
                tasks.start_soon(use, text)
            then()
            await self.spend(lambda: len(outputs) == len(texts))
        return [outputs[text] for text in texts]

    async def spend(self, is_over: Callable[[], bool], step_s: float = 0.25) -> None:
        """Let time pass until it is over."""
        with anyio.fail_after(PATIENCE_S):
            while not is_over():
                await self.clock.advance(step_s)
                await anyio.sleep(0.001)


def read(output: CallOutput) -> Any:
    text = output["output"]
    return json.loads(text) if isinstance(text, str) and text.startswith("{") else text


@asynccontextmanager
async def visit(
    far: httpx2.AsyncBaseTransport,
    wire: str = "http",
    *,
    protocol: str = "legacy",
    url: str = "",
    secrets: Sequence[str] = (),
) -> AsyncIterator[Visit]:
    """A hub whose only server is `far`."""
    url = url or f"http://far/{'sse' if wire == 'sse' else 'mcp'}"
    server = ServerConfig(
        key="far",
        url=url,
        transport=wire,  # type: ignore[arg-type]
        protocol=protocol,
        headers={"x-key": "ours"},
        require_approval="never",
    )
    clock = VirtualClock()
    async with Hub(
        Config(servers=(server,), builtin_tools=False),
        clock=clock,
        environ={},
        redact=Redactor(secrets),
        in_process={},
        connectors=Connectors(transport=far),
    ) as hub:
        with anyio.fail_after(PATIENCE_S):
            await hub.catalogue()
        yield Visit(hub, clock)
