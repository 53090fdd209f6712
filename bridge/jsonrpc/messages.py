"""One line as a JSON-RPC message, and back: whatever other people's programs write, a bad line costs one call at most.

Not the SDK's own reader and writer (mcp 2.3): there a reply with a lone surrogate, too much depth or a long integer
leaves its call waiting for ever, and a lone surrogate on the way out ends the process. Here such a message is read all
the same where it can be, and otherwise the id is recovered from the raw line, so that its own call fails at once.
"""

import json
import re
from contextlib import suppress

from mcp_types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    RequestId,
    Result,
    jsonrpc_message_adapter,
)
from pydantic_core import from_json

from bridge.json_text import Json, encode
from bridge.jsonrpc.lines import KEPT_BYTES, Overlong

_ID = rb'"id"\s*:\s*(-?\d{1,18}|"(?:[^"\\]|\\.){0,256}")(?=\s*[,}])'
_FIRST_ID = re.compile(rb"\s*\{[^{}\[\]]*?" + _ID)
_LAST_ID = re.compile(_ID + rb"[^{}\[\]]*\}\s*\Z")
"""The id of a message stands outside of all its other objects: before them, or behind them as TypeScript's SDK does.
What does not end in a comma or a brace may be the beginning of an id only."""


MENDED = "mcp-responses-bridge/mended"
"""In `_meta` of a result that is not quite what the server sent: MENDED_WORDS hold for it."""
MENDED_WORDS = "U+FFFD stands for what is no text: invalid UTF-8, or half a character"
_SIGN = "\ufffd"


class BadMessage(ValueError):
    """A line that is no JSON-RPC message; `id` is the one found at an end of it, if any."""

    def __init__(self, reason: str, head: bytes, tail: bytes | None = None, *, code: int = PARSE_ERROR) -> None:
        super().__init__(reason)
        self.code = code
        found = _FIRST_ID.match(head[:KEPT_BYTES]) or _LAST_ID.search((tail or head)[-KEPT_BYTES:])
        self.id: RequestId | None = None
        with suppress(ValueError):
            self.id = json.loads(found[1].decode(errors="replace"), strict=False) if found else None

    def to_error(self) -> JSONRPCError:
        """The JSON-RPC error for this line."""
        return JSONRPCError(jsonrpc="2.0", id=self.id, error=ErrorData(code=self.code, message=str(self)))


def read_message(line: bytes | Overlong) -> JSONRPCMessage:
    """The message in `line`; invalid UTF-8 and lone surrogates become U+FFFD, and the message says so: a result by
    MENDED, an error by its text. Raises BadMessage."""
    if isinstance(line, Overlong):
        raise BadMessage(f"a message of {line.size:,} bytes is over the limit of {line.limit:,}", line.head, line.tail)
    with suppress(ValueError):
        # Not `validate_json`: that copies every text once more, and holds up the event loop twice as long.
        return _refuse_odd_ids(jsonrpc_message_adapter.validate_python(from_json(line), by_name=False), line)
    # The fast reader refuses surrogates, depth, long integers and a byte order mark that the patient one can read.
    try:
        text = encode(json.loads(line.decode("utf-8-sig", "replace")))
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not readable as JSON: {error}", line) from None
    if text.count(_SIGN) > line.count(_SIGN.encode()) + line.lower().count(b"\\ufffd"):
        _say_mended(value)
    try:
        return _refuse_odd_ids(jsonrpc_message_adapter.validate_python(value, by_name=False), line)
    except (ValueError, RecursionError):
        raise BadMessage("JSON, but not a JSON-RPC 2.0 message", line, code=INVALID_REQUEST) from None


def _say_mended(message: Json) -> None:
    match message:
        case {"result": dict(result)}:
            meta = result.get("_meta")
            result["_meta"] = {**(meta if isinstance(meta, dict) else {}), MENDED: True}
        case {"error": dict(error)}:
            error["message"] = f"{error.get('message')} [{MENDED_WORDS}]"
        case _:
            pass


def is_mended(result: Result) -> bool:
    """Whether MENDED_WORDS hold for `result`."""
    return MENDED in (result.meta or {})


def _refuse_odd_ids(message: JSONRPCMessage, line: bytes) -> JSONRPCMessage:
    """The SDK takes a request whose id is null or a fraction for a notification, which nobody answers."""
    if isinstance(message, JSONRPCNotification) and b'"id"' in line and "id" in json.loads(line):
        raise ValueError("the id of a request is a string or an integer")
    return message


def write_message(message: JSONRPCMessage) -> bytes:
    """`message` as one line of UTF-8, its lone surrogates replaced. A reply that JSON cannot hold becomes an error."""
    with suppress(ValueError):
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    try:
        text = encode(message.model_dump(by_alias=True, exclude_unset=True))
    except (TypeError, ValueError, RecursionError) as error:
        failure = ErrorData(code=INTERNAL_ERROR, message=f"the message cannot be written as JSON: {error}")
        return write_message(JSONRPCError(jsonrpc="2.0", id=getattr(message, "id", None), error=failure))
    return text.encode() + b"\n"
