"""An upstream's reply as a `Response`: the Responses object, a chat completion in its place, or an error in words."""

import secrets

from bridge.errors import UpstreamError, Who
from bridge.items import CALL_TYPES, ErrorInfo, Response
from bridge.json_text import Json, JsonObject, encode
from bridge.upstream.chat import read_completion
from bridge.upstream.parse import parse, parse_reply

MAX_NAME_CHARS = 256
QUOTE_CHARS = 500
"""How much of an unreadable reply is quoted."""
MESSAGE_CHARS = 2000
"""How much of an upstream's own error message is passed on."""

QUOTA_CODES = frozenset(
    (
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    )
)
"""A 429 that waiting does not mend: somebody has to pay."""


def read_reply(body: bytes, *, status: int, request_id: str | None) -> Response:
    """The response in a JSON body of a successful request. Raises UpstreamError for anything else."""
    data = parse_reply(body)
    if data.get("object") == "response" or isinstance(data.get("output"), list):
        return read_response(data)
    if isinstance(data.get("choices"), list):
        return read_completion(data)
    if data.get("error"):
        raise build_error(status, body, request_id)
    raise UpstreamError(
        f"The upstream answered with status {status}, but with nothing that is a response: {_quote(body)}",
        code="unreadable_reply",
        status=status,
        request_id=request_id,
    )


def read_response(data: JsonObject) -> Response:
    """A Responses object; missing and null fields are taken as they come."""
    details, output = data.get("incomplete_details"), data.get("output")
    reason = details.get("reason") if isinstance(details, dict) else None
    error = data.get("error")
    return {
        "id": _name(data.get("id")),
        "model": _name(data.get("model")),
        "status": _text(data.get("status")) or ("failed" if error else "completed"),
        "output": [_mend_call(item) for item in output if isinstance(item, dict)] if isinstance(output, list) else [],
        "usage": usage if isinstance(usage := data.get("usage"), dict) else None,
        "incomplete_reason": _text(reason),
        "error": read_error(error) if error else None,
    }


def _mend_call(item: JsonObject) -> JsonObject:
    """A call as the API defines it, whose arguments are a text and whose `call_id` is there: compatible servers send
    an object for the one and forget the other, but refuse to get either back. Every other item stays as it is."""
    if str(item.get("type")) not in CALL_TYPES:
        return item
    mended: JsonObject = {"call_id": str(item.get("call_id") or item.get("id") or f"call_{secrets.token_hex(12)}")}
    if item["type"] == "function_call" and not isinstance(arguments := item.get("arguments"), str):
        mended["arguments"] = encode({} if arguments is None else arguments)
    return item | mended


def read_failure(response: Response) -> UpstreamError | None:
    """The refusal of a request whose response failed before it had any output: as good as a 400."""
    error = response["error"] if response["status"] == "failed" and not response["output"] else None
    return UpstreamError(error["message"], code=error["code"]) if error else None


def read_error(error: Json) -> ErrorInfo:
    """The error of a failed response or an error event, in any of the shapes that exist."""
    fields = error if isinstance(error, dict) else {"message": error}
    message = _shorten(_text(fields.get("message")) or encode(error), MESSAGE_CHARS)
    code = _read_code(fields) or "upstream_error"
    return {"code": code, "message": message, "who": "upstream", "status": None, "request_id": None}


def build_error(status: int, body: bytes, request_id: str | None) -> UpstreamError:
    """The error for a refused request: its status, the upstream's own words, and what there is to do about it."""
    error = _find_error(parse(body))
    code = _read_code(error) or f"http_{status}"
    said = _text(error.get("message")) or _text(error.get("detail"))
    hint, who = _advise(status, code)
    message = f"The upstream answered with status {status}: {_shorten(said, MESSAGE_CHARS) if said else _quote(body)}"
    return UpstreamError(message + hint, code=code, who=who, status=status, request_id=request_id)


def _find_error(data: JsonObject) -> JsonObject:
    error = data.get("error")
    return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else data


def _read_code(error: JsonObject) -> str | None:
    """`code` or `type`, whichever tells more: a quota code before any other, a word before a number."""
    codes = [code for field in ("code", "type") if (code := _name(error.get(field)))]
    return min(codes, key=lambda code: (code not in QUOTA_CODES, code.isdecimal()), default=None)


def _advise(status: int, code: str) -> tuple[str, Who]:
    if code in QUOTA_CODES:
        return " (the account has no credit left)", "operator"
    if status in (401, 403):
        return " (check the API key, and that it may use this model)", "operator"
    if status == 404 and code in ("http_404", "not_found"):
        return " (does this base URL offer /responses?)", "operator"
    if status in (400, 404, 413, 422):
        return "", "caller"
    return "", "upstream"


def _quote(body: bytes) -> str:
    text = " ".join(body[: QUOTE_CHARS * 4].decode("utf-8", "replace").split())
    return _shorten(text, QUOTE_CHARS) or "(an empty body)"


def _shorten(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars] + "…"


def _name(value: Json) -> str | None:
    """An id or a model's name: short ones are sent on with every result."""
    return name[:MAX_NAME_CHARS] if (name := _text(value)) else None


def _text(value: Json) -> str | None:
    """`value` as text if it is one or a number (some relays number their error codes), else None."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" else None
