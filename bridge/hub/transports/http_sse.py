"""The older HTTP transport, HTTP+SSE of 2024-11-05: messages come on one event stream, and are sent by POST.

Not the SDK's (mcp 2.3): there an event over 1 MiB ends the stream, a POST that fails ends all sending, and an endpoint
on another origin leaves the start waiting for ever. Here each costs its call at most, and is told.
"""

import json
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager, suppress
from functools import partial
from typing import cast

import anyio
import httpx2
from anyio.abc import ObjectSendStream, TaskGroup
from mcp import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
    RequestId,
)

from bridge.clock import Clock
from bridge.hub.transports.bodies import ERROR_BYTES, build_error, read_body, read_messages, read_start
from bridge.hub.transports.endpoints import ForeignEndpoint, looks_like_endpoint, read_endpoint
from bridge.hub.transports.redirects import Elsewhere, Redirects
from bridge.hub.transports.refusals import BODY_S, read_refusal
from bridge.hub.transports.replies import (
    NOT_SENT,
    REFUSED,
    UNREACHABLE,
    describe_page,
    read_media_type,
)
from bridge.hub.transports.sessions import Session
from bridge.json_text import JsonObject
from bridge.jsonrpc.lines import Overlong
from bridge.jsonrpc.messages import read_message, write_message
from bridge.jsonrpc.pipes import Streams
from bridge.network import explain_network
from bridge.sse import Event, EventReader
from bridge.telemetry import Redactor

ENDPOINT_S = 30.0
"""How long an open stream may take to name its endpoint, which should be the first that it brings."""
NOTIFICATION_S = 5.0
"""How long a server may take to accept a notification: nothing is sent behind it meanwhile."""
MAX_QUEUED = 1000
BEFORE_SENDING = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_STREAM = {"accept": "text/event-stream", "cache-control": "no-store"}
_POST = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


@asynccontextmanager
async def open_http_sse(
    client: httpx2.AsyncClient,
    url: str,
    *,
    limit: int,
    clock: Clock,
    session: Session,
    redact: Redactor,
    on_sent: Callable[[JSONRPCMessage], None],
) -> AsyncIterator[Streams]:
    """Open the stream pair over the event stream at `url`; `on_sent` gets what was sent and asks for no answer.

    Raises MCPError where that is none, or names no endpoint.
    """
    to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](MAX_QUEUED)
    outgoing, queue = anyio.create_memory_object_stream[SessionMessage](MAX_QUEUED)
    with to_session, incoming, outgoing, queue:
        async with _open_stream(client, url, clock, redact, session) as response, anyio.create_task_group() as tasks:
            stream = _Stream(response, limit, to_session)
            tasks.start_soon(stream.read)
            places = await stream.find_places(clock)
            sender = _Sender(client, places, stream, session, limit=limit, clock=clock, on_sent=on_sent)
            tasks.start_soon(sender.send_all, queue, tasks)
            try:
                yield incoming, outgoing
            finally:
                tasks.cancel_scope.cancel()


async def names_endpoint(client: httpx2.AsyncClient, url: str) -> bool:
    """Tell whether `url` answers GET with a stream that names an endpoint, as only the older transport has it."""
    with suppress(httpx2.TransportError, httpx2.DecodingError, Elsewhere):
        async with _send(client, Redirects(), client.build_request("GET", url, headers=_STREAM)) as response:
            events = EventReader(ERROR_BYTES)
            async for chunk in response.aiter_bytes():
                if response.is_success and any(map(_is_endpoint, events.feed(chunk))):
                    return True
    return False


@asynccontextmanager
async def _send(
    client: httpx2.AsyncClient, redirects: Redirects, request: httpx2.Request
) -> AsyncIterator[httpx2.Response]:
    """Send a request, and close its reply at the end. Raises Elsewhere, as `Redirects`."""
    async with aclosing(await redirects.follow(request, partial(client.send, stream=True))) as response:
        yield response


@asynccontextmanager
async def _open_stream(
    client: httpx2.AsyncClient, url: str, clock: Clock, redact: Redactor, session: Session
) -> AsyncIterator[httpx2.Response]:
    try:
        async with _send(client, Redirects(), client.build_request("GET", url, headers=_STREAM)) as response:
            if not response.is_success:
                session.refused_with = response.status_code
                raise MCPError(REFUSED, (await read_refusal(response, clock, redact)).text)
            if read_media_type(response) == "text/html":
                page = await read_start(response, ERROR_BYTES, clock.scope(clock.now() + BODY_S))
                raise MCPError(INVALID_REQUEST, describe_page(page))
            yield response
    except Elsewhere as error:
        raise MCPError(REFUSED, f"the server {error}") from None


def _is_endpoint(event: Event) -> bool:
    """Tell whether an event names where messages go; also where its own name was left out."""
    named = event.name.strip().lower()
    is_place = named == "message" and isinstance(event.data, bytes) and looks_like_endpoint(event.data)
    return named == "endpoint" or is_place


