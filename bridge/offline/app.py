"""The embedded upstream: `POST /v1/responses` as a small Starlette application with a memory of its own."""

from collections.abc import AsyncIterator
from typing import TypeAlias

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from bridge.items import JsonObject, encode
from bridge.offline.answer import answer
from bridge.offline.checks import Refused, check_pairs, check_tools, objects, parse
from bridge.offline.wire import events, response

Memory: TypeAlias = dict[str, list[JsonObject]]

_REMEMBERED = 100
"""Responses that `previous_response_id` can name; older ones are forgotten."""


def build_app() -> Starlette:
    """A fresh application. It needs no key, opens no connection and forgets everything when it goes."""
    memory: Memory = {}

    async def create(request: Request) -> Response:
        body = parse(await request.body())
        done = _respond(body, memory)
        if body.get("stream"):
            return StreamingResponse(_frames(done), media_type="text/event-stream")
        return Response(encode(done), media_type="application/json")

    route = Route("/v1/responses", create, methods=["POST"])
    return Starlette(routes=[route], exception_handlers={HTTPException: _refuse})


def serve(host: str, port: int) -> None:
    """Serve the embedded upstream over HTTP until interrupted."""
    import uvicorn

    uvicorn.run(build_app(), host=host, port=port, lifespan="off", log_level="warning")


def _respond(body: JsonObject, memory: Memory) -> JsonObject:
    tools = objects(body.get("tools"), "tools")
    check_tools(tools, body.get("tool_choice"))
    history = [*_recall(body, memory), *objects(body["input"], "input")]
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
    if str(previous) not in memory:
        told = f"Previous response with id '{previous}' not found."
        raise Refused(told, param="previous_response_id", code="previous_response_not_found")
    return memory[str(previous)]


async def _frames(done: JsonObject) -> AsyncIterator[str]:
    for event in events(done):
        yield f"event: {event['type']}\ndata: {encode(event)}\n\n"
    yield "data: [DONE]\n\n"


def _refuse(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    told = {"param": getattr(error, "param", None), "code": getattr(error, "code", None)}
    said = {"error": {"message": error.detail, "type": "invalid_request_error", **told}}
    return JSONResponse(said, status_code=error.status_code, headers=error.headers)
