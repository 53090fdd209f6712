"""Which failures are transient, and how long to back off."""

import random
import time
from email.utils import parsedate_to_datetime

import httpx2

from bridge.errors import UpstreamError
from bridge.items import Response
from bridge.upstream.replies import QUOTA_CODES

RETRIED_STATUSES = frozenset((408, 409, 429))
RETRIED_CODES = frozenset(("server_error", "rate_limit_exceeded", "slow_down"))
"""Of a response that failed before it had any output: as good as a 500 or 429, only told too late for a status."""
FIRST_BACKOFF_S, LAST_BACKOFF_S, LONGEST_RETRY_AFTER_S = 0.5, 8.0, 120.0
"""As the openai package does; an upstream that asks for a longer pause is not waited for."""


class Transient(Exception):
    """A failure that a later try may not have; `pause_s` is what the upstream asked to wait, if it did."""

    def __init__(self, error: UpstreamError, pause_s: float | None = None) -> None:
        super().__init__(str(error))
        self.error = error
        self.pause_s = pause_s


def check_response(response: Response) -> Response:
    """`response`, unless it failed in a transient way before it had any output."""
    error = response["error"]
    if response["status"] == "failed" and error and error["code"] in RETRIED_CODES and not response["output"]:
        raise Transient(UpstreamError(f"The response failed: {error['message']}", code=error["code"]))
    return response


def is_transient(reply: httpx2.Response, error: UpstreamError) -> bool:
    """Whether a later try may succeed. The upstream's own word (`x-should-retry`) counts most."""
    if error.code in QUOTA_CODES:
        return False
    said = reply.headers.get("x-should-retry")
    if said in ("true", "false"):
        return said == "true"
    return reply.status_code in RETRIED_STATUSES or reply.status_code >= 500


def read_retry_after(headers: httpx2.Headers) -> float | None:
    """Seconds that the upstream asks to wait: `retry-after-ms`, else `retry-after` in seconds or as a date."""
    for name, unit in (("retry-after-ms", 1000), ("retry-after", 1)):
        try:
            return max(0.0, float(headers[name]) / unit)
        except (KeyError, ValueError):
            continue
    try:
        return max(0.0, parsedate_to_datetime(headers["retry-after"]).timestamp() - time.time())
    except (KeyError, ValueError):
        return None


def find_pause(failure: Transient, tries: int) -> float:
    """Seconds before the next try: what the upstream asked for, else twice as long each time, less up to a quarter."""
    if failure.pause_s is not None:
        return failure.pause_s
    return min(FIRST_BACKOFF_S * 2 ** (tries - 1), LAST_BACKOFF_S) * random.uniform(0.75, 1.0)


def explain_tries(tries: int, failure: Transient) -> str:
    """The number of tries, or the pause that was too long, to be said behind the failure."""
    if failure.pause_s and failure.pause_s > LONGEST_RETRY_AFTER_S:
        return f" (it asks for a pause of {failure.pause_s:,.0f} s, which is not waited for)"
    return f" (tried {tries} times)" if tries > 1 else ""
