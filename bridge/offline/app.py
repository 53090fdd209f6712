"""The embedded upstream: `POST /v1/responses`, over HTTP or inside the process. It remembers its responses."""

from collections.abc import AsyncIterator, Iterator

import httpx2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route
from typing_extensions import override

from bridge.json_text import JsonObject, encode
from bridge.offline.answer import answer
from bridge.offline.wire import Refused, build_response, join_items, parse, stream_events

Memory = dict[str | None, list[JsonObject]]
"""The items of each response and of all before it, by response id. The key None, for a request without
`previous_response_id`, has none."""

_REMEMBERED = 100
"""How many responses are remembered; older ones are forgotten."""


class OfflineTransport(httpx2.AsyncBaseTransport):
    """A transport that answers every request itself, with an embedded upstream of its own; events are made when read.

    (httpx2's own ASGITransport would collect the whole body of `build_app()` before passing it on.)
    """

    def __init__(self) -> None:
        self._memory: Memory = {None: []}

    @override
    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the response; its body is made while it is read."""
        status, kind, chunks = _reply(await request.aread(), self._memory)
        return httpx2.Response(status, headers={"content-type": kind}, content=_encode(chunks))


def build_app() -> Starlette:
    """Build an application with an empty memory. It needs no key and opens no connections."""
    memory: Memory = {None: []}

    async def create(request: Request) -> StreamingResponse:
        status, kind, chunks = _reply(await request.body(), memory)
        return StreamingResponse(_encode(chunks), status, media_type=kind)

    return Starlette(routes=[Route("/v1/responses", create, methods=["POST"])])


def _reply(data: bytes, memory: Memory) -> tuple[int, str, Iterator[str]]:
    """Return status, content type and body text of the reply to the request body `data`."""
    try:
        request = parse(data)
        if (previous := request.previous_response_id) not in memory:
            raise Refused(f"No response has id '{previous}'.", "previous_response_id", "previous_response_not_found")
        history = join_items(request, memory[previous])
        output = answer(request, history)
    except Refused as refused:
        error = dict(zip(("message", "param", "code"), refused.args, strict=True))
        return 400, "application/json", iter([encode({"error": {"type": "invalid_request_error", **error}})])
    done = build_response(request, history, output)
    if request.store is not False:
        memory[str(done["id"])] = history + output
    for oldest in list(memory)[1:-_REMEMBERED]:
        del memory[oldest]
    if request.stream:
        return 200, "text/event-stream", stream_events(done, output)
    return 200, "application/json", iter([encode(done)])


async def _encode(chunks: Iterator[str]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk.encode()
