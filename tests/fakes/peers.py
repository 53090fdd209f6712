"""MCP servers in memory that fail as they are told to: over pipes of this process, and over an HTTP without a network.

Every reply of a peer goes through its `play`, which says what becomes of the bytes: so one plan of faults serves every
transport. Time is virtual; nothing here waits for real time.
"""

import json
import math
import os
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal

import anyio
import anyio.to_thread
import httpx2
from typing_extensions import override

from bridge.clock import Clock
from bridge.config.settings import ServerConfig
from bridge.hub.transports.stdio import Process
from bridge.jsonrpc.descriptors import read_lines
from bridge.jsonrpc.pipes import Streams, open_pipes
from bridge.processes.children import Child
from tests.fakes.oddities import ALTERATIONS
from tests.fakes.rogue import Rogue

Json = dict[str, Any]
Fault = Literal[
    "error",
    "eof",
    "hang",
    "garbage",
    "truncation",
    "duplicate",
    "delay",
    "cut at",
    "oddity",
    "bad company",
    "other id",
    "batch",
    "no session",
    "redirect",
    "busy",
    "sign-in",
]
FAULTS: tuple[Fault, ...] = ("error", "eof", "hang", "garbage", "truncation", "duplicate", "delay")
ODD: tuple[Fault, ...] = ("oddity", "bad company", "other id", "batch")
"""What is wrong and does no harm: the answer comes all the same."""
REFUSALS: tuple[Fault, ...] = ("no session", "redirect", "busy", "sign-in")
"""HTTP statuses by which nothing is executed; over pipes they are errors of the server."""
ODDITIES: dict[str, Any] = {
    "capabilities": [],
    "serverInfo": {"name": 5},
    "protocolVersion": ["2025-11-25"],
    "instructions": [],
    "supportedVersions": "2026-07-28",
    "resultType": None,
    "ttlMs": "soon",
    "_meta": [],
    "nextCursor": 0,
}
"""What an odd peer says where it would have said something else."""
ODD_TOOLS: list[Any] = [None, {"inputSchema": []}, {"name": "odd", "inputSchema": {"type": "any", "properties": []}}]
DELAY_S = 7.0
SESSION = "s1"
END = "end"
"""The step of being told that a session is over."""


@dataclass(frozen=True)
class Trouble:
    """A fault; for "cut at" also how many bytes of the reply are sent before the end, for "delay" how many seconds."""

    fault: Fault
    at: int = 0


@dataclass
class Peer:
    """One server. `steps` are the things it does, in order: it is started, then answers one message after the other."""

    key: str
    clock: Clock
    modes: Mapping[str, str] = field(default_factory=dict[str, str])
    plan: Callable[[int, str], Trouble | None] = lambda _number, _step: None
    """What happens at the step of this number and name."""
    steps: list[str] = field(default_factory=list[str])
    executed: list[str] = field(default_factory=list[str])
    """The marks (argument `text`) of the calls that were executed, in order."""
    faults: list[Fault] = field(default_factory=list[Fault])
    """What went wrong on it, in order."""
    starts: int = 0
    is_odd: bool = False
    """True if there is an oddity in each of its answers but those to calls."""

    def begin(self) -> Trouble | None:
        """It is started, or connected to."""
        self.starts += 1
        return self.note("start")

    def note(self, step: str) -> Trouble | None:
        self.steps.append(step)
        trouble = self.plan(len(self.steps) - 1, step)
        if trouble:
            self.faults.append(trouble.fault)
        return trouble

    def answer(self, rogue: Rogue, message: Json) -> Json | None:
        """What a good server says to it; None where nothing is due."""
        method, params = str(message.get("method")), message.get("params") or {}
        if "id" not in message or "method" not in message:
            return None
        if method == "subscriptions/listen":
            return {"jsonrpc": "2.0", "id": message["id"], "error": {"code": -32601, "message": "no subscriptions"}}
        if method == "tools/call":
            self.executed.append(str((params.get("arguments") or {}).get("text")))
        found = rogue.answer(method, params, message)
        if found is None:
            return None
        if self.is_odd and method != "tools/call":
            make_odd(found.get("result") or {})
        return {"jsonrpc": "2.0", "id": message["id"], **found}


