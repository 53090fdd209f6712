"""The bodies of HTTP replies: read within a limit, and mended so that the SDK's transports can read their messages.

In mcp 2.3 a reply with half an emoji, too much depth or a foreign id leaves its call without an answer or without a
reason, and a small compressed body fills the memory. Here such a message is read if possible; otherwise an error takes
its place, so that its call fails at once.
"""

import logging
from contextlib import aclosing, suppress

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

from bridge.json_text import cut_levels
from bridge.jsonrpc.lines import Overlong
from bridge.jsonrpc.messages import BadMessage, read_message, write_message

logger = logging.getLogger(__name__)


async def read_body(response: httpx2.Response, limit: int) -> bytes | Overlong:
    """Read the decoded body, up to `limit` bytes. Raises httpx2.TransportError if it is cut."""
    parts, size = list[bytes](), 0
    async with aclosing(response.aiter_bytes()) as chunks:
        async for chunk in chunks:
            size += len(chunk)
            parts.append(chunk)
            if size > limit:
                return Overlong(b"".join(parts)[:limit], b"", size, limit)
    return b"".join(parts)


def mend_message(data: bytes | Overlong, request: RequestId | None) -> tuple[bytes, bool]:
    """Return `data` as one message that the SDK can read, and whether it is a reply. `request`: the call it belongs to.

    It is unchanged if possible; else scrubbed, given the id of its call, or replaced by an error. It is empty if `data`
    is not a message and no call can be told so.
    """
    try:
        message, is_plain = _read(data)
    except BadMessage as bad:
        logger.warning("a reply is not a message: %s", bad)
        bad.id, bad.code = bad.id if request is None else request, PARSE_ERROR
        return (write_message(bad.to_error()).rstrip(), True) if bad.id is not None or bad.is_reply else (b"", False)
    is_reply = isinstance(message, JSONRPCResponse | JSONRPCError)
    if is_reply and request is not None and message.id != request:
        message, is_plain = message.model_copy(update={"id": request}), False
    return data if is_plain and isinstance(data, bytes) else write_message(message).rstrip(), is_reply


def _read(data: bytes | Overlong) -> tuple[JSONRPCMessage, bool]:
    """Read a message, and tell whether the SDK can read it from `data` itself. Raises BadMessage."""
    if isinstance(data, bytes):
        with suppress(ValueError):
            return jsonrpc_message_adapter.validate_json(data, by_name=False), True
    message = read_message(data)
    written = write_message(message)
    try:
        jsonrpc_message_adapter.validate_json(written, by_name=False)
    except ValueError:
        return read_message(cut_levels(written.decode()).encode()), False
    return message, False


def write_error(request: RequestId | None, code: int, message: str, data: object = None) -> bytes:
    """Write a JSON-RPC error as JSON."""
    error = ErrorData(code=code, message=message, data=data)
    return write_message(JSONRPCError(jsonrpc="2.0", id=request, error=error)).rstrip()
