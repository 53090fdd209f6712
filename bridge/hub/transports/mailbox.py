"""What comes in over the SDK's SSE transport, and beside it the errors of messages that the server refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self

import anyio
from anyio.abc import ObjectReceiveStream
from mcp.shared.message import SessionMessage
from mcp_types import JSONRPCError

from bridge.jsonrpc.messages import BadMessage, read_message


class Mailbox:
    """One stream of messages, out of two sources."""

    def __init__(self) -> None:
        self._send, self.messages = anyio.create_memory_object_stream[SessionMessage | Exception]()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._send.close()
        self.messages.close()

    async def deliver(self, reply: bytes) -> None:
        """Add the error that answers a call; drop it if it answers none, or nobody reads any more."""
        with suppress(BadMessage, anyio.BrokenResourceError, anyio.ClosedResourceError):
            message = read_message(reply)
            if isinstance(message, JSONRPCError) and message.id is not None:
                await self._send.send(SessionMessage(message))

    @asynccontextmanager
    async def collect(self, incoming: ObjectReceiveStream[SessionMessage | Exception]) -> AsyncIterator[None]:
        """Add what comes in, until it ends; then the messages end too."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._pass_on, incoming)
            try:
                yield
            finally:
                tasks.cancel_scope.cancel()

    async def _pass_on(self, incoming: ObjectReceiveStream[SessionMessage | Exception]) -> None:
        with self._send, suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            async for message in incoming:
                await self._send.send(message)
