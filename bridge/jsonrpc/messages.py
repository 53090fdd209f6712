"""JSON-RPC messages, read from lines and written to them; a bad line fails one call at most.

Not the SDK's own reader and writer (mcp 2.3): there a reply with a lone surrogate, too much depth or a long integer
leaves its call waiting for ever, and writing a lone surrogate ends the process. Here such a message is read if
possible; otherwise the id is recovered from the raw line, so that its call fails at once.
"""

import json
import re
from contextlib import nullcontext, suppress

from mcp_types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    PARSE_ERROR,
    ErrorData,
    JSONRPCError,
    JSONRPCMessage,
    JSONRPCNotification,
    JSONRPCRequest,
    RequestId,
    Result,
    jsonrpc_message_adapter,
)
from pydantic_core import from_json

from bridge.json_text import LONG_CHARS, Json, JsonObject, encode, read_leniently, without_collector
from bridge.jsonrpc.bulk import TooMuch, check_bulk
from bridge.jsonrpc.lines import KEPT_BYTES, Overlong

_ID = rb'"id"\s*:\s*(-?\d{1,18}|"(?:[^"\\]|\\.){0,256}")(?=\s*[,}])'
_FIRST_ID = re.compile(rb"\s*\{[^{}\[\]]*?" + _ID)
_LAST_ID = re.compile(_ID + rb"[^{}\[\]]*\}\s*\Z")
"""The id of a message stands outside its nested objects: before them, or after them as TypeScript's SDK writes it. Text
not followed by a comma or a brace may be only the beginning of an id."""

_REPLY_START = re.compile(rb'\{\s*"(?:jsonrpc|result|error|id)"')

NOT_A_MESSAGE = "JSON, but not a JSON-RPC 2.0 message"
NO_BATCHES = "a batch is none either, send each message by itself"
MENDED = "mcp-responses-bridge/mended"
"""The key in `_meta` of a result that MENDED_WORDS apply to: it is not exactly what the server sent."""
MENDED_WORDS = "U+FFFD replaces invalid text: bytes that are not UTF-8, or half a character"
_REPLACEMENT = "\ufffd"
_DECODER = json.JSONDecoder()
_SPACE = re.compile(r"\s*")
_TOLD = "notifications/"
"""How the methods begin that ask for no answer, whatever else a message has."""
NO_ID = "mcp-responses-bridge/no-id"
"""The id of a result that came without one."""
_ENVELOPE = {"jsonrpc", "id", "result", "error", "method", "params"}
BARE = "mcp-responses-bridge/bare"
"""The key of a result that is not an object, in one that stands for it."""

_STARTS = b'{["-0123456789tfn\xef'
"""The bytes that JSON may begin with, or a byte order mark; hardly a line of a log does."""


class BadMessage(ValueError):
    """A line that is not a JSON-RPC message; `id` is the id found near its start or end, if any."""

    def __init__(self, reason: str, head: bytes, tail: bytes | None = None, *, code: int = PARSE_ERROR) -> None:
        super().__init__(reason)
        self.code = code
        self.is_reply = _looks_like_reply(head)
        """True if it was meant as a reply, and not as a line of a log."""
        found = _FIRST_ID.match(head[:KEPT_BYTES]) or _LAST_ID.search((tail or head)[-KEPT_BYTES:])
        self.id: RequestId | None = None
        with suppress(ValueError):
            self.id = json.loads(found[1].decode(errors="replace"), strict=False) if found else None

    def to_error(self) -> JSONRPCError:
        """Return the JSON-RPC error for this line."""
        return JSONRPCError(jsonrpc="2.0", id=self.id, error=ErrorData(code=self.code, message=str(self)))


def refuse_bulk(much: TooMuch, head: bytes, tail: bytes | None = None) -> BadMessage:
    """Build the error for a message of which there is too much."""
    return BadMessage(f"the message is too large: {much}", head, tail)


def read_message(line: bytes | Overlong, *, is_bounded: bool = False) -> JSONRPCMessage:
    """Read the message in `line`. Raises BadMessage; if it `is_bounded`, also for too many values or levels.

    Invalid UTF-8 and lone surrogates become U+FFFD, and the message says so: a result by MENDED, an error by its text.
    """
    if isinstance(line, Overlong):
        raise BadMessage(f"a message of {line.size:,} bytes is over the limit of {line.limit:,}", line.head, line.tail)
    if is_bounded:
        try:
            check_bulk(line)
        except TooMuch as much:
            raise refuse_bulk(much, line) from None
    with suppress(ValueError):
        # Not `validate_json`: that copies every text once more, and blocks the event loop twice as long.
        message = jsonrpc_message_adapter.validate_python(_parse(line), by_name=False)
        if not may_be_reply(message, line):
            return _refuse_invalid_ids(message, line)
    if line.lstrip()[:1] not in _STARTS:
        raise BadMessage("not readable as JSON: it begins with something else", line)
    try:
        text = encode(read_leniently(line.decode("utf-8-sig", "replace")))
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadMessage(f"not readable as JSON: {error}", line) from None
    if text.count(_REPLACEMENT) > line.count(_REPLACEMENT.encode()) + line.lower().count(b"\\ufffd"):
        _mark_mended(value)
    try:
        return _refuse_invalid_ids(jsonrpc_message_adapter.validate_python(_mend(value), by_name=False), line)
    except (ValueError, RecursionError):
        reason = f"{NOT_A_MESSAGE}; {NO_BATCHES}" if isinstance(value, list) else NOT_A_MESSAGE
        bad = BadMessage(reason, line, code=INVALID_REQUEST)
        if not isinstance(value, dict) or not value.keys() <= _ENVELOPE:
            bad.id, bad.is_reply = None, False  # a line of a log may have an id of its own
        raise bad from None


