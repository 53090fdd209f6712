"""The web server: uvicorn with our own signal handling, timeouts and shutdown."""

import asyncio
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager

import anyio
import uvicorn
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from typing_extensions import override
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from bridge.errors import ConfigError

HEAD_TIMEOUT_S = 10.0
"""Seconds that a connection may take to send the head of its first request, or after a reply that of the next."""
NEVER_S = 86_400
"""For uvicorn's own limit on idle connections: it would close one whose next request has arrived and is not read yet,
and the client would get a reset. Ours looks once more."""
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
        raise ConfigError(f"{host} port {port} cannot be listened on: {reason}") from None
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def build_web(app: ASGIApp, *, head_timeout_s: float = HEAD_TIMEOUT_S) -> uvicorn.Server:
    """Build a web server for `app` that leaves signals and logging to us; setting its `should_exit` stops it."""

    class Connection(_Connection):
        patience_s = head_timeout_s

    return _Server(
        uvicorn.Config(
            app,
            http=Connection,
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            timeout_keep_alive=NEVER_S,
            timeout_graceful_shutdown=STOP_S,
        )
    )


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the commands have their own."""

    @override
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


class _Connection(H11Protocol):
    """A connection that is closed if no request begins in time; uvicorn waits for ever once a byte has arrived."""

    patience_s: float

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(transport)
        self._close_without_request_after(None)

    @override
    def on_response_complete(self) -> None:
        answered = self.cycle  # not that of a pipelined request, which begins now
        super().on_response_complete()
        self._timer.cancel()
        self._close_without_request_after(answered)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def _close_without_request_after(self, last: RequestResponseCycle | None) -> None:
        self._timer = self.loop.call_later(self.patience_s, self._look_again, last)

    def _look_again(self, last: RequestResponseCycle | None) -> None:
        """Let a busy loop read first what has arrived since it last looked."""
        self._timer = self.loop.call_later(0, self._close_if_last, last)

    def _close_if_last(self, last: RequestResponseCycle | None) -> None:
        if self.cycle is last:
            self.transport.close()


class Endable:
    """ASGI middleware that can end all open requests cleanly: uvicorn waits for open streams, then cuts them with an
    error."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._requests: set[anyio.CancelScope] = set()
        self._has_ended = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = is_complete = False

        async def note(message: Message) -> None:
            nonlocal has_begun, is_complete
            has_begun = True
            is_complete = message["type"] == "http.response.body" and not message.get("more_body", False)
            await send(message)

        with anyio.CancelScope() as request:
            self._requests.add(request)
            if self._has_ended:
                request.cancel()
            try:
                await self._app(scope, receive, note)
            finally:
                self._requests.discard(request)
        if request.cancelled_caught and not has_begun:
            await PlainTextResponse("The service is stopping", 503)(scope, receive, send)
        elif request.cancelled_caught and not is_complete:
            await send({"type": "http.response.body", "body": b""})

    def end(self) -> None:
        """End all requests, now and from now on; an open stream ends as if it were complete."""
        self._has_ended = True
        for request in self._requests:
            request.cancel()
