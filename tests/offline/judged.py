"""Drives the embedded upstream through HTTP and judges all that it says by the SDK's types."""

import functools
import json
from typing import Any, Literal, get_args, get_origin

import httpx2
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel, TypeAdapter

from bridge.offline.app import OfflineTransport

Json = dict[str, Any]


class Misshapen(AssertionError):
    """What was said is not what the API's types allow."""


def connect() -> httpx2.AsyncClient:
    """A client whose requests end in a fresh embedded upstream."""
    return httpx2.AsyncClient(transport=OfflineTransport(), base_url="http://offline/v1")


async def create(client: httpx2.AsyncClient, body: Json) -> Json:
    """The judged response to `body`."""
    reply = await client.post("/responses", json=body)
    assert reply.status_code == 200, reply.text
    return judge_response(reply.json())


async def stream(client: httpx2.AsyncClient, body: Json) -> list[Json]:
    """The judged events that answer `body`."""
    async with client.stream("POST", "/responses", json={**body, "stream": True}) as reply:
        assert reply.headers["content-type"] == "text/event-stream"
        frames = [chunk.decode() async for chunk in reply.aiter_raw() if chunk]
    assert frames.pop() == "data: [DONE]\n\n"
    return [read_frame(frame) for frame in frames]


def read_frame(frame: str) -> Json:
    """The event of one write: an `event` line, a `data` line, an empty one, and nothing else."""
    named, data, *rest = frame.split("\n")
    assert rest == ["", ""], frame
    event: Json = json.loads(data.removeprefix("data: "))
    assert named == f"event: {event['type']}", frame
    return judge_event(event)


def judge_response(response: Json) -> Json:
    """`response`, if the SDK's model takes it, else Misshapen."""
    _validate(Response, response)
    return response


def judge_event(event: Json) -> Json:
    """`event`, if the model of its own type takes it: the SDK's union reads an unknown type as its first member."""
    model = _event_models().get(event.get("type", ""))
    if model is None:
        raise Misshapen(f"no event is called {event.get('type')!r}")
    judged = _validate(model, event)
    if judged.model_extra:
        raise Misshapen(f"{event['type']} has no {list(judged.model_extra)}")
    return event


def _validate(model: type[BaseModel], value: Json) -> BaseModel:
    try:
        return _adapter(model).validate_json(json.dumps(value), strict=True)
    except ValueError as error:
        raise Misshapen(str(error)) from error


@functools.cache
def _adapter(model: type[BaseModel]) -> TypeAdapter[BaseModel]:
    return TypeAdapter(model)


@functools.cache
def _event_models() -> dict[str, type[BaseModel]]:
    union = get_args(ResponseStreamEvent)[0] if get_origin(ResponseStreamEvent) is not None else ResponseStreamEvent
    models: dict[str, type[BaseModel]] = {}
    for model in get_args(union):
        kind = model.model_fields["type"].annotation
        assert get_origin(kind) is Literal
        models |= dict.fromkeys(get_args(kind), model)
    return models
