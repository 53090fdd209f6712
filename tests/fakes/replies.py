"""What the scripted upstream can answer: Responses objects, event streams, errors, and faults down to the byte."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import anyio

from tests.fakes.events import Event, lifecycle
from tests.fakes.items import Json, new_id, tokens
from tests.fakes.wire import Close, Hang, Reply, Request, Send, Step, Wait, divide, encode, http, pieces, sse

_ECHOED = ("instructions", "max_output_tokens", "metadata", "previous_response_id", "store", "temperature", "top_p")


def responds(
    *items: Json,
    status: str = "completed",
    usage: Json | None = None,
    as_json: bool = False,
    as_sse: bool = False,
    chunk: int | None = None,
    crlf: bool = False,
    empty_final: bool = False,
    events: Callable[[list[Event]], Iterable[Event]] | Iterable[Event] | None = None,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> Reply:
    """A Responses object made of these output items: JSON, or a stream where the request asked for one.

    Args:
        status: completed, incomplete or failed; the last two bring the details that the API sends with them.
        usage: See `tokens`.
        as_json: JSON, whatever was asked.
        as_sse: A stream, whatever was asked.
        chunk: Write the bytes in pieces of this many.
        crlf: End the lines of the stream with CR LF.
        empty_final: End the stream with an event whose `output` is empty.
        events: The events to send instead; or a function that is given the true ones and returns those to send.
        headers: More HTTP headers.
        **fields: Any other field of the Responses object.
    """

    def steps(request: Request) -> Sequence[Step]:
        response = _response(request, items, status, usage) | fields
        if not as_sse and (as_json or not request.json.get("stream")):
            return pieces(http(200, encode(response), headers or {}), chunk)
        true = lifecycle(response, empty_final=empty_final)
        chosen = true if events is None else events(true) if callable(events) else events
        return pieces(sse(list(chosen), headers or {}, crlf=crlf), chunk)

    return Reply(steps)


def http_error(status: int, body: Json | str = "", headers: Mapping[str, str] | None = None) -> Reply:
    """An HTTP status with a body: a dict goes as JSON, a text as plain text."""
    if isinstance(body, dict):
        return raw(http(status, encode(body), headers or {}), close=False)
    return raw(
        http(status, body.encode(), {"content-type": "text/plain; charset=utf-8", **(headers or {})}), close=False
    )


def api_error(status: int, words: str, headers: Mapping[str, str] | None = None, **fields: Any) -> Reply:
    """An error in the API's own shape; `fields` are its type, param and code."""
    error = {"message": words, "type": "invalid_request_error", "param": None, "code": None} | fields
    return http_error(status, {"error": error}, headers)


def html(status: int) -> Reply:
    """The page that a proxy in between answers with."""
    page = f"<html><head><title>{status}</title></head><body><h1>{status}</h1><hr>proxy/1.0</body></html>"
    return http_error(status, page, {"content-type": "text/html"})


def raw(data: bytes, *, close: bool = True) -> Reply:
    """These bytes and no others; then the connection is closed, unless told otherwise."""
    ending = [Close()] if close else []
    return Reply(lambda _: [Send(data), *ending])


def cut(after: int | str, reply: Reply, *, reset: bool = False) -> Reply:
    """The beginning of another reply (`after`: see `divide`), then the end of the connection: FIN, or RST."""
    return Reply(lambda request: [*divide(reply.steps(request), after)[0], Close(reset)])


def hang(after: int | str = 0, reply: Reply | None = None) -> Reply:
    """The beginning of another reply (`after`: see `divide`), then silence until the client goes away."""
    begun = reply or responds()
    return Reply(lambda request: [*divide(begun.steps(request), after)[0], Hang()])


def gated(reply: Reply, gate: anyio.Event, *, after: int | str = 0) -> Reply:
    """Another reply that waits for the gate: before its first byte, or somewhere in it (`after`: see `divide`)."""

    def steps(request: Request) -> Sequence[Step]:
        before, behind = divide(reply.steps(request), after)
        return [*before, Wait(gate), *behind]

    return Reply(steps)


def _response(request: Request, items: Sequence[Json], status: str, usage: Json | None) -> Json:
    asked = request.json
    return {
        "id": new_id("resp"),
        "object": "response",
        "created_at": 1756108120,
        "status": status,
        "background": False,
        "error": {"code": "server_error", "message": "The model failed."} if status == "failed" else None,
        "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
        "model": asked.get("model", "gpt-4.1"),
        "output": list(items),
        "parallel_tool_calls": asked.get("parallel_tool_calls", True),
        "reasoning": {"effort": None, "summary": None},
        "text": asked.get("text", {"format": {"type": "text"}}),
        "tool_choice": asked.get("tool_choice", "auto"),
        "tools": asked.get("tools", []),
        "truncation": "disabled",
        "usage": tokens(10, 5) if usage is None else usage,
        **{name: asked.get(name) for name in _ECHOED},
    }
