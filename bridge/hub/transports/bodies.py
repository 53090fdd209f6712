"""The bodies of HTTP replies: read within a limit, and mended so that the SDK's transports can read their messages.

In mcp 2.3 a reply with half an emoji, too much depth or a foreign id leaves its call without an answer or without a
reason, and a small compressed body fills the memory. Here such a message is read if possible; otherwise an error takes
its place, so that its call fails at once.
"""

import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from typing import Protocol, TypeAlias

import anyio
import httpx2
from mcp_types import (
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCResponse,
    RequestId,
    jsonrpc_message_adapter,
)

from bridge.hub.transports.words import find_words, shorten
from bridge.json_text import cut_levels
from bridge.jsonrpc.lines import Overlong
from bridge.jsonrpc.messages import BadMessage, may_be_reply, read_message, split_messages, write_message
from bridge.telemetry import Redactor

logger = logging.getLogger(__name__)

ERROR_BYTES = 65_536
"""How much is read of the body of an error."""

Revise: TypeAlias = Callable[[JSONRPCError], JSONRPCError]
"""Returns an error, or another in its place."""


class Body(Protocol):
    """What is read of a reply."""

    def aiter_bytes(self) -> AsyncGenerator[bytes]: ...


async def read_body(response: Body, limit: int) -> bytes | Overlong:
    """Read the decoded body, up to `limit` bytes. Raises httpx2.TransportError if it is cut."""
    parts, size = list[bytes](), 0
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            parts.append(chunk)
            if size > limit:
                return Overlong(b"".join(parts)[:limit], b"", size, limit)
    return b"".join(parts)


async def read_start(response: httpx2.Response, limit: int, scope: anyio.CancelScope) -> bytes:
    """Read the decoded body, up to `limit` bytes, until it is cut, or until `scope` is over."""
    body = bytearray()
    with scope, suppress(httpx2.TransportError, httpx2.DecodingError):
        async with aclosing(response.aiter_bytes()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) >= limit:
                    break
    return bytes(body[:limit])


def mend_messages(
    data: bytes | Overlong, request: RequestId | None, redact: Redactor, revise: Revise | None = None
) -> tuple[list[bytes], bool]:
    """Return `data` as messages that the SDK can read, and whether one is a reply: the last. `request`: the call it
    belongs to.

    A message is unchanged if possible; else scrubbed, given the id of its call, or replaced by an error. None is left
    if `data` is not a message and no call can be told so; a batch is several. `revise` may replace an error.
    """
    try:
        message, is_plain = _read(data)
    except BadMessage as bad:
        if isinstance(data, bytes) and (parts := split_messages(data)):
            return _mend_batch(parts, request, revise)
        logger.warning("a reply is not a message: %s", bad)
        bad.id, bad.code = bad.id if request is None else request, PARSE_ERROR
        if bad.id is None and not bad.is_reply:
            return [], False
        message, is_plain = _add_words(bad.to_error(), data, redact), False
    revised = _revise(message, revise)
    message, is_plain = revised, is_plain and revised is message
    is_reply = isinstance(message, JSONRPCResponse | JSONRPCError)
    if is_reply and request is not None and message.id != request:
        message, is_plain = message.model_copy(update={"id": request}), False
    return [data if is_plain and isinstance(data, bytes) else write_message(message).rstrip()], is_reply


def _revise(message: JSONRPCMessage, revise: Revise | None) -> JSONRPCMessage:
    return revise(message) if revise and isinstance(message, JSONRPCError) else message


def _mend_batch(parts: list[bytes], request: RequestId | None, revise: Revise | None) -> tuple[list[bytes], bool]:
    """Mend the messages of a batch. Of several replies, the one to `request` is kept, or else the only one."""
    messages = [_revise(message, revise) for part in parts for message in _read_or_explain(part)]
    replies = [message for message in messages if isinstance(message, JSONRPCResponse | JSONRPCError)]
    if request is not None:
        messages = [message for message in messages if not isinstance(message, JSONRPCResponse | JSONRPCError)]
        replies = [reply for reply in replies if reply.id == request] or (replies if len(replies) == 1 else [])
        messages += [reply.model_copy(update={"id": request}) for reply in replies[:1]]
    return [write_message(message).rstrip() for message in messages], bool(replies)


def read_messages(data: bytes | Overlong) -> list[JSONRPCMessage]:
    """Return the messages in `data`; one that cannot be read is an error for its call, if that can be told."""
    with suppress(BadMessage):
        return [_read(data)[0]]
    parts = split_messages(data) if isinstance(data, bytes) else []
    return [message for part in parts or [data] for message in _read_or_explain(part)]


def _read_or_explain(data: bytes | Overlong) -> list[JSONRPCMessage]:
    try:
        return [_read(data)[0]]
    except BadMessage as bad:
        logger.warning("what a server sent is not a message: %s", bad)
        bad.code = PARSE_ERROR
        return [bad.to_error()] if bad.id is not None else []


def _read(data: bytes | Overlong) -> tuple[JSONRPCMessage, bool]:
    """Read a message, and tell whether the SDK can read it from `data` itself. Raises BadMessage."""
    if isinstance(data, bytes):
        with suppress(ValueError):
            message = jsonrpc_message_adapter.validate_json(data, by_name=False)
            if not may_be_reply(message, data):
                return message, True
    message = read_message(data)
    written = write_message(message)
    try:
        jsonrpc_message_adapter.validate_json(written, by_name=False)
    except ValueError:
        return read_message(cut_levels(written.decode()).encode()), False
    return message, False


def _add_words(error: JSONRPCError, data: bytes | Overlong, redact: Redactor) -> JSONRPCError:
    """Add what a body says that has an `error`, but is no message."""
    if isinstance(data, bytes) and len(data) < ERROR_BYTES and b'"error"' in data and b'"result"' not in data:
        error.error.message += f": {shorten(redact(find_words(data, 'application/json')))}"
    return error


def build_error(request: RequestId | None, code: int, message: str, data: object = None) -> JSONRPCError:
    """Build a JSON-RPC error."""
    return JSONRPCError(jsonrpc="2.0", id=request, error=ErrorData(code=code, message=message, data=data))


def write_error(request: RequestId | None, code: int, message: str, data: object = None) -> bytes:
    """Write a JSON-RPC error as JSON."""
    return write_message(build_error(request, code, message, data)).rstrip()
