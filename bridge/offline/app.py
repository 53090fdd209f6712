"""The embedded upstream: `POST /v1/responses` as a plain ASGI application with a memory of its own."""

from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any, TypeAlias

from bridge.items import JsonObject, encode
from bridge.offline.answer import answer
from bridge.offline.checks import Refused, check_pairs, check_tools, objects, parse
from bridge.offline.wire import events, response

Message: TypeAlias = MutableMapping[str, Any]
"""A scope or a message, untyped by the ASGI specification itself."""
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]
Memory: TypeAlias = dict[str, list[JsonObject]]

_REMEMBERED = 100
"""Responses that `previous_response_id` can name; older ones are forgotten."""


def build_app() -> ASGIApp:
    """A fresh application. It needs no key, opens no connection and forgets everything when it goes."""
    memory: Memory = {}

    async def app(scope: Message, receive: Receive, send: Send) -> None:
        try:
            _check_route(scope)
            body = parse(await _read(receive))
            done = _create(body, memory)
        except Refused as refused:
            return await _send(send, refused.status, "application/json", iter([encode(refused.body)]))
        if body.get("stream"):
            return await _send(send, 200, "text/event-stream", _frames(done))
        return await _send(send, 200, "application/json", iter([encode(done)]))

    return app


def serve(host: str, port: int) -> None:
    """Serve the embedded upstream over HTTP until interrupted."""
    import uvicorn

    uvicorn.run(build_app(), host=host, port=port, lifespan="off", log_level="warning")


def _create(body: JsonObject, memory: Memory) -> JsonObject:
    if body.get("input") is None:
        raise Refused("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    tools = objects({"tools": [], **body}, "tools")
    check_tools(tools, body.get("tool_choice"))
    history = [*_recall(body, memory), *objects(body, "input")]
    check_pairs(history)
    output = answer(body, tools, history)
    done = response(body, tools, history, output)
    if body.get("store") is not False:
        memory[str(done["id"])] = [*history, *output]
        for oldest in list(memory)[:-_REMEMBERED]:
            del memory[oldest]
    return done


def _recall(body: JsonObject, memory: Memory) -> list[JsonObject]:
    previous = body.get("previous_response_id")
    if previous is None:
        return []
    if not isinstance(previous, str) or previous not in memory:
        told = f"Previous response with id '{previous}' not found."
        raise Refused(told, param="previous_response_id", code="previous_response_not_found")
    return memory[previous]


def _check_route(scope: Message) -> None:
    if scope["path"] != "/v1/responses":
        raise Refused(f"Invalid URL ({scope['method']} {scope['path']})", status=404)
    if scope["method"] != "POST":
        raise Refused(f"Not allowed to {scope['method']} on /v1/responses.", status=405, code="method_not_supported")
    kind = dict(scope["headers"]).get(b"content-type", b"").decode("latin-1")
    if kind.partition(";")[0].strip().lower() != "application/json":
        raise Refused(f"Unsupported content type: '{kind}'. Send 'application/json'.", status=415)


async def _read(receive: Receive) -> bytes:
    data, more = b"", True
    while more:
        message = await receive()
        data, more = data + message.get("body", b""), message.get("more_body", False)
    return data


def _frames(done: JsonObject) -> Iterator[str]:
    for event in events(done):
        yield f"event: {event['type']}\ndata: {encode(event)}\n\n"
    yield "data: [DONE]\n\n"


async def _send(send: Send, status: int, kind: str, chunks: Iterator[str]) -> None:
    """One message a chunk, so that an event is never split by this side."""
    headers = [(b"content-type", kind.encode()), *([(b"allow", b"POST")] if status == 405 else [])]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    for chunk in chunks:
        await send({"type": "http.response.body", "body": chunk.encode(), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": False})
