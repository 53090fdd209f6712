"""What the Responses API refuses in a history: its documented rules and its observed errors, written as a check.

It shares no code with the bridge; of tools, `api_rules.py` judges.
"""

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator

from tests.fakes.api_rules import find_refusals
from tests.fakes.items import Json

Found = tuple[str, str]
"""The rule that is broken, and the words of the refusal."""

_NAME = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PREFIXES = {"function_call": "fc", "message": "msg", "reasoning": "rs"}
_PARTS = {"user": {"input_text", "input_image", "input_file"}, "assistant": {"output_text", "refusal"}}


def find_faults(body: Json) -> Iterator[Found]:
    """Every reason for which the API would answer 400 to this request, the first first."""
    items = body.get("input")
    if not isinstance(items, list) or not items:
        yield "input", "Invalid type for 'input': expected a list of items."
        return
    for place, item in enumerate(items):
        yield from _judge_item(item, f"input[{place}]")
    yield from _judge_ids(items)
    yield from _judge_pairs(items)
    for place, tool in enumerate(body.get("tools", [])):
        if tool.get("type") == "function":
            yield from (("tool", f"Invalid 'tools[{place}]': {words}") for words in find_refusals(tool))


def _judge_item(item: Json, place: str) -> Iterator[Found]:
    kind = item.get("type", "message")
    if None in item.values():
        yield "null", f"Invalid type for '{place}': expected a value, but got null instead."
    if "id" in item and (prefix := _PREFIXES.get(kind)):
        yield from _judge_id(str(item["id"]), prefix, place)
    match kind:
        case "function_call":
            yield from _judge_call(item, place)
        case "function_call_output":
            if not isinstance(item.get("output"), (str, list)):
                yield "output", f"Invalid type for '{place}.output'."
        case "reasoning":
            if not isinstance(item.get("summary"), list):
                yield "summary", f"Missing required parameter: '{place}.summary'."
        case "message":
            yield from _judge_message(item, place)


def _judge_id(item_id: str, prefix: str, place: str) -> Iterator[Found]:
    if not item_id.startswith(prefix):
        yield "id", f"Invalid '{place}.id': '{item_id}'. Expected an ID that begins with '{prefix}'."
    if len(item_id) > 64:
        yield "id", f"Invalid '{place}.id': string too long. Expected a string with maximum length 64."


def _judge_call(item: Json, place: str) -> Iterator[Found]:
    name, call_id, arguments = item.get("name"), item.get("call_id"), item.get("arguments")
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        yield "name", f"Invalid '{place}.name': string does not match pattern. Expected '^[a-zA-Z0-9_-]+$'."
    if not isinstance(call_id, str) or not _NAME.fullmatch(call_id):
        yield "call_id", f"Invalid '{place}.call_id': expected a string of 1 to 64 letters, digits, '_' and '-'."
    try:
        if not isinstance(json.loads(arguments if isinstance(arguments, str) else "x"), dict):
            yield "arguments", f"Invalid '{place}.arguments': 'list object' has no attribute 'items'"
    except ValueError as error:
        yield "arguments", f"Invalid '{place}.arguments': {error}"


def _judge_message(item: Json, place: str) -> Iterator[Found]:
    role, content = str(item.get("role")), item.get("content")
    if role not in ("user", "assistant", "system", "developer"):
        yield "role", f"Invalid value: '{role}' in '{place}.role'."
    if isinstance(content, list):
        known = _PARTS["assistant" if role == "assistant" else "user"]
        for part in content:
            if not isinstance(part, dict) or part.get("type") not in known:
                yield "part", f"Invalid value in '{place}.content[0]'. Supported values are: {sorted(known)}."
    elif not isinstance(content, str):
        yield "content", f"Invalid type for '{place}.content': expected a string or a list of parts."


def _judge_ids(items: list[Json]) -> Iterator[Found]:
    ids = Counter(item["id"] for item in items if item.get("id"))
    yield from (("twice", f"Duplicate item found with id {item_id}.") for item_id, n in ids.items() if n > 1)


def _judge_pairs(items: list[Json]) -> Iterator[Found]:
    """Each call has one output behind it, and each output a call; reasoning is not the last of its response."""
    called: set[str] = set()
    open_calls: set[str] = set()
    for item in items:
        call_id = str(item.get("call_id"))
        match item.get("type"):
            case "function_call" if call_id in called:
                yield "pair", f"Duplicate function call with call_id {call_id}."
            case "function_call":
                called.add(call_id)
                open_calls.add(call_id)
            case "function_call_output" if call_id in open_calls:
                open_calls.remove(call_id)
            case "function_call_output":
                yield "pair", f"No tool call found for function call output with call_id {call_id}."
    yield from (("pair", f"No tool output found for function call {call_id}.") for call_id in open_calls)
    for item, following in itertools.pairwise([*items, {"role": "nobody"}]):
        is_alone = following.get("type") in ("function_call_output", None) and following.get("role") != "assistant"
        if item.get("type") == "reasoning" and is_alone:
            words = f"Item '{item.get('id')}' of type 'reasoning' was provided without its required following item."
            yield "reasoning", words
