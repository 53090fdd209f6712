"""The JSON Schema of `respond`'s arguments, which are checked by it."""

import difflib
from collections.abc import Mapping
from typing import cast

from bridge.errors import ArgumentError
from bridge.json_text import Json, JsonObject, decode, encode, scrub
from bridge.schemas.judge import Fault, Judge

OWNED_BY_BRIDGE = ("input", "model", "stream", "stream_options", "store", "previous_response_id", "tool_choice")
"""Parameters that `extra` may not set: each has an argument of its own, or is set by the bridge."""


def _any_of(*types: str) -> JsonObject:
    """Build an `anyOf` of types: some hosts pass schemas on in a dialect that has no list of types."""
    return {"anyOf": [{"type": name} for name in types]}


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
        "previous_response_id": {
            "type": "string",
            "description": "Continue the conversation: the response_id of an earlier result",
        },
        "run_id": {
            "type": "string",
            "minLength": 1,
            "description": "Continue the run of an earlier result, or speak to one in progress; `input` holds what is "
            "new, such as outputs of your functions",
        },
        "tools": {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "object", "required": ["type"]}]},
            "description": "Which tools the model may use: globs over their names (<server>__<tool>, such as git__*; "
            "built-in ones have plain names), or Responses tool objects. Omitted: all",
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
            "description": "low, medium, high, or what the model has",
        },
        "text": {"type": "object", "description": "Responses text options, such as a JSON schema for the answer"},
        "metadata": {
            "type": "object",
            "additionalProperties": _any_of("string", "number", "boolean"),
            "description": "Up to 16 labels for the upstream's records",
        },
        "store": {"type": "boolean", "description": "Whether the upstream keeps the responses"},
        "max_turns": {
            "type": "integer",
            "minimum": 1,
            "maximum": 1_000_000,
            "description": "Stop after this many upstream requests",
        },
        "timeout_s": {
            "type": "number",
            "exclusiveMinimum": 0,
            "maximum": 1_000_000_000,
            "description": "Stop after this many seconds",
        },
        "detail": {
            "type": "string",
            "enum": ["summary", "full"],
            "description": "full: also each call's arguments and output, and every item",
        },
        "extra": {
            "type": "object",
            "properties": {
                "tools": {"type": "array", "items": {"type": "object", "required": ["type"]}},
                "include": {"type": "array", "items": {"type": "string"}},
                "reasoning": {"type": "object"},
                "metadata": {"type": "object"},
            },
            "description": "Any other parameter of POST /v1/responses, sent as it is",
        },
    },
}

FORMS = {
    "input": "a text, or a list of Responses input items; neither may be empty",
    "tools": "a glob over the names of tools, or a Responses tool object with a type",
    "tool_choice": '"auto", "none", "required", or a Responses tool_choice object',
    "metadata": "a text, a number, true or false",
}
"""The forms of arguments that may have more than one, for error messages."""

_PROPERTIES = cast("dict[str, JsonObject]", ARGUMENTS["properties"])
_JUDGE = Judge(ARGUMENTS)


def clean_arguments(given: Mapping[str, object]) -> JsonObject:
    """Return the arguments without lone surrogates, and without the nulls that some hosts give for optional ones.

    Raises ArgumentError for a value that is not JSON.
    """
    arguments: JsonObject = {}
    for name, value in given.items():
        try:
            arguments[scrub(name)] = decode(encode(cast("Json", value)))
        except (ValueError, TypeError, RecursionError) as error:
            raise ArgumentError(f"{name}: {error}") from error
    return {name: value for name, value in arguments.items() if value is not None}


def check_arguments(arguments: JsonObject) -> None:
    """Check the arguments. Raises ArgumentError with one sentence: which argument is wrong, and what would be right."""
    if "input" not in arguments:
        raise ArgumentError("input: it is missing; give a text, or a list of Responses input items")
    _refuse_unknown(arguments)
    if fault := _JUDGE.find_fault(arguments):
        raise ArgumentError(f"{fault.location}: {_explain(fault)}")
    items = arguments["input"]
    for index, item in enumerate(items if isinstance(items, list) else ()):
        if isinstance(item, dict) and "role" not in item and "type" not in item:
            raise ArgumentError(f'input[{index}]: an item needs a "type", or a "role" for a message')
    if isinstance(extra := arguments.get("extra"), dict):
        _check_extra(extra, arguments)


def _check_extra(extra: JsonObject, arguments: JsonObject) -> None:
    for name in OWNED_BY_BRIDGE:
        if name in extra:
            own = "is set by the bridge" if name.startswith("stream") else "has an argument of its own"
            raise ArgumentError(f"extra.{name}: {name} {own}")
    if "conversation" in extra and "previous_response_id" in arguments:
        raise ArgumentError("extra.conversation: the API takes either it or previous_response_id")


def _refuse_unknown(arguments: JsonObject) -> None:
    for name in arguments:
        if name not in _PROPERTIES:
            near = difflib.get_close_matches(name, _PROPERTIES, n=1)
            hint = f"did you mean {near[0]!r}?" if near else "other create parameters go into `extra`"
            raise ArgumentError(f"{name}: there is no such argument; {hint}")


def _explain(fault: Fault) -> str:
    """Return the judge's message; where an argument has several forms, for which it has no message, list the forms."""
    return f"expected {FORMS[str(fault.path[0])]}" if fault.keyword == "anyOf" else fault.message
