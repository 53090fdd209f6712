"""Decides which failures are transient, and how long to back off."""

import random
import time
from email.utils import parsedate_to_datetime

import httpx2

from bridge.errors import UpstreamError
from bridge.items import Response
from bridge.upstream.replies import QUOTA_CODES

RETRIED_STATUSES = frozenset((408, 409, 429))
RETRIED_CODES = frozenset(("server_error", "rate_limit_exceeded", "slow_down"))
"""Codes of a response that failed before it had any output, which is treated like a status of 500 or 429."""
FIRST_BACKOFF_S, LAST_BACKOFF_S, LONGEST_RETRY_AFTER_S = 0.5, 8.0, 120.0
"""The same as in the openai package. If the upstream asks for more than the longest pause, there is no retry."""


class Transient(Exception):
    """A transient failure: a retry may succeed. `pause_s` is the pause that the upstream asked for, if any."""

    def __init__(self, error: UpstreamError, pause_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause_s = pause_s


def check_response(response: Response) -> Response:
    """Return `response`. Raises Transient where it failed with a transient error before it had any output."""
    error = response["error"]
    if response["status"] == "failed" and error and error["code"] in RETRIED_CODES and not response["output"]:
        raise Transient(UpstreamError(f"The response failed: {error['message']}", code=error["code"]))
    return response


def is_transient(reply: httpx2.Response, error: UpstreamError) -> bool:
    """Tell whether a retry may succeed. The upstream's own `x-should-retry` header decides where it is present,
    except that a used-up quota is never transient."""
    if error.code in QUOTA_CODES:
        return False
    said = reply.headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return reply.status_code in RETRIED_STATUSES or reply.status_code >= 500


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
