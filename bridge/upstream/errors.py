"""Reads the upstream's own errors, in any of the known shapes: the reason, the code, and who must act."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from bridge.errors import UpstreamError, Who
from bridge.items import ErrorInfo
from bridge.json_text import Json, JsonObject, encode
from bridge.upstream.parse import parse
from bridge.upstream.times import LONGEST_RETRY_AFTER_S, read_pause, tell_times

MAX_NAME_CHARS = 256
QUOTE_CHARS = 500
"""Characters of an unreadable reply that are quoted."""
MESSAGE_CHARS = 2000
"""Characters of an upstream's own error message that are passed on."""
MAX_LEVELS = 8
"""How deep a reason is looked for: gateways wrap the error of the one behind them, as JSON or as the text of it."""
UNNAMED = "unnamed_error"
"""The code of an error that has none."""

_REASONS = ("message", "detail", "msg", "error_description", "error_message", "error_msg", "reason", "title", "Message")
_CODES = ("code", "type", "error_type", "error_code", "status", "status_code", "statusCode")
_WRAPPERS = ("error", "errors", "response")
_VAGUE = frozenset(("api_error", "invalid_request_error", "new_api_error", "openai_error", "upstream_error"))
"""Codes that say less than a status beside them that passes."""
_CODE = re.compile(r"[A-Za-z][\w.-]*")
_FIELD = re.compile(r"^(?:event:\s*\S+\s+)?(?:data|error):\s*")
_ESCAPES = re.compile(r"(?:\\u[0-9a-fA-F]{4})+")
_CAMEL = re.compile(r"(?<=[a-z])(?=[A-Z])|[\s.-]+")
_UNPAID = re.compile(
    r"quota|billing|(?<!load_)balance|credit|spend_limit|usage_limit|usage_not_included|payment|arrear"
)
_OF_A_RATE = re.compile(r"throttl|rate_?(limit|quota)|per_minute|concurren")
_UNPAID_WORDS = re.compile(
    r"credit balance|insufficient (balance|credit|quota|fund)|exceeded your current quota|out of credit|"
    r"quota (is )?(not enough|insufficient|exhausted|used up)|usage limit|(额度|余额)(不足|已用尽|已用完)|欠费",
    re.IGNORECASE,
)
_UNPAID_STATUSES = frozenset((200, 400, 402, 403, 429))
PASSING_STATUSES = frozenset((408, 409, 425, 429, 499, *range(500, 600)))
"""Statuses of failures that a retry may mend."""


@dataclass(frozen=True)
class Said:
    """An error as far as it is understood: the reason in words, all its codes, and when to try again, in words."""

    reason: str = ""
    codes: tuple[str, ...] = ()
    times: str = ""

    @property
    def code(self) -> str | None:
        """The code that says most: that of a used-up quota, else a word before a number."""
        return min(self.codes, key=_rank, default=None)


def read_error(error: Json) -> ErrorInfo:
    """Read the error of a failed response or an error event."""
    said = _read(error)
    code = said.code or UNNAMED
    reason = _shorten(said.reason or encode(error), MESSAGE_CHARS)
    hint, who = _advise(find_status(code) or 200, code, reason)
    message = reason + hint + _tell_times(said, reason)
    return {"code": code, "message": message, "who": who, "status": None, "request_id": None}


def build_event_error(event: Json) -> UpstreamError:
    """Build the error of an error event, which is flat (OpenAI), nested under `error` (Open Responses) or words."""
    error = read_error(event)
    return UpstreamError(f"The upstream broke off its stream: {error['message']}", code=error["code"], who=error["who"])


def build_error(status: int, body: bytes, request_id: str | None, redirect: str = "") -> UpstreamError:
    """Build the error for a refused request: its status, the upstream's own words, and advice on what to do."""
    said = _read(parse(body)) or Said()
    if not said.reason:
        said = _read_inside(body.decode("utf-8", "replace")) or said
    code = said.code or f"http_{status}"
    reason = said.reason and _shorten(said.reason, MESSAGE_CHARS)
    hint, who = _advise((find_status(code) or status) if status < 300 else status, code, reason)
    advice = f"{redirect or hint}{_tell_times(said, reason)}"
    message = f"The upstream answered with status {status}: {reason or quote(body)}{advice}"
    return UpstreamError(message, code=code, who="operator" if redirect else who, status=status, request_id=request_id)


def is_error(data: JsonObject) -> bool:
    """Tell whether an object without a known place in the API tells of an error."""
    return "error" in data or bool(_read(data).reason)


def find_status(code: str) -> int | None:
    """Return the HTTP status that stands in an error's code."""
    digits = code.removeprefix("http_")
    return int(digits) if len(digits) == 3 and digits.isdecimal() else None


def normalise(code: str) -> str:
    """Return a code in small letters with underscores: `ThrottlingException` is throttling_exception."""
    return _CAMEL.sub("_", code).lower()


def is_unpaid(status: int, code: str, message: str) -> bool:
    """Tell whether somebody has to pay, or to wait for a period's end, before a request can succeed.

    By words alone it is not where they name a pause that can be made: Google calls the requests of a minute a quota.
    """
    name = normalise(code)
    if status == 402 or (_UNPAID.search(name) and not _OF_A_RATE.search(name)):
        return True
    is_said = status in _UNPAID_STATUSES and bool(_UNPAID_WORDS.search(message))
    pause = read_pause(message)
    return is_said and (pause is None or pause > LONGEST_RETRY_AFTER_S)


