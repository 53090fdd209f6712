"""Messages that are sent by POST over the older HTTP transport: each has its own, and fails by itself."""

import json
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, aclosing, asynccontextmanager
from functools import partial
from typing import cast

import anyio
import httpx2
from anyio.abc import TaskGroup
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError, JSONRPCMessage, JSONRPCNotification, JSONRPCRequest, JSONRPCResponse, RequestId

from bridge.clock import Clock
from bridge.errors import NeedsSignIn, SignInFailed
from bridge.hub.transports.bodies import build_error, read_body, read_messages
from bridge.hub.transports.guard import BEFORE_SENDING, NOTIFICATION_S
from bridge.hub.transports.need import transmit_signed
from bridge.hub.transports.redirects import Elsewhere, Redirects
from bridge.hub.transports.replies import NOT_EXECUTED, NOT_SENT, REFUSED, UNREACHABLE, describe_page, read_media_type
from bridge.hub.transports.sessions import Session
from bridge.json_text import JsonObject
from bridge.jsonrpc.messages import read_message, write_message
from bridge.network import explain_network

_HEADERS = {"content-type": "application/json", "accept": "application/json, text/event-stream"}


@asynccontextmanager
async def open_reply(
    client: httpx2.AsyncClient, redirects: Redirects, request: httpx2.Request
) -> AsyncIterator[httpx2.Response]:
    """Send a request, and close its reply at the end. Raises Elsewhere, as `Redirects`."""
    transmit = partial(transmit_signed, partial(client.send, stream=True))
    async with aclosing(await redirects.follow(request, transmit)) as response:
        yield response


class Sender:
    """What the session sends. `places` is where to: the first that accepts a message is the right one, and stays alone.

    `give` gets the replies to calls that failed, `on_sent` what was sent and asks for no reply.
    """

    def __init__(
        self,
        client: httpx2.AsyncClient,
        places: list[str],
        give: Callable[[JSONRPCMessage], Awaitable[None]],
        session: Session,
        *,
        limit: int,
        clock: Clock,
        on_sent: Callable[[JSONRPCMessage], None],
    ) -> None:
        self._client = client
        self._on_sent = on_sent
        self._places = places
        self._give = give
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
                await self._give(reply)
        del self._open[request.id]

    async def _notify(self, message: JSONRPCMessage) -> None:
        if isinstance(message, JSONRPCNotification) and message.method == "notifications/cancelled":
            self._open.get((message.params or {}).get("requestId"), anyio.CancelScope()).cancel()
        with self._clock.scope(self._clock.now() + NOTIFICATION_S):
            await self._send(message, None)

    async def _send(self, message: JSONRPCMessage, call: RequestId | None) -> JSONRPCMessage | None:
        """Send a message; return the reply to it if it failed, or stands in the reply to the POST."""
        refusals: list[httpx2.Response | Elsewhere] = []
        try:
            async with AsyncExitStack() as replies:
                for place in [*self._places]:
                    try:
                        response = await replies.enter_async_context(self._post(place, message))
                    except Elsewhere as elsewhere:
                        refusals.append(elsewhere)
                        continue
                    if _is_accepted(response):
                        self._places[:] = [place]
                        self._session.note_success()
                        return await self._read_reply(response, call)
                    refusals.append(response)
                return await self._explain(refusals[0], call)
        except httpx2.TransportError as error:
            code = NOT_SENT if isinstance(error, BEFORE_SENDING) else UNREACHABLE
            return build_error(call, code, f"the server cannot be reached: {explain_network(error)}")
        except (NeedsSignIn, SignInFailed) as error:
            self._session.refused_with = error.status
            return build_error(call, NOT_EXECUTED, error.message)

    def _post(self, place: str, message: JSONRPCMessage) -> AbstractAsyncContextManager[httpx2.Response]:
        request = self._client.build_request("POST", place, content=write_message(message).rstrip(), headers=_HEADERS)
        return open_reply(self._client, self._redirects, request)

    async def _read_reply(self, response: httpx2.Response, call: RequestId | None) -> JSONRPCMessage | None:
        """Return a reply that was put there and not on the stream; one that is empty or cannot be decoded only accepts
        the message."""
        if read_media_type(response) == "text/event-stream":
            return None
        try:
            body = await read_body(response, self._limit)
        except httpx2.DecodingError:
            return None
        if isinstance(body, bytes) and body.lstrip()[:1] not in (b"{", b"["):
            return None  # a word such as "Accepted", which most servers say
        for message in read_messages(body):
            if isinstance(message, JSONRPCError) or (isinstance(message, JSONRPCResponse) and message.result):
                return message.model_copy(update={"id": call}) if message.id in (call, None) else None
        return None

    async def _explain(self, refusal: httpx2.Response | Elsewhere, call: RequestId | None) -> JSONRPCMessage | None:
        if call is None:
            return None
        if isinstance(refusal, Elsewhere):
            return build_error(call, REFUSED, f"the server {refusal}")
        if refusal.is_success:
            return build_error(call, REFUSED, describe_page(b"", self._session.redact))
        message = cast("JsonObject", json.loads(refusal.request.content))
        return read_message((await self._session.explain(refusal.request, message, refusal)).content)


def _is_accepted(response: httpx2.Response) -> bool:
    """Tell whether a message has arrived: a page is what servers of pages show in place of what they do not know."""
    return response.is_success and read_media_type(response) != "text/html"
