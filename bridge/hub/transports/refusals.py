"""HTTP refusals of a request, with all that the server says about them: in the body, and when and how to ask again."""

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC

import httpx2
from mcp_types import JSONRPCError

from bridge.clock import Clock
from bridge.errors import SignInFailed
from bridge.hub.transports.bodies import ERROR_BYTES, read_start
from bridge.hub.transports.need import NEED, Need
from bridge.hub.transports.replies import read_media_type
from bridge.hub.transports.words import find_words, fold, shorten
from bridge.jsonrpc.messages import BadMessage, read_message
from bridge.sse import EventReader
from bridge.telemetry import Redactor

BODY_S = 2.0
"""How long the body of a refusal may take."""
UNEXECUTED_STATUSES = (401, 403, 429)
"""Statuses that say that a request was not executed."""
_NAME = re.compile(r"HTTP ((?:\d+ ?)?(.*))")


@dataclass(frozen=True)
class Refusal:
    """What an HTTP server refused a request with."""

    status: int
    text: str
    """It as a whole, for people and models."""
    words: str
    """What its body says."""
    error: JSONRPCError | None
    """The JSON-RPC error in its body."""
    pause_s: float | None
    """How long it asks to wait."""
    challenge: str = ""
    """How it wants requests to be signed in: its `WWW-Authenticate`."""
    own: Need | SignInFailed | None = None
    """Why the request was not sent at all, where it could not be signed in."""

    @property
    def is_not_executed(self) -> bool:
        """True if its status says so of the request, or it was not sent."""
        return self.status in UNEXECUTED_STATUSES or self.own is not None


async def read_refusal(response: httpx2.Response, clock: Clock, redact: Redactor) -> Refusal:
    """Read a refusal, and close the response."""
    if own := response.extensions.get(NEED):
        words = own.words if isinstance(own, Need) else str(own)
        return Refusal(response.status_code, redact(words), redact(words), None, None, own=own)
    try:
        body = await read_start(response, ERROR_BYTES, clock.scope(clock.now() + BODY_S))
    finally:
        await response.aclose()
    media_type = read_media_type(response)
    if media_type == "text/event-stream":
        body, media_type = _read_event(body), "application/json"
    error = _read_error(body)
    words = error.error.message if error else find_words(body, media_type, response.charset_encoding)
    words = redact(fold(words))
    pause_s = read_pause(response.headers.get("retry-after", ""), clock.time())
    notes = [] if pause_s is None else [f"try again in {math.ceil(pause_s):,} s"]
    if challenge := ", ".join(response.headers.get_list("www-authenticate")):
        notes.append(f"it asks for {shorten(redact(fold(challenge)))}")
    text = _join(describe_status(response), words, notes)
    return Refusal(response.status_code, text, words, error, pause_s, challenge)


def describe_status(response: httpx2.Response) -> str:
    """Describe an HTTP status to the model."""
    return f"the server answered with HTTP {response.status_code} {fold(response.reason_phrase)}".rstrip()


def read_pause(value: str, now: float) -> float | None:
    """Read `Retry-After`, seconds or a date, as seconds from `now`; None where there is none."""
    with suppress(ValueError):
        seconds = float(value)
        return seconds if 0 <= seconds < math.inf else None
    if not value:
        return None
    from email.utils import parsedate_to_datetime  # late: few servers write a date

    with suppress(ValueError, OverflowError):
        moment = parsedate_to_datetime(value)
        return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)
    return None


def _read_event(body: bytes) -> bytes:
    """Return what the first event of a stream says."""
    events = EventReader(ERROR_BYTES).feed(body.rstrip() + b"\n\n")
    return next((event.data for event in events if isinstance(event.data, bytes) and event.data), b"")


def _read_error(body: bytes) -> JSONRPCError | None:
    with suppress(BadMessage):
        message = read_message(body)
        return message if isinstance(message, JSONRPCError) else None
    return None


def _join(status: str, words: str, notes: list[str]) -> str:
    """Join what a refusal says; words that begin with the name of the status do not tell it again."""
    named = _NAME.search(status)
    for name in filter(None, named.groups() if named else ()):
        if words.casefold().startswith(name.casefold()) and not words[len(name) :][:1].isalnum():
            words = words[len(name) :].lstrip(" :.-")
    said = f": {shorten(words)}" if words else ""
    return f"{status}{said} ({'; '.join(notes)})" if notes else f"{status}{said}"
