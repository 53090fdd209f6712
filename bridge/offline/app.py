"""The embedded upstream: `POST /v1/responses` over HTTP or inside the process, with a memory of its own."""

from collections.abc import AsyncIterator, Iterator

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from typing_extensions import override

from bridge.json_text import JsonObject, encode
from bridge.offline.answer import answer
from bridge.offline.wire import Refused, frames, join_items, parse, response

Memory = dict[str | None, list[JsonObject]]
"""The items of a response and of all before it, by the id that `previous_response_id` names; none for None."""

_REMEMBERED = 100
"""Responses that are remembered; older ones are forgotten."""


class OfflineTransport(httpx2.AsyncBaseTransport):
    """Answers every request with a fresh embedded upstream, each event made when it is read.

    (httpx2's own ASGITransport would collect the whole body of `build_app()` before it hands it on.)
    """

    def __init__(self) -> None:
        self._memory: Memory = {None: []}

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """The response; its body comes while it is read."""
        status, kind, chunks = _reply(await request.aread(), self._memory)
        return httpx2.Response(status, headers={"content-type": kind}, content=_each(chunks))


def build_app() -> Starlette:
    """A fresh application. It needs no key, opens no connection and forgets everything when it goes."""
    memory: Memory = {None: []}

    async def create(request: Request) -> StreamingResponse:
        status, kind, chunks = _reply(await request.body(), memory)
        return StreamingResponse(_each(chunks), status, media_type=kind)

    return Starlette(routes=[Route("/v1/responses", create, methods=["POST"])])


def _reply(data: bytes, memory: Memory) -> tuple[int, str, Iterator[str]]:
    """Status, content type and text of the answer to the request body `data`."""
    try:
        request = parse(data)
        if (previous := request.previous_response_id) not in memory:
            raise Refused(f"No response has id '{previous}'.", "previous_response_id", "previous_response_not_found")
        history = join_items(request, memory[previous])
        output = answer(request, history)
    except Refused as refused:
        error = dict(zip(("message", "param", "code"), refused.args, strict=True))
        return 400, "application/json", iter([encode({"error": {"type": "invalid_request_error", **error}})])
    done = response(request, history, output)
    if request.store is not False:
        memory[str(done["id"])] = history + output
    for oldest in list(memory)[1:-_REMEMBERED]:
        del memory[oldest]
    if request.stream:
        return 200, "text/event-stream", frames(done, output)
    return 200, "application/json", iter([encode(done)])


async def _each(chunks: Iterator[str]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk.encode()
