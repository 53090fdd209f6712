"""Refuses what the Responses API refuses, in its words."""

import json
import re

from bridge.items import Json, JsonObject


class Refused(Exception):
    """A request that gets an error instead of a response: the HTTP status and the fields of the API's error."""

    def __init__(self, message: str, *, status: int = 400, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        kind = "server_error" if status >= 500 else "invalid_request_error"
        self.body: JsonObject = {"error": {"message": message, "type": kind, "param": param, "code": code}}


def parse(data: bytes) -> JsonObject:
    """The request's JSON object, or Refused. NaN is not JSON."""
    try:
        body = json.loads(data, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Refused(f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(body, dict):
        raise Refused("The body of your request must be a JSON object.", code="invalid_type")
    return body


def objects(body: JsonObject, key: str) -> list[JsonObject]:
    """The list of objects at `key`, or Refused. A string given for `input` is one user message."""
    value = body.get(key)
    if key == "input" and isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    if not isinstance(value, list):
        raise Refused(f"Invalid type for '{key}': expected an array of objects.", param=key, code="invalid_type")
    for index, one in enumerate(value):
        if not isinstance(one, dict):
            where = f"{key}[{index}]"
            raise Refused(f"Invalid type for '{where}': expected an object.", param=where, code="invalid_type")
    return [one for one in value if isinstance(one, dict)]


def check_tools(tools: list[JsonObject], choice: Json) -> None:
    """At most 128 tools, legal names, and a forced function that is among them."""
    if len(tools) > 128:
        told = f"Expected an array with maximum length 128, but got an array with length {len(tools)} instead."
        raise Refused(f"Invalid 'tools': array too long. {told}", param="tools", code="array_above_max_length")
    for index, tool in enumerate(tools):
        if tool.get("type") == "function" and not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", str(tool.get("name", ""))):
            where = f"tools[{index}].name"
            told = "Expected a string that matches the pattern '^[a-zA-Z0-9_-]{1,64}$'."
            raise Refused(
                f"Invalid '{where}': string does not match pattern. {told}", param=where, code="invalid_value"
            )
    forced = isinstance(choice, dict) and choice.get("type") == "function" and choice.get("name")
    if forced and forced not in [tool.get("name") for tool in tools]:
        raise Refused("Tool choice 'function' not found in 'tools' parameter.", param="tool_choice")


def check_pairs(history: list[JsonObject]) -> None:
    """Every function call has its output behind it, every output its call before it."""
    called: set[Json] = set()
    waiting: dict[str, None] = {}
    for item in history:
        call_id = str(item.get("call_id"))
        if item.get("type") == "function_call":
            called.add(call_id)
            waiting[call_id] = None
        elif item.get("type") == "function_call_output":
            if call_id not in called:
                told = f"No tool call found for function call output with call_id {call_id}."
                raise Refused(told, param="input")
            waiting.pop(call_id, None)
    for call_id in waiting:
        raise Refused(f"No tool output found for function call {call_id}.", param="input")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")
