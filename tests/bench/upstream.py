"""A simulated upstream in a process of its own: plain asyncio and bytes built beforehand, about 0.1 ms a turn.

`python -m tests.bench.upstream` prints its port. `GET /requests` gives what was sent since the last time, each with its
time of arrival, and forgets it.
"""

import asyncio
import re
import sys
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import ClassVar

from typing_extensions import override

from tests.bench.processes import open_module
from tests.bench.workloads import COUNTED, MANY, WORKLOADS, Json, Workload, build_function, encode

KEPT_REQUESTS = 64
PACE_S = 0.01
STAMP = re.compile(rb"\d{20}")
"""The time at which a paced delta was sent: `time.perf_counter_ns()`, which all processes of a machine share."""
_MODEL = re.compile(rb'"model":"(\w+)"')
_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_FILLER: Json = {"type": "object", "properties": {"title": {"type": "string", "description": "The title. " * 30}}}


@dataclass(frozen=True)
class Reply:
    """The replies of one workload, by turn, whole and in chunks of a stream."""

    workload: Workload
    whole: list[bytes]
    streamed: list[list[bytes]]


class Connection(asyncio.Protocol):
    """One connection, kept alive; requests come one after the other."""

    received: ClassVar[deque[tuple[int, bytes]]] = deque(maxlen=KEPT_REQUESTS)

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport, self._waiting, self._missing = transport, bytearray(), 0

    @override
    def data_received(self, data: bytes) -> None:
        self._waiting += data
        if len(self._waiting) < self._missing:
            return
        head, found, _ = self._waiting.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        self._missing = len(head) + 4 + int(length[1]) if length else 0
        if found and len(self._waiting) >= self._missing:
            body, self._waiting, self._missing = bytes(self._waiting[len(head) + 4 :]), bytearray(), 0
            self._answer(body)

    def _answer(self, body: bytes) -> None:
        model = _MODEL.search(body)
        if model is None:
            self._transport.write(self._show_requests())
            return
        self.received.append((time.perf_counter_ns(), body))
        reply = REPLIES[model[1].decode()]
        turn = body.count(COUNTED) // (len(reply.workload.calls) or 1)
        if not body.endswith(b'"stream":true}'):
            self._transport.write(reply.whole[turn])
        elif reply.workload.paced:
            self._pace(reply.streamed[turn])
        else:
            self._transport.write(b"".join(reply.streamed[turn]))

    def _pace(self, chunks: list[bytes]) -> None:
        head, delta, rest = chunks[0], chunks[1], b"".join(chunks[2:])
        loop = asyncio.get_running_loop()
        self._transport.write(head)
        loop.call_later(PACE_S, lambda: self._transport.write(delta % b"%020d" % time.perf_counter_ns()))
        loop.call_later(2 * PACE_S, lambda: self._transport.write(rest))

    def _show_requests(self) -> bytes:
        shown = b",".join(b'{"at":%d,"body":%s}' % request for request in self.received)
        self.received.clear()
        return _close(b"[" + shown + b"]")


def _close(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(body), body)


def _build_reply(workload: Workload) -> Reply:
    responses = [_build_response(workload, n, items) for n, items in enumerate(workload.build_replies())]
    return Reply(
        workload,
        [_close(encode(response)) for response in responses],
        [_build_stream(workload, response) for response in responses],
    )


def _build_response(workload: Workload, n: int, items: list[Json]) -> Json:
    """As OpenAI's: the tools of the request are in it again."""
    echoed = MANY if workload.setup == "many" else 0
    return {
        "id": f"resp_{n}",
        "object": "response",
        "created_at": 1_700_000_000,
        "status": "completed",
        "model": workload.key,
        "output": items,
        "tools": [build_function(f"archive_{number}", "Look up records. " * 6, _FILLER) for number in range(echoed)],
        "usage": {"input_tokens": 10, "output_tokens": 10, "total_tokens": 20},
    }


def _build_stream(workload: Workload, response: Json) -> list[bytes]:
    """The head and what comes with it, each delta, and the end."""
    items: list[Json] = response["output"]
    begun = [{"type": "response.created", "response": response | {"status": "in_progress", "output": []}}]
    begun += [{"type": "response.output_item.added", "output_index": 0, "item": items[0]}]
    text = "%s" if workload.paced else "The answer. "
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    deltas = [{"type": "response.output_text.delta", **place, "delta": text}] * workload.deltas
    ended = [{"type": "response.output_item.done", "output_index": n, "item": item} for n, item in enumerate(items)]
    end = [*ended, {"type": "response.completed", "response": response}]
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    has_text = items[0]["type"] == "message"
    return [head + _chunk(begun), *(_chunk([delta]) for delta in deltas if has_text), _chunk(end) + b"0\r\n\r\n"]


def _chunk(events: list[Json]) -> bytes:
    data = b"".join(b"event: %s\ndata: %s\n\n" % (event["type"].encode(), encode(event)) for event in events)
    size = len(data) + (18 if b"%s" in data else 0)  # a stamp is longer than its place
    return b"%x\r\n%s\r\n" % (size, data)


REPLIES = {workload.key: _build_reply(workload) for workload in WORKLOADS}


@asynccontextmanager
async def open_upstream() -> AsyncIterator[str]:
    """A running one; its base URL."""
    pipe = asyncio.subprocess.PIPE
    async with open_module("tests.bench.upstream", stdin=pipe, stdout=pipe) as process:
        assert process.stdout
        yield f"http://127.0.0.1:{int(await process.stdout.readline())}/v1"


async def main() -> None:
    """Serve until the end of stdin."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", 0)
    sys.stdout.write(f"{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
