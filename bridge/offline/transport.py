"""Runs an ASGI application inside the process and hands each chunk of its answer on as it is sent."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator

import anyio
import httpx2
from starlette.types import ASGIApp, Message
from typing_extensions import override


class StreamingASGITransport(httpx2.AsyncBaseTransport):
    """An httpx2 transport over an ASGI application; httpx2's own collects the whole body before it hands it on.

    The application waits in `send` until its chunk was read, and is cancelled when the response is closed early.
    What it raises reaches the caller. It never hears of a disconnect. Needs asyncio.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response as soon as its head was sent; the body comes while it is read."""
        messages = _run(self._app, _scope(request), await request.aread())
        head = await anext(messages)
        return httpx2.Response(head["status"], headers=head["headers"], stream=_Body(messages))


class _Body(httpx2.AsyncByteStream):
    def __init__(self, messages: AsyncGenerator[Message]) -> None:
        self._messages = messages

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for message in self._messages:
            yield message.get("body", b"")

    @override
    async def aclose(self) -> None:
        await self._messages.aclose()


async def _run(app: ASGIApp, scope: Message, body: bytes) -> AsyncGenerator[Message]:
    """What the application sends. It runs in a task that ends with this generator."""
    outgoing, incoming = anyio.create_memory_object_stream[Message](0)

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def run() -> None:
        async with outgoing:
            await app(scope, receive, outgoing.send)

    task = asyncio.create_task(run())
    try:
        async for message in incoming:
            yield message
        await task
    finally:
        task.cancel()
        incoming.close()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])


def _scope(request: httpx2.Request) -> Message:
    # From ASGI 2.4 on Starlette streams without a second task that listens for a disconnect.
    scope: Message = {"type": "http", "asgi": {"version": "3.0", "spec_version": "2.4"}, "method": request.method}
    headers = [(name.lower(), value) for name, value in request.headers.raw]
    return scope | {"path": request.url.path, "query_string": request.url.query, "headers": headers}