def quote(body: bytes) -> str:
    """Quote the beginning of a body that is not understood."""
    text = _clean(body[: QUOTE_CHARS * 4].decode("utf-8", "replace"))
    return _shorten(text, QUOTE_CHARS) or "(an empty body)"


def read_name(value: Json) -> str | None:
    """Read an id, a code or a model's name, cut to MAX_NAME_CHARS: every result repeats it."""
    name = read_text(value)
    return f"{name[: MAX_NAME_CHARS - 1]}…" if name and len(name) > MAX_NAME_CHARS else name


def read_text(value: Json) -> str | None:
    """Return a string or an integer (some relays number their error codes) as text, else None."""
    return str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) and value != "" else None


def _read(value: Json, level: int = 0) -> Said:
    """Read an error, or what a gateway has wrapped it in."""
    if level > MAX_LEVELS:
        return Said(_clean(value) if isinstance(value, str) else encode(value))
    match value:
        case str():
            return _read_inside(value, level) or Said(_clean(value))
        case dict():
            return _read_fields(value, level)
        case [dict(first), *_] if "loc" in first:  # pydantic's faults are told by their places
            return Said(_clean(encode(value)))
        case [first, *_]:
            return _read(first, level + 1)
        case _:
            return Said()


def _read_inside(text: str, level: int = 0) -> Said | None:
    """Read the JSON of an error inside of a text, and return it within the words around it."""
    begin, end = text.find("{"), text.rfind("}") + 1
    inner = _read(parse(text[begin:end]), level + 1) if 0 <= begin < end else Said()
    if not inner.reason:
        return None
    before, behind = text[:begin], text[end:]
    if _FIELD.match(before) or before.strip() == "[":  # an event, or a list
        before = behind = ""
    return Said(_clean(f"{before}{inner.reason}{behind}"), inner.codes, inner.times)


def _read_fields(fields: JsonObject, level: int) -> Said:
    inner = next((said for name in _WRAPPERS if (said := _read_wrapper(fields, name, level)).reason), Said())
    own = next((said for name in _REASONS if (said := _read(fields.get(name), level + 1)).reason), Said())
    if isinstance(error := fields.get("error"), str) and own.reason:  # a code or a title beside the reason
        is_code = bool(_CODE.fullmatch(error))
        own = own if is_code else replace(own, reason=_join(inner.reason, None, own.reason))
        inner = Said(codes=(error,) if is_code else ())
    behind, provider = _read_metadata(fields.get("metadata"), level)
    codes = tuple(code for name in _CODES if (code := read_name(fields.get(name))) and code != "error")
    outer = (*inner.codes, *codes)
    nearest = behind.codes or own.codes
    return Said(
        _join(inner.reason or own.reason, provider, behind.reason),
        (*nearest, *(code for code in outer if is_unpaid(0, code, ""))) if nearest else outer,
        behind.times or inner.times or own.times or tell_times(fields),
    )


def _read_metadata(metadata: Json, level: int) -> tuple[Said, str | None]:
    """Read who is behind a gateway, and that one's own error (OpenRouter's form)."""
    if not isinstance(metadata, dict):
        return Said(), None
    raw, provider = metadata.get("raw"), read_name(metadata.get("provider_name"))
    behind = _read(raw, level + 1)
    return Said(encode(raw)) if raw and not behind.reason else behind, provider


def _read_wrapper(fields: JsonObject, name: str, level: int) -> Said:
    """Read an error in a field of another one; of a response, only its `error` is one."""
    value = fields.get(name)
    if name == "response":
        value = value.get("error") if isinstance(value, dict) else None
    return _read(value, level + 1)


def _join(reason: str, provider: str | None, behind: str) -> str:
    """Join a gateway's own words, the name of who is behind it, and that one's words."""
    by = f" ({provider})" if provider and reason and provider not in reason else ""
    if behind in reason or (reason and reason in behind):
        return f"{max(reason, behind, key=len)}{by}"
    return f"{reason or provider}{by}: {behind}" if reason or provider else behind


def _tell_times(said: Said, reason: str) -> str:
    """Return what the fields say of the time to try again, where the reason itself names none."""
    return said.times if read_pause(reason) is None else ""


def _rank(code: str) -> int:
    status = find_status(code)
    tests: Iterator[bool] = iter(
        (
            is_unpaid(0, code, ""),
            not code.isdecimal() and code not in _VAGUE,
            status in PASSING_STATUSES,
            not code.isdecimal(),
        )
    )
    return next((rank for rank, holds in enumerate(tests) if holds), 4)


def _advise(status: int, code: str, message: str) -> tuple[str, Who]:
    if is_unpaid(status, code, message):
        is_period = "usage_" in normalise(code) or "usage limit" in message.lower()
        what = "its plan's usage limit is reached" if is_period else "the account has no credit left"
        return f" ({what})", "operator"
    if status in (401, 403):
        return " (check the API key, and that it may use this model)", "operator"
    if 300 <= status < 400:
        return "", "operator"
    if status == 404 and code in ("http_404", "not_found"):
        return " (does this base URL offer /responses?)", "operator"
    if status in (400, 404, 413, 422):
        return "", "caller"
    return "", "upstream"


def _clean(text: str) -> str:
    """Return a text on one line, in its own script where it was escaped once too often."""
    return " ".join(_ESCAPES.sub(_unescape, text).split())


def _unescape(escapes: re.Match[str]) -> str:
    text = parse(f'{{"text":"{escapes[0]}"}}').get("text")
    return text if isinstance(text, str) and text.isprintable() else escapes[0]


def _shorten(text: str, chars: int) -> str:
    return text if len(text) <= chars else text[:chars] + "…"
