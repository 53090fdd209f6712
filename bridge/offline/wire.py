"""Builds response objects and the events that stream them, as the Responses API defines them."""

import re
import secrets
import time
from collections.abc import Iterator

from bridge.items import Json, JsonObject, encode
from bridge.offline.checks import objects

_DEFAULTS: JsonObject = (
    dict.fromkeys(("instructions", "max_output_tokens", "max_tool_calls", "previous_response_id", "prompt_cache_key"))
    | {"background": False, "frequency_penalty": 0.0, "metadata": {}, "model": "offline", "parallel_tool_calls": True}
    | {"presence_penalty": 0.0, "reasoning": {"effort": None, "summary": None}, "safety_identifier": None}
    | {"service_tier": "default", "store": True, "temperature": 1.0, "text": {"format": {"type": "text"}}}
    | {"tool_choice": "auto", "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "user": None}
)
"""What a request may leave out and a response still says."""


def message(text: str) -> JsonObject:
    """The output item that says `text`."""
    said: JsonObject = {"role": "assistant", "content": [_part(text)]}
    return {"id": _new_id("msg"), "type": "message", "status": "completed", **said}


def function_call(name: str, arguments: JsonObject) -> JsonObject:
    """The output item that asks for a function."""
    called: JsonObject = {"call_id": _new_id("call"), "name": name, "arguments": encode(arguments)}
    return {"id": _new_id("fc"), "type": "function_call", "status": "completed", **called}


def response(
    body: JsonObject, tools: list[JsonObject], history: list[JsonObject], output: list[JsonObject]
) -> JsonObject:
    """The completed response to request `body`, which was read together with `history`."""
    now = int(time.time())
    said = {key: default if body.get(key) is None else body[key] for key, default in _DEFAULTS.items()}
    shown = [{"description": None, "parameters": None, "strict": False, **tool} for tool in tools]
    done: JsonObject = {"id": _new_id("resp"), "object": "response", "created_at": now, "completed_at": now}
    done |= {"status": "completed", "error": None, "incomplete_details": None, "output": [*output]}
    return done | said | {"tools": [*shown], "usage": _usage([*tools, *history], output)}


def events(done: JsonObject) -> Iterator[JsonObject]:
    """The whole life of a completed response: every event in order, numbered from 0."""
    begun = done | {"status": "in_progress", "completed_at": None, "output": [], "usage": None}
    life: list[JsonObject] = [{"type": f"response.{state}", "response": begun} for state in ("created", "in_progress")]
    for index, item in enumerate(objects(done["output"], "output")):
        life += _item(item, index)
    life.append({"type": "response.completed", "response": done})
    return ({"sequence_number": number, **event} for number, event in enumerate(life))


def plain(content: Json) -> str:
    """The text of a message's content or of an output; parts that are not text are named."""
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "\n".join(str(part.get("text", f"[{part.get('type')}]")) for part in parts if isinstance(part, dict))


def _item(item: JsonObject, index: int) -> Iterator[JsonObject]:
    place: JsonObject = {"output_index": index}
    inner: JsonObject = {"item_id": item["id"], "output_index": index}
    empty: JsonObject = {"content": []} if item["type"] == "message" else {"arguments": ""}
    yield {"type": "response.output_item.added", **place, "item": item | {"status": "in_progress"} | empty}
    if item["type"] == "message":
        yield from _said(plain(item["content"]), inner | {"content_index": 0})
    else:
        yield from _pieces("function_call_arguments", "arguments", str(item["arguments"]), inner)
    yield {"type": "response.output_item.done", **place, "item": item}


def _said(text: str, place: JsonObject) -> Iterator[JsonObject]:
    yield {"type": "response.content_part.added", **place, "part": _part("")}
    yield from _pieces("output_text", "text", text, place | {"logprobs": []})
    yield {"type": "response.content_part.done", **place, "part": _part(text)}


def _pieces(kind: str, field: str, text: str, place: JsonObject) -> Iterator[JsonObject]:
    for piece in re.findall(r"(?s).{1,24}", text):
        yield {"type": f"response.{kind}.delta", **place, "delta": piece}
    yield {"type": f"response.{kind}.done", **place, field: text}


def _part(text: str) -> JsonObject:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _new_id(prefix: str) -> str:
    return f"{prefix}_{secrets.token_hex(24)}"


def _usage(read: list[JsonObject], written: list[JsonObject]) -> Json:
    """An estimate: four characters a token."""
    into, out = (sum(len(encode(item)) for item in items) // 4 for items in (read, written))
    details: JsonObject = {"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}}
    details |= {"output_tokens_details": {"reasoning_tokens": 0}}
    return {"input_tokens": into, "output_tokens": out, "total_tokens": into + out} | details
