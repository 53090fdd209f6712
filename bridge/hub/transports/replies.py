"""Replacements for HTTP replies that the SDK's transports (mcp 2.3) cannot handle."""

import secrets
from collections.abc import Sequence

import httpx2
from mcp_types import CONNECTION_CLOSED, RequestId

from bridge.hub.transports.bodies import ERROR_BYTES, read_body, write_error
from bridge.hub.transports.words import find_words, shorten
from bridge.sse import Event
from bridge.telemetry import Redactor

_FIRST = -(10**9) - secrets.randbelow(10**9)
UNREACHABLE, SESSION_GONE, REFUSED, NOT_SENT, NOT_EXECUTED, SAID_CLOSED = range(_FIRST, _FIRST - 6, -1)
"""Our JSON-RPC error codes for a POST: no reply came, or only a part of it; the server has forgotten the session; the
reply was an HTTP error without a message; the request was never sent; the HTTP error says that the request was not
executed. The last one is for the error -32000 of a server's own: in the SDK, that code means that the connection was
closed. They are drawn anew for each process: a server that sends one of them would be believed, and a call be repeated.
"""
OLDER_TRANSPORT = 'the server speaks the older HTTP+SSE transport: its type is "sse"'
PAUSE = "mcp-responses-bridge/pause"
"""The key in `data` of a failure for the seconds that the server asks to wait."""


def read_code(code: int) -> int:
    """Return the code of an error as the server sent it."""
    return CONNECTION_CLOSED if code == SAID_CLOSED else code


async def drop_body(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    """Return the reply without its body."""
    try:
        await read_body(response, ERROR_BYTES)  # once read to its end, the connection can be used again
    except (httpx2.TransportError, httpx2.DecodingError):
        pass
    finally:
        await response.aclose()
    return httpx2.Response(response.status_code, headers=read_headers(response), request=request)


def read_media_type(response: httpx2.Response) -> str:
    """Return the media type of the body, without parameters."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_headers(response: httpx2.Response, kind: str | None = None) -> list[tuple[str, str]]:
    """Return the headers without those that describe the original body; `kind` replaces its media type."""
    dropped = ["content-encoding", "content-length", "transfer-encoding", *(["content-type"] if kind else [])]
    headers = [(name, value) for name, value in response.headers.multi_items() if name not in dropped]
    return [*headers, ("content-type", kind)] if kind else headers


def describe_page(body: bytes, redact: Redactor) -> str:
    """Describe a web page that came in place of a message, to people and the model."""
    title = shorten(redact(find_words(body[:ERROR_BYTES], "text/html")), 100)
    named = f' ("{title}")' if title else ""
    return f"the reply is a web page{named} and no message: its URL is another one, or it wants a sign-in"


def build_reply(request: httpx2.Request, response: httpx2.Response, messages: Sequence[bytes]) -> httpx2.Response:
    """Build the reply that holds these messages: as JSON, or where they are several, as a stream."""
    kind = "application/json" if len(messages) == 1 else "text/event-stream"
    content = messages[0] if len(messages) == 1 else b"".join(Event(data=message).encode() for message in messages)
    return httpx2.Response(200, content=content, headers=read_headers(response, kind), request=request)


def build_failure(
    request: httpx2.Request, call: RequestId | None, status: int, code: int, message: str, data: object = None
) -> httpx2.Response:
    """Build an HTTP reply with a JSON-RPC error for `call`, or for a notification."""
    content = write_error(call, code, message, data)
    return httpx2.Response(status, content=content, headers={"content-type": "application/json"}, request=request)


def end_stream(request: httpx2.Request, call: RequestId, message: str) -> httpx2.Response:
    """Build an event stream that holds only the error for `call`."""
    content = Event(data=write_error(call, UNREACHABLE, message)).encode()
    return httpx2.Response(200, content=content, headers={"content-type": "text/event-stream"}, request=request)
