"""The Responses API on the wire: checks a request, and builds the response and the events of its stream."""

import re
import secrets
import time
from collections.abc import Iterator
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, Field, JsonValue, OnErrorOmit, ValidationError

from bridge.json_text import Json, JsonObject, encode
from bridge.texts import estimate_tokens


class Refused(Exception):
    """A refused request, with the message, param and code of the API's error."""


class Schema(BaseModel):
    """The fields of a JSON Schema that the rules read; a property that they cannot read is left out."""

    type: str | list[str] = "string"
    description: str = ""
    format: str = ""
    enum: list[JsonValue] = []
    items: "Schema | None" = None
    properties: dict[str, OnErrorOmit["Schema"]] = {}
    required: list[str] = []


class Tool(BaseModel):
    """The fields of a tool that the rules read."""

    type: str
    name: str = Field(default="", pattern="^[a-zA-Z0-9_-]{1,64}$")
    description: str | None = None
    parameters: Annotated[Schema, BeforeValidator(lambda value: value or {})] = Schema()


class Request(BaseModel, extra="allow"):
    """The fields of a request that are read; others are only repeated in the response. null is the same as absent."""

    input: str | list[dict[str, JsonValue]]
    tools: list[dict[str, JsonValue]] = []
    offered: list[Tool] = Field(default_factory=list[Tool], alias="tools", max_length=128)
    tool_choice: str | dict[str, JsonValue] | None = None
    parallel_tool_calls: bool | None = None
    previous_response_id: str | None = None
    store: bool | None = None
    stream: bool | None = None


def parse(data: bytes) -> Request:
    """Parse the request in the body `data`. Raises Refused."""
    try:
        return Request.model_validate_json(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise Refused(f"Invalid '{where or 'body'}': {first['msg']}.", where or None, first["type"]) from None


def join_items(request: Request, earlier: list[JsonObject]) -> list[JsonObject]:
    """Join the earlier items and the request's own. Raises Refused for a call without its output, or the reverse."""
    new = request.input if isinstance(request.input, list) else [{"role": "user", "content": request.input}]
    calls = {str(item.get("call_id")) for item in earlier + new if item.get("type") == "function_call"}
    outputs = {str(item.get("call_id")) for item in earlier + new if item.get("type") == "function_call_output"}
    for call_id in outputs - calls:
        raise Refused(f"No tool call found for function call output with call_id {call_id}.", "input", None)
    for call_id in calls - outputs:
        raise Refused(f"No tool output found for function call {call_id}.", "input", None)
    return earlier + new


def build_message(text: str) -> JsonObject:
    """Build an output item with a text."""
    return {"id": _id("msg"), "type": "message", "role": "assistant", "status": "completed", "content": [_part(text)]}


def build_function_call(name: str, arguments: JsonObject) -> JsonObject:
    """Build an output item that calls a function."""
    called: JsonObject = {"call_id": _id("call"), "name": name, "arguments": encode(arguments)}
    return {"id": _id("fc"), "type": "function_call", "status": "completed", **called}


def build_response(request: Request, history: list[JsonObject], output: list[JsonObject]) -> JsonObject:
    """Build the completed response to `request`; `history` is counted as its input."""
    said: JsonObject = {"model": "offline", "parallel_tool_calls": True, "tool_choice": "auto", "store": True}
    said |= {"instructions": None, "metadata": {}, "temperature": 1.0, "top_p": 1.0, "previous_response_id": None}
    said |= request.model_dump(exclude={"input", "stream", "offered"}, exclude_none=True)
    tools = [{"description": None, "parameters": None, "strict": False, **tool} for tool in request.tools]
    done: JsonObject = {"id": _id("resp"), "object": "response", "created_at": int(time.time())}
    done |= {"status": "completed", "error": None, "incomplete_details": None}
    return said | done | {"tools": [*tools], "output": [*output], "usage": _usage([*request.tools, *history], output)}


def stream_events(done: JsonObject, output: list[JsonObject]) -> Iterator[str]:
    """Yield the server-sent events of a completed response, from its creation to its end, numbered from 0."""
    for number, event in enumerate(_write_events(done, output)):
        yield f"event: {event['type']}\ndata: {encode({'sequence_number': number, **event})}\n\n"
    yield "data: [DONE]\n\n"


def read_text(content: Json) -> str:
    """Return the text of a message's content or of an output; parts that are not text are named."""
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "\n".join(str(part.get("text", f"[{part.get('type')}]")) for part in parts if isinstance(part, dict))


def _write_events(done: JsonObject, output: list[JsonObject]) -> Iterator[JsonObject]:
    begun = done | {"status": "in_progress", "output": [], "usage": None}
    yield {"type": "response.created", "response": begun}
    yield {"type": "response.in_progress", "response": begun}
    for index, item in enumerate(output):
        empty: JsonObject = {"content": []} if item["type"] == "message" else {"arguments": ""}
        begun = item | {"status": "in_progress"} | empty
        yield {"type": "response.output_item.added", "output_index": index, "item": begun}
        yield from _write_content(item, {"item_id": item["id"], "output_index": index})
        yield {"type": "response.output_item.done", "output_index": index, "item": item}
    yield {"type": "response.completed", "response": done}


def _write_content(item: JsonObject, common: JsonObject) -> Iterator[JsonObject]:
    if item["type"] == "function_call":
        yield from _write_deltas("function_call_arguments", "arguments", str(item["arguments"]), common)
    else:
        text, common = read_text(item["content"]), common | {"content_index": 0}
        yield {"type": "response.content_part.added", **common, "part": _part("")}
        yield from _write_deltas("output_text", "text", text, common | {"logprobs": []})
        yield {"type": "response.content_part.done", **common, "part": _part(text)}


def _write_deltas(kind: str, field: str, text: str, common: JsonObject) -> Iterator[JsonObject]:
    for piece in re.findall(r"(?s).{1,24}", text):
        yield {"type": f"response.{kind}.delta", **common, "delta": piece}
    yield {"type": f"response.{kind}.done", **common, field: text}


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def _usage(read: list[JsonObject], written: list[JsonObject]) -> JsonObject:
    """Estimate the usage: there is no model that counts tokens."""
    into, out = (sum(estimate_tokens(encode(item)) for item in items) for items in (read, written))
    cached: JsonObject = {"cached_tokens": 0, "cache_write_tokens": 0}
    details: JsonObject = {"input_tokens_details": cached, "output_tokens_details": {"reasoning_tokens": 0}}
    return {"input_tokens": into, "output_tokens": out, "total_tokens": into + out, **details}
