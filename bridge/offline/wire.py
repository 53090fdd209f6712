"""Builds response objects and the events that stream them, as the Responses API defines them."""

import re
import secrets
import time
from collections.abc import Iterator

from bridge.items import Json, JsonObject, encode

_DEFAULTS: JsonObject = (
    dict.fromkeys(("instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "prompt_cache_key"))
    | {"background": False, "frequency_penalty": 0.0, "metadata": {}, "model": "offline", "parallel_tool_calls": True}
    | {"presence_penalty": 0.0, "reasoning": {"effort": None, "summary": None}, "safety_identifier": None}
    | {"service_tier": "default", "store": True, "temperature": 1.0, "text": {"format": {"type": "text"}}}
    | {"tool_choice": "auto", "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None}
)
"""What a request may leave out and a response still says."""


def new_id(prefix: str) -> str:
    """An id as the API writes them: `resp_`, `msg_`, `fc_` or `call_` and 48 hexadecimal digits."""
    return f"{prefix}_{secrets.token_hex(24)}"


def message(text: str) -> JsonObject:
    """The output item that says `text`."""
    part: JsonObject = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {"id": new_id("msg"), "type": "message", "status": "completed", "role": "assistant", "content": [part]}


def function_call(name: str, arguments: JsonObject) -> JsonObject:
    """The output item that asks for a function."""
    called: JsonObject = {"call_id": new_id("call"), "name": name, "arguments": encode(arguments)}
    return {"id": new_id("fc"), "type": "function_call", "status": "completed", **called}


def response(
    body: JsonObject, tools: list[JsonObject], history: list[JsonObject], output: list[JsonObject]
) -> JsonObject:
    """The completed response to request `body`, which was read together with `history`."""
    now = int(time.time())
    said = {key: default if body.get(key) is None else body[key] for key, default in _DEFAULTS.items()}
    shown = [{"description": None, "parameters": None, "strict": False, **tool} for tool in tools]
    done: JsonObject = {"id": new_id("resp"), "object": "response", "created_at": now, "completed_at": now}
    done |= {"status": "completed", "error": None, "incomplete_details": None, "output": [*output]}
    return done | said | {"tools": [*shown], "usage": _usage([*tools, *history], output)}


def events(done: JsonObject) -> Iterator[JsonObject]:
    """The whole life of a completed response: every event in order, numbered from 0."""
    begun = done | {"status": "in_progress", "completed_at": None, "output": [], "usage": None}
    life: list[JsonObject] = [{"type": f"response.{state}", "response": begun} for state in ("created", "in_progress")]
    output = done["output"]
    for index, item in enumerate(output if isinstance(output, list) else ()):
        if isinstance(item, dict):
            life += _item(item, index)
    life.append({"type": "response.completed", "response": done})
    return ({"sequence_number": number, **event} for number, event in enumerate(life))


def _item(item: JsonObject, index: int) -> Iterator[JsonObject]:
    place: JsonObject = {"item_id": item["id"], "output_index": index}
    content = item.get("content")
    empty: JsonObject = {"arguments": ""} if content is None else {"content": []}
    yield {
        "type": "response.output_item.added",
        "output_index": index,
        "item": item | {"status": "in_progress"} | empty,
    }
    if content is None:
        yield from _pieces("function_call_arguments", "arguments", str(item["arguments"]), place)
    for number, part in enumerate(content if isinstance(content, list) else ()):
        here = place | {"content_index": number}
        if isinstance(part, dict):
            yield {"type": "response.content_part.added", **here, "part": part | {"text": ""}}
            yield from _pieces("output_text", "text", str(part["text"]), here | {"logprobs": []})
            yield {"type": "response.content_part.done", **here, "part": part}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _pieces(kind: str, field: str, text: str, place: JsonObject) -> Iterator[JsonObject]:
    for piece in re.findall(r"(?s).{1,24}", text):
        yield {"type": f"response.{kind}.delta", **place, "delta": piece}
    yield {"type": f"response.{kind}.done", **place, field: text}


def _usage(read: list[JsonObject], written: list[JsonObject]) -> Json:
    """An estimate: four characters a token."""
    into, out = (sum(len(encode(item)) for item in items) // 4 for items in (read, written))
    details: JsonObject = {"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}}
    details |= {"output_tokens_details": {"reasoning_tokens": 0}}
    return {"input_tokens": into, "output_tokens": out, "total_tokens": into + out} | details
