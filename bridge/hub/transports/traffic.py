"""What passes between the SDK's session and a transport: replies find their calls here, and are mended."""

from collections import deque
from collections.abc import Callable
from typing import TypeAlias

import anyio
from anyio.abc import ObjectReceiveStream, ObjectSendStream
from mcp.shared.message import SessionMessage
from mcp_types import (
    CONNECTION_CLOSED,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    JSONRPCResponse,
)
from typing_extensions import override

from bridge.hub.results.carried import carry_result
from bridge.hub.transports.replies import SAID_CLOSED, SESSION_GONE
from bridge.json_text import Json
from bridge.jsonrpc.requests import CALL, OpenRequests

Repair: TypeAlias = Callable[[str, dict[str, Json]], None]
"""Changes a result, in place; it gets the method that the result answers."""
SDKS_OWN = "SSE stream "
"""How the SDK begins its words for an error -32000 that it puts into the stream itself."""


class Incoming(ObjectReceiveStream[SessionMessage | Exception]):
    """Passes messages on, each reply with the id of its request, until the stream has ended or the server floods.

    The result of a call is carried past the SDK, and any other is changed by `repair`. It tells when the session is
    gone: calls that are still running go on all the same.
    """

    def __init__(
        self,
        inner: ObjectReceiveStream[SessionMessage | Exception],
        requests: OpenRequests,
        repair: Repair,
        lost: anyio.Event,
        has_heard: anyio.Event,
        accept: Callable[[JSONRPCMessage], bool],
    ) -> None:
        self._accept = accept
        self._inner = inner
        self._requests = requests
        self._has_heard = has_heard
        self._repair = repair
        self._lost = lost
        self._is_over = False
        self._replies: deque[SessionMessage] = deque()

    @override
    async def receive(self) -> SessionMessage | Exception:
        while not self._replies:
            message = await self._receive()
            reply = message.message if isinstance(message, SessionMessage) else None
            if not isinstance(reply, JSONRPCResponse | JSONRPCError):
                self._is_over = reply is not None and not self._accept(reply)
                _drop_odd_meta(reply)
                return message
            for method, answer in self._requests.take(reply):
                self._prepare(method, answer)
                self._replies.append(SessionMessage(answer))
            if self._requests.is_useless:
                self._lost.set()
        return self._replies.popleft()

    async def _receive(self) -> SessionMessage | Exception:
        if self._is_over:
            self._requests.end()
            raise anyio.EndOfStream
        try:
            message = await self._inner.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            self._requests.end()
            self._lost.set()
            raise anyio.EndOfStream from None
        self._has_heard.set()
        return message

    def _prepare(self, method: str, reply: JSONRPCResponse | JSONRPCError) -> None:
        if isinstance(reply, JSONRPCError):
            self._note_error(reply.error)
        elif method == CALL:
            carry_result(reply.result)
        else:
            self._repair(method, reply.result)

    def _note_error(self, error: ErrorData) -> None:
        if error.code == SESSION_GONE:
            self._lost.set()
        elif error.code == CONNECTION_CLOSED and not error.message.startswith(SDKS_OWN):
            error.code = SAID_CLOSED

    @override
    async def aclose(self) -> None:
        """Do nothing: the transport closes `inner`."""


def _drop_odd_meta(message: JSONRPCRequest | JSONRPCNotification | None) -> None:
    """Drop a `_meta` that is no object, as PHP writes none: the SDK (mcp 2.3) would drop the message."""
    if message and message.params and not isinstance(message.params.get("_meta", {}), dict):
        del message.params["_meta"]


class Outgoing(ObjectSendStream[SessionMessage]):
    """Passes messages on, each request but a call after `prepare`, and notes the requests among them.

    It sets `lost` when no call would find its reply any more.
    """

    def __init__(
        self,
        inner: ObjectSendStream[SessionMessage],
        requests: OpenRequests,
        prepare: Callable[[JSONRPCRequest], None],
        lost: anyio.Event,
    ) -> None:
        self._lost = lost
        self._inner = inner
        self._requests = requests
        self._prepare = prepare

    @override
    async def send(self, item: SessionMessage) -> None:
        message = item.message
        if isinstance(message, JSONRPCRequest) and message.method != CALL:
            self._prepare(message)
        await self._requests.wait_turn(message)
        self._requests.note_sent(message)
        if self._requests.is_useless:
            self._lost.set()
        await self._inner.send(item)

    @override
    async def aclose(self) -> None:
        await self._inner.aclose()