def make_odd(result: Json) -> None:
    """Put oddities into a result, in place: none that a server's tools and answers depend on."""
    result |= {key: odd for key, odd in ODDITIES.items() if key in result or key in ("_meta", "nextCursor")}
    if "tools" in result:
        odd: Json = {"annotations": [], "icons": "none", "title": 5, "outputSchema": {"properties": []}}
        result["tools"] = [*ODD_TOOLS, *(odd | tool for tool in result["tools"])]


def spoil_oddly(reply: bytes) -> bytes:
    message = json.loads(reply)
    make_odd(message.get("result") or {})
    return json.dumps(message).encode()


def write_reply(reply: Json, message: Json, trouble: Trouble | None) -> bytes:
    """The reply to a message as JSON, with what is odd about it."""
    alter = ALTERATIONS.get(trouble.fault) if trouble else None
    return json.dumps(alter(reply, name_of(message)) if alter else reply).encode()


def name_of(message: Json) -> str:
    """The name of the step that a message is."""
    return str(message.get("method", "reply"))


def spoil(reply: bytes, trouble: Trouble | None, id: object) -> list[bytes | None]:
    """The replies that are sent in place of `reply`; None is the end of the connection."""
    match trouble:
        case Trouble("error" | "no session" | "redirect" | "busy" | "sign-in"):
            error = {"jsonrpc": "2.0", "id": id, "error": {"code": -32603, "message": "the disk is full"}}
            return [json.dumps(error).encode()]
        case Trouble("eof"):
            return [None]
        case Trouble("hang"):
            return []
        case Trouble("garbage"):
            return [reply.replace(b'"result"', b'"result": [,]', 1)]
        case Trouble("truncation"):
            return [reply[: len(reply) // 2], None]
        case Trouble("duplicate"):
            return [reply, reply]
        case Trouble("oddity"):
            return [spoil_oddly(reply)]
        case Trouble("cut at", at):
            return [reply[:at], None]
        case _:
            return [reply]


# -- over pipes --------------------------------------------------------------------------------------------------------


class PipedPeer(Process):
    """Stands for a child process: the other ends of two pipes, served by a task of this process."""

    def __init__(self, peer: Peer, server: ServerConfig) -> None:
        super().__init__(server, {})
        self._peer = peer

    @override
    @asynccontextmanager
    async def connect(
        self, *, limit: int, on_end: Callable[[], None], on_flood: Callable[[str], None]
    ) -> AsyncIterator[Streams]:
        trouble = self._peer.begin()
        if trouble and trouble.fault == "error":
            raise FileNotFoundError(2, "No such file", "peer")

        def note_end() -> None:
            self.has_ended = True
            on_end()

        theirs, ours = _Pipe(), _Pipe()
        with theirs, ours:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._serve, theirs, ours, trouble)
                try:
                    async with open_pipes(
                        self._peer.key,
                        ours.source,
                        theirs.sink,
                        limit=limit,
                        on_end=note_end,
                        answer_bad=False,
                        on_flood=on_flood,
                    ) as streams:
                        yield streams
                finally:
                    tasks.cancel_scope.cancel()

    async def _serve(self, theirs: "_Pipe", ours: "_Pipe", trouble: Trouble | None) -> None:
        if not trouble or trouble.fault not in ("eof", "hang"):
            if trouble and trouble.fault in ("garbage", "truncation"):
                ours.write(b"\xff\xfeStarting up {\n")
            if trouble and trouble.fault == "delay":
                await self._peer.clock.sleep(DELAY_S)
            await self._answer_all(theirs, ours)
        elif trouble.fault == "hang":
            await anyio.sleep(math.inf)
        ours.close_sink()
        theirs.close_source()

    async def _answer_all(self, theirs: "_Pipe", ours: "_Pipe") -> None:
        rogue = Rogue(dict(self._peer.modes))
        async with anyio.create_task_group() as tasks:
            async for line in read_lines(theirs.source, 1 << 30):
                assert isinstance(line, bytes)
                message = json.loads(line)
                tasks.start_soon(self._answer, rogue, message, ours, tasks.cancel_scope)

    async def _answer(self, rogue: Rogue, message: Json, ours: "_Pipe", all_of_it: anyio.CancelScope) -> None:
        trouble = self._peer.note(name_of(message))
        if trouble and trouble.fault == "delay":
            await self._peer.clock.sleep(DELAY_S)
        answer = self._peer.answer(rogue, message)
        if answer is None and (not trouble or trouble.fault not in ("eof", "truncation")):
            return
        written = write_reply(answer, message, trouble) if answer else b""
        for reply in spoil(written, trouble, message.get("id")):
            if reply is None:
                all_of_it.cancel()
            else:
                ours.write(reply + b"\n" * (not trouble or trouble.fault not in ("truncation", "cut at")))

    @override
    def explain_end(self, redact: Callable[[str], str], *, was_ready: bool) -> str:
        return "the process exited with status 1" if self.has_ended else "the connection was lost"


class _Pipe:
    """Two descriptors, each closed once."""

    def __enter__(self) -> "_Pipe":
        self.source, self.sink = os.pipe()
        self._open = {self.source, self.sink}
        return self

    def __exit__(self, *_: object) -> None:
        self.close_source()
        self.close_sink()

    def write(self, data: bytes) -> None:
        """What fits into the pipe; a reader that has gone does not matter."""
        with suppress(OSError):
            os.write(self.sink, data)

    def close_source(self) -> None:
        self._close(self.source)

    def close_sink(self) -> None:
        self._close(self.sink)

    def _close(self, fd: int) -> None:
        if fd in self._open:
            self._open.discard(fd)
            os.close(fd)


def start_peers(peers: Mapping[str, Peer]) -> Callable[[ServerConfig, Mapping[str, str], Child | None], Process]:
    """What `Connectors` calls to start a process."""
    return lambda server, _environ, _child: PipedPeer(peers[server.key], server)


# -- over HTTP ---------------------------------------------------------------------------------------------------------


class MemoryHttp(httpx2.AsyncBaseTransport):
    """An HTTP without a network: `http://<key>/mcp` speaks Streamable HTTP, `http://<key>/sse` the older transport.

    Peers whose keys are in `framed` answer calls with an event stream instead of JSON.
    """

    def __init__(self, peers: Mapping[str, Peer], *, framed: Collection[str] = ()) -> None:
        self._peers = peers
        self._framed = framed
        self._rogues: dict[str, Rogue] = {}
        self._streams: dict[str, _Stream] = {}
        self._opened: list[_Stream] = []

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        peer = self._peers[request.url.host]
        if request.method == "DELETE":
            return await self._end_session(peer, request)
        if request.method == "GET":
            return await self._open_sse(peer) if request.url.path == "/sse" else self._open_stream(peer)
        message: Json = json.loads(request.content)
        if request.url.path == "/messages":
            return await self._accept(peer, message)
        return await self._answer(peer, message)

    @property
    def open_streams(self) -> int:
        """How many streams are held open that no event ends."""
        return sum(not stream.is_closed for stream in self._opened)

    def _open_stream(self, peer: Peer) -> httpx2.Response:
        """For what the server says by itself, which is nothing."""
        if peer.key not in self._framed:
            return httpx2.Response(405)
        self._opened.append(_Stream())
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=self._opened[-1])

    async def _end_session(self, peer: Peer, request: httpx2.Request) -> httpx2.Response:
        assert request.headers["mcp-session-id"].startswith(SESSION)
        trouble = peer.note(END)
        await self._disturb(peer, trouble)
        match trouble:
            case Trouble("error"):
                return httpx2.Response(500, content=b"<h1>Internal Server Error</h1>")
            case Trouble("garbage" | "truncation" as fault):
                parts = [b"{not", None] if fault == "truncation" else [b"{not"]
                return httpx2.Response(200, headers={"content-type": "application/json"}, stream=_Body(parts))
            case Trouble("duplicate"):
                return httpx2.Response(404)
            case _:
                return httpx2.Response(204)

    async def _answer(self, peer: Peer, message: Json) -> httpx2.Response:
        name = name_of(message)
        trouble = None
        if name in ("initialize", "server/discover") or peer.key not in self._rogues:
            trouble = peer.begin()
            self._rogues[peer.key] = Rogue(dict(peer.modes))
        trouble = trouble or peer.note(name)
        await self._disturb(peer, trouble)
        if trouble and trouble.fault in REFUSALS:
            return refuse(trouble.fault)
        reply = peer.answer(self._rogues[peer.key], message)
        if reply is None:
            return httpx2.Response(202)
        return self._respond(peer, write_reply(reply, message, trouble), trouble, message["id"])

    async def _disturb(self, peer: Peer, trouble: Trouble | None) -> None:
        """What happens before anything is answered."""
        match trouble:
            case Trouble("delay", seconds):
                await peer.clock.sleep(seconds or DELAY_S)
            case Trouble("hang"):
                await anyio.sleep(math.inf)
            case Trouble("eof"):
                raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
            case _:
                pass

    def _respond(self, peer: Peer, reply: bytes, trouble: Trouble | None, id: object) -> httpx2.Response:
        if trouble and trouble.fault == "error":
            return httpx2.Response(
                500, content=b"<h1>Internal Server Error</h1>", headers={"content-type": "text/html"}
            )
        session = {"mcp-session-id": f"{SESSION}-{peer.starts}"} if "legacy" in peer.modes else {}
        parts = spoil(reply, trouble, id)
        if peer.key in self._framed:
            parts = [part and b"event: message\ndata: " + part + b"\n\n" for part in parts]
            parts = _cut_frames(parts, trouble)
            return httpx2.Response(200, headers={"content-type": "text/event-stream", **session}, stream=_Body(parts))
        return httpx2.Response(200, headers={"content-type": "application/json", **session}, stream=_Body(parts))

    async def _open_sse(self, peer: Peer) -> httpx2.Response:
        trouble = peer.begin()
        await self._disturb(peer, trouble)
        if trouble and trouble.fault == "error":
            raise httpx2.ConnectError("All connection attempts failed")
        self._rogues[peer.key] = Rogue(dict(peer.modes))
        stream = self._streams[peer.key] = _Stream()
        self._opened.append(stream)
        stream.send(b"event: endpoint\ndata: /messages\n\n")
        if trouble and trouble.fault == "garbage":
            stream.send(b": hello\n\nevent: message\ndata: {not json\n\n")
        if trouble and trouble.fault == "truncation":
            stream.send(None)
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=stream)

    async def _accept(self, peer: Peer, message: Json) -> httpx2.Response:
        trouble = peer.note(name_of(message))
        stream = self._streams[peer.key]
        if trouble and trouble.fault in REFUSALS:
            return refuse(trouble.fault)
        if trouble and trouble.fault == "error":
            return httpx2.Response(500)
        if trouble and trouble.fault == "eof":
            stream.send(None)
            raise httpx2.RemoteProtocolError("Server disconnected without sending a response.")
        if trouble and trouble.fault == "delay":
            await peer.clock.sleep(DELAY_S)
        reply = peer.answer(self._rogues[peer.key], message)
        if reply is not None:
            parts = spoil(write_reply(reply, message, trouble), trouble, message.get("id"))
            for part in _cut_frames([part and b"event: message\ndata: " + part + b"\n\n" for part in parts], trouble):
                stream.send(part)
        return httpx2.Response(202)


