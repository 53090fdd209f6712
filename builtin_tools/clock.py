"""The time now, here and in any IANA time zone."""

import difflib
import functools
import reprlib
import zoneinfo
from collections.abc import Callable, Set
from datetime import UTC, datetime

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import override

LONGEST_NAME = 64
"""The most characters of an unknown zone name that are compared with known ones; each costs time."""


class CurrentTime(BaseModel):
    """One instant, written for people and for programs. All fields are whole seconds."""

    model_config = ConfigDict(extra="forbid")

    local: str = Field(description="The wall clock in `timezone`: ISO 8601 with the offset from UTC.")
    utc: str = Field(description="The same instant in UTC: ISO 8601.")
    epoch: int = Field(description="The same instant in seconds since 1970-01-01T00:00:00Z.")
    timezone: str = Field(
        description="The IANA name that was asked for, otherwise what this machine calls its own zone."
    )
    weekday: str = Field(description="The day of the week in `timezone`, in English.")

    @override
    def __str__(self) -> str:
        return f"{self.weekday} {self.local} ({self.timezone})"


def utc_now() -> datetime:
    """Return the system clock's time, in UTC."""
    return datetime.now(UTC)


def tell_time(timezone: str | None = None, *, now: Callable[[], datetime] = utc_now) -> CurrentTime:
    """Tell the time in `timezone`, by default in this machine's own zone.

    `now` is the clock, which returns an aware datetime. Raises ToolError for an unknown zone.
    """
    instant = now().astimezone(UTC).replace(microsecond=0)
    local = instant.astimezone(find_zone(timezone) if timezone is not None else None)
    return CurrentTime(
        local=local.isoformat(),
        utc=instant.isoformat(),
        epoch=int(instant.timestamp()),
        timezone=timezone if timezone is not None else local.tzname() or "local",
        weekday=f"{local:%A}",
    )


@functools.cache
def zone_names() -> frozenset[str]:
    """List the IANA names that this machine knows; none if it has no time zone database. Read from disk once."""
    # Some systems have the machine's own zone among the others, as a link; that is not an IANA name.
    return frozenset(zoneinfo.available_timezones() - {"localtime"})


def find_zone(name: str, *, known: Callable[[], Set[str]] = zone_names) -> zoneinfo.ZoneInfo:
    """Find the zone with exactly this IANA name; raises ToolError with three near names otherwise.

    A name is looked up among the known ones before it is used as a path, so it cannot reach another file. The `right/`
    zones, whose clocks count leap seconds, are not known.
    """
    if name in known():
        return zoneinfo.ZoneInfo(name)
    if not known():
        raise ToolError("This machine has no time zone database: install `tzdata`, or leave timezone out.")
    near = ", ".join(_near_names(name, known()))
    raise ToolError(f"timezone should be an IANA name, and {reprlib.repr(name)} is not one. Near names: {near}.")


def _near_names(name: str, known: Set[str]) -> list[str]:
    """Find the three known names nearest to `name`: compared as a whole if it has a slash, else by city."""
    wanted = name[:LONGEST_NAME].strip().lower().replace(" ", "_")
    spelled = {(zone if "/" in wanted else zone.rpartition("/")[2]).lower(): zone for zone in sorted(known)}
    return [spelled[near] for near in difflib.get_close_matches(wanted, spelled, n=3, cutoff=0)]
