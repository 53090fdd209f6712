"""Parses JSON from the upstream, building only the fields that are read: a response echoes all tools of its request."""

from typing import TypeVar, cast

from pydantic import TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from bridge.json_text import JsonObject, decode

T = TypeVar("T")


class _Reply(TypedDict, total=False):
    """The fields that are read of a response, or of a chat completion or an error in its place."""

    object: object
    id: object
    model: object
    status: object
    output: object
    output_text: object
    usage: object
    incomplete_details: object
    error: object
    choices: object


class _TerminalEvent(TypedDict):
    response: _Reply


_REPLY = TypeAdapter(_Reply)
_TERMINAL_EVENT = TypeAdapter(_TerminalEvent)


def parse(text: str | bytes) -> JsonObject:
    """Parse all fields of the object in a text; return an empty object where there is none."""
    try:
        data = decode(text)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}


def parse_reply(body: bytes) -> JsonObject:
    """Parse the fields that are read of a reply; return an empty object where `body` is not one."""
    return _parse_part(_REPLY, body)


def parse_terminal_event(data: str) -> JsonObject:
    """Parse the last event of a stream, with the fields that are read of its response."""
    return _parse_part(_TERMINAL_EVENT, data)


def _parse_part(fields: TypeAdapter[T], text: str | bytes) -> JsonObject:
    """Parse only `fields`; fall back to `parse` for anything out of the ordinary.

    Numbers that are none (NaN, Infinity) cost the usage that they are in; anywhere else nothing can be read.
    """
    try:
        part = cast("JsonObject", fields.validate_json(text))
        written = to_json(part)
    except ValueError:
        return parse(text)
    return part if _is_finite(written) or _is_finite(to_json(_remove_usage(part))) else parse(text)


def _is_finite(written: bytes) -> bool:
    return b"NaN" not in written and b"Infinity" not in written


def _remove_usage(part: JsonObject) -> JsonObject:
    reply = part.get("response")
    (reply if isinstance(reply, dict) else part).pop("usage", None)
    return part