def refuse(fault: Fault) -> httpx2.Response:
    """A refusal by which nothing is executed."""
    match fault:
        case "no session":
            error = {"code": -32000, "message": "Bad Request: No valid session ID provided"}
            return httpx2.Response(400, json={"jsonrpc": "2.0", "error": error, "id": None})
        case "redirect":
            return httpx2.Response(307, headers={"location": "/mcp/"})
        case "busy":
            return httpx2.Response(429, headers={"retry-after": "1"}, text="Slow down")
        case _:
            return httpx2.Response(401, headers={"www-authenticate": 'Bearer error="invalid_token"'})


def _cut_frames(parts: list[bytes | None], trouble: Trouble | None) -> list[bytes | None]:
    """What is cut has no blank line behind it."""
    is_cut = trouble and trouble.fault in ("truncation", "cut at")
    return [part.rstrip(b"\n") if part and is_cut else part for part in parts]


class _Body(httpx2.AsyncByteStream):
    """Parts of a body; None cuts the connection."""

    def __init__(self, parts: list[bytes | None]) -> None:
        self._parts = parts

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self._parts:
            if part is None:
                raise httpx2.ReadError("the cable was pulled")
            yield part


class _Stream(httpx2.AsyncByteStream):
    """A body that goes on until it is cut with None."""

    def __init__(self) -> None:
        self.is_closed = False
        self._send, self._receive = anyio.create_memory_object_stream[bytes | None](math.inf)

    def send(self, part: bytes | None) -> None:
        with suppress(anyio.ClosedResourceError, anyio.BrokenResourceError):
            self._send.send_nowait(part)

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._receive:
            if part is None:
                raise httpx2.ReadError("the cable was pulled")
            yield part

    @override
    async def aclose(self) -> None:
        self.is_closed = True
        self._send.close()
        self._receive.close()
