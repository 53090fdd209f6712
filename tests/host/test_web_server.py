"""The web server: connections that are kept, and when they are not."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator

import anyio.to_thread
import pytest
from starlette.types import Receive, Scope, Send

from tests.fakes.clock import PATIENCE_S
from tests.fakes.service import serving_app

pytestmark = pytest.mark.anyio

IDLE_S = 0.3
REQUEST = b"POST / HTTP/1.1\r\nHost: here\r\nContent-Length: 2\r\n\r\nhi"
REPLY = b"done"


class Busy:
    """An application whose loop is busy just when the time of an idle connection is over."""

    def __init__(self) -> None:
        self.client = socket.socket()
        self._has_answered = False

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": REPLY})
        if not self._has_answered:  # from now on the connection is idle
            self._has_answered = True
            loop = asyncio.get_running_loop()
            loop.call_later(IDLE_S - 0.1, time.sleep, 0.2)  # the end of idleness comes meanwhile, ...
            loop.call_later(IDLE_S - 0.05, self.client.send, REQUEST)  # ... and right before it this

    async def ask(self, url: str) -> AsyncIterator[bytes]:
        """The replies to two requests over one connection."""
        host, port = url.removeprefix("http://").split(":")
        self.client.settimeout(PATIENCE_S)
        with self.client:
            self.client.connect((host, int(port)))
            self.client.send(REQUEST)
            for _ in range(2):
                reply = b""
                while not reply.endswith(REPLY):
                    chunk = await anyio.to_thread.run_sync(self.client.recv, 4096)
                    assert chunk, "the connection was closed"
                    reply += chunk
                yield reply


async def test_a_request_that_arrives_as_its_idle_connection_is_given_up_is_answered() -> None:
    """Under two hundred clients at once, eleven requests met a reset instead."""
    app = Busy()
    async with serving_app(app, head_timeout_s=IDLE_S) as url:
        replies = [reply async for reply in app.ask(url)]
    assert len(replies) == 2