def may_be_reply(message: JSONRPCMessage, line: bytes) -> bool:
    """Tell whether what was read as a request may be a reply that repeats the request."""
    return isinstance(message, JSONRPCRequest) and (b'"result"' in line or b'"error"' in line)


def _parse(line: bytes) -> Json:
    with without_collector() if len(line) >= LONG_CHARS else nullcontext():
        return from_json(line)


def _mend(message: Json) -> Json:
    """Return a message in the form that JSON-RPC asks for, if that is plain."""
    if not isinstance(message, dict):
        return message
    method = message.get("method")
    if message.keys() & {"result", "error"} and _is_envelope(message):
        return _mend_reply(message)
    return _mend_request(message, is_told=method.startswith(_TOLD)) if isinstance(method, str) and method else message


def _mend_request(message: JsonObject, *, is_told: bool) -> JsonObject:
    """Return a message without parameters of nothing, as PHP writes them; a notification without any that are none."""
    params = message.get("params")
    is_idle = not isinstance(params, dict) and (is_told or not params)
    return {key: value for key, value in message.items() if not (key == "params" and is_idle)}


def _mend_reply(message: JsonObject) -> JsonObject:
    mended: JsonObject = {"jsonrpc": "2.0", "id": _mend_id(message.get("id"))}
    if error := message.get("error"):
        return mended | {"error": _mend_error(error)}
    result = message.get("result")
    return mended | {"result": result if isinstance(result, dict) else {} if result is None else {BARE: result}}


def _is_envelope(message: JsonObject) -> bool:
    """Tell whether an object is meant as a message: a line of a log and the body of an HTTP error have errors, too."""
    if "method" in message and "id" not in message:
        return False
    is_all = message.keys() <= _ENVELOPE
    return "jsonrpc" in message or (is_all and "id" in message) or message.keys() == {"result"}


def _mend_id(id: Json) -> RequestId:
    if isinstance(id, float) and id == id // 1:
        return int(id)
    return id if isinstance(id, int | str) and not isinstance(id, bool) else NO_ID


def _mend_error(error: Json) -> Json:
    """Return an error with a code and a message; one in another form is the message."""
    if not isinstance(error, dict):
        return {"code": INTERNAL_ERROR, "message": error if isinstance(error, str) else encode(error)}
    code, message = error.get("code"), error.get("message")
    is_code = isinstance(code, int) and not isinstance(code, bool)
    words = message if isinstance(message, str) else encode(error)
    return error | {"code": code if is_code else INTERNAL_ERROR, "message": words}


def _looks_like_reply(head: bytes) -> bool:
    start = head[:KEPT_BYTES].lstrip()
    return bool(_REPLY_START.match(start)) and b'"method"' not in start


def split_messages(data: bytes) -> list[bytes]:
    """Return the messages of a batch (2025-03-26), or of several that stand in a row; [] if `data` is neither.

    What follows the last that can be read is one more, unread.
    """
    text = data.decode("utf-8-sig", "surrogateescape").strip()
    parts, has_message, is_batch, end = list[bytes](), False, text.startswith("["), 0
    try:
        while end < len(text):
            value, after = _DECODER.raw_decode(text, end)
            values = value if isinstance(value, list) else [value]
            parts += [json.dumps(each).encode() for each in values]
            has_message |= any(isinstance(each, dict) for each in values)
            end = _SPACE.match(text, after).end()  # type: ignore[union-attr]
    except (ValueError, RecursionError):
        parts += [text[end:].encode("utf-8", "surrogateescape")] if parts else []
    return parts if has_message and (is_batch or len(parts) > 1) else []


def _mark_mended(message: Json) -> None:
    match message:
        case {"result": dict(result)}:
            meta = result.get("_meta")
            result["_meta"] = {**(meta if isinstance(meta, dict) else {}), MENDED: True}
        case {"error": dict(error)}:
            error["message"] = f"{error.get('message')} [{MENDED_WORDS}]"
        case _:
            pass


def is_mended(result: Result) -> bool:
    """Tell whether MENDED_WORDS apply to `result`."""
    return MENDED in (result.meta or {})


def _refuse_invalid_ids(message: JSONRPCMessage, line: bytes) -> JSONRPCMessage:
    """Refuse a request whose id is null or a fraction: the SDK takes it for a notification, and would not answer it."""
    is_doubtful = isinstance(message, JSONRPCNotification) and not message.method.startswith(_TOLD)
    if is_doubtful and b'"id"' in line and "id" in json.loads(line):
        raise ValueError("the id of a request must be a string or an integer")
    return message


def write_message(message: JSONRPCMessage) -> bytes:
    """Write `message` as one line of UTF-8, lone surrogates replaced. A reply that is not JSON becomes an error."""
    with suppress(ValueError):
        return message.model_dump_json(by_alias=True, exclude_unset=True).encode() + b"\n"
    try:
        text = encode(message.model_dump(by_alias=True, exclude_unset=True))
    except (TypeError, ValueError, RecursionError) as error:
        failure = ErrorData(code=INTERNAL_ERROR, message=f"the message cannot be written as JSON: {error}")
        return write_message(JSONRPCError(jsonrpc="2.0", id=getattr(message, "id", None), error=failure))
    return text.encode() + b"\n"