class _Stream:
    """What the server sends: where messages go, and its own messages for the session."""

    def __init__(
        self, response: httpx2.Response, limit: int, to_session: ObjectSendStream[SessionMessage | Exception]
    ) -> None:
        self._response = response
        self._limit = limit
        self._to_session = to_session
        self._places: list[str] = []
        self._fault = "its event stream ended without naming an endpoint"
        self._is_named = anyio.Event()

    async def read(self) -> None:
        """Read it until it ends."""
        events = EventReader(self._limit)
        try:
            async with aclosing(self._response.aiter_bytes()) as chunks:
                async for chunk in chunks:
                    for event in events.feed(chunk):
                        await self._take(event)
        except (httpx2.TransportError, httpx2.DecodingError) as error:
            self._fault = f"its event stream was cut: {explain_network(error)}"
        finally:
            self._is_named.set()
            await self._to_session.aclose()

    async def find_places(self, clock: Clock) -> list[str]:
        """Return what the endpoint may mean, the likeliest first. Raises MCPError if the stream names none."""
        with clock.scope(clock.now() + ENDPOINT_S) as scope:
            await self._is_named.wait()
        if scope.cancelled_caught:
            self._fault = f'its event stream named no endpoint in {ENDPOINT_S:g} s; its type may be "http"'
        if not self._places:
            raise MCPError(INVALID_REQUEST, self._fault)
        return self._places

    async def give(self, message: JSONRPCMessage) -> None:
        """Give the session a message."""
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # the session has ended
            await self._to_session.send(SessionMessage(message))

    async def _take(self, event: Event) -> None:
        if _is_endpoint(event):
            self._take_endpoint(event.data)
        else:
            for message in read_messages(event.data):
                await self.give(message)

    def _take_endpoint(self, data: bytes | Overlong) -> None:
        try:
            self._places[:] = read_endpoint(data if isinstance(data, bytes) else data.head, str(self._response.url))
        except ForeignEndpoint as foreign:
            self._fault = str(foreign)
        self._is_named.set()


class _Sender:
    """What the session sends. `places` is where to; the first that accepts a message is the right one."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        places: list[str],
        stream: _Stream,
        session: Session,
        *,
        limit: int,
        clock: Clock,
        on_sent: Callable[[JSONRPCMessage], None],
    ) -> None:
        self._on_sent = on_sent
        self._client = client
        self._places = places
        self._stream = stream
        self._session = session
        self._limit = limit
        self._clock = clock
        self._redirects = Redirects()
        self._open: dict[object, anyio.CancelScope] = {}

    async def send_all(self, queue: AsyncIterable[SessionMessage], tasks: TaskGroup) -> None:
        """Send messages as they come: requests at once, however long the server takes to accept another."""
        async for item in queue:
            if isinstance(item.message, JSONRPCRequest):
                tasks.start_soon(self._request, item.message)
            else:
                await self._notify(item.message)
                self._on_sent(item.message)

    async def _request(self, request: JSONRPCRequest) -> None:
        with anyio.CancelScope() as self._open[request.id]:
            if reply := await self._send(request, request.id):
                await self._stream.give(reply)
        del self._open[request.id]

    async def _notify(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._open.get((message.params or {}).get("requestId"), anyio.CancelScope()).cancel()
        with self._clock.scope(self._clock.now() + NOTIFICATION_S):
            await self._send(message, None)

    async def _send(self, message: JSONRPCMessage, call: RequestId | None) -> JSONRPCMessage | None:
        """Send a message; return the reply to it if it failed, or stands in the reply to the POST."""
        try:
            async with AsyncExitStack() as replies:
                first: httpx2.Response | None = None
                for place in [*self._places]:
                    response = await replies.enter_async_context(self._post(place, message))
                    if _is_accepted(response):
                        self._places[:] = [place]
                        return await self._read_reply(response, call)
                    first = first or response
                return await self._explain(call, first) if first and call is not None else None
        except Elsewhere as error:
            return build_error(call, REFUSED, f"the server {error}")
        except httpx2.TransportError as error:
            code = NOT_SENT if isinstance(error, BEFORE_SENDING) else UNREACHABLE
            return build_error(call, code, f"the server cannot be reached: {explain_network(error)}")

    def _post(self, place: str, message: JSONRPCMessage) -> AbstractAsyncContextManager[httpx2.Response]:
        content = write_message(message).rstrip()
        return _send(
            self._client, self._redirects, self._client.build_request("POST", place, content=content, headers=_POST)
        )

    async def _read_reply(self, response: httpx2.Response, call: RequestId | None) -> JSONRPCMessage | None:
        """Return a reply that was put there and not on the stream; an empty one only accepts the message."""
        if read_media_type(response) == "text/event-stream":
            return None
        for message in read_messages(await read_body(response, self._limit)):
            if isinstance(message, JSONRPCError) or (isinstance(message, JSONRPCResponse) and message.result):
                return message.model_copy(update={"id": call}) if message.id in (call, None) else None
        return None

    async def _explain(self, call: RequestId, response: httpx2.Response) -> JSONRPCMessage:
        if response.is_success:
            return build_error(call, REFUSED, describe_page(b""))
        message = cast("JsonObject", json.loads(response.request.content))
        return read_message((await self._session.explain(response.request, message, response)).content)


def _is_accepted(response: httpx2.Response) -> bool:
    """Tell whether a message has arrived: a page is what servers of pages show in place of what they do not know."""
    return response.is_success and read_media_type(response) != "text/html"
