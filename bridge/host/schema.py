"""The arguments of `respond`: their JSON Schema, which is also what checks them, and the request they make."""

import difflib
from collections.abc import Mapping
from functools import cache
from typing import cast

import jsonschema_rs

from bridge.errors import ArgumentError
from bridge.items import Json, JsonObject, encode
from bridge.run.loop import Request

OWNED_BY_BRIDGE = ("input", "model", "stream", "stream_options", "store", "previous_response_id", "tool_choice")
"""What `extra` may not set: an argument of its own or the bridge decides it."""

ARGUMENTS: JsonObject = {
    "type": "object",
    "required": ["input"],
    "additionalProperties": False,
    "properties": {
        "input": {
            "description": "What to ask: a text, or a list of Responses input items",
            "anyOf": [
                {"type": "string", "minLength": 1},
                {"type": "array", "items": {"type": "object"}, "minItems": 1},
            ],
        },
        "model": {"type": "string", "minLength": 1, "description": "Another model than the configured one"},
        "instructions": {"type": "string", "description": "System instructions"},
        "previous_response_id": {"type": "string", "description": "Continue after this response"},
        "tools": {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["type"]}]},
            "description": "Which tools the model may use: globs over their names, or Responses tool objects. "
            "Omitted: all of them",
        },
        "tool_choice": {
            "anyOf": [{"type": "string", "enum": ["auto", "none", "required"]}, {"type": "object"}],
            "description": "Whether it must use a tool in its first turn",
        },
        "parallel_tool_calls": {"type": "boolean"},
        "max_output_tokens": {"type": "integer", "minimum": 1, "description": "Tokens of one turn"},
        "temperature": {"type": "number", "minimum": 0, "maximum": 2},
        "reasoning_effort": {
            "type": "string",
            "description": "none, low, medium, high, … as the model has it",
        },
        "text": {"type": "object", "description": "Responses text options, such as a JSON schema for the answer"},
        "metadata": {
            "type": "object",
            "additionalProperties": {"type": ["string", "number", "boolean"]},
            "description": "Up to 16 labels for the upstream's records",
        },
        "store": {"type": "boolean", "description": "Whether the upstream keeps the responses"},
        "max_turns": {"type": "integer", "minimum": 1, "description": "Stop after this many upstream requests"},
        "timeout_s": {"type": "number", "exclusiveMinimum": 0, "description": "Stop after this many seconds"},
        "detail": {
            "type": "string",
            "enum": ["summary", "full"],
            "description": "full: also each call's arguments and output, and every item",
        },
        "extra": {"type": "object", "description": "Any other parameter of POST /v1/responses, sent as it is"},
    },
}

SENT_AS_THEY_ARE = ["instructions", "previous_response_id", "tool_choice", "parallel_tool_calls"]
SENT_AS_THEY_ARE += ["max_output_tokens", "temperature", "text", "store"]

_OBJECT: JsonObject = {"type": "object"}
RESULT: JsonObject = {
    "type": "object",
    "required": ["status", "output_text"],
    "properties": {
        "status": {
            "type": "string",
            "enum": ["completed", "incomplete", "failed", "cancelled", "in_progress", "needs_input"],
        },
        "output_text": {"type": "string"},
        "run_id": {"type": ["string", "null"]},
        "response_id": {"type": ["string", "null"]},
        "model": {"type": ["string", "null"]},
        "turns": {"type": "integer"},
        "tool_calls": {"type": "array", "items": _OBJECT},
        "usage": _OBJECT,
        "incomplete_details": {"type": ["object", "null"]},
        "error": {"type": ["object", "null"]},
        "notices": {"type": "array", "items": _OBJECT},
    },
}
"""The result of `respond`, open: a later version may say more."""


@cache
def _validator() -> jsonschema_rs.Validator:
    return jsonschema_rs.validator_for(ARGUMENTS)


def check_arguments(arguments: JsonObject) -> None:
    """Raises ArgumentError with one sentence that names the argument that is wrong and what would be right."""
    _refuse_unknown(arguments)
    for error in _validator().iter_errors(arguments):
        path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.instance_path).lstrip(".")
        raise ArgumentError(f"{path}: {_explain(error)}" if path else error.message)
    for index, item in enumerate(cast("list[JsonObject]", arguments["input"]) if _is_list(arguments["input"]) else []):
        if "role" not in item and "type" not in item:
            raise ArgumentError(f'input[{index}]: an item needs a "type", or a "role" for a message')
    extra = arguments.get("extra")
    for name in OWNED_BY_BRIDGE:
        if isinstance(extra, dict) and name in extra:
            own = "is set by the bridge" if name.startswith("stream") else "has an argument of its own"
            raise ArgumentError(f"extra.{name}: {name} {own}")


def _is_list(value: Json) -> bool:
    return isinstance(value, list)


def _refuse_unknown(arguments: JsonObject) -> None:
    known = cast("JsonObject", ARGUMENTS["properties"])
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "other create parameters go into `extra`"
            raise ArgumentError(f"{name}: there is no such argument; {hint}")


def _explain(error: jsonschema_rs.ValidationError) -> str:
    """The validator's words, and for a choice of forms what the forms are."""
    fragment = cast("JsonObject", cast("JsonObject", ARGUMENTS["properties"]).get(str(error.instance_path[0]), {}))
    description = fragment.get("description")
    return f"{error.message} ({description})" if "anyOf" in fragment and description else error.message


def build_request(arguments: JsonObject, *, model: str, defaults: Mapping[str, Json]) -> Request:
    """The request that checked `arguments` make; what the caller gave wins over the config's `defaults`."""
    extra = dict(cast("JsonObject", arguments.get("extra") or {}))
    more_tools = cast("list[JsonObject]", extra.pop("tools", []))
    include = cast("list[Json]", extra.pop("include", []))
    parameters: JsonObject = dict(defaults) | extra
    parameters |= {name: arguments[name] for name in SENT_AS_THEY_ARE if name in arguments}
    parameters["model"] = arguments.get("model", model)
    if "reasoning_effort" in arguments:
        parameters["reasoning"] = cast("JsonObject", parameters.get("reasoning") or {}) | {
            "effort": arguments["reasoning_effort"]
        }
    if "metadata" in arguments:
        labels = cast("JsonObject", arguments["metadata"]).items()
        parameters["metadata"] = {name: label if isinstance(label, str) else encode(label) for name, label in labels}
    if parameters.get("store") is False:  # nothing can be looked up by id later: reasoning must come whole
        include = ["reasoning.encrypted_content", *include]
    if include:
        known = cast("list[Json]", parameters.get("include") or [])
        parameters["include"] = [*known, *(name for name in include if name not in known)]
    wanted = cast("list[str | JsonObject] | None", arguments.get("tools"))
    if more_tools:
        wanted = [*(["*"] if wanted is None else wanted), *more_tools]
    return Request(parameters, _encode_input(arguments["input"]), wanted)


def _encode_input(value: Json) -> list[str]:
    items = value if isinstance(value, list) else [{"role": "user", "content": value}]
    return [encode(item) for item in items]
