"""What the SDK's transports (mcp 2.3) are given instead of replies that they can do nothing with."""

from contextlib import suppress

import httpx2
from mcp_types import JSONRPCError, RequestId

from bridge.hub.transports.bodies import read_body, write_error
from bridge.jsonrpc.messages import BadMessage, read_message
from bridge.sse import Event

UNREACHABLE, SESSION_GONE, REFUSED, NOT_SENT = -32010, -32011, -32012, -32013
"""JSON-RPC error codes for a POST to which no reply came, or not all of it, one whose session the server has forgotten,
one that was answered with an HTTP error alone, and one that never left; ours, in the range left to implementations."""
ERROR_BYTES = 65_536
"""How much is read of a body that holds no message."""


async def explain_refusal(request: httpx2.Request, call: RequestId, response: httpx2.Response) -> httpx2.Response:
    """What an HTTP error means for the call."""
    try:
        body = await read_body(response, ERROR_BYTES) if read_kind(response) == "application/json" else b""
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
    return build_failure(request, call, response.status_code, REFUSED, say_status(response))


async def drop_body(request: httpx2.Request, response: httpx2.Response) -> httpx2.Response:
    """A reply whose body nobody needs."""
    try:
        await read_body(response, ERROR_BYTES)  # what is read to its end leaves a connection that can be used again
    except (httpx2.TransportError, httpx2.DecodingError):
        pass
    finally:
        await response.aclose()
    return httpx2.Response(response.status_code, headers=read_headers(response), request=request)


def read_kind(response: httpx2.Response) -> str:
    """The media type of the body, without parameters."""
    return response.headers.get("content-type", "").partition(";")[0].strip().lower()


def read_headers(response: httpx2.Response) -> list[tuple[str, str]]:
    """The headers, without those that describe a body which is another one now."""
    framing = ("content-encoding", "content-length", "transfer-encoding")
    return [(name, value) for name, value in response.headers.multi_items() if name not in framing]


def say_status(response: httpx2.Response) -> str:
    """An HTTP status in words for the model."""
    return f"the server answered with HTTP {response.status_code} {response.reason_phrase}"


def build_failure(
    request: httpx2.Request, call: RequestId | None, status: int, code: int, message: str, data: object = None
) -> httpx2.Response:
    """A JSON-RPC error as the reply to `call`, or to a message that no reply is due for."""
    content = write_error(call, code, message, data)
    return httpx2.Response(status, content=content, headers={"content-type": "application/json"}, request=request)


def end_stream(request: httpx2.Request, call: RequestId, message: str) -> httpx2.Response:
    """A stream of nothing but the error with which `call` ends."""
    content = Event(data=write_error(call, UNREACHABLE, message)).encode()
    return httpx2.Response(200, content=content, headers={"content-type": "text/event-stream"}, request=request)
