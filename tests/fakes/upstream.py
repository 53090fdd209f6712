"""A scripted Responses endpoint: a real HTTP/1.1 server on loopback that answers as the test wrote down.

async with ScriptedUpstream([responds(call("add", {"a": 1})), responds(message("2"))]) as upstream:
    ...  # something that talks to upstream.base_url
    upstream.assert_complete()
    assert upstream.requests[1].json["input"][-1]["type"] == "function_call_output"
"""

import asyncio
import contextlib
import socket
import struct
from collections.abc import Callable, Sequence
from typing import Self

import anyio
import h11

from tests.fakes.clock import PATIENCE_S
from tests.fakes.events import Event, lifecycle
from tests.fakes.items import call, message, reasoning, tokens
from tests.fakes.replies import api_error, cut, gated, hang, html, http_error, raw, responds
from tests.fakes.validation import InvalidRequest, validate_request
from tests.fakes.wire import HEAD, Close, Hang, Reply, Request, Send, Step, Wait

__all__ = [
    "HEAD",
    "Event",
    "InvalidRequest",
    "Reply",
    "Request",
    "ScriptedUpstream",
    "api_error",
    "call",
    "cut",
    "gated",
    "hang",
    "html",
    "http_error",
    "lifecycle",
    "message",
    "raw",
    "reasoning",
    "responds",
    "tokens",
    "validate_request",
]

Answer = Reply | Callable[[Request], Reply]
"""A reply, or a function that chooses one when the request is there."""


class Tally:
    """A count that can be waited for."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = anyio.Event()

    def add(self) -> None:
        self.count += 1
        self._changed.set()
        self._changed = anyio.Event()

    async def wait(self, count: int = 1) -> None:
        """Until there are this many; TimeoutError after PATIENCE_S."""
        with anyio.fail_after(PATIENCE_S):
            while self.count < count:
                await self._changed.wait()


class ScriptedUpstream:
    """Answers the n-th request with the n-th reply of the script, or every request with what one function chooses.

    `requests` are the requests in the order in which they arrived, `arrivals` counts them and can be waited for;
    `connections` is the number of TCP connections; `disconnects` counts, and can be waited for, the clients that went
    away while a reply was under way; `errors` are the requests that the script could not answer (they got a 500).
    """

    def __init__(self, script: Sequence[Answer] | Callable[[Request], Reply]) -> None:
        self.requests: list[Request] = []
        self.arrivals = Tally()
        self.connections = 0
        self.disconnects = Tally()
        self.errors: list[str] = []
        self.base_url = ""
        self._script = script
        self._serving: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.base_url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def assert_complete(self) -> None:
        """Fail if a request had no reply in the script, or a reply of the script was not asked for."""
        assert not self.errors, "\n".join(self.errors)
        if not callable(self._script):
            unused = len(self._script) - len(self.requests)
            assert unused <= 0, f"{unused} of {len(self._script)} scripted replies were not asked for"

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.create_task(self._serve(_Connection(reader, writer)))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, connection: "_Connection") -> None:
        try:
            while (request := await connection.receive()) is not None:
                steps = self._answer(request)
                self.arrivals.add()
                if not await self._play(steps, connection):
                    break
            connection.close()
        except asyncio.CancelledError:
            connection.abort()
            raise

    def _answer(self, request: Request) -> Sequence[Step]:
        number = len(self.requests)
        self.requests.append(request)
        if not callable(self._script) and number >= len(self._script):
            self.errors.append(f"request {number + 1} has no reply in the script: {request.method} {request.path}")
            return self._refuse(request)
        try:
            answer = self._script if callable(self._script) else self._script[number]
            reply = answer if isinstance(answer, Reply) else answer(request)
            return reply.steps(request)
        except Exception as error:  # noqa: BLE001  boundary: a fault of the test's own script is told, not hidden
            what = f"request {number + 1}, {request.method} {request.path}"
            self.errors.append(f"the script failed at {what}: {error!r}")
        return self._refuse(request)

    def _refuse(self, request: Request) -> Sequence[Step]:
        body = {"error": {"message": self.errors[-1], "type": "script", "code": "script"}}
        return http_error(500, body).steps(request)

    async def _play(self, steps: Sequence[Step], connection: "_Connection") -> bool:
        """Play the steps; tells whether the connection can bear another request."""
        for step in steps:
            match step:
                case Send(data):
                    stayed = await connection.send(data)
                case Wait(gate):
                    stayed = await connection.outlasts(gate)
                case Hang():
                    stayed = await connection.outlasts(anyio.Event())
                case Close(reset):
                    connection.close(reset=reset)
                    return False
            if not stayed:
                self.disconnects.add()
                return False
        return True


class _Connection:
    """One TCP connection, from the server's side. A reader of a dead connection sees its end, never an error."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._early = b""

    async def receive(self) -> Request | None:
        """The next request, or None when the client is done."""
        parser = h11.Connection(h11.SERVER)
        if self._early:
            parser.receive_data(self._early)
        try:
            return await self._parse(parser)
        except h11.RemoteProtocolError:
            return None  # it went away in the middle of a request

    async def _parse(self, parser: h11.Connection) -> Request | None:
        head: h11.Request | None = None
        body = b""
        while True:
            match parser.next_event():
                case h11.Request() as event:
                    head = event
                case h11.Data(data=data):
                    body += data
                case h11.EndOfMessage() if head is not None:
                    self._early = parser.trailing_data[0]
                    return _request(head, body)
                case h11.NEED_DATA:
                    parser.receive_data(await self._read())
                case _:
                    return None

    async def send(self, data: bytes) -> bool:
        """Write, and let others run so that a piece arrives by itself. False if the client has gone."""
        if self._reader.at_eof():
            return False
        self._writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self._writer.drain()
            await asyncio.sleep(0)
            return True
        return False

    async def outlasts(self, gate: anyio.Event) -> bool:
        """Wait for the gate; False if the client goes away first."""
        opened, gone = asyncio.create_task(gate.wait()), asyncio.create_task(self._gone())
        try:
            await asyncio.wait({opened, gone}, return_when=asyncio.FIRST_COMPLETED)
            return not gone.done()
        finally:
            opened.cancel()
            gone.cancel()
            await asyncio.wait({opened, gone})

    def close(self, *, reset: bool = False) -> None:
        if reset:
            discard = struct.pack("ii", 1, 0)  # linger for 0 s: the kernel sends RST
            self._writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, discard)
            self.abort()
        self._writer.close()

    def abort(self) -> None:
        """Close without waiting until everything is written."""
        self._writer.transport.abort()

    async def _gone(self) -> None:
        while data := await self._read():
            self._early += data

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(65536)
        except ConnectionError:
            return b""


def _request(head: h11.Request, body: bytes) -> Request:
    headers = {name.decode(): value.decode("latin-1") for name, value in head.headers}
    return Request(head.method.decode(), head.target.decode(), headers, body)
