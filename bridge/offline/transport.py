"""Runs an ASGI application inside the process and hands each chunk of its answer on as it is sent."""

import asyncio
from collections.abc import AsyncIterator

import anyio
import httpx2
from anyio.streams.memory import MemoryObjectReceiveStream
from typing_extensions import override

from bridge.offline.app import ASGIApp, Message


class StreamingASGITransport(httpx2.AsyncBaseTransport):
    """An httpx2 transport over an ASGI application; httpx2's own collects the whole body before it hands it on.

    The application waits in `send` until its chunk was read, and is cancelled when the response is closed early.
    What it raises reaches the caller. Needs asyncio.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response as soon as its head was sent; the body comes while it is read."""
        coming: list[Message] = [{"type": "http.request", "body": await request.aread(), "more_body": False}]
        ended = asyncio.Event()
        outgoing, incoming = anyio.create_memory_object_stream[Message](0)

        async def receive() -> Message:
            if not coming:
                await ended.wait()
            return coming.pop() if coming else {"type": "http.disconnect"}

        async def run() -> None:
            async with outgoing:
                await self._app(_scope(request), receive, outgoing.send)

        answer = _Answer(incoming, ended, asyncio.create_task(run()))
        try:
            head = await answer.head()
        except BaseException:
            await answer.aclose()
            raise
        return httpx2.Response(head["status"], headers=head["headers"], stream=answer)


class _Answer(httpx2.AsyncByteStream):
    """What the application sends, and its task."""

    def __init__(
        self, incoming: MemoryObjectReceiveStream[Message], ended: asyncio.Event, task: asyncio.Task[None]
    ) -> None:
        self._incoming, self._ended, self._task = incoming, ended, task

    async def head(self) -> Message:
        try:
            return await self._incoming.receive()
        except anyio.EndOfStream:
            await self._task
            raise httpx2.RemoteProtocolError("The application sent no response.") from None

    @override
    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for message in self._incoming:
            yield message.get("body", b"")
            if not message.get("more_body"):
                self._ended.set()
        await self._task

    @override
    async def aclose(self) -> None:
        self._task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(self._task, return_exceptions=True)
        self._incoming.close()


def _scope(request: httpx2.Request) -> Message:
    url = request.url
    head = {"method": request.method, "headers": [(name.lower(), value) for name, value in request.headers.raw]}
    place = {"scheme": url.scheme, "path": url.path, "raw_path": url.raw_path, "query_string": url.query}
    return {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "root_path": "", **head, **place}
