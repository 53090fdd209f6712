"""Reads an upstream's reply as a `Response`, whether it is one, a chat completion or an error."""

import secrets

from bridge.errors import UpstreamError, Who
from bridge.items import CALL_TYPES, ErrorInfo, Response
from bridge.json_text import Json, JsonObject, encode
from bridge.upstream.chat import read_completion
from bridge.upstream.output import read_output
from bridge.upstream.parse import parse, parse_reply
from bridge.upstream.statuses import read_status

MAX_NAME_CHARS = 256
QUOTE_CHARS = 500
"""Characters of an unreadable reply that are quoted."""
MESSAGE_CHARS = 2000
"""Characters of an upstream's own error message that are passed on."""

QUOTA_CODES = frozenset(
    (
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
    )
)
"""Codes of a 429 that a retry cannot fix: somebody has to pay."""


def read_reply(body: bytes, *, status: int, request_id: str | None) -> Response:
    """Read the response in the JSON body of a successful request. Raises UpstreamError for anything else."""
    data = parse_reply(body)
    if data.get("object") == "response" or isinstance(data.get("output"), list) or data.get("output_text"):
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
    """Read a Responses object; any field may be missing or null."""
    details = data.get("incomplete_details")
    reason = details.get("reason") if isinstance(details, dict) else None
    error = data.get("error")
    return {
        "id": _read_name(data.get("id")),
        "model": _read_name(data.get("model")),
        "status": _read_text(read_status(data.get("status"))) or ("failed" if error else "completed"),
        "output": list(map(_repair_call, read_output(data))),
        "usage": usage if isinstance(usage := data.get("usage"), dict) else None,
        "incomplete_reason": _read_text(reason),
        "error": read_error(error) if error else None,
    }


def _repair_call(item: JsonObject) -> JsonObject:
    """Return a call as the API defines it: with arguments as JSON text, and with a `call_id`.

    Compatible servers send the arguments as an object or omit the `call_id`, but refuse such a call when it is sent
    back. Any other item is returned unchanged.
    """
    if str(item.get("type")) not in CALL_TYPES:
        return item
    repaired: JsonObject = {"call_id": str(item.get("call_id") or item.get("id") or f"call_{secrets.token_hex(12)}")}
    if item["type"] == "function_call" and not isinstance(arguments := item.get("arguments"), str):
        repaired["arguments"] = encode({} if arguments is None else arguments)
    return item | repaired


def read_failure(response: Response) -> UpstreamError | None:
    """Return the error of a response that failed before it had any output: it is treated like a refusal (a 400)."""
    error = response["error"] if response["status"] == "failed" and not response["output"] else None
    return UpstreamError(error["message"], code=error["code"]) if error else None


def read_error(error: Json) -> ErrorInfo:
    """Read the error of a failed response or an error event, in any of the known shapes."""
    fields = error if isinstance(error, dict) else {"message": error}
    message = _shorten(_read_text(fields.get("message")) or encode(error), MESSAGE_CHARS)
    code = _read_code(fields) or "upstream_error"
    return {"code": code, "message": message, "who": "upstream", "status": None, "request_id": None}


def build_error(status: int, body: bytes, request_id: str | None) -> UpstreamError:
    """Build the error for a refused request: its status, the upstream's own words, and advice on what to do."""
    error = _find_error(parse(body))
    code = _read_code(error) or f"http_{status}"
    reason = _read_text(error.get("message")) or _read_text(error.get("detail"))
    hint, who = _advise(status, code)
    message = (
        f"The upstream answered with status {status}: {_shorten(reason, MESSAGE_CHARS) if reason else _quote(body)}"
    )
    return UpstreamError(message + hint, code=code, who=who, status=status, request_id=request_id)


def _find_error(data: JsonObject) -> JsonObject:
    error = data.get("error")
    return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else data


def _read_code(error: JsonObject) -> str | None:
    """Return `code` or `type`, whichever says more: a quota code before any other, a word before a number."""
    codes = [code for field in ("code", "type") if (code := _read_name(error.get(field)))]
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


def _read_name(value: Json) -> str | None:
    """Read an id, a code or a model's name, cut to MAX_NAME_CHARS: every result repeats it."""
    return name[:MAX_NAME_CHARS] if (name := _read_text(value)) else None


def _read_text(value: Json) -> str | None:
    """Return a string or an integer (some relays number their error codes) as text, else None."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" else None
