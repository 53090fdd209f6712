"""The web server: uvicorn with our own signal handling, timeouts and shutdown."""

import asyncio
import errno
import logging
import os
import socket
import sys
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import anyio
import h11
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol, RequestResponseCycle

from bridge.clock import Clock
from bridge.errors import ConfigError
from bridge.host.arrivals import Arrivals
from bridge.host.standing import stands
from bridge.host.tally import Tally
from bridge.host.wire import Wire
from bridge.processes.open_files import count_free

logger = logging.getLogger(__name__)

HEAD_TIMEOUT_S = 10.0
"""Seconds that a connection may take to send the head of its first request, or after a reply that of the next."""
NEVER_S = 86_400
"""For uvicorn's own limit on idle connections: it would close one whose next request has arrived and is not read yet,
and the client would get a reset. Ours looks once more."""
CLIENTS_SHARE = 2
"""One in so many of the free descriptors may be a connection of a client."""
FEWEST_CLIENTS = 16
LINGER_S = 1.0
"""Seconds that a refused client may take to read why."""
STOP_S = 1
"""Seconds that open streams may take to end when the service stops; uvicorn takes whole seconds."""


def open_socket(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises ConfigError when the address is taken or not this machine's.

    Its connections send at once: asyncio sees to that only for sockets that it made itself. Otherwise the body of a
    reply waits for the client to acknowledge the head, which takes 40 ms.
    """
    try:
        listening = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        number = error.errno or 0  # below 0: the name was not found
        reason = os.strerror(number).lower() if number > 0 else "no such address is known"
        hint = "; end what uses it, or choose another port" if number == errno.EADDRINUSE else ""
        raise ConfigError(f"{host} port {port} cannot be listened on: {reason}{hint}") from None
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def choose_room() -> int:
    """Choose how many connections of clients may be open at once."""
    return max(FEWEST_CLIENTS, count_free() // CLIENTS_SHARE)


def build_web(
    app: ASGIApp, *, head_timeout_s: float = HEAD_TIMEOUT_S, room: int | None = None, clock: Clock | None = None
) -> uvicorn.Server:
    """Build a web server for `app` that leaves signals and logging to us; setting its `should_exit` stops it.

    `room`: so many connections may be open at once; further ones wait.
    """
    clock = clock or Clock()
    shortages = Tally(logger, "connections could not be accepted %s times: no descriptor was left (ulimit -n)", clock)
    coming = Arrivals(choose_room() if room is None else room, shortages)
    logging.getLogger("uvicorn.error").addFilter(_is_not_counted)

    class Connection(_Connection):
        patience_s = head_timeout_s
        arrivals = coming
        refused = Tally(logger, "%s requests were refused unread: they were not valid HTTP, or too large", clock)

    return _Server(
        uvicorn.Config(
            _Leaving(app, coming),
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=NEVER_S,
            timeout_graceful_shutdown=STOP_S,
        ),
        Connection,
    )


def _is_not_counted(record: logging.LogRecord) -> bool:
    """Tell whether a line of uvicorn's is to be logged: not those that anybody can cause by a request."""
    return not str(record.msg).startswith(("Invalid HTTP request", "Unsupported upgrade", "No supported WebSocket"))


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, the commands have their own; and with our way to accept connections."""

    def __init__(self, config: uvicorn.Config, connection: "type[_Connection]") -> None:
        super().__init__(config)
        self._connection = connection
        self._arrivals = connection.arrivals

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield

    @override
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        has_readers = sys.platform != "win32"  # nor is there a limit on descriptors
        await super().startup([] if has_readers else sockets)
        for listening in sockets or () if has_readers else ():
            self._arrivals.begin(listening, self._build)

    @override
    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._arrivals.end()
        await super().shutdown(sockets)

    def _build(self) -> asyncio.Protocol:
        return self._connection(self.config, self.server_state, self.lifespan.state)


class _Connection(H11Protocol):
    """A connection that is closed if no request begins in time; uvicorn waits for ever once a byte has arrived."""

    patience_s: float
    arrivals: Arrivals
    refused: Tally
    leaves_at: float | None = None
    _is_refused = False

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._wire = Wire()
        self.conn: h11.Connection = self._wire

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._close_without_request_after(None)
        self.arrivals.note_new(self)

    @override
    def handle_events(self) -> None:
        before = self.cycle
        super().handle_events()
        if self.cycle is not before:
            self.arrivals.note_busy(self)

    @override
    def on_response_complete(self) -> None:
        answered = self.cycle  # not that of a pipelined request, which begins now
        self.arrivals.note_idle(self)
        super().on_response_complete()
        self._timer.cancel()
        self._close_without_request_after(answered)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)
        self.arrivals.note_gone(self)

    @override
    def data_received(self, data: bytes) -> None:
        if not self._is_refused:
            super().data_received(data)

    @override
    def send_400_response(self, msg: str) -> None:
        """Refuse what could not be read, and count it. What still comes is dropped: with a reset, which it would get if
        the connection were closed before that, the client would not see the reply."""
        self.refused.add()
        self._is_refused = True
        self._timer.cancel()
        if self.conn.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            self.transport.close()
            return
        status = self._wire.refusal_status
        headers = [("content-type", "text/plain; charset=utf-8"), ("connection", "close")]
        said = h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status])
        for event in (said, h11.Data(data=msg.encode()), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.write_eof()
        self._timer = self.loop.call_later(LINGER_S, self.transport.close)

    def leave(self) -> None:
        """Close the connection, unless a request has come meanwhile."""
        self._look_again(self.cycle)

    def _close_without_request_after(self, last: RequestResponseCycle | None) -> None:
        self._timer = self.loop.call_later(self.patience_s, self._look_again, last)

    def _look_again(self, last: RequestResponseCycle | None) -> None:
        """Let a busy loop read first what has arrived since it last looked."""
        self._timer.cancel()
        self._timer = self.loop.call_later(0, self._close_if_last, last)

    def _close_if_last(self, last: RequestResponseCycle | None) -> None:
        if self.cycle is last:
            self.transport.close()


class _Leaving:
    """ASGI middleware that asks clients to leave after their answers while it is crowded. Who is told so meets no reset
    with its next request."""

    def __init__(self, app: ASGIApp, arrivals: Arrivals) -> None:
        self._app = app
        self._arrivals = arrivals

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_hint(message: Message) -> None:
            if message["type"] == "http.response.start" and self._arrivals.is_crowded:
                message = {**message, "headers": [*message.get("headers", ()), (b"connection", b"close")]}
            await send(message)

        await self._app(scope, receive, send_with_hint)


_say_stopping = PlainTextResponse("The service is stopping", 503)


class Endable:
    """ASGI middleware that can end all open requests cleanly: uvicorn waits for open streams, then cuts them with an
    error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._requests: set[anyio.CancelScope] = set()
        self._has_ended = False
        self._unanswered = 0
        self._answered = anyio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._has_ended:
            await _say_stopping(scope, receive, send)
            return
        has_begun = is_complete = False

        async def note(message: Message) -> None:
            nonlocal has_begun, is_complete
            has_begun = True
            is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as request:
            self._requests.add(request)
            is_call = not stands(scope)
            self._unanswered += is_call
            try:
                await self._app(scope, receive, note)
            finally:
                self._requests.discard(request)
                self._unanswered -= is_call
                self._answered.set()
                self._answered = anyio.Event()
        if request.cancelled_caught and not has_begun:
            await _say_stopping(scope, receive, send)
        elif request.cancelled_caught and not is_complete:
            await send({"type": "http.response.body", "body": b""})

    @property
    def is_in_use(self) -> bool:
        """True while a request is open, be it for a stream."""
        return bool(self._requests)

    async def rest(self) -> None:
        """Wait until every request is answered but those for streams of news."""
        while self._unanswered:
            await self._answered.wait()

    def end(self) -> None:
        """End all requests, now and from now on; an open stream ends as if it were complete."""
        self._has_ended = True
        for request in self._requests:
            request.cancel()
