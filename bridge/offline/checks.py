"""Refuses what the Responses API refuses, in its words, where letting it pass would hide a fault of the bridge."""

import json
import re

from starlette.exceptions import HTTPException

from bridge.items import Json, JsonObject


class Refused(HTTPException):
    """A request that gets an error instead of a response: the fields of the API's error."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(400, message)
        self.param = param
        self.code = code


def parse(data: bytes) -> JsonObject:
    """The request's JSON object, or Refused. NaN is not JSON."""
    try:
        body = json.loads(data, parse_constant=int)
    except (ValueError, RecursionError) as error:
        raise Refused(f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(body, dict):
        raise Refused("The body of your request must be a JSON object.", code="invalid_type")
    if body.get("input") is None:
        raise Refused("Missing required parameter: 'input'.", param="input", code="missing_required_parameter")
    return body


def objects(value: Json, param: str) -> list[JsonObject]:
    """`value` as a list of objects, or Refused. A text is one user message; None is an empty list."""
    if isinstance(value, str):
        return [{"type": "message", "role": "user", "content": value}]
    several = [] if value is None else value if isinstance(value, list) else [value]
    found = [one for one in several if isinstance(one, dict)]
    if len(found) < len(several):
        raise Refused(f"Invalid type for '{param}': expected an array of objects.", param=param, code="invalid_type")
    return found


def check_tools(tools: list[JsonObject], choice: Json) -> None:
    """At most 128 tools, legal names, and a forced function that is among them."""
    if len(tools) > 128:
        told = f"Expected an array with maximum length 128, but got an array with length {len(tools)} instead."
        raise Refused(f"Invalid 'tools': array too long. {told}", param="tools", code="array_above_max_length")
    names = [str(tool.get("name", "")) for tool in tools if tool.get("type") == "function"]
    for name in names:
        if not re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name):
            told = "string does not match pattern. Expected a string that matches the pattern '^[a-zA-Z0-9_-]{1,64}$'."
            raise Refused(f"Invalid 'tools[{names.index(name)}].name': {told}", param="tools", code="invalid_value")
    if isinstance(choice, dict) and choice.get("type") == "function" and choice.get("name") not in names:
        raise Refused("Tool choice 'function' not found in 'tools' parameter.", param="tool_choice")


def check_pairs(history: list[JsonObject]) -> None:
    """Every function call has its output behind it, every output its call before it."""
    called: set[str] = set()
    answered: set[str] = set()
    for item in history:
        call_id = str(item.get("call_id"))
        if item.get("type") == "function_call":
            called.add(call_id)
        elif item.get("type") == "function_call_output":
            answered.add(call_id)
        if call_id in answered - called:
            raise Refused(f"No tool call found for function call output with call_id {call_id}.", param="input")
    for call_id in sorted(called - answered):
        raise Refused(f"No tool output found for function call {call_id}.", param="input")
