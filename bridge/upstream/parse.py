"""JSON objects from the upstream, made no further than they are read: a response echoes all tools of its request."""

from typing import TypeVar, cast

from pydantic import TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from bridge.json_text import JsonObject, decode

T = TypeVar("T")


class _Reply(TypedDict, total=False):
    """What is read of a response, or of a chat completion or an error in its place."""

    object: object
    id: object
    model: object
    status: object
    output: object
    usage: object
    incomplete_details: object
    error: object
    choices: object


class _Ending(TypedDict):
    response: _Reply


_REPLY = TypeAdapter(_Reply)
_ENDING = TypeAdapter(_Ending)


def parse(text: str | bytes) -> JsonObject:
    """The whole object in a text, or an empty one."""
    try:
        data = decode(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def parse_reply(body: bytes) -> JsonObject:
    """What is read of the reply in `body`; nothing where that is no object."""
    return _parse_part(_REPLY, body)


def parse_ending(data: str) -> JsonObject:
    """The last event of a stream, with what is read of its response."""
    return _parse_part(_ENDING, data)


def _parse_part(fields: TypeAdapter[T], text: str | bytes) -> JsonObject:
    """As `parse` would, which is asked about whatever is out of the ordinary."""
    try:
        part = fields.validate_json(text)
        written = to_json(part)
    except ValueError:
        return parse(text)
    return parse(text) if b"NaN" in written or b"Infinity" in written else cast("JsonObject", part)
