"""The older HTTP transport, HTTP+SSE of 2024-11-05: messages come on one event stream, and are sent by POST.

Not the SDK's (mcp 2.3): there an event over 1 MiB ends the stream, a POST that fails ends all sending, and an endpoint
on another origin leaves the start waiting for ever. Here each costs its call at most, and is told.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import anyio
import httpx2
from anyio.abc import ObjectSendStream
from mcp import MCPError
from mcp.shared.message import SessionMessage
from mcp_types import (
    INVALID_REQUEST,
    JSONRPCMessage,
)

from bridge.clock import Clock
from bridge.errors import NeedsSignIn, SignInFailed
from bridge.hub.transports.bodies import ERROR_BYTES, read_messages, read_start
from bridge.hub.transports.endpoints import ForeignEndpoint, looks_like_endpoint, read_endpoint
from bridge.hub.transports.posts import Sender, open_reply
from bridge.hub.transports.redirects import Elsewhere, Redirects
from bridge.hub.transports.refusals import BODY_S, read_refusal
from bridge.hub.transports.replies import (
    REFUSED,
    describe_page,
    read_media_type,
)
from bridge.hub.transports.sessions import Session
from bridge.jsonrpc.lines import Overlong
from bridge.jsonrpc.pipes import Streams
from bridge.network import explain_network
from bridge.sse import Event, EventReader
from bridge.telemetry import Redactor

ENDPOINT_S = 30.0
"""How long an open stream may take to name its endpoint, which should be the first that it brings."""
MAX_QUEUED, MAX_WAITING = 1000, 50
"""How many messages may wait to be sent, and how many that have come before the session takes them."""
_STREAM = {"accept": "text/event-stream", "cache-control": "no-store"}


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
    to_session, incoming = anyio.create_memory_object_stream[SessionMessage | Exception](MAX_WAITING)
    outgoing, queue = anyio.create_memory_object_stream[SessionMessage](MAX_QUEUED)
    with to_session, incoming, outgoing, queue:
        async with _open_stream(client, url, clock, redact, session) as response, anyio.create_task_group() as tasks:
            stream = _Stream(response, limit, to_session)
            tasks.start_soon(stream.read)
            places = await stream.find_places(clock)
            sender = Sender(client, places, stream.give, session, limit=limit, clock=clock, on_sent=on_sent)
            tasks.start_soon(sender.send_all, queue, tasks)
            try:
                yield incoming, outgoing
            finally:
                tasks.cancel_scope.cancel()


async def names_endpoint(client: httpx2.AsyncClient, url: str) -> bool:
    """Tell whether `url` answers GET with a stream that names an endpoint, as only the older transport has it."""
    with suppress(httpx2.TransportError, httpx2.DecodingError, Elsewhere, NeedsSignIn, SignInFailed):
        async with open_reply(client, Redirects(), client.build_request("GET", url, headers=_STREAM)) as response:
            events = EventReader(ERROR_BYTES)
            async for chunk in response.aiter_bytes():
                if response.is_success and any(map(_is_endpoint, events.feed(chunk))):
                    return True
    return False


@asynccontextmanager
async def _open_stream(
    client: httpx2.AsyncClient, url: str, clock: Clock, redact: Redactor, session: Session
) -> AsyncIterator[httpx2.Response]:
    try:
        async with open_reply(client, Redirects(), client.build_request("GET", url, headers=_STREAM)) as response:
            if not response.is_success:
                refusal = await read_refusal(response, clock, redact)
                session.note_refusal(refusal)
                raise MCPError(REFUSED, refusal.text)
            if read_media_type(response) == "text/html":
                page = await read_start(response, ERROR_BYTES, clock.scope(clock.now() + BODY_S))
                raise MCPError(INVALID_REQUEST, describe_page(page, redact))
            yield response
    except Elsewhere as error:
        raise MCPError(REFUSED, f"the server {error}") from None
    except (NeedsSignIn, SignInFailed) as error:
        session.refused_with = error.status
        raise MCPError(REFUSED, error.message) from None


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
