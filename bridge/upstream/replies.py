"""An upstream's reply as a `Response`: the Responses object, a chat completion in its place, or an error in words."""

import json

from bridge.errors import UpstreamError, Who
from bridge.items import ErrorInfo, Json, JsonObject, Response
from bridge.upstream.chat import read_completion

QUOTE_CHARS = 300
"""How much of an unreadable reply is quoted."""

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
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        data = None
    if isinstance(data, dict) and (data.get("object") == "response" or isinstance(data.get("output"), list)):
        return read_response(data)
    if isinstance(data, dict) and isinstance(data.get("choices"), list):
        return read_completion(data)
    if isinstance(data, dict) and data.get("error"):
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
        "id": _text(data.get("id")),
        "model": _text(data.get("model")),
        "status": _text(data.get("status")) or ("failed" if error else "completed"),
        "output": [item for item in output if isinstance(item, dict)] if isinstance(output, list) else [],
        "usage": usage if isinstance(usage := data.get("usage"), dict) else None,
        "incomplete_reason": _text(reason),
        "error": read_error(error) if error else None,
    }


def read_error(error: Json) -> ErrorInfo:
    """The error of a failed response or an error event, in any of the shapes that exist."""
    fields = error if isinstance(error, dict) else {"message": error}
    code = _text(fields.get("code")) or _text(fields.get("type")) or "upstream_error"
    message = _text(fields.get("message")) or json.dumps(error, ensure_ascii=False)
    return {"code": code, "message": message, "who": "upstream", "status": None, "request_id": None}


def build_error(status: int, body: bytes, request_id: str | None) -> UpstreamError:
    """The error for a refused request: its status, the upstream's own words, and what there is to do about it."""
    error = _find_error(body)
    code = _text(error.get("code")) or _text(error.get("type")) or f"http_{status}"
    said = _text(error.get("message")) or _text(error.get("detail")) or _quote(body)
    hint, who = _advise(status, code)
    message = f"The upstream answered with status {status}: {said}{hint}"
    return UpstreamError(message, code=code, who=who, status=status, request_id=request_id)


def _find_error(body: bytes) -> JsonObject:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(data, dict):
        return {}
    error = data.get("error")
    return error if isinstance(error, dict) else {"message": error} if isinstance(error, str) else data


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
    return (text[:QUOTE_CHARS] + "…" if len(text) > QUOTE_CHARS else text) or "(an empty body)"


def _text(value: Json) -> str | None:
    """`value` as text if it is one or a number (some relays number their error codes), else None."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" else None
