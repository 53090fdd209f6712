"""Replacements for HTTP replies that the SDK's transports (mcp 2.3) cannot handle."""

import re
from collections.abc import Sequence
from contextlib import suppress

import httpx2
from mcp_types import JSONRPCError, RequestId

from bridge.hub.transports.bodies import read_body, write_error
from bridge.jsonrpc.lines import Overlong
from bridge.jsonrpc.messages import BadMessage, read_message
from bridge.sse import Event

UNREACHABLE, SESSION_GONE, REFUSED, NOT_SENT = -32010, -32011, -32012, -32013
"""Our JSON-RPC error codes, in the range left to implementations, for a POST: no reply came, or only a part of it; the
server has forgotten the session; the reply was an HTTP error without a message; the request was never sent."""
OLDER_TRANSPORT = 'the server speaks the older HTTP+SSE transport: its type is "sse"'
ERROR_BYTES = 65_536
"""How much is read of the body of an error."""
QUOTED = 300
"""How many characters of it are told."""
_TITLE = re.compile(r"<title[^>]*>\s*([^<]*[^<\s])", re.I)


async def explain_refusal(request: httpx2.Request, call: RequestId, response: httpx2.Response) -> httpx2.Response:
    """Turn an HTTP error into a JSON-RPC error for the call: the server's own, if the body holds one."""
    try:
        body = await read_body(response, ERROR_BYTES)
    except (httpx2.TransportError, httpx2.DecodingError):
        body = b""
    finally:
        await response.aclose()
    if response.status_code == 404 and "mcp-session-id" in request.headers:
        return build_failure(request, call, 404, SESSION_GONE, "the server has forgotten the session")
    with suppress(BadMessage):
        error = read_message(body)
        if isinstance(error, JSONRPCError):
            return build_failure(
                request, call, response.status_code, error.error.code, error.error.message, error.error.data
            )
    return build_failure(request, call, response.status_code, REFUSED, describe_status(response) + _quote(body))


async def describe_refusal(response: httpx2.Response) -> str:
    """Describe an HTTP error to people and the model, with its own words."""
    with suppress(httpx2.TransportError, httpx2.DecodingError):
        return describe_status(response) + _quote(await read_body(response, ERROR_BYTES))
    return describe_status(response)


def _quote(body: bytes | Overlong) -> str:
    """Quote the words of an HTTP error, if they are words: no page, and not longer than people read."""
    words = "" if isinstance(body, Overlong) else " ".join(body.decode("utf-8", "replace").split())
    return f": {words[:QUOTED]}" if words and not words.startswith("<") else ""


def describe_page(body: bytes) -> str:
    """Describe a web page that came in place of a message, to people and the model."""
    title = _TITLE.search(body[:ERROR_BYTES].decode("utf-8", "replace"))
    named = f' ("{" ".join(title[1].split())[:100]}")' if title else ""
    return f"the reply is a web page{named} and no message: its URL is another one, or it wants a sign-in"


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


def describe_status(response: httpx2.Response) -> str:
    """Describe an HTTP status to the model."""
    return f"the server answered with HTTP {response.status_code} {response.reason_phrase}"


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
