"""Whether a request is one that an upstream may be sent: by a relay's API description, and by the SDK's types."""

import functools
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from tests.fakes.items import Json

_RELAY = Path(__file__).parent.parent / "data" / "relay-openapi.yaml"


class InvalidRequest(AssertionError):
    """The request breaks the description; the message says where."""


def validate_request(body: Json, *, as_written: Collection[str] = ()) -> None:
    """Check the body of a `POST /v1/responses`, parsed.

    The relay describes an input item as `{role, content}` with a text as content, so that is what an item without
    `type` must be; an item with a `type` is judged by the SDK's types alone. Of the tools, functions are judged; those
    named in `as_written` came from the caller and may lack `strict`, which the API allows and the SDK's types do not.

    Raises:
        InvalidRequest: It breaks one of the descriptions.
    """
    items = body.get("input")
    untyped = [item for item in items if "type" not in item] if isinstance(items, list) else items
    for error in _relay_schema().iter_errors(body | {"input": untyped}):
        raise InvalidRequest(f"{error.json_path}: {error.message}")
    for place, item in enumerate(body["input"]):
        _check(_item_type(), item, f"input[{place}]")
    for place, tool in enumerate(body.get("tools", [])):
        if tool.get("type") == "function":
            leave: Json = {"strict": None} if tool.get("name") in as_written else {}
            _check(_tool_type(), leave | tool, f"tools[{place}]")


@functools.cache
def _relay_schema() -> Any:
    import jsonschema
    import yaml

    described = yaml.safe_load(_RELAY.read_text(encoding="utf-8"))["paths"]["/v1/responses"]["post"]
    return jsonschema.Draft4Validator(described["requestBody"]["content"]["application/json"]["schema"])


@functools.cache
def _item_type() -> Any:
    from openai.types.responses import ResponseInputItemParam
    from pydantic import TypeAdapter

    return TypeAdapter(ResponseInputItemParam)


@functools.cache
def _tool_type() -> Any:
    from openai.types.responses import FunctionToolParam
    from pydantic import TypeAdapter

    return TypeAdapter(FunctionToolParam)


def _check(adapter: Any, value: object, place: str) -> None:
    from pydantic import ValidationError

    try:
        _exhaust(adapter.validate_python(value))
    except ValidationError as error:
        raise InvalidRequest(f"{place}: {error}") from error


def _exhaust(value: object) -> None:
    """Go through everything: pydantic checks what the SDK declares as `Iterable` only when it is iterated."""
    if isinstance(value, Mapping):
        _exhaust(iter(value.values()))
    elif isinstance(value, (list, Iterator)):
        for part in value:
            _exhaust(part)
