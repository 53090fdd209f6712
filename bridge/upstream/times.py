"""When an upstream wants to be asked again: told in fields of an error or in words, as seconds and as words."""

import math
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime

from bridge.json_text import Json, JsonObject

LONGEST_RETRY_AFTER_S = 120.0
"""The same as in the openai package: if the upstream asks for a longer pause, there is no retry."""

_PAUSES = {"retry_after": 1, "retry_after_seconds": 1, "retry_after_ms": 1000, "retrydelay": 1, "retry_delay": 1}
"""Fields that tell a pause, and what its number is to be divided by."""
_RESETS = ("resets_at", "reset_at", "resets_in_seconds", "resets_in", "resets_after_seconds", "x_ratelimit_reset")
_A_MOMENT = 10**8
"""Seconds from which on a number is a moment and no duration."""
_MAX_YEARS_S = 10**11
"""Seconds from which on a number is of milliseconds."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_UNIT = (
    r"(?P<ms>milliseconds?|millis|msecs?|ms|毫秒)|(?P<s>seconds?|secs?|s|秒)|(?P<m>minutes?|mins?|m|分钟|分)|"
    r"(?P<h>hours?|hrs?|h|小时)|(?P<d>days?|d|天)"
)
_PART = re.compile(rf"(?P<number>\d{{1,12}}(?:\.\d{{1,9}})?)\s?(?:{_UNIT})(?![a-z])", re.IGNORECASE)
_BARE_UNIT = re.sub(r"\?P<\w+>", "?:", _UNIT)
_DURATION = rf"((?:\d{{1,12}}(?:\.\d{{1,9}})?\s?(?:{_BARE_UNIT})(?![a-z])(?:,? and |, |\s)?){{1,5}})"
_AGAIN = r"(?:again|retry(?:ing)?|wait|available|resets?|重试|再试)"
_TOLD = re.compile(
    rf"\b{_AGAIN}\b[^\d.;]{{0,30}}?{_DURATION}|(?<![\d.]){_DURATION}[^\d.;]{{0,30}}?{_AGAIN}|"
    r"\bretry[ _-]after\W{1,4}(\d{1,12}(?:\.\d{1,9})?)(?![\d.]*\s?[a-z])",
    re.IGNORECASE,
)


def read_pause(message: str) -> float | None:
    """Return the seconds that a message asks to wait for, as in "try again in 1m30s"; None where it names none."""
    told = _TOLD.search(message)
    if told is None:
        return None
    if told[3]:
        return float(told[3])
    return sum(_measure(part) for part in _PART.finditer(told[1] or told[2]))


def tell_times(fields: JsonObject) -> str:
    """Return what the fields of an error say of the time to try again, in parentheses; "" where they say nothing."""
    told = {name.lower().replace("-", "_"): value for name, value in _list_fields(fields)}
    for name in _RESETS:
        seconds = _read_number(told.get(name))
        if name in told and (moment := _read_moment(told[name], seconds)):
            return f" (it resets in {_describe(moment - time.time())}, at {_name(moment)})"
        if seconds is not None and 0 < seconds < _A_MOMENT and not name.endswith("_at"):
            return f" (it resets in {_describe(seconds)})"
    for name, divisor in _PAUSES.items():
        if (seconds := _read_number(told.get(name))) is not None and 0 <= seconds < _A_MOMENT:
            return f" (try again in {_describe(seconds / divisor)})"
    return ""


def _list_fields(fields: JsonObject) -> Iterator[tuple[str, Json]]:
    """Yield the fields of an error, those of Google's details, and headers that are quoted."""
    details, metadata = fields.get("details"), fields.get("metadata")
    for detail in details if isinstance(details, list) else ():
        yield from detail.items() if isinstance(detail, dict) else ()
    for headers in (metadata.get("headers") if isinstance(metadata, dict) else None, fields.get("headers")):
        yield from headers.items() if isinstance(headers, dict) else ()
    yield from fields.items()


def _measure(part: re.Match[str]) -> float:
    unit = next(name for name in _UNITS if part[name])
    return float(part["number"]) * _UNITS[unit]


def _read_number(value: Json) -> float | None:
    """Read a number, also as text ("7.5", "39s"); None for anything else."""
    if isinstance(value, str):
        part = _PART.fullmatch(value)
        try:
            value = _measure(part) if part else float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if abs(value) < 1e15 and math.isfinite(value) else None


def _read_moment(value: Json, seconds: float | None) -> float | None:
    """Read a moment that is still to come: seconds or milliseconds since 1970, or a date."""
    moment = seconds
    if seconds is None and isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value).timestamp()
        except (ValueError, OverflowError):
            return None
    if moment is not None and moment >= _MAX_YEARS_S:
        moment /= 1000
    return moment if moment is not None and time.time() < moment < _MAX_YEARS_S else None


def _name(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%d %H:%M UTC")


def _describe(seconds: float) -> str:
    """Describe a duration by its two largest units."""
    if seconds < 60:
        return f"{math.ceil(seconds * 1000) / 1000:g} s"
    rest, parts = math.ceil(seconds), list[str]()
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2])
