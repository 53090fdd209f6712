"""The JSON Schema of a result, for programs that read it. Nothing here is sent to a model.

It is open: a later version may add fields. Each value has one type or a choice of such, as in the schema of the
arguments, and what may be null says so.
"""

from typing import get_args

from bridge.events import Status
from bridge.json_text import Json, JsonObject
from bridge.run.limits import Reason


def _object(**properties: JsonObject) -> JsonObject:
    """Build the schema of an object that always has these properties."""
    return {"type": "object", "required": list[Json](properties), "properties": dict[str, Json](properties)}


def _list(items: JsonObject) -> JsonObject:
    return {"type": "array", "items": items}


def _or_null(schema: JsonObject) -> JsonObject:
    return {"anyOf": [schema, {"type": "null"}]}


def _null_or(schema: JsonObject) -> JsonObject:
    """Build the choice for what is usually null: validators in Python try one after the other, and it takes them ten
    times as long to find out that one does not fit."""
    return {"anyOf": [{"type": "null"}, schema]}


def _add(schema: JsonObject, **properties: JsonObject) -> JsonObject:
    """Add properties that are not always there."""
    known = schema["properties"]
    assert isinstance(known, dict)
    return {**schema, "properties": {**known, **properties}}


TEXT: JsonObject = {"type": "string"}
COUNT: JsonObject = {"type": "integer"}
NUMBER: JsonObject = {"type": "number"}
ITEM: JsonObject = {"type": "object"}
"""An item of the Responses API: its fields are the API's."""
ANY: JsonObject = {
    "anyOf": [{"type": kind} for kind in ("string", "object", "array", "number", "boolean", "null")],
}

CALL = _add(
    _object(
        turn=COUNT,
        call_id=TEXT,
        name=TEXT,
        server=_or_null(TEXT),
        tool=_or_null(TEXT),
        is_error={"type": "boolean"},
        duration_ms=NUMBER,
    ),
    arguments=ANY,
    output={"anyOf": [TEXT, _list(ITEM)]},
)
USAGE = _add(
    _object(input_tokens=COUNT, output_tokens=COUNT, total_tokens=COUNT, per_turn=_list(_or_null(ITEM))), cost=NUMBER
)
ERROR = _add(
    _object(code=TEXT, message=TEXT, who=TEXT, status=_or_null(COUNT), request_id=_or_null(TEXT)), retry_after_s=COUNT
)
IMAGE = _object(server=_or_null(TEXT), tool=TEXT, type=TEXT, bytes=COUNT)
RESULT = _add(
    _object(
        status={"type": "string", "enum": list[Json](get_args(Status))},
        output_text={"type": "string", "description": "The answer"},
        run_id=_or_null(TEXT),
        response_id=_or_null(TEXT),
        model=_or_null(TEXT),
        turns=COUNT,
        tool_calls=_list(CALL),
        usage=USAGE,
        incomplete_details=_null_or(_object(reason={"type": "string", "enum": list[Json](get_args(Reason))})),
        error=_null_or(ERROR),
        notices=_list(_object(code=TEXT, message=TEXT)),
    ),
    output_parsed={**ANY, "description": "The answer as JSON, where `text` asked for a JSON schema"},
    output={**_list(ITEM), "description": "Every item of the run, with `detail: full`"},
    pending={**_list(ITEM), "description": "What needs your answer before the run can go on"},
    runs={**_list(ITEM), "description": "Recent runs, where no run_id was given"},
    images={**_list(IMAGE), "description": "What the image content of the result shows, in the same order"},
)
