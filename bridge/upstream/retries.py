"""Decides which failures are transient, and how long to back off."""

import random
import re
import time
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

import httpx2

from bridge.errors import UpstreamError
from bridge.items import CALL_TYPES, Response
from bridge.json_text import Json
from bridge.upstream.errors import PASSING_STATUSES, find_status, is_unpaid, normalise
from bridge.upstream.times import LONGEST_RETRY_AFTER_S, read_pause

_PASSING = re.compile(
    r"overload|rate_limit|too_many_request|slow_down|server_error|internal|upstream_error|unavailable|bad_gateway|"
    r"time_?out|timed_out|throttl|capacity|conversation_locked|try_again|resource_exhausted|concurren|stream_error|busy|"
    r"gateway|connection|deadline_exceeded|bad_response|^(api|server|stream)_error$"
)
"""Codes of errors inside a successful reply that a retry may mend, and their kin."""
_PASSING_AT_400 = re.compile(r"conversation_locked|overload|rate_limit|too_many_request")
"""The same of a refusal with status 400: most others with a code of those above would come again."""
_LASTING = re.compile(r"invalid|auth|permission|forbidden|denied|not_found|unsupported|policy|content|context|prompt")
_PASSING_WORDS = re.compile(
    r"overloaded|rate.?limit|too many requests|temporar|try again|retry (your|the|this) request|at capacity|"
    r"timed? ?out|unavailable|internal (server )?error|bad gateway|负载|繁忙|稍后",
    re.IGNORECASE,
)
_HOSTED = re.compile(r"\w+_call")
FIRST_BACKOFF_S, LAST_BACKOFF_S = 0.5, 8.0
"""The same as in the openai package."""


class Transient(Exception):
    """A transient failure: a retry may succeed. `pause_s` is the pause that the upstream asked for, if any; `response`
    is the response that failed, if there was one."""

    def __init__(self, error: UpstreamError, pause_s: float | None = None, response: Response | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause_s = pause_s
        self.response = response


def check_response(response: Response) -> Response:
    """Return `response`. Raises Transient where it failed with a transient error, and nothing was done for it that a
    retry would do twice."""
    error = response["error"]
    if response["status"] != "failed" or not error or not passes(error["code"], error["message"]):
        return response
    if has_hosted(item.get("type") for item in response["output"]):
        return response
    failure = UpstreamError(error["message"], code=error["code"])
    raise Transient(failure, read_pause(error["message"]), response if response["output"] else None)


def passes(code: str, message: str) -> bool:
    """Tell whether an error inside a successful reply is transient: by its code, else by its words."""
    status = find_status(code)
    if is_unpaid(status or 200, code, message):
        return False
    if status and code != "http_200":
        return status in PASSING_STATUSES
    name = normalise(code)
    if _PASSING.search(name):
        return True
    return not _LASTING.search(name) and bool(_PASSING_WORDS.search(message))


def has_hosted(types: Iterable[Json]) -> bool:
    """Tell whether one of these types of items is the call of a tool that runs at the upstream."""
    return any(isinstance(kind, str) and _HOSTED.fullmatch(kind) and kind not in CALL_TYPES for kind in types)


def is_transient(reply: httpx2.Response, error: UpstreamError) -> bool:
    """Tell whether a retry may succeed. The upstream's own `x-should-retry` header decides where it is present,
    except that a used-up quota is never transient."""
    if is_unpaid(reply.status_code, error.code, error.message):
        return False
    said = reply.headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    if reply.status_code == 400:
        return bool(_PASSING_AT_400.search(normalise(error.code)))
    return reply.status_code in PASSING_STATUSES or reply.status_code >= 600


def read_retry_after(headers: httpx2.Headers) -> float | None:
    """Return the seconds that the upstream asks to wait: `retry-after-ms`, else `retry-after` (seconds or a date)."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return None


def find_pause(headers: httpx2.Headers, message: str) -> float | None:
    """Return the seconds that the upstream asks to wait in a header, else in the words of its error."""
    said = read_retry_after(headers)
    return read_pause(message) if said is None else said


def choose_pause(failure: Transient, tries: int) -> float:
    """Return the seconds before the next try: what the upstream asked for, else exponential backoff, with jitter of up
    to a quarter less."""
    if failure.pause_s is not None:
        return failure.pause_s
    return min(FIRST_BACKOFF_S * 2 ** (tries - 1), LAST_BACKOFF_S) * random.uniform(0.75, 1.0)


def explain_tries(tries: int, failure: Transient) -> str:
    """Return a suffix for the failure's message: the number of tries, or the pause that was too long."""
    if failure.pause_s and failure.pause_s > LONGEST_RETRY_AFTER_S:
        return f" (it asks for a pause of {failure.pause_s:,.0f} s, which is not waited for)"
    return f" (tried {tries} times)" if tries > 1 else ""
