"""Chat completions read as responses: some relays return one from `/v1/responses`."""

import secrets

from bridge.items import Response
from bridge.json_text import Json, JsonObject, encode
from bridge.upstream.output import distinguish

_INCOMPLETE = {"length": "max_output_tokens", "content_filter": "content_filter"}


def read_completion(data: JsonObject) -> Response:
    """Convert the first choice to a response. Its message gets no id, as the upstream would refuse an invented one."""
    choices = data.get("choices")
    choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
    message = choice.get("message")
    fields = message if isinstance(message, dict) else {}
    finish = choice.get("finish_reason")
    reason = _INCOMPLETE.get(finish) if isinstance(finish, str) else None
    usage, ident, model = data.get("usage"), data.get("id"), data.get("model")
    return {
        "id": ident if isinstance(ident, str) else None,
        "model": model if isinstance(model, str) else None,
        "status": "incomplete" if reason else "completed",
        "output": distinguish([*_read_text(fields), *_read_calls(fields)]),
        "usage": usage if isinstance(usage, dict) else None,
        "incomplete_reason": reason,
        "error": None,
    }


def _read_text(message: JsonObject) -> list[JsonObject]:
    """Convert the assistant's text to one message in the short form (content as a string), which needs no id."""
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    if not content and (refusal := message.get("refusal")):
        content = list[Json]([{"type": "refusal", "refusal": refusal}])
    return [{"type": "message", "role": "assistant", "content": content}] if content else []


def _read_calls(message: JsonObject) -> list[JsonObject]:
    calls = message.get("tool_calls")
    if not isinstance(calls, list):
        legacy = message.get("function_call")
        calls = [{"function": legacy}] if isinstance(legacy, dict) else []
    return [
        {
            "type": "function_call",
            "call_id": call.get("id") or f"call_{secrets.token_hex(12)}",
            "name": function.get("name") or "",
            "arguments": arguments
            if isinstance(arguments := function.get("arguments"), str)
            else encode(arguments or {}),
        }
        for call in calls
        if isinstance(call, dict) and isinstance(function := call.get("function"), dict)
    ]
