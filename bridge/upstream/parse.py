"""Parses JSON from the upstream, building only the fields that are read: a response echoes all tools of its request."""

from contextlib import nullcontext
from typing import TypeVar, cast

from pydantic import TypeAdapter
from pydantic_core import to_json
from typing_extensions import TypedDict

from bridge.errors import UpstreamError
from bridge.json_text import JsonObject, decode, without_collector
from bridge.jsonrpc.bulk import Bulk, TooMuch

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


MAX_VALUES = 2_000_000
"""JSON values in one text of the upstream's; tokens with all their probabilities are the most that there is."""
LONG_CHARS = 1 << 20
"""From this length on, a text can have too many."""


def parse(text: str | bytes) -> JsonObject:
    """Parse all fields of the object in a text; return an empty object where there is none. Raises UpstreamError for
    one with too many values."""
    _check_bulk(text)
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
    _check_bulk(text)
    try:
        with without_collector() if len(text) >= LONG_CHARS else nullcontext():
            part = cast("JsonObject", fields.validate_json(text))
        written = to_json(part)
    except ValueError:
        return parse(text)
    return part if _is_finite(written) or _is_finite(to_json(_remove_usage(part))) else parse(text)


def _check_bulk(text: str | bytes) -> None:
    if len(text) < LONG_CHARS:
        return
    bulk = Bulk(MAX_VALUES, max_levels=len(text))
    try:
        bulk.feed(text.encode(errors="surrogatepass") if isinstance(text, str) else text)
    except TooMuch:
        message = f"The upstream's reply has over {MAX_VALUES:,} JSON values"
        raise UpstreamError(message, code="reply_too_large") from None


def _is_finite(written: bytes) -> bool:
    return b"NaN" not in written and b"Infinity" not in written


def _remove_usage(part: JsonObject) -> JsonObject:
    reply = part.get("response")
    (reply if isinstance(reply, dict) else part).pop("usage", None)
    return part
