"""The clock in zones with and without summer time, and at names that are no zones."""

import itertools
import zoneinfo
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from mcp.server.mcpserver.exceptions import ToolError

from builtin_tools.clock import find_zone, tell_time


def at(moment: str) -> Callable[[], datetime]:
    return lambda: datetime.fromisoformat(moment)


@pytest.mark.rule("B8")
def test_one_instant_is_told_in_the_zone_in_utc_and_in_seconds() -> None:
    told = tell_time("Asia/Shanghai", now=at("2025-08-25T07:48:40.999+00:00"))
    assert told.model_dump() == {
        "local": "2025-08-25T15:48:40+08:00",
        "utc": "2025-08-25T07:48:40+00:00",
        "epoch": 1756108120,
        "timezone": "Asia/Shanghai",
        "weekday": "Monday",
    }
    assert str(told) == "Monday 2025-08-25T15:48:40+08:00 (Asia/Shanghai)"


def test_without_a_zone_the_machine_tells_its_own() -> None:
    told = tell_time(now=at("2025-08-25T07:48:40+00:00"))
    assert datetime.fromisoformat(told.local) == datetime.fromisoformat(told.utc)
    assert told.local == datetime.fromtimestamp(told.epoch, UTC).astimezone().isoformat()
    assert told.timezone


def test_the_system_clock_is_the_one_that_is_read() -> None:
    before = datetime.now(UTC).timestamp() - 1
    assert before <= tell_time("UTC").epoch <= datetime.now(UTC).timestamp()


@pytest.mark.rule("B8")
@pytest.mark.parametrize(
    ("zone", "moment", "local"),
    [
        # The hour that comes twice: the offset tells the two apart.
        ("Europe/Berlin", "2025-10-26T00:30:00Z", "2025-10-26T02:30:00+02:00"),
        ("Europe/Berlin", "2025-10-26T01:30:00Z", "2025-10-26T02:30:00+01:00"),
        ("America/New_York", "2025-11-02T05:30:00Z", "2025-11-02T01:30:00-04:00"),
        ("America/New_York", "2025-11-02T06:30:00Z", "2025-11-02T01:30:00-05:00"),
        ("Australia/Lord_Howe", "2025-04-05T14:45:00Z", "2025-04-06T01:45:00+11:00"),
        ("Australia/Lord_Howe", "2025-04-05T15:15:00Z", "2025-04-06T01:45:00+10:30"),
        # The hour that never comes.
        ("Europe/London", "2025-03-30T00:59:59Z", "2025-03-30T00:59:59+00:00"),
        ("Europe/London", "2025-03-30T01:00:00Z", "2025-03-30T02:00:00+01:00"),
        ("America/Santiago", "2025-09-07T03:59:59Z", "2025-09-06T23:59:59-04:00"),
        ("America/Santiago", "2025-09-07T04:00:00Z", "2025-09-07T01:00:00-03:00"),
        # POSIX counts west of Greenwich as positive.
        ("Etc/GMT+5", "2025-01-01T12:00:00Z", "2025-01-01T07:00:00-05:00"),
        ("Asia/Kathmandu", "2025-01-01T12:00:00Z", "2025-01-01T17:45:00+05:45"),
    ],
)
def test_local_time_is_right_around_every_change_of_the_clocks(zone: str, moment: str, local: str) -> None:
    assert tell_time(zone, now=at(moment)).local == local


def test_the_leap_second_of_2016_is_not_told() -> None:
    start = datetime(2016, 12, 31, 23, 59, 58, tzinfo=UTC)
    clock = (start + timedelta(seconds=passed) for passed in range(4))
    told = [tell_time("UTC", now=clock.__next__).local[11:19] for _ in range(4)]
    assert told == ["23:59:58", "23:59:59", "00:00:00", "00:00:01"]


@pytest.mark.parametrize(
    ("name", "near"),
    [("Asia/Shangai", "Asia/Shanghai"), ("europe/berlin", "Europe/Berlin"), ("new york", "America/New_York")],
)
def test_a_misspelled_zone_is_answered_with_the_right_spelling(name: str, near: str) -> None:
    with pytest.raises(ToolError, match=near):
        tell_time(name)


@pytest.mark.rule("B8")
@pytest.mark.parametrize(
    "name",
    [
        *["../../etc/passwd", "/etc/localtime", "localtime", "zone.tab", "Europe", "right/UTC", "posix/UTC", "UTC\0"],
        *["", "Mars/Olympus", "utc", "北京", "\ud800"],
        pytest.param("a" * 1_000_000, id="a million letters"),
    ],
)
def test_what_is_no_zone_is_answered_with_three_zones(name: str) -> None:
    with pytest.raises(ToolError) as refused:
        tell_time(name)
    text = str(refused.value)
    near = text.partition("Near names: ")[2].rstrip(".").split(", ")
    assert len(set(near)) == 3
    assert set(near) <= zoneinfo.available_timezones()
    assert len(text.encode()) < 300  # also: no lone surrogate, which would end a stdio server


def test_a_machine_without_zones_says_what_to_install() -> None:
    with pytest.raises(ToolError, match="install `tzdata`"):
        find_zone("Europe/Berlin", known=frozenset)


def test_every_zone_of_the_machine_is_known() -> None:
    zones = sorted(zoneinfo.available_timezones())
    moment = at("2025-08-25T07:48:40+00:00")
    for zone in itertools.islice(zones, 0, None, 25):
        assert tell_time(zone, now=moment).epoch == 1756108120
